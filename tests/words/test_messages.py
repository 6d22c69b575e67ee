"""Whatever a sender writes, the actor reads as it was meant, or refuses with a sentence that names it."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import json
import math
from collections.abc import Callable
from typing import Annotated, Any, Generic, Literal, NewType, Optional, TypeVar, Union

import attrs
import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import TypeAliasType, TypedDict  # pydantic needs this TypedDict on Python 3.11

from howdah.errors import InvalidOption, InvalidPayload
from howdah.payload import Messages, encode_message

T = TypeVar("T")


@dataclasses.dataclass
class Add:
    n: int


@dataclasses.dataclass
class Remove:
    n: int
    why: str = ""


class Reset(msgspec.Struct): ...


class Rename(pydantic.BaseModel):
    to: str = pydantic.Field(alias="new-name")
    at: datetime.date | None = None


@attrs.define
class Count:
    _by: int = 1
    exact: bool = True


@dataclasses.dataclass
class EOF:
    task_id: int


@dataclasses.dataclass
class Typed:
    type: str
    n: int = 0


class One(msgspec.Struct, tag="one", tag_field="kind"):
    a: int


class Two(msgspec.Struct, tag="two", tag_field="kind", rename="camel"):
    the_a: int
    type: str = "x"


class Tagged(msgspec.Struct, tag=True):
    a: int


class Open(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")


class Names(pydantic.RootModel[list[str]]): ...


class Options(TypedDict, total=False):
    n: int


class Color(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Box(Generic[T]):
    item: T


class Foreign: ...


def messages(hint: Any, **options: Any) -> Messages:
    return Messages.of(hint, name="tally", **options)


def refusal(call: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    with pytest.raises(InvalidPayload) as caught:
        call(*args, **kwargs)
    assert len(str(caught.value)) < 900
    return str(caught.value)


def option(hint: Any) -> str:
    with pytest.raises(InvalidOption) as caught:
        messages(hint)
    return str(caught.value)


EVERYTHING = Union[Add, Remove, Reset, Rename, Count, EOF, int, str, list[Add], None]  # noqa: UP007
TALLY = messages(EVERYTHING, leave_out=(EOF,))
TAKES = "Add | Remove | Reset | Rename | Count | int | str | list[Add] | None"


# ── what is sent is what is read ──


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (Add(1), '{"type":"Add","n":1}'),
        (Remove(1, "x"), '{"type":"Remove","n":1,"why":"x"}'),
        (Reset(), '{"type":"Reset"}'),
        (Rename(**{"new-name": "x"}), '{"type":"Rename","new-name":"x","at":null}'),
        (Count(2), '{"type":"Count","by":2,"exact":true}'),
        (5, "5"),
        ("x", '"x"'),
        ([Add(1)], '[{"n":1}]'),
        (None, "null"),
    ],
)
def test_a_message_comes_back_as_it_was_whoever_wrote_it(message, text):
    assert TALLY.encode(message) == encode_message(message) == text
    for raw in (text, text.encode(), msgspec.Raw(text.encode())):
        assert TALLY.decode(raw) == message
        assert type(TALLY.decode(raw)) is type(message)


def test_the_hint_reads_as_it_was_written_without_what_never_comes_as_json():
    assert str(TALLY) == TAKES
    assert str(messages(Literal["a", "b"] | Annotated[dict[str, int], "x"])) == "Literal['a', 'b'] | dict[str, int]"


def test_the_only_class_needs_no_tag_but_a_tag_must_be_right():
    add = messages(Add | int | EOF, leave_out=(EOF,))
    assert add.decode('{"n": 1}') == add.decode('{"type": "Add", "n": 1}') == Add(1)
    assert refusal(add.decode, '{"type": "Remove", "n": 1}') == "tally: no message Remove; it takes Add | int"
    assert (
        refusal(add.decode, '{"type": "Ad", "n": 1}') == "tally: no message Ad; it takes Add | int. Did you mean Add?"
    )
    assert refusal(add.decode, '{"type": 1}') == "tally: no message 1; it takes Add | int"
    assert refusal(add.decode, '{"type": true}') == "tally: no message True; it takes Add | int"
    assert refusal(add.decode, '{"type": [{}]}') == "tally: no message [{}]; it takes Add | int"


def test_several_classes_are_told_apart_by_the_tag():
    both = messages(Add | Remove)
    assert both.decode('{"type": "Add", "n": 1}') == Add(1)
    assert both.decode('{"n": 1, "type": "Remove"}') == Remove(1)
    assert refusal(both.decode, '{"n": 1}') == (
        'tally: missing field type, which says what it is: stored {"n": 1}, expected Add | Remove'
    )
    assert refusal(both.decode, '{"type":"Ad"}') == "tally: no message Ad; it takes Add | Remove. Did you mean Add?"
    assert refusal(both.encode, {"n": 1}) == "tally: missing field type, which says what it is: expected Add | Remove"


def test_the_field_that_does_not_fit_is_named_with_what_was_stored():
    for raw, sentence in [
        ('{"type": "Add"}', 'tally: Add: missing field n: stored {"type": "Add"}, expected Add(n: int)'),
        (
            '{"type": "Add", "m": 1}',
            'tally: Add: unexpected field m; missing field n: stored {"type": "Add", "m": 1}, expected Add(n: int)',
        ),
        ('{"type": "Add", "n": "1"}', "tally: Add: n: expected int, got str"),
        ('{"type": "Add", "n": true}', "tally: Add: n: expected int, got bool"),
        ('{"type": "Rename", "new-name": 1}', "tally: Rename: new-name: input should be a valid string"),
        ('[{"n": "x"}]', "tally: message[0].n: expected int, got str"),
    ]:
        assert refusal(TALLY.decode, raw) == sentence
        assert refusal(TALLY.encode, json.loads(raw)) == sentence.replace(f"stored {raw}, ", "")


def test_what_is_no_message_at_all_is_refused_with_what_is():
    for raw, got in [("true", "bool"), ("1.5", "float"), ("[1]", None), ("{}", None), ('{"', None), (b"\xff", None)]:
        sentence = refusal(TALLY.decode, raw)
        assert sentence.startswith("tally: ")
        assert got is None or sentence == f"tally: message: expected {TAKES}, got {got}"
    for value, got in [(True, "bool"), (1.5, "float")]:
        assert refusal(TALLY.encode, value) == f"tally: message: expected {TAKES}, got {got}"
    assert refusal(messages(Add).decode, "5") == "tally: message: expected Add, got int"
    assert refusal(messages(Add).encode, 5) == "tally: message: expected Add, got int"
    assert refusal(messages(int).decode, "true") == "tally: message: expected int, got bool"
    assert refusal(messages(int).encode, True) == "tally: message: expected int, got bool"
    assert refusal(messages(int).encode, decimal.Decimal(1)) == "tally: message: expected int, got Decimal"
    assert refusal(messages(None).decode, "1") == "tally: message: expected null, got int"


def test_an_object_of_another_class_is_refused_with_the_classes_there_are():
    assert refusal(messages(Add | Remove).encode, Count()) == "tally: no message Count; it takes Add | Remove"
    assert (
        refusal(TALLY.encode, type("Adds", (Add,), {})(1))
        == f"tally: no message Adds; it takes {TAKES}. Did you mean Add?"
    )
    assert refusal(TALLY.encode, EOF(1)) == f"tally: no message EOF; it takes {TAKES}"


def test_an_inbox_for_ends_of_children_only_takes_no_messages():
    ends = messages(EOF, leave_out=(EOF,))
    assert str(ends) == "nothing"
    assert ends.schema() == {"not": {}}
    assert refusal(ends.decode, "5") == "tally takes no messages, and this is int"
    assert refusal(ends.decode, '{"task_id": 1}') == "tally takes no messages, and this is dict"
    assert refusal(ends.encode, None) == "tally takes no messages, and this is null"
    assert refusal(ends.encode, EOF(1)) == "tally takes no messages, and this is EOF"


# ── messages as people write them ──


def test_a_mapping_becomes_the_message_that_it_describes():
    assert messages(Remove).encode({"n": 1}) == '{"type":"Remove","n":1,"why":""}'
    assert TALLY.encode({"n": 1, "type": "Add"}) == '{"type":"Add","n":1}'
    assert TALLY.encode({"type": "Rename", "new-name": "x"}) == '{"type":"Rename","new-name":"x","at":null}'
    assert messages(datetime.date).encode("2024-02-29") == '"2024-02-29"'


# ── classes with a tag or a type of their own ──


def test_a_class_with_a_field_type_goes_without_a_tag():
    typed = messages(Typed | int)
    assert typed.encode(Typed("x")) == encode_message(Typed("x")) == '{"type":"x","n":0}'
    assert typed.decode('{"type": "x"}') == Typed("x")
    assert refusal(typed.decode, "{}").startswith("tally: Typed: missing field type: stored {}, expected Typed(")
    assert typed.schema()["anyOf"][0]["properties"].keys() == {"type", "n"}


def test_a_class_with_a_field_type_cannot_be_one_of_several():
    for hint in (Typed | Add, Typed | dict[str, int], Typed | Any):
        assert option(hint) == (
            "tally: Typed has a field type, which is where the name of a message's class stands. Rename the field"
        )


def test_structs_keep_the_tags_they_have():
    both = messages(One | Two)
    assert both.encode(One(1)) == encode_message(One(1)) == '{"kind":"one","a":1}'
    assert both.encode(Two(1)) == encode_message(Two(1)) == '{"kind":"two","theA":1,"type":"x"}'
    assert both.decode(msgspec.json.encode(Two(1))) == Two(1)
    assert refusal(both.decode, '{"kind":"on","a":1}') == "tally: no message on; it takes one | two. Did you mean one?"
    assert refusal(both.decode, '{"a": 1}').startswith("tally: missing field kind, which says what it is: stored")
    assert messages(One).decode('{"a": 1}') == One(1)
    mixed = messages(Tagged | Add)
    assert mixed.decode(encode_message(Tagged(1))) == mixed.decode(msgspec.json.encode(Tagged(1))) == Tagged(1)


def test_classes_that_no_tag_tells_apart_are_refused():
    other = dataclasses.make_dataclass("Add", [("n", int)])
    assert option(Add | other) == "tally: two kinds of message have the type 'Add'. Rename one of them"
    assert option(Box[int] | Box[str]) == "tally: two kinds of message have the type 'Box'. Rename one of them"
    assert option(Add | One) == (
        "tally: One is told by its field kind, and Add by type. Give structs with a tag of their own tag_field='type'"
    )


def test_an_extra_field_of_a_model_cannot_take_the_place_of_the_tag():
    assert messages(Open).decode(encode_message(Open(n=1))) == Open(n=1)
    sentence = refusal(encode_message, Open(type="x"))
    assert sentence == "Open: type is the name of its class, and no extra field"


# ── everything else goes as it is ──


@pytest.mark.parametrize(
    ("hint", "message", "text"),
    [
        (int, 1, "1"),
        (None, None, "null"),
        (bool | int, True, "true"),
        (datetime.date, datetime.date(2024, 2, 29), '"2024-02-29"'),
        (dict[str, int], {"type": 1}, '{"type":1}'),
        (Options, {"n": 1}, '{"n":1}'),
        (list[Add | None], [Add(1), None], '[{"n":1},null]'),
        (Literal["a", "b"], "a", '"a"'),
        (Color, Color.RED, '"red"'),
        (Names, Names(["a"]), '["a"]'),
        (tuple[int, str], (1, "x"), '[1,"x"]'),
        (Any, {"a": [1, None]}, '{"a":[1,null]}'),
        (Annotated[int, msgspec.Meta(ge=0)], 1, "1"),
        (NewType("UserId", int), 1, "1"),
    ],
)
def test_what_is_no_object_with_fields_is_not_tagged(hint, message, text):
    assert messages(hint).encode(message) == encode_message(message) == text
    assert messages(hint).decode(text) == message


def test_what_would_not_come_back_is_refused():
    for hint, message, sentence in [
        (Any, Add(1), "tally: message is Add and would come back as dict"),
        (Any, {1: 2}, "tally: message has the key 1, which would be lost"),
        (Any, datetime.date(2024, 2, 29), "tally: message is date and would come back as str"),
        (Options, {"n": 1, "m": 2}, "tally: message has the key 'm', which would be lost"),
        (list[Add], [Remove(1, "x")], "tally: message[0] has the field why, which would be lost"),
        (list[float], [math.nan], "tally: message[0] is NaN, which JSON cannot hold"),
        (str, "a\0", "tally: message holds the character NUL"),
        (str, "\ud800", "tally: message holds half of a surrogate pair"),
        (int | None, Foreign(), "tally: message is Foreign, which JSON cannot hold"),
        (Literal["a"], "b", "tally: message: invalid enum value 'b'"),
        (Remove, Remove(1, "a\0"), "tally: Remove.why holds the character NUL"),
        (Remove, Remove("x"), "tally: Remove: n: expected int, got str"),  # pyright: ignore
    ]:
        assert refusal(messages(hint).encode, message).startswith(sentence)
    assert refusal(messages(str).encode, "x" * 10, max_bytes=9).startswith(
        "tally: message is 12 bytes, more than the 9"
    )
    assert refusal(messages(Add).encode, Add(1), max_bytes=9).startswith("tally: Add is 20 bytes, more than the 9")


def test_where_any_object_may_come_the_tag_decides():
    both = messages(Add | dict[str, Any])
    for message in (Add(1), {"n": 1}, {"type": 5}, {"type": "other"}):
        assert both.decode(both.encode(message)) == both.decode(encode_message(message)) == message
    assert both.decode(both.encode({"type": "Add", "n": 1})) == Add(1)
    assert refusal(both.decode, '{"type": "Add"}').startswith("tally: Add: missing field n: ")
    assert messages(Add | Any).decode('{"n": 1}') == {"n": 1}
    assert messages(Add | Options).decode('{"n": 1}') == {"n": 1}


def test_types_within_types_are_found():
    Command = TypeAliasType("Command", Add | Remove)
    for hint in (Command, Annotated[Add | Remove, "x"], Annotated[Add, "x"] | Remove, NewType("Plus", Add) | Remove):
        assert str(messages(hint)) == "Add | Remove"
    assert messages(Box[datetime.date]).decode('{"item": "2024-02-29"}') == Box(datetime.date(2024, 2, 29))
    with pytest.raises(InvalidPayload):
        messages(Box[int]).decode('{"item": "x"}')


# ── senders that know no receiver ──


def test_a_sender_that_does_not_know_the_receiver_is_told_what_json_cannot_hold():
    assert encode_message({"at": datetime.date(2024, 2, 29)}) == '{"at":"2024-02-29"}'
    for message, sentence in [
        (Add("x"), "Add: n: expected int, got str"),  # pyright: ignore
        (Add(math.nan), "Add: n is NaN, which JSON cannot hold"),  # pyright: ignore
        (Remove(1, "a\0"), "Remove.why holds the character NUL"),
        (Foreign(), "message is Foreign, which JSON cannot hold"),
        ([math.inf], "message[0] is Infinity, which JSON cannot hold"),
        (b"x", "message is bytes, which JSON cannot hold"),
    ]:
        assert refusal(encode_message, message).startswith(sentence)
    assert refusal(encode_message, Add(1), max_bytes=9).startswith("Add is 20 bytes, more than the 9 allowed")


# ── refused where it is given ──


def test_an_inbox_in_quotes_is_refused():
    for hint in ("Add", Optional["Add"]):
        assert "which is no type. Pass the type itself, without quotes" in option(hint)
    assert option("Add") == "tally: inbox is 'Add', which is no type. Pass the type itself, without quotes"


def test_types_json_does_not_know_are_refused_where_they_are_given():
    assert option(Foreign).startswith(
        "tally: inbox: JSON cannot be read as its annotation: Foreign is no type that JSON"
    )
    assert option(Add | complex).startswith("tally: inbox: JSON cannot be read as its annotation: complex is no type")
    assert "more than one str-like type" in option(str | datetime.date)

    @dataclasses.dataclass
    class WithInitVar:
        a: int
        loud: dataclasses.InitVar[bool] = False

    assert option(WithInitVar).startswith("tally: WithInitVar: its constructor takes loud, which is no field")


# ── schema ──


def test_the_schema_is_one_of_several():
    schema = TALLY.schema()
    assert [choice.get("title", choice.get("type")) for choice in schema["anyOf"]] == [
        "Add", "Remove", "Reset", "Rename", "Count", "integer", "string", "array", "null",
    ]  # fmt: skip
    add = schema["anyOf"][0]
    assert add["properties"] == {"type": {"const": "Add"}, "n": {"type": "integer"}}
    assert add["required"] == ["type", "n"]
    assert add["additionalProperties"] is False
    assert schema["$defs"].keys() == {"Add"}
    json.dumps(schema)


def test_the_schema_of_one_class_does_not_ask_for_the_tag():
    schema = messages(Add).schema()
    assert schema["properties"] == {"type": {"const": "Add"}, "n": {"type": "integer"}}
    assert schema["required"] == ["n"]
    assert messages(int).schema() == {"type": "integer"}
    assert messages(Any).schema() == {}


# ── anything at all ──

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
sent = (
    st.none() | st.integers() | texts
    | st.builds(Add, st.integers())
    | st.builds(Remove, st.integers(), texts)
    | st.builds(Reset)
    | st.builds(Rename, **{"new-name": texts, "at": st.none() | st.dates()})
    | st.builds(Count, st.integers(), st.booleans())
    | st.lists(st.builds(Add, st.integers()))
)  # fmt: skip


@given(sent)
def test_every_message_comes_back_as_it_was(message):
    assert TALLY.encode(message) == encode_message(message)
    for text in (TALLY.encode(message), encode_message(message)):
        assert TALLY.decode(text) == message
        assert type(TALLY.decode(text)) is type(message)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["Add", "Remove", "x"]),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["type", "n", "why", "kind"]) | st.text(), inner),
    max_leaves=10,
)
hostile = (
    plain | st.binary() | st.decimals() | st.builds(Foreign) | st.sampled_from([len, int, 10**4200, One(1), Typed("x")])
    | st.builds(Add, plain) | st.builds(Remove, plain, plain) | st.builds(Box, plain) | st.lists(st.builds(Add, plain))
)  # fmt: skip
RECEIVERS = [
    TALLY, messages(Add), messages(Add | dict[str, Any]), messages(Any), messages(One | Two), messages(Typed),
    messages(Options | int), messages(EOF, leave_out=(EOF,)), messages(Box[Any] | Open), messages(list[Rename]),
]  # fmt: skip


@given(hostile, st.sampled_from(RECEIVERS))
def test_no_value_raises_anything_but_invalid_payload(value, receiver):
    for write in (receiver.encode, encode_message):
        try:
            text = write(value)
        except InvalidPayload as error:
            assert len(str(error)) < 900  # noqa: PT017
        else:
            json.loads(text.encode())
            if write == receiver.encode:
                text = receiver.encode(receiver.decode(text))
                assert receiver.encode(receiver.decode(text)) == text


@given(st.binary() | st.text() | plain.map(json.dumps), st.sampled_from(RECEIVERS))
def test_no_text_raises_anything_but_invalid_payload(text, receiver):
    try:
        receiver.decode(text)
    except InvalidPayload as error:
        assert len(str(error)) < 900  # noqa: PT017
