"""An object's fields go into a payload and the object comes out; what does not fit is named, with what was expected."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import inspect
import json
import math
import subprocess
import sys
import typing
import uuid
from collections.abc import Callable
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar

import attrs
import msgspec
import pydantic
import pydantic.dataclasses
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import TypedDict  # pydantic needs this one on Python 3.11

from howdah.errors import InvalidOption, InvalidPayload
from howdah.payload import MAX_DEPTH, Fields, Signature

if typing.TYPE_CHECKING:
    from nowhere import OnlyForCheckers  # pyright: ignore[reportMissingImports]

T = TypeVar("T")
U = TypeVar("U")


@dataclasses.dataclass
class Early:
    """What a decorator above a class sees: the classes further down do not exist yet."""

    later: list[Later]
    on: datetime.date | None = None


EARLY = Fields.of(Early)


@dataclasses.dataclass
class Later:
    n: int


class EarlyModel(pydantic.BaseModel):
    later: list[LaterModel]


EARLY_MODEL = Fields.of(EarlyModel)


class LaterModel(pydantic.BaseModel):
    n: int


class EarlyStruct(msgspec.Struct, rename="camel"):
    the_later: LaterStruct


EARLY_STRUCT = Fields.of(EarlyStruct)


class LaterStruct(msgspec.Struct):
    n: int


@dataclasses.dataclass
class ReadName:
    filename: str
    retries: int = 3

    def __post_init__(self):
        if isinstance(self.retries, int) and self.retries < 0:
            raise ValueError("retries must not be negative")


READ_NAME = Fields.of(ReadName)
EXPECTED = "expected ReadName(filename: str, retries: int = 3)"


class StructReadName(msgspec.Struct):
    filename: str
    retries: int = 3

    def __post_init__(self):
        if self.retries < 0:
            raise ValueError("retries must not be negative")


class ModelReadName(pydantic.BaseModel):
    filename: str
    retries: int = 3

    @pydantic.field_validator("retries")
    @classmethod
    def _positive(cls, retries: int) -> int:
        if retries < 0:
            raise ValueError("retries must not be negative")
        return retries


@attrs.define
class AttrsReadName:
    filename: str
    retries: int = attrs.field(default=3)

    @retries.validator
    def _positive(self, _, retries):
        if isinstance(retries, int) and retries < 0:
            raise ValueError("retries must not be negative")


FAMILIES: list[Any] = [ReadName, StructReadName, ModelReadName, AttrsReadName]
every_family = pytest.mark.parametrize("cls", FAMILIES)


class Color(enum.Enum):
    RED = "red"


class Options(TypedDict, total=False):
    ratio: float


class Range(NamedTuple):
    low: int
    high: int


class Cat(pydantic.BaseModel):
    kind: Literal["cat"] = "cat"


class Dog(pydantic.BaseModel):
    kind: Literal["dog"] = "dog"


class Foreign: ...


@dataclasses.dataclass
class Box(Generic[T]):
    item: T
    more: list[T] | None = None


@dataclasses.dataclass
class Pair(Box[T], Generic[U, T]):
    other: U | None = None


@dataclasses.dataclass
class Numbers(Pair[str, int]):
    name: str = "x"


def refusal(call: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    with pytest.raises(InvalidPayload) as caught:
        call(*args, **kwargs)
    assert len(str(caught.value)) < 900
    return str(caught.value)


def option(call: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    with pytest.raises(InvalidOption) as caught:
        call(*args, **kwargs)
    assert len(str(caught.value)) < 900
    return str(caught.value)


def fields_of(annotation: Any, **options: Any) -> Fields[Any]:
    return Fields.of(dataclasses.make_dataclass("Holder", [("value", annotation)], **options))


# ── the four families ──


@every_family
def test_an_object_is_one_key_per_field_and_comes_back(cls):
    fields = Fields.of(cls)
    assert fields.encode(cls(filename="a")) == '{"filename":"a","retries":3}'
    for raw in ('{"filename":"a"}', b'{"filename":"a"}', msgspec.Raw(b'{"filename":"a"}')):
        assert fields.decode(raw) == cls(filename="a", retries=3)
    assert type(fields.decode('{"filename":"a"}')) is cls
    assert str(fields) == f"{cls.__name__}(filename: str, retries: int = 3)"


@every_family
def test_arguments_become_the_object_that_the_constructor_makes_of_them(cls):
    fields = Fields.of(cls)
    assert fields.encode_arguments((), {"filename": "a"}) == '{"filename":"a","retries":3}'
    assert fields.encode_arguments((), {"filename": "a", "retries": 4}) == fields.encode(cls(filename="a", retries=4))
    assert fields.check({"filename": "a"}) == fields.check('{"filename": "a"}') == '{"filename":"a","retries":3}'


@every_family
def test_unknown_and_missing_fields_are_named_with_what_was_stored_and_expected(cls):
    fields, expected = Fields.of(cls, name="greeter"), f"expected {cls.__name__}(filename: str, retries: int = 3)"
    for raw, faults in [
        ('{"file": "x"}', "unexpected field file; missing field filename"),
        ('{"filename": "x", "a": 1, "b": 2}', "unexpected fields a, b"),
        ("{}", "missing field filename"),
    ]:
        assert refusal(fields.decode, raw) == f"greeter: {faults}: stored {raw}, {expected}"
        assert refusal(fields.check, raw) == f"greeter: {faults}: {expected}"
        assert refusal(fields.encode_arguments, (), json.loads(raw)) == f"greeter: {faults}: {expected}"


@every_family
def test_what_the_constructor_refuses_is_refused_before_anything_is_written_and_when_it_is_read(cls):
    fields, stored = Fields.of(cls), '{"filename":"x","retries":-1}'
    for sentence in (
        refusal(fields.decode, stored),
        refusal(fields.check, stored),
        refusal(fields.encode_arguments, (), {"filename": "x", "retries": -1}),
    ):
        assert sentence.startswith(f"{cls.__name__}: ")
        assert sentence.endswith("retries must not be negative")


@every_family
def test_a_wrong_type_names_the_field(cls):
    fields = Fields.of(cls)
    said = "input should be a valid string" if cls is ModelReadName else "expected str, got int"
    assert refusal(fields.decode, '{"filename": 1}') == f"{cls.__name__}: filename: {said}"
    assert refusal(fields.check, {"filename": 1}) == f"{cls.__name__}: filename: {said}"
    assert refusal(fields.encode_arguments, (), {"filename": 1}) == f"{cls.__name__}: filename: {said}"


@every_family
def test_what_postgresql_or_json_cannot_hold_is_refused_by_name(cls):
    fields, name = Fields.of(cls), cls.__name__
    assert refusal(fields.encode, cls(filename="a\0")).startswith(f"{name}: filename holds the character NUL")
    lone = cls.model_construct(filename="\ud800") if cls is ModelReadName else cls(filename="\ud800")
    assert refusal(fields.encode, lone).startswith(f"{name}: filename holds half of a surrogate pair")
    assert refusal(fields.encode, cls(filename="x" * 10), max_bytes=9).startswith(f"{name}: payload is 37 bytes, more")
    assert refusal(fields.check, {"filename": "x", "retries": math.nan}).startswith(f"{name}: retries is NaN")
    assert refusal(fields.encode_arguments, (), {"filename": "x"}, max_bytes=9).startswith(f"{name}: payload is 28")


@every_family
def test_only_its_own_objects_are_encoded(cls):
    fields = Fields.of(cls)
    derived = type("Derived", (cls,), {})(filename="a")
    for other, got in [(5, "int"), (None, "null"), (Later(1), "Later"), (derived, "Derived")]:
        assert refusal(fields.encode, other) == f"{cls.__name__}: expected {cls.__name__}, got {got}"


@every_family
def test_the_schema_describes_the_fields(cls):
    schema = Fields.of(cls, name="greeter").schema()
    assert schema["title"] == "greeter"
    assert schema["type"] == "object"
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["filename"]
    assert {name: field["type"] for name, field in schema["properties"].items()} == {
        "filename": "string",
        "retries": "integer",
    }


# ── sentences ──


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        ("[]", "ReadName: payload: expected object, got array"),
        ("null", "ReadName: payload: expected object, got null"),
        ("{", "ReadName: payload: input data was truncated"),
        ("", "ReadName: payload: input data was truncated"),
        (b"\xff", "ReadName: payload: JSON is malformed"),
        ('{"filename": null}', "ReadName: filename: expected str, got null"),
        ('{"filename": "a", "retries": true}', "ReadName: retries: expected int, got bool"),
        ('{"filename": "a", "retries": 1.0}', "ReadName: retries: expected int, got float"),
    ],
)
def test_what_is_stored_is_checked_again_when_it_is_decoded(raw, sentence):
    assert refusal(READ_NAME.decode, raw).startswith(sentence)


def test_stored_text_is_cut_to_fit_in_the_sentence():
    stored = '{"other": "' + "x" * 5000 + '"}'
    assert f"stored {stored[:199]}…, {EXPECTED}" in refusal(READ_NAME.decode, stored)


def test_arguments_that_fit_no_parameter_are_one_clear_sentence():
    for args, kwargs, sentence in [
        ((1, 2, 3), {}, "ReadName: 3 positional arguments given, at most 2 fit: ReadName(filename: str"),
        (("a",), {"filename": "b"}, "ReadName: argument filename is given twice: ReadName("),
        (("a", "b"), {}, "ReadName: retries: expected int, got str"),
    ]:
        assert refusal(READ_NAME.encode_arguments, args, kwargs).startswith(sentence)
    assert refusal(Fields.of(ModelReadName).encode_arguments, ("a",), {}) == (
        "ModelReadName: a pydantic model takes its fields by name, not by position"
    )


def test_what_a_person_wrote_is_refused_with_its_place():
    assert "expected the fields by name, got list: " + EXPECTED in refusal(READ_NAME.check, "[1]")
    assert "ReadName: payload is not JSON" in refusal(READ_NAME.check, '{"filename":')
    assert "line 1, column 13" in refusal(READ_NAME.check, '{"filename":')
    assert "the key 'filename' twice" in refusal(READ_NAME.check, '{"filename": "a", "filename": "b"}')


def test_types_are_written_as_people_write_them():
    @dataclasses.dataclass
    class Local:
        a: list[Later] | None
        b: Literal["x", 1] = "x"
        c: Annotated[dict[str, Any], "any"] = dataclasses.field(default_factory=dict)
        d: tuple[int, ...] = ()
        e: Color = Color.RED
        f: uuid.UUID | None = None

    assert str(Fields.of(Local)) == (
        "Local(a: list[Later] | None, b: Literal['x', 1] = 'x', c: dict[str, Any] = …, d: tuple[int, ...] = (), "
        "e: Color = <Color.RED: 'red'>, f: UUID | None = None)"
    )


def test_what_would_not_come_back_is_refused_by_field():
    for annotation, value, sentence in [
        (
            Any,
            datetime.date(2024, 2, 29),
            "Holder: value is date and would come back as str. Annotate it with its type",
        ),
        (Any, b"x", "Holder: value is bytes, which JSON cannot hold. Annotate it as bytes"),
        (Any, {1: 2}, "Holder: value has the key 1, which would be lost"),
        (Any, {1, 2}, "Holder: value is set and would come back as list"),
        (float, math.inf, "Holder: value is Infinity, which JSON cannot hold"),
        (float | None, math.nan, "Holder: value is NaN, which JSON cannot hold"),
        (float, 2**53 + 1, "Holder: value is 9007199254740993 and would come back as 9007199254740992.0"),
        (int, decimal.Decimal(1), "Holder: value: expected int, got Decimal"),
        (Later, Later("x"), "Holder: value.n: expected int, got str"),  # pyright: ignore
        (Any, Foreign(), "Holder: value is Foreign, which JSON cannot hold"),
        (Any, len, "Holder: value is builtin_function_or_method, which JSON cannot hold"),
    ]:
        fields = fields_of(annotation)
        assert refusal(fields.encode, fields.cls(value)).startswith(sentence)
        assert refusal(fields.encode_arguments, (value,), {}).startswith(sentence)
        assert refusal(fields.check, {"value": value}).startswith(sentence)


def test_depth_is_limited():
    nested: list[Any] = []
    for _ in range(MAX_DEPTH + 10):
        nested = [nested]
    fields = fields_of(Any)
    assert "nested deeper than 500 levels" in refusal(fields.encode, fields.cls(nested))
    assert "nested deeper" in refusal(fields.decode, b'{"value":' + b"[" * 100_000 + b"]" * 100_000 + b"}")


# ── constructors ──


def test_a_constructor_that_does_not_make_the_same_object_again_is_found_out():
    @dataclasses.dataclass
    class Counted:
        n: int

        def __post_init__(self):
            self.n += 1

    assert refusal(Fields.of(Counted).encode, Counted(1)) == "Counted: n is 2 and would come back as 3"


def test_a_constructor_may_normalise_what_it_is_given():
    @dataclasses.dataclass
    class Mail:
        address: str

        def __post_init__(self):
            self.address = self.address.lower()

    fields = Fields.of(Mail)
    assert fields.encode_arguments(("Ada@X",), {}) == fields.check({"address": "Ada@X"}) == '{"address":"ada@x"}'


def test_an_object_changed_since_into_one_its_constructor_refuses_is_not_written():
    step = ReadName("a")
    step.retries = -1
    assert refusal(READ_NAME.encode, step) == "ReadName: retries must not be negative"


def test_type_errors_of_a_constructor_are_refusals_and_other_errors_pass():
    @dataclasses.dataclass
    class Picky:
        error: str

        def __post_init__(self):
            raise {"type": TypeError("no such type"), "silent": ValueError(), "file": OSError("disk full")}[self.error]

    fields = Fields.of(Picky)
    assert refusal(fields.decode, '{"error": "type"}') == "Picky: no such type"
    assert refusal(fields.decode, '{"error": "silent"}') == "Picky: ValueError"
    with pytest.raises(OSError, match="disk full"):
        fields.decode('{"error": "file"}')


def test_default_factories_fill_absent_fields_anew_and_are_stored_once_made():
    @dataclasses.dataclass
    class Local:
        tags: list[str] = dataclasses.field(default_factory=list)
        id: uuid.UUID = dataclasses.field(default_factory=uuid.uuid4)

    fields = Fields.of(Local)
    assert fields.decode("{}").tags is not fields.decode("{}").tags
    text = fields.encode_arguments((), {})
    assert fields.decode(text) == fields.decode(text)


def test_fields_without_init_are_made_by_the_constructor_and_not_stored():
    @dataclasses.dataclass
    class Local:
        n: int
        cache: Foreign = dataclasses.field(init=False, default_factory=Foreign)
        kind: typing.ClassVar[str] = "x"

    fields = Fields.of(Local)
    assert fields.encode(Local(1)) == '{"n":1}'
    assert isinstance(fields.decode('{"n":1}').cache, Foreign)
    assert refusal(fields.decode, '{"n":1,"cache":2}').startswith("Local: unexpected field cache: ")


def test_keyword_only_frozen_slots_inherited_and_empty_dataclasses_have_fields():
    @dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
    class Base:
        a: int

    @dataclasses.dataclass(frozen=True, slots=True)
    class Derived(Base):
        b: str = "x"

    @dataclasses.dataclass
    class Start: ...

    fields = Fields.of(Derived)
    assert fields.decode(fields.encode(Derived(a=1))) == Derived("x", a=1)
    assert fields.encode_arguments(("y",), {"a": 1}) == '{"b":"y","a":1}'
    assert refusal(fields.encode_arguments, ("y", 1), {}).startswith("Derived: 2 positional arguments given, at most 1")
    assert Fields.of(Start).encode(Start()) == "{}"
    assert Fields.of(Start).decode("{}") == Start()
    assert Fields.of(Start).schema() == {
        "title": "Start", "type": "object", "properties": {}, "required": [], "additionalProperties": False,
    }  # fmt: skip


def test_fields_that_are_not_compared_are_checked_all_the_same():
    @dataclasses.dataclass
    class Local:
        value: Any = dataclasses.field(compare=False)

    assert "value is set" in refusal(Fields.of(Local).encode, Local({1}))


def test_a_field_that_is_not_set_is_a_refusal():
    step = ReadName("a")
    del step.filename
    assert "no attribute 'filename'" in refusal(READ_NAME.encode, step)


def test_attrs_converters_private_names_and_factories_go_by_the_constructor():
    @attrs.define
    class Local:
        _n: int = attrs.field(converter=int)
        tags: list[str] = attrs.field(factory=list)

    fields = Fields.of(Local)
    assert str(fields) == "Local(n: int, tags: list[str] = …)"
    assert fields.encode_arguments(("5",), {}) == fields.encode(Local(5)) == '{"n":5,"tags":[]}'
    assert fields.decode('{"n":5}') == Local("5")
    assert refusal(fields.decode, '{"n":"5"}') == "Local: n: expected int, got str"
    assert refusal(fields.encode_arguments, ("x",), {}) == "Local: n: expected int, got str"


def test_structs_have_keyword_only_and_inherited_fields():
    class Base(msgspec.Struct, kw_only=True):
        k: int
        tags: list[str] = []

    class Local(Base):
        a: int
        b: int = 2

    fields = Fields.of(Local)
    assert str(fields) == "Local(a: int, b: int = 2, k: int, tags: list[str] = …)"
    assert fields.encode_arguments((1,), {"k": 3}) == '{"a":1,"b":2,"k":3,"tags":[]}'
    assert refusal(fields.encode_arguments, (1, 2, 3), {}).startswith("Local: 3 positional arguments given, at most 2")
    assert refusal(fields.decode, "{}").startswith("Local: missing fields a, k: ")


def test_renamed_struct_fields_go_by_their_names_in_json():
    class Local(msgspec.Struct, rename="kebab", tag=True):
        user_id: int
        note: str | msgspec.UnsetType = msgspec.UNSET

    fields = Fields.of(Local)
    assert fields.encode_arguments((1,), {}) == fields.check({"user-id": 1}) == '{"user-id":1}'
    assert fields.encode(Local(1, "x")) == '{"user-id":1,"note":"x"}'
    assert fields.decode('{"user-id":1}') == Local(1)
    assert refusal(fields.decode, '{"user_id":1}').startswith(
        "Local: unexpected field user_id; missing field user-id: "
    )
    assert fields.schema()["properties"].keys() == {"user-id", "note"}
    assert fields.keys == {"user-id", "note"}


# ── pydantic ──


def test_models_go_by_their_aliases():
    class Local(pydantic.BaseModel):
        user_id: int = pydantic.Field(alias="user-id")
        other: int = pydantic.Field(0, validation_alias=pydantic.AliasChoices("other", "another"))

    fields = Fields.of(Local)
    assert fields.encode(Local(**{"user-id": 1})) == '{"user-id":1,"other":0}'
    assert fields.decode('{"user-id":1,"another":2}').other == 2
    assert fields.encode_arguments((), {"user-id": 1}) == '{"user-id":1,"other":0}'
    assert refusal(fields.decode, '{"user_id":1}').startswith(
        "Local: unexpected field user_id; missing field user-id: "
    )
    assert fields.keys == {"user-id", "other", "another"}


def test_models_that_take_names_too_take_them():
    class Local(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(populate_by_name=True)
        user_id: int = pydantic.Field(alias="user-id")

    fields = Fields.of(Local)
    assert fields.decode('{"user_id":1}') == fields.decode('{"user-id":1}')
    assert fields.encode_arguments((), {"user_id": 1}) == '{"user-id":1}'


def test_a_model_that_is_read_under_another_name_than_it_is_written_is_refused():
    class Local(pydantic.BaseModel):
        a: int = pydantic.Field(validation_alias="b")

    assert option(Fields.of, Local) == "Local: a is written as a and read as b. Give it one `alias` for both"


def test_what_a_model_excludes_is_not_stored():
    class Local(pydantic.BaseModel):
        n: int
        cache: Any = pydantic.Field(None, exclude=True)

    class Needed(pydantic.BaseModel):
        n: int = pydantic.Field(exclude=True)

    assert Fields.of(Local).encode(Local(n=1, cache=Foreign())) == '{"n":1}'
    assert refusal(Fields.of(Local).decode, '{"n":1,"cache":2}').startswith("Local: unexpected field cache: ")
    assert option(Fields.of, Needed) == "Needed: n has exclude=True and no default. Give it one"


def test_a_model_that_writes_other_fields_than_it_reads_is_found_out():
    class Local(pydantic.BaseModel):
        n: int

        @pydantic.model_serializer
        def _write(self):
            return {"m": self.n}

    assert refusal(Fields.of(Local).encode, Local(n=1)) == "Local: payload: unexpected field m; missing field n"


def test_models_keep_extra_fields_only_if_they_say_so():
    class Open(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(extra="allow")
        n: int

    class Closed(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(extra="ignore")
        n: int

    assert Fields.of(Open).decode(Fields.of(Open).encode(Open(n=1, more=[2]))) == Open(n=1, more=[2])
    assert Fields.of(Open).schema()["additionalProperties"] is True
    assert refusal(Fields.of(Open).encode, Open(n=1, at=datetime.date.today())).startswith("Open: at is date and would")
    assert "unexpected field more" in refusal(Fields.of(Closed).decode, '{"n": 1, "more": 2}')
    assert "unexpected field more" in refusal(Fields.of(Closed).encode_arguments, (), {"n": 1, "more": 2})


def test_models_may_have_types_that_only_pydantic_knows():
    class Local(pydantic.BaseModel):
        url: pydantic.HttpUrl
        secret: pydantic.SecretStr | None = None
        weight: float | None = None

    fields = Fields.of(Local)
    here = pydantic.HttpUrl("https://example.org/")
    assert fields.decode(fields.encode(Local(url=here))) == Local(url=here)
    assert "secret is SecretStr, which JSON cannot hold" in refusal(fields.encode, Local(url=here, secret="x"))
    assert refusal(fields.encode, Local(url=here, weight=math.nan)) == "Local: weight is NaN, which JSON cannot hold"
    assert refusal(fields.decode, '{"url": "x"}').startswith("Local: url: input should be a valid URL")


def test_models_that_contain_themselves_and_models_of_models_have_a_schema():
    class Local(pydantic.BaseModel):
        n: int = 0
        inner: Local | None = None

    schema = Fields.of(Local).schema()
    assert schema["properties"].keys() == {"n", "inner"}
    assert schema["$defs"].keys() == {"Local"}


def test_what_a_model_says_of_the_whole_is_said_of_the_payload():
    class Local(pydantic.BaseModel):
        low: int
        high: int

        @pydantic.model_validator(mode="after")
        def _ordered(self):
            if self.low > self.high:
                raise ValueError("low must not be above high")
            return self

    assert refusal(Fields.of(Local).decode, '{"low": 2, "high": 1}') == "Local: payload: low must not be above high"


def test_pydantic_dataclasses_are_dataclasses_with_validators():
    @pydantic.dataclasses.dataclass
    class Local:
        n: Annotated[int, pydantic.Field(gt=0)]

    assert Fields.of(Local).decode('{"n": 1}') == Local(1)
    assert refusal(Fields.of(Local).decode, '{"n": 0}') == "Local: n: input should be greater than 0"


def test_pydantic_is_not_imported_for_classes_that_do_not_use_it():
    code = (
        "import sys, dataclasses; from howdah.payload import Fields, Messages, encode_message\n"
        "C = dataclasses.make_dataclass('C', [('n', int)])\n"
        "f = Fields.of(C); f.decode(f.encode(C(1))); f.schema()\n"
        "Messages.of(C | int, name='x').decode(encode_message(C(1)))\n"
        "assert 'pydantic' not in sys.modules and 'attrs' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


# ── annotations ──


def test_annotations_may_name_what_is_defined_further_down():
    assert EARLY.decode('{"later": [{"n": 1}]}') == Early([Later(1)])
    assert EARLY_MODEL.decode('{"later": [{"n": 1}]}') == EarlyModel(later=[LaterModel(n=1)])
    assert EARLY_STRUCT.decode('{"theLater": {"n": 1}}') == EarlyStruct(LaterStruct(1))
    assert refusal(EARLY.decode, '{"later": [{"n": "x"}]}') == "Early: later[0].n: expected int, got str"


def test_an_annotation_that_cannot_be_resolved_is_refused_on_first_use_by_name():
    @dataclasses.dataclass
    class Step:
        a: int
        user: list[OnlyForCheckers]

    class Struct(msgspec.Struct):
        a: int
        user: list[OnlyForCheckers]

    class Model(pydantic.BaseModel):
        a: int
        user: list[OnlyForCheckers]

    @attrs.define
    class Attrs:
        a: int
        user: list[OnlyForCheckers]

    for cls in (Step, Struct, Model, Attrs):
        fields = Fields.of(cls)
        for call, *args in [(fields.decode, "{}"), (fields.encode_arguments, (), {}), (fields.schema,), (str, fields)]:
            assert option(call, *args).startswith(
                f"{cls.__name__}: user: its annotation cannot be resolved: name 'OnlyForCheckers' is not defined. "
            )


def test_a_type_json_does_not_know_is_refused_on_first_use_even_with_a_default():
    @dataclasses.dataclass
    class Local:
        n: int
        service: Foreign | None = None

    sentence = option(Fields.of(Local).decode, '{"n": 1}')
    assert sentence.startswith("Local: service: JSON cannot be read as its annotation: ")
    assert sentence.endswith("or give it field(init=False)")


def test_names_in_the_class_are_found_and_hide_nothing():
    @dataclasses.dataclass
    class Local:
        class Size(enum.Enum):
            SMALL = "s"

        size: Size
        list: list[int] = dataclasses.field(default_factory=list)
        str: str = "x"

    assert Fields.of(Local).decode('{"size": "s", "list": [1]}') == Local(Local.Size.SMALL, [1])


def test_type_variables_stand_for_what_the_class_says():
    assert str(Fields.of(Numbers)) == (
        "Numbers(item: int, more: list[int] | None = None, other: str | None = None, name: str = 'x')"
    )
    assert refusal(Fields.of(Numbers).decode, '{"item": "x"}') == "Numbers: item: expected int, got str"
    assert Fields.of(Box[datetime.date]).decode('{"item": "2024-02-29"}') == Box(datetime.date(2024, 2, 29))
    assert Fields.of(Box).decode('{"item": "x"}') == Box("x")
    assert fields_of(Box[int]).decode('{"value": {"item": 1}}').value == Box(1)


# ── refused where it is given ──


def test_constructors_that_take_what_is_no_field_are_refused():
    @dataclasses.dataclass
    class WithInitVar:
        a: int
        loud: dataclasses.InitVar[bool] = False

    def made(init: Any) -> Any:
        cls = dataclasses.make_dataclass("Own", [("a", int)], init=False)
        cls.__init__ = init
        return cls

    assert option(Fields.of, WithInitVar).startswith(
        "WithInitVar: its constructor takes loud, which is no field. An InitVar"
    )
    assert option(Fields.of, made(lambda self, b: None)).startswith("Own: its constructor takes b, which is no field")
    assert option(Fields.of, made(lambda self, **a: None)).startswith("Own: its constructor takes a, which is no field")
    assert option(Fields.of, made(lambda self, *a: None)).startswith("Own: *a has no name in JSON")
    assert option(Fields.of, made(lambda self, a, /: None)).startswith(
        "Own: a is positional-only, and payloads go by name"
    )


def test_a_class_without_fields_is_refused_with_what_to_do():
    class Names(pydantic.RootModel[list[str]]): ...

    for other, name in [
        (Foreign, "Foreign"),
        (Color, "Color"),
        (Range, "Range"),
        (Names, "Names"),
        (5, "5"),
        (len, "len"),
        (dict[str, int], "dict"),
    ]:
        assert option(Fields.of, other) == (
            f"{name} has no fields to store. Make it a dataclass (@dataclass stands right above `class`), "
            "a msgspec.Struct, a pydantic model or an attrs class"
        )
    assert option(Fields.of, Foreign, name="greeter.Read").startswith("greeter.Read: Foreign has no fields to store")


# ── round trips ──

moments = st.datetimes(timezones=st.just(datetime.UTC) | st.none())
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
floats = st.floats(allow_nan=False, allow_infinity=False)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | floats | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    max_leaves=10,
)
TYPED: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (int, st.integers()),
    (float, floats),
    (bool | None, st.none() | st.booleans()),
    (bytes, st.binary()),
    (datetime.datetime, moments),
    (datetime.timedelta, st.timedeltas()),
    (decimal.Decimal, st.decimals(allow_nan=False, allow_infinity=False)),
    (set[uuid.UUID], st.sets(st.uuids())),
    (dict[int, str], st.dictionaries(st.integers(), texts)),
    (Color, st.just(Color.RED)),
    (Later, st.builds(Later, st.integers())),
    (Options, st.fixed_dictionaries({}, optional={"ratio": floats})),
    (Range, st.builds(Range, st.integers(), st.integers())),
    (Box[int], st.builds(Box, st.integers())),
    (list[ModelReadName], st.lists(st.builds(ModelReadName, filename=texts))),
    (Annotated[Cat | Dog, pydantic.Field(discriminator="kind")], st.sampled_from([Cat(), Dog()])),
    (Any, plain),
]


def families_of(annotation: Any) -> list[Fields[Any]]:
    return [
        fields_of(annotation),
        fields_of(annotation, slots=True, frozen=True, kw_only=True),
        Fields.of(msgspec.defstruct("Struct", [("value", annotation)])),
        Fields.of(attrs.make_class("Attrs", {"value": attrs.field(type=annotation)})),
        Fields.of(pydantic.create_model("Model", value=(annotation, ...))),
    ]


HOLDERS = [(families_of(annotation), values) for annotation, values in TYPED]


@given(st.data())
def test_every_supported_type_comes_back_as_it_was_in_every_family(data):
    families, values = data.draw(st.sampled_from(HOLDERS))
    value = data.draw(values)
    for fields in families:
        if issubclass(fields.cls, pydantic.BaseModel) and isinstance(value, (bytes, datetime.timedelta)):
            continue  # pydantic's own forms of these do not hold every value; what they lose is refused.
        there = fields.cls(value=value)
        text = fields.encode(there)
        for written in (text, fields.check(text), fields.encode_arguments((), {"value": value})):
            assert fields.decode(written) == there


hostile = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.decimals() | moments
    | st.complex_numbers() | st.builds(Foreign) | st.sampled_from([len, int, 10**4200, Cat(), Later(1)]),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text() | st.integers() | st.none(), inner),
    max_leaves=8,
)  # fmt: skip


@given(hostile, st.data())
def test_no_value_raises_anything_but_invalid_payload(value, data):
    families, _ = data.draw(st.sampled_from(HOLDERS))
    for fields in families:
        calls = [
            lambda fields=fields: fields.encode_arguments((), {"value": value}),
            lambda fields=fields: fields.check({"value": value}),
        ]
        if not issubclass(fields.cls, pydantic.BaseModel):
            calls.append(lambda fields=fields: fields.encode(fields.cls(value=value)))
        for write in calls:
            try:
                text = write()
            except InvalidPayload as error:
                assert len(str(error)) < 900  # noqa: PT017
            else:
                json.loads(text.encode())
                assert fields.encode(fields.decode(text))


@given(st.binary() | st.text() | plain.map(json.dumps), st.sampled_from([READ_NAME, EARLY, EARLY_MODEL, EARLY_STRUCT]))
def test_no_text_raises_anything_but_invalid_payload(text, fields):
    for read in (fields.decode, fields.check) if isinstance(text, str) else (fields.decode,):
        try:
            read(text)
        except InvalidPayload as error:
            assert len(str(error)) < 900  # noqa: PT017


def test_fields_and_functions_are_equally_strict():
    def handler(value: int): ...

    as_function, as_field = Signature.of(handler, name="Holder"), fields_of(int)
    for value in (True, 1.0, "1", None, b"1", decimal.Decimal(1)):
        assert refusal(as_function.encode, (value,), {}) == refusal(as_field.encode_arguments, (value,), {})
    assert inspect.signature(as_field.cls).parameters.keys() == {"value"}
