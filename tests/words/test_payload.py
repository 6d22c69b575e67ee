"""What goes into a payload comes out of it; what cannot is refused with a sentence that names it."""

from __future__ import annotations

import collections
import dataclasses
import decimal
import enum
import json
import math
import pathlib
import subprocess
import sys
import typing
import uuid
from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

import attrs
import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from howdah.errors import InvalidOption, InvalidPayload
from howdah.outcomes import Again, Snooze
from howdah.payload import MAX_DEPTH, Signature, loads, plain_json

if typing.TYPE_CHECKING:
    from nowhere import OnlyForCheckers  # pyright: ignore[reportMissingImports]


class Context: ...


class Color(enum.Enum):
    RED = "red"


class Level(enum.Enum):
    NONE = math.nan


class Size(enum.IntEnum):
    SMALL = 1


@dataclasses.dataclass
class Point:
    x: float
    y: float | None = None


@dataclasses.dataclass
class Tree:
    children: list[Tree]


class Range(NamedTuple):
    low: int
    high: int


class Options(TypedDict, total=False):
    ratio: float
    tags: set[str]


class Message(msgspec.Struct):
    text: str
    at: datetime | None = None


@attrs.define
class Pair:
    left: int
    right: str


class Address(pydantic.BaseModel):
    zip: str
    since: date | None = None
    weight: float | None = None


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True, extra="forbid")
    at: datetime = pydantic.Field(alias="when")


class Cat(pydantic.BaseModel):
    kind: Literal["cat"] = "cat"


class Dog(pydantic.BaseModel):
    kind: Literal["dog"] = "dog"


class Email(str):
    __slots__ = ()


def welcome(user_id: int, name: str = "x", *, options: dict[str, Any] | None = None) -> str: ...


def anything(data) -> Any: ...


WELCOME = Signature.of(welcome)
ANYTHING = Signature.of(anything, name="kind")


def refusal(call, *args, **kwargs) -> str:
    with pytest.raises(InvalidPayload) as caught:
        call(*args, **kwargs)
    assert len(str(caught.value)) < 900
    return str(caught.value)


def signature_of(annotation: Any) -> Signature:
    def handler(value): ...

    handler.__annotations__ = {"value": annotation, "return": annotation}
    return Signature.of(handler)


# ── binding ──


def test_a_call_becomes_an_object_of_named_arguments():
    assert WELCOME.encode((42,), {}) == '{"user_id":42}'
    assert WELCOME.encode((42, "Ada"), {"options": {"a": [1]}}) == '{"user_id":42,"name":"Ada","options":{"a":[1]}}'
    assert WELCOME.decode(b'{"user_id":42}') == {"user_id": 42}
    assert WELCOME.decode(msgspec.Raw(b'{"user_id":42}')) == WELCOME.decode('{"user_id":42}')


@pytest.mark.parametrize(
    ("args", "kwargs", "sentence"),
    [
        ((), {}, "welcome: missing argument user_id: welcome(user_id: int, "),
        ((1, "a", {}), {}, "welcome: 3 positional arguments given, at most 2 fit: welcome(user_id: int"),
        ((1,), {"user_id": 2}, "welcome: argument user_id is given twice: welcome("),
        ((1,), {"nmae": 2}, "welcome: unexpected argument nmae: welcome("),
        (("x",), {}, "welcome: user_id: expected int, got str"),
        ((True,), {}, "welcome: user_id: expected int, got bool"),
        ((1.0,), {}, "welcome: user_id: expected int, got float"),
        ((None,), {}, "welcome: user_id: expected int, got null"),
        ((1, b"x"), {}, "welcome: name is bytes, which JSON cannot hold"),
        ((decimal.Decimal(1),), {}, "welcome: user_id: expected int, got Decimal"),
    ],
)
def test_a_call_that_does_not_fit_is_one_clear_sentence(args, kwargs, sentence):
    assert refusal(WELCOME.encode, args, kwargs).startswith(sentence)


def test_what_is_stored_is_checked_again_when_it_is_decoded():
    assert refusal(WELCOME.decode, b'{"user_id":"x"}') == "welcome: user_id: expected int, got str"
    assert refusal(WELCOME.decode, b"{}").startswith("welcome: missing argument user_id: ")
    assert refusal(WELCOME.decode, b'{"user_id":1,"b":2}').startswith("welcome: unexpected argument b: ")
    assert refusal(WELCOME.decode, b"[]") == "welcome: payload: expected object, got array"
    assert refusal(WELCOME.decode, b"{").startswith("welcome: payload: ")
    assert "nested deeper" in refusal(ANYTHING.decode, b'{"data":' + b"[" * 100_000 + b"]" * 100_000 + b"}")


def test_payloads_given_by_name_are_checked_like_calls():
    assert WELCOME.check({"user_id": 1}) == WELCOME.check('{"user_id": 1}') == '{"user_id":1}'
    assert signature_of(dict[int, date]).check('{"value": {"1": "2024-02-29"}}') == '{"value":{"1":"2024-02-29"}}'
    assert refusal(WELCOME.check, {"user_id": "x"}) == "welcome: user_id: expected int, got str"
    assert "expected the arguments by name, got list" in refusal(WELCOME.check, "[1]")
    assert "line 1, column 12" in refusal(WELCOME.check, '{"user_id":')


def test_injected_parameters_are_no_part_of_the_payload():
    def handler(ctx: Context, a: int, maybe: Context | None = None, *, quoted: Annotated[Context, 1], b=0): ...

    signature = Signature.of(handler, injected=(Context,))
    assert signature.injected_names == ("ctx", "maybe", "quoted")
    assert signature.injected == dict.fromkeys(signature.injected_names, Context)
    assert signature.encode((7,), {"b": 1}) == '{"a":7,"b":1}'
    assert "unexpected argument ctx" in refusal(signature.encode, (1,), {"ctx": 2})


def test_a_context_imported_for_type_checkers_only_is_still_injected():
    stand_in = type("OnlyForCheckers", (), {})

    def handler(a: int, ctx: OnlyForCheckers) -> OnlyForCheckers: ...

    assert Signature.of(handler, injected=(stand_in,)).injected_names == ("ctx",)


def test_open_keywords_take_any_further_argument():
    def handler(a: int, ctx: Context, **rest: float): ...

    signature = Signature.of(handler, injected=(Context,))
    assert signature.decode(signature.encode((1,), {"b": 2.5})) == {"a": 1, "b": 2.5}
    assert "expected float, got str" in refusal(signature.encode, (1,), {"b": "x"})
    assert "ctx is filled in by the worker" in refusal(signature.encode, (1,), {"ctx": 2.0})


def test_methods_partials_wrappers_callables_and_classes_have_signatures_too():
    class Handler:
        def method(self, a: int): ...

        def __call__(self, b: Point): ...

    assert Signature.of(Handler().method).encode((1,), {}) == '{"a":1}'
    assert Signature.of(Handler()).encode((Point(1, 2),), {}) == '{"b":{"x":1,"y":2}}'
    assert Signature.of(Point).encode((1.5,), {}) == '{"x":1.5}'
    assert Signature.of(Message).decode('{"text":"a"}') == {"text": "a"}


def test_kinds_may_have_any_name():
    assert Signature.of(welcome, name="mail.welcome-2").encode((1,), {}) == '{"user_id":1}'


def test_defaults_need_no_form_in_json():
    def handler(a: int = 1, session: Context = Context(), path=pathlib.Path()): ...  # noqa: B008

    assert Signature.of(handler).encode((), {}) == "{}"
    assert Signature.of(handler).decode("{}") == {}
    assert Signature.of(handler).schema()["properties"].keys() == {"a", "session", "path"}


# ── refused when registered ──


def test_signatures_json_cannot_fill_are_refused_by_name():
    @dataclasses.dataclass
    class Local: ...

    def stars(*values: int): ...
    def positional(a: int, /): ...
    def unresolved(user: Local): ...
    def only_checked(user: OnlyForCheckers): ...
    def foreign(a: int, user: list[Context]): ...
    def ambiguous(user: date | datetime): ...

    for handler, words in [
        (stars, ("stars", "*values")),
        (positional, ("positional: a", "positional-only")),
        (unresolved, ("unresolved: user", "Local", "resolved")),
        (only_checked, ("only_checked: user", "OnlyForCheckers")),
        (foreign, ("foreign: user", "Context")),
        (ambiguous, ("ambiguous: user", "more than one str-like")),
    ]:
        with pytest.raises(InvalidOption) as caught:
            Signature.of(handler)
        for word in words:
            assert word in str(caught.value)


# ── round trips ──

moments = st.datetimes(timezones=st.just(UTC) | st.none() | st.just(timezone(timedelta(hours=5, minutes=30))))
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
floats = st.floats(allow_nan=False, allow_infinity=False)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | floats | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    max_leaves=20,
)
TYPED: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (int, st.integers()),
    (str, texts),
    (bool, st.booleans()),
    (float, floats | st.integers(-(2**53), 2**53)),
    (None, st.none()),
    (bytes, st.binary()),
    (datetime, moments),
    (date, st.dates()),
    (time, st.times()),
    (timedelta, st.timedeltas()),
    (uuid.UUID, st.uuids()),
    (decimal.Decimal, st.decimals(allow_nan=False)),
    (Color, st.just(Color.RED)),
    (Size, st.sampled_from(Size)),
    (Literal["a", 1], st.sampled_from(["a", 1])),
    (int | str | None, st.none() | st.integers() | texts),
    (list[date], st.lists(st.dates())),
    (dict[int, str], st.dictionaries(st.integers(), texts)),
    (dict[uuid.UUID, set[int]], st.dictionaries(st.uuids(), st.sets(st.integers()))),
    (tuple[int, ...], st.lists(st.integers()).map(tuple)),
    (frozenset[str], st.frozensets(texts)),
    (Annotated[int, msgspec.Meta(ge=0)], st.integers(0)),
    (Point, st.builds(Point, floats, st.none() | floats)),
    (Tree, st.just(Tree([Tree([]), Tree([Tree([])])]))),
    (Range, st.builds(Range, st.integers(), st.integers())),
    (Options, st.fixed_dictionaries({}, optional={"ratio": floats, "tags": st.sets(texts)})),
    (Message, st.builds(Message, texts, moments)),
    (Pair, st.builds(Pair, st.integers(), texts)),
    (Address, st.builds(Address, zip=texts, since=st.none() | st.dates(), weight=floats)),
    (list[Address | None], st.lists(st.none() | st.builds(Address, zip=texts))),
    (Strict, st.builds(Strict, when=moments)),
    (Cat | Dog, st.sampled_from([Cat(), Dog()])),
    (Annotated[Cat | Dog, pydantic.Field(discriminator="kind")], st.sampled_from([Cat(), Dog()])),
    (Email, texts.map(Email)),
    (pathlib.Path, st.just(pathlib.Path("/a/b"))),
    (object, plain),
    (Any, plain),
]
SIGNATURES = [(signature_of(annotation), values) for annotation, values in TYPED]


@given(st.data())
def test_every_supported_type_comes_back_as_it_was(data):
    signature, values = data.draw(st.sampled_from(SIGNATURES))
    value = data.draw(values)
    assert signature.decode(signature.encode((value,), {})) == {"value": value}
    assert type(signature.decode(signature.encode((value,), {}))["value"]) in (type(value), float)
    assert signature.decode_result(signature.encode_result(value)) == value
    assert signature.decode(signature.check(signature.encode((value,), {}))) == {"value": value}


@given(plain)
def test_plain_json_comes_back_as_it_was_and_postgresql_would_take_it(value):
    text = ANYTHING.encode((value,), {})
    assert ANYTHING.decode(text) == json.loads(text) == loads(text) == {"data": value}
    assert json.loads(plain_json(value, "payload")) == value


def test_whole_numbers_of_any_size_keep_every_digit():
    for number in (2**63, -(2**64), 10**30 + 1, 10**4000 + 7):
        assert ANYTHING.decode(ANYTHING.encode((number,), {}))["data"] == number
        assert WELCOME.decode(WELCOME.encode((number,), {}))["user_id"] == number
    assert "more than 4,000 digits" in refusal(ANYTHING.encode, (10**5000,), {})


def test_a_float_parameter_refuses_a_whole_number_it_would_round():
    assert signature_of(float).encode((2**53,), {}) == '{"value":9007199254740992}'
    assert "9007199254740993" in refusal(signature_of(float).encode, (2**53 + 1,), {})


# ── what JSON cannot hold ──


class Hostile:
    def __getattr__(self, name):
        raise AttributeError(name) if name.startswith("_") else RuntimeError("no")

    def __repr__(self):
        raise RuntimeError("no")

    def __eq__(self, other):
        raise RuntimeError("no")

    __hash__ = object.__hash__


@dataclasses.dataclass
class Broken:
    a: Any = 1

    def __eq__(self, other):
        raise RuntimeError("no")


cycle: list[Any] = []
cycle.append(cycle)
nested: list[Any] = []
for _ in range(MAX_DEPTH + 100):
    nested = [nested]
very_nested = nested
for _ in range(100_000):
    very_nested = [very_nested]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"ratio": math.nan}, "kind: data.ratio is NaN, which JSON cannot hold"),
        ([1, -math.inf], "kind: data[1] is Infinity, which JSON cannot hold"),
        ({"a b": {math.nan: 1}}, "kind: data['a b'] has a key that is NaN"),
        ({"a": b"x"}, "kind: data.a is bytes, which JSON cannot hold"),
        ("a\0", "kind: data holds the character NUL"),
        ({"a\0": 1}, "kind: data has a key that holds the character NUL"),
        (["\ud800"], "kind: data[0] holds half of a surrogate pair"),
        ({"\udfff": 1}, "kind: data has a key that holds half of a surrogate pair"),
        ({1: 2}, "kind: data has the key 1, which would be lost"),
        ({(1, 2): 2}, "kind: data has the key (1, 2); keys in JSON are text"),
        ({None: 2}, "kind: data has the key None; keys in JSON are text"),
        ({1, 2}, "kind: data is set and would come back as list"),
        ({"a": datetime.now(UTC)}, "kind: data.a is datetime and would come back as str"),
        (uuid.uuid4(), "kind: data is UUID and would come back as str"),
        (Point(1), "kind: data is Point and would come back as dict"),
        (Address(zip="1"), "kind: data is Address and would come back as dict"),
        (Level.NONE, "kind: data is Level and would come back as null"),
        ((i for i in []), "kind: data is generator, which JSON cannot hold"),
        (len, "kind: data is builtin_function_or_method, which JSON cannot hold"),
        (Context(), "kind: data is Context, which JSON cannot hold"),
        (collections.UserDict(), "kind: data is UserDict, which JSON cannot hold"),
        (cycle, "nested deeper than 500 levels, or contains itself"),
        (nested, "nested deeper than 500 levels"),
        (very_nested, "nested deeper than 500 levels"),
        (Hostile(), "kind: data"),
        (Broken(), "kind: data is Broken"),
        ({"k" * 10_000: math.nan}, "is NaN"),
    ],
)
def test_what_json_cannot_hold_is_refused_by_path(value, words):
    assert words in refusal(ANYTHING.encode, (value,), {})


def test_what_an_optional_field_would_turn_into_null_is_refused():
    for value, words in [(Point(1, math.nan), "y is NaN"), (Address(zip="1", weight=math.nan), "weight is NaN")]:
        assert f"handler: value.{words}" in refusal(signature_of(type(value)).encode, (value,), {})
    assert "kind: result is NaN" in refusal(ANYTHING.encode_result, Level.NONE)


def test_subclasses_of_plain_types_are_written_as_their_plain_value():
    values = [Email("a"), type("Score", (float,), {})(0.5), type("Count", (int,), {})(3), (1, 2), Size.SMALL]
    assert ANYTHING.encode((values,), {}) == '{"data":["a",0.5,3,[1,2],1]}'
    assert ANYTHING.encode((collections.OrderedDict(a=1),), {}) == '{"data":{"a":1}}'


def test_an_escaped_backslash_is_not_a_nul():
    assert ANYTHING.decode(ANYTHING.encode(("\\u0000",), {})) == {"data": "\\u0000"}


def test_brackets_in_text_are_no_nesting():
    assert ANYTHING.decode(ANYTHING.encode(('"[' * 2000,), {})) == {"data": '"[' * 2000}
    assert ANYTHING.encode(([[]] * 2000,), {})


def test_what_an_annotation_would_drop_is_refused():
    @dataclasses.dataclass
    class Point3(Point):
        z: float = 0

    assert "value has the field z, which would be lost" in refusal(signature_of(Point).encode, (Point3(1, 2, 3),), {})
    assert "value has the key 'foo', which would be lost" in refusal(
        signature_of(Options).encode, ({"ratio": 1.0, "foo": 2},), {}
    )


def test_the_sentence_names_fields_inside_values():
    for annotation, value, sentence in [
        (Point, {"x": "far"}, "handler: value.x: expected float, got str"),
        (list[Message], [{"text": "a"}, {"text": 1}], "handler: value[1].text: expected str, got int"),
        (Message, {}, "handler: value: object missing required field text"),
        (list[Address], [{"zip": "1"}, {"zip": 2}], "handler: value[1].zip: input should be a valid string"),
        (Cat | Dog, {"kind": "cow"}, "handler: value."),
        (dict[int, int], {"a": 1}, "handler: a key of value: expected int, got str"),
        (Annotated[int, msgspec.Meta(ge=10)], 5, "handler: value: expected int >= 10"),
        (Literal["a"], "b" * 5000, "handler: value: invalid enum value"),
    ]:
        assert refusal(signature_of(annotation).check, {"value": value}).startswith(sentence)


def test_size_is_counted_in_bytes_and_can_be_set():
    sentence = refusal(ANYTHING.encode, ("é" * 600_000,), {})
    assert sentence.startswith("kind: payload is 1,200,011 bytes, more than the 1,048,576 allowed")
    assert "App(max_payload=" in sentence
    assert ANYTHING.encode(("é" * 600_000,), {}, max_bytes=2_000_000)
    assert "kind: result is 12 bytes" in refusal(ANYTHING.encode_result, "x" * 10, max_bytes=11)


# ── results ──


def test_results_come_back_as_the_return_annotation():
    for annotation, value in [
        (Point, Point(1)),
        (list[date], [date(2024, 2, 29)]),
        (str | Again | Snooze, "x"),
        (bytes, b"a"),
        (Address | None, Address(zip="1")),
    ]:
        signature = signature_of(str)
        signature = Signature("kind", signature._shown.replace(return_annotation=annotation), {})
        assert signature.decode_result(signature.encode_result(value)) == value


def test_results_without_a_type_are_plain_json():
    def unresolved() -> OnlyForCheckers: ...
    def foreign() -> Context: ...
    def outcome() -> Again | None: ...
    def nothing() -> None: ...

    for handler in (anything, unresolved, foreign, outcome, nothing):
        signature = Signature.of(handler)
        assert signature.encode_result(None) is None
        assert signature.decode_result(None) is None
        text = signature.encode_result({"at": date(2024, 2, 29), "tags": {1}, 5: Point(1)})
        assert signature.decode_result(text) == {"at": "2024-02-29", "tags": [1], "5": {"x": 1, "y": None}}


def test_a_result_that_is_not_what_the_annotation_says_is_kept_and_refused_when_read():
    text = WELCOME.encode_result({"a": 1})
    assert text == '{"a":1}'
    assert refusal(WELCOME.decode_result, text) == "welcome: result: expected str, got object"


def test_results_json_cannot_hold_are_refused():
    assert refusal(WELCOME.encode_result, "a\0").startswith("welcome: result holds the character NUL")
    assert refusal(ANYTHING.encode_result, {"a": [math.nan]}) == "kind: result.a[0] is NaN, which JSON cannot hold"
    assert refusal(ANYTHING.encode_result, b"x").startswith("kind: result is bytes")
    assert refusal(ANYTHING.encode_result, Context()) == "kind: result is Context, which JSON cannot hold"


# ── values without a signature, text from people ──


def test_plain_json_names_its_field():
    assert plain_json({"at": date(2024, 2, 29)}, "payload") == '{"at":"2024-02-29"}'
    assert refusal(plain_json, {"a": math.nan}, "message") == "message.a is NaN, which JSON cannot hold"
    assert refusal(plain_json, cycle, "message").endswith("contains itself")
    assert refusal(plain_json, "\0", "message").startswith("message holds the character NUL")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": 1,}', "line 1, column 9"),
        ('{\n "a": x}', "line 2, column 7"),
        ("", "not JSON"),
        ("NaN", "NaN"),
        ("[-Infinity]", "Infinity"),
        ("1e400", "1e400"),
        ('{"a": {"b": 1, "b": 2}}', "the key 'b' twice"),
        ("[" * 100_000, "nested deeper"),
        ("1" * 5000, "cannot be read"),
        (b"\xff\xfe\xff", "cannot be read"),
        (None, "cannot be read"),
    ],
)
def test_text_that_is_not_json_is_refused_with_its_place(text, words):
    assert words in refusal(loads, text)


# ── anything at all ──

hostile = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.decimals()
    | moments
    | st.complex_numbers()
    | st.sampled_from([cycle, nested, Context(), Broken(), Broken(math.nan), len, int, Level.NONE, 10**4200])
    | st.builds(Hostile)
    | st.builds(Point, st.floats(), st.floats())
    | st.builds(Address, zip=st.text(), weight=st.floats()),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner)
        | st.dictionaries(st.text() | st.integers() | st.floats() | st.none() | st.tuples(st.integers()), inner)
        | st.builds(Broken, inner)
    ),
    max_leaves=10,
)


@given(hostile, st.sampled_from([ANYTHING, *(signature for signature, _ in SIGNATURES)]))
def test_no_value_raises_anything_but_invalid_payload(value, signature):
    for write in (
        lambda: signature.encode((value,), {}),
        lambda: signature.check({"value": value}),
        lambda: signature.encode_result(value),
        lambda: plain_json(value, "payload"),
    ):
        try:
            text = write()
        except InvalidPayload as error:
            assert len(str(error)) < 900  # noqa: PT017
        else:
            if text is not None:  # PostgreSQL takes it: strict JSON, UTF-8, no NUL.
                loads(text.encode())
                assert "\\u0000" not in text.replace("\\\\", "")


@given(st.binary() | st.text() | plain.map(json.dumps), st.sampled_from([WELCOME, *(s for s, _ in SIGNATURES)]))
def test_no_text_raises_anything_but_invalid_payload(text, signature):
    for read in (signature.decode, signature.decode_result, signature.check, loads):
        if read == signature.check and not isinstance(text, str):
            continue
        try:
            read(text)
        except InvalidPayload as error:
            assert len(str(error)) < 900  # noqa: PT017


# ── schema ──


def test_the_schema_describes_the_payload():
    def handler(user: Address, point: Point, tags: set[str], pet: Cat | Dog, n: int = 5, anything=None): ...

    schema = Signature.of(handler).schema()
    assert schema["title"] == "handler"
    assert schema["required"] == ["user", "point", "tags", "pet"]
    assert schema["additionalProperties"] is False
    assert schema["$defs"].keys() == {"Point", "Cat", "Dog"}
    assert schema["properties"]["user"]["properties"]["zip"]["type"] == "string"
    assert schema["properties"]["anything"] == {}
    json.dumps(schema)


def test_pydantic_is_not_imported_for_handlers_that_do_not_use_it():
    code = (
        "import sys; from howdah.payload import Signature\n"
        "def f(a: int, b: list[str] | None = None) -> str: ...\n"
        "s = Signature.of(f); s.encode((1,), {}); s.schema()\n"
        "assert 'pydantic' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
