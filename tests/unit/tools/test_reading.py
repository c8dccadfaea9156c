"""Objects made of fields are read back as equal objects where their class is declared, at any depth, in either form."""

import collections
import dataclasses as dc
import datetime as dt
import ipaddress
import json
import pathlib
from collections.abc import Callable
from enum import Enum
from types import GenericAlias
from typing import Annotated, Any, Literal, NamedTuple, TypedDict, Union

import attrs
import msgspec
import numpy as np
import pandas as pd
import pydantic
import pydantic.dataclasses
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    AliasChoices,
    AliasPath,
    Base64Bytes,
    Base64Str,
    Base64UrlStr,
    BaseModel,
    ByteSize,
    ConfigDict,
    Field,
    Json,
    RootModel,
    TypeAdapter,
    computed_field,
)
from pydantic.alias_generators import to_camel

from grpc_tool_bridge import SerializationError, ValidationError, deserialize_value, serialize_value, tool
from grpc_tool_bridge.tools.checks import compile_check
from grpc_tool_bridge.values.serialization import Writing, pack_value


class Aliased(BaseModel):
    a: int = Field(alias="aa")
    b: int = Field(validation_alias="bv")
    c: int = Field(serialization_alias="cs")
    d: int = Field(validation_alias=AliasChoices("d1", "d2"))
    e: int = Field(validation_alias=AliasPath("path", 0), default=4)


class Generated(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid")
    first_name: str
    inner_value: Aliased | None = None


class Animal(BaseModel):
    name: str


class Dog(Animal):
    breed: str


class Cat(Animal):
    lives: int = 9


class Zoo(BaseModel):
    model_config = ConfigDict(extra="forbid")
    animals: list[Animal]
    best: Animal
    by_name: dict[str, Animal | None] = {}

    @computed_field  # type: ignore[prop-decorator]  # as pydantic's docs say
    @property
    def count(self) -> int:
        return len(self.animals)

    @computed_field(alias="isEmpty")  # type: ignore[prop-decorator]  # likewise
    @property
    def is_empty(self) -> bool:
        return not self.animals


class Excluded(BaseModel):
    model_config = ConfigDict(extra="forbid")
    a: int
    by_default: str = Field("default", exclude=True)
    required: str = Field(exclude=True)


class Jsons(BaseModel):
    numbers: Json[list[int]]
    anything: Json[Any]
    text: Json[str] = "null"
    maybe: Json[dict[str, int]] | None = None


class Dogs(RootModel[list[Dog]]):
    pass


class Kept(BaseModel):
    model_config = ConfigDict(extra="allow")
    a: int

    @computed_field  # type: ignore[prop-decorator]  # likewise
    @property
    def double(self) -> int:
        return self.a * 2


class Stamped(BaseModel):
    when: dt.datetime
    seconds: Annotated[dt.timedelta, pydantic.PlainSerializer(lambda span: span.total_seconds())]

    @pydantic.field_serializer("when")
    def _written(self, when: dt.datetime) -> str:
        return when.strftime("%d.%m.%Y")


class Whole(BaseModel):
    x: int

    @pydantic.model_serializer
    def _written(self) -> dict[str, int]:
        return {"twice": self.x * 2}


class Tree(BaseModel):
    value: int
    children: list["Tree"] = []


class Linked(BaseModel):
    numbers: Json[list[int]]
    kept: int = Field(0, alias="theKept")
    following: "Linked | None" = None


class Cot(BaseModel):
    kind: Literal["cot"] = "cot"
    width: int = 1


class Bed(BaseModel):
    kind: Literal["bed"] = "bed"
    width: int = 2


class Room(BaseModel):
    furniture: Annotated[Cot | Bed, Field(discriminator="kind")]
    plain: Cot | Bed


class Colour(Enum):
    RED = "red"


@dc.dataclass
class Doubled:
    x: int
    y: int = dc.field(init=False)
    inner: list["Doubled"] = dc.field(default_factory=list)

    def __post_init__(self) -> None:
        self.y = self.x * 2


@dc.dataclass(slots=True, frozen=True, kw_only=True)
class Slotted:
    a: int
    later: int = dc.field(init=False, default=5)
    colour: Colour = Colour.RED


@dc.dataclass
class Base:
    n: int


@dc.dataclass
class Sub(Base):
    m: int = 3


@dc.dataclass
class Holder:
    items: list[Base]
    dogs: dict[str, Animal]
    when: dt.datetime | None = None
    pairs: tuple[tuple[int, Base], ...] = ()


@pydantic.dataclasses.dataclass
class Validated:
    x: int = Field(alias="ex")

    @computed_field  # type: ignore[prop-decorator]  # likewise
    @property
    def plus_one(self) -> int:
        return self.x + 1


@attrs.define
class Attr:
    x: int
    _private: str = "p"
    animals: list[Animal] = attrs.Factory(list)
    later: int = attrs.field(init=False, default=7)


@attrs.frozen(kw_only=True)
class AttrHolder:
    attr: Attr
    day: dt.date | None = None


class Struct(msgspec.Struct, rename="camel", tag="struct"):
    first_name: str
    n: int = 3
    inner: Union["Struct", None] = None


@attrs.define
class SubAttr(Attr):
    more: int = 3


class SubStruct(Struct, tag="sub"):
    pass


class Untagged(msgspec.Struct):
    a: int


class SubUntagged(Untagged):
    b: str = "b"


class Row(msgspec.Struct, array_like=True):
    x: int
    text: str = "t"


class Shelf(msgspec.Struct):
    attrs: list[Attr]
    structs: list[Struct]
    untagged: Untagged
    rows: list[Row] = []


class StructHolder(msgspec.Struct, frozen=True):
    struct: Struct
    members: set[int] = set()


class Chatty(Animal):
    """Keeps what it does not know, which its base would drop."""

    model_config = ConfigDict(extra="allow")
    noise: str


class Codes(BaseModel):
    """Holds what other texts say, which are read once more where it is read."""

    text: Base64Str
    data: Base64Bytes = b""
    more: list[Base64Str] = []
    maybe: Base64UrlStr | None = None
    sized: ByteSize = ByteSize(0)


class JsonInside(BaseModel):
    anything: list[Json[Any]]
    texts: dict[str, Json[str]] = {}
    pair: tuple[Json[int], str] = (1, "a")
    either: Json[list[int]] | int | None = None


class Members(BaseModel):
    one: Literal[Colour.RED]
    other: Literal["x", Colour.RED] = "x"
    number: Literal[1] | None = 1


class Unbending(BaseModel):
    """Takes but the form of Python, of which some travels in another."""

    model_config = ConfigDict(strict=True)
    colour: Colour
    choice: Literal[Colour.RED]
    path: pathlib.PurePosixPath
    address: ipaddress.IPv4Address
    days: collections.deque[dt.date]
    counts: collections.Counter[str]
    ordered: collections.OrderedDict[str, int]
    by_colour: dict[Colour, int]
    maybe: Colour | None
    animal: Animal
    base: Base


class Mixed(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    attr: Attr
    base: Base
    slotted: Slotted


class Pair(NamedTuple):
    left: Base
    right: Dog


class Typed(TypedDict):
    dog: Animal
    bases: list[Base]


def changed(value: Any, **fields: Any) -> Any:
    for name, item in fields.items():
        object.__setattr__(value, name, item)
    return value


def aliased() -> Aliased:
    return Aliased.model_validate({"aa": 1, "bv": 2, "c": 3, "d1": 4, "path": [5]})


REX = Dog(name="Rex", breed="Collie")
VALUES: dict[str, Any] = {
    "aliases": aliased(),
    "generated aliases": Generated.model_validate({"firstName": "F", "innerValue": aliased()}),
    "subclass in a field of its base": Zoo(
        animals=[REX, Animal(name="A"), Cat(name="C")], best=REX, by_name={"k": REX, "n": None}
    ),
    "excluded fields": Excluded(a=1, by_default="other", required="r"),
    "Json fields": Jsons(numbers="[1]", anything='{"a": [1.5]}', text='"123"', maybe='{"a": 2}'),  # type: ignore[arg-type]  # pydantic reads them
    "root model": Dogs([REX]),
    "extra fields": Kept(a=1, other=[1, {"b": None}]),  # type: ignore[call-arg]  # it takes any
    "serializers": Stamped(when=dt.datetime(2026, 1, 2, tzinfo=dt.UTC), seconds=dt.timedelta(seconds=1.5)),
    "model serializer": Whole(x=5),
    "recursive": Tree(value=1, children=[Tree(value=2, children=[Tree(value=3)])]),
    "recursive with Json": Linked.model_validate(
        {"numbers": "[1]", "theKept": 5, "following": {"numbers": "[2, 3]", "theKept": 6}}
    ),
    "unions": Room(furniture=Bed(width=5), plain=Bed()),
    "init=False": changed(Doubled(3, inner=[]), y=99, inner=[Doubled(1)]),
    "slots, frozen, kw_only": changed(Slotted(a=1), later=6),
    "dataclass of dataclasses": Holder(
        [Base(1), Sub(2, 4)], {"r": REX}, dt.datetime(2026, 1, 1, tzinfo=dt.UTC), ((1, Sub(5)),)
    ),
    "dataclass of pydantic": Validated(ex=5),
    "attrs": changed(Attr(1, "q", [REX]), later=8),
    "attrs in attrs": AttrHolder(attr=Attr(1), day=dt.date(2026, 1, 2)),
    "subclasses of attrs classes and structs": Shelf(
        [SubAttr(1, more=4), Attr(2)],
        [SubStruct("S"), Struct("A", inner=SubStruct("I"))],
        SubUntagged(1, "x"),
        [Row(1), Row(2, "u")],
    ),
    "struct that is an array": Row(1, "u"),
    "struct": Struct("A", inner=Struct("B", n=4)),
    "struct in struct": StructHolder(Struct("A"), {1, 2}),
    "each in another": Mixed(attr=Attr(1, animals=[REX]), base=Sub(1), slotted=Slotted(a=2)),
    "NamedTuple": Pair(Sub(1), REX),
    "subclass that keeps all keys": Zoo(animals=[], best=Chatty(name="M", noise="meow", colour="red")),  # type: ignore[call-arg]  # it takes any
    "Base64": Codes.model_validate(
        {"text": "YWJjZA==", "data": b"YWJj", "more": ["aGk="], "maybe": "YQ==", "sized": "5kb"}
    ),
    "Json inside": JsonInside.model_validate(
        {"anything": ['"123"', "[1]"], "texts": {"a": '"1"'}, "pair": ("5", "x"), "either": "[1]"}
    ),
    "Literal of members": Members(one=Colour.RED, other=Colour.RED),
    "strict": Unbending(
        colour=Colour.RED,
        choice=Colour.RED,
        path=pathlib.PurePosixPath("/a"),
        address=ipaddress.IPv4Address("1.2.3.4"),
        days=collections.deque([dt.date(2026, 1, 2)]),
        counts=collections.Counter("aab"),
        ordered=collections.OrderedDict(b=1, a=2),
        by_colour={Colour.RED: 1},
        maybe=Colour.RED,
        animal=REX,
        base=Sub(1),
    ),
}

# What these leave out of an output, or write into it, is for the eyes of others.
INPUT_ONLY = {"excluded fields", "serializers", "model serializer", "Json fields", "Json inside"}

WRAPS: list[tuple[Callable[[Any], Any], Callable[[Any], Any]]] = [
    (lambda value: value, lambda cls: cls),
    (lambda value: [value], lambda cls: GenericAlias(list, (cls,))),
    (lambda value: {"a": value, "b": None}, lambda cls: GenericAlias(dict, (str, cls | None))),
    (lambda value: (1, value), lambda cls: GenericAlias(tuple, (int, cls))),
]


def input_form(value: Any) -> Any:
    return deserialize_value(serialize_value(value))


def output_form(value: Any) -> Any:
    type_url, payload = pack_value(value, Writing(output=True))
    return deserialize_value(AnyMessage(type_url=type_url, value=payload))


def read(annotation: Any, value: Any) -> Any:
    return compile_check(annotation, "here").validator.validate_python(value)


@pytest.mark.parametrize("name", VALUES)
def test_the_input_form_is_read_back_as_an_equal_object(name: str) -> None:
    value = VALUES[name]
    for wrap, annotate in WRAPS:
        back = read(annotate(type(value)), input_form(wrap(value)))
        assert back == wrap(value)
        assert repr(back) == repr(wrap(value))


@pytest.mark.parametrize("name", [name for name in VALUES if name not in INPUT_ONLY])
def test_the_output_form_is_read_back_as_an_equal_object(name: str) -> None:
    value = VALUES[name]
    for wrap, annotate in WRAPS:
        back = read(annotate(type(value)), output_form(wrap(value)))
        assert back == wrap(value)
        assert repr(back) == repr(wrap(value))


class SubCot(Cot):
    height: int = 3


class Chosen(BaseModel):
    """Has subclasses before their bases, as pydantic's first version wanted it."""

    cot: SubCot | Cot | None
    base: Sub | Base
    more: list[SubCot | Cot] = []


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (SubCot | Cot, Cot()),
        (SubCot | Cot, SubCot()),
        (Cot | SubCot, SubCot()),
        (SubCot | Cot | None, Cot()),
        (list[Sub | Base | int], [Base(1), Sub(1), 2]),
        (Sub | Base | str, Base(1)),
        (Base | Sub, Sub(1)),
        (Sub | Cot, Cot()),
        (SubCot | Cot | Bed, Bed()),
        (Chosen, Chosen(cot=Cot(), base=Base(1), more=[Cot(), SubCot()])),
        (dict[str, int] | Sub | Base, {"n": 1, "m": 2}),
    ],
    ids=str,
)
def test_of_a_union_the_class_is_chosen_that_was_written(annotation: Any, value: Any) -> None:
    for form in (input_form, output_form):
        back = read(annotation, form(value))
        assert back == value
        assert repr(back) == repr(value)


def test_what_no_class_of_a_union_takes_is_refused() -> None:
    with pytest.raises(pydantic.ValidationError, match="valid integer"):
        read(Sub | Base, {"n": "x"})
    assert read(Sub | Base, {"n": 1, "m": 2}) == Sub(1, 2)

    @tool
    def offered(value: list[Sub | Base]) -> None: ...

    for wrong, problem in (
        ({"n": "x"}, "[0].n should be a valid integer, got 'x' (str)"),
        ({"n": 1, "m": "x"}, "[0].m should be a valid integer, got 'x' (str)"),
        ({"n": 1, "other": 1}, "[0].other is not known"),
    ):
        with pytest.raises(ValidationError) as caught:
            offered.bind(([wrong],), {})
        assert caught.value.details["value"] == problem


def test_a_typed_dict_holds_objects_as_its_fields() -> None:
    given: Typed = {"dog": REX, "bases": [Sub(1)]}
    assert read(Typed, input_form(given)) == given


@pytest.mark.parametrize(
    "name", ["generated aliases", "excluded fields", "extra fields", "Json fields", "serializers", "model serializer"]
)
def test_pydantic_by_itself_reads_the_input_form_of_a_model(name: str) -> None:
    value = VALUES[name]
    if name == "generated aliases":
        value = Generated.model_validate({"firstName": "F"})
    assert TypeAdapter(type(value)).validate_python(input_form(value)) == value


def test_the_forms_have_the_keys_of_either_schema() -> None:
    assert input_form(aliased()) == {"aa": 1, "bv": 2, "c": 3, "d1": 4, "e": 5}
    assert output_form(aliased()) == aliased().model_dump(by_alias=True)
    zoo = VALUES["subclass in a field of its base"]
    assert "count" not in input_form(zoo)
    assert output_form(zoo) == zoo.model_dump(by_alias=True, serialize_as_any=True)
    assert output_form(VALUES["excluded fields"]) == {"a": 1}
    assert output_form(VALUES["serializers"]) == {"when": "02.01.2026", "seconds": 1.5}
    assert output_form(VALUES["model serializer"]) == {"twice": 10}
    assert output_form(VALUES["Json fields"]) == VALUES["Json fields"].model_dump()
    assert output_form(Validated(ex=1)) == {"ex": 1, "plus_one": 2}


def test_an_excluded_field_with_its_default_stays_behind() -> None:
    assert input_form(Excluded(a=1, by_default="default", required="r")) == {"a": 1, "required": "r"}


@pytest.mark.parametrize("held", [np.arange(3), pd.DataFrame({"a": [1]}), pd.NA, True, 1.0, None])
def test_an_excluded_field_that_is_not_its_default_travels_whatever_it_is(held: Any) -> None:
    class Excluding(BaseModel):
        held: Any = Field(1, exclude=True)

    assert set(input_form(Excluding(held=held))) == {"held"}
    assert type(read(Excluding, input_form(Excluding(held=True))).held) is bool


class Shape(BaseModel):
    pass


class Square(Shape):
    side: int


class Circle(Shape):
    radius: int


class Ring(Shape):
    radius: int


def test_fields_of_a_subclass_that_several_have_are_refused() -> None:
    assert read(list[Shape], input_form([Square(side=1)])) == [Square(side=1)]
    with pytest.raises(pydantic.ValidationError, match=r"any of Circle, Ring: declare a union"):
        read(list[Shape], input_form([Ring(radius=1)]))
    assert read(list[Shape | Ring], [Ring(radius=1)]) == [Ring(radius=1)]


def test_of_a_class_that_was_defined_anew_the_new_one_is_read() -> None:
    def define() -> Any:
        class Again(Point):
            z: int

        return dc.dataclass(Again)

    class Point:
        pass

    dc.dataclass(Point)
    define()
    newest = define()
    assert type(read(Point, {"z": 1})) is newest


def test_an_unknown_field_is_the_business_of_the_class() -> None:
    assert read(Animal, {"name": "A", "unknown": 1}) == Animal(name="A")
    for cls, fields in ((Zoo, {"animals": [], "best": {"name": "A"}, "unknown": 1}), (Base, {"n": 1, "unknown": 1})):
        with pytest.raises(pydantic.ValidationError, match="unknown"):
            read(cls, fields)


def test_an_unknown_key_makes_no_subclass_of_a_class_that_has_all_its_fields() -> None:
    class Open(Cot):
        model_config = ConfigDict(extra="allow")

    assert Open().kind == "cot"
    assert type(read(Cot, {"width": 1, "unknown": 2})) is Cot


def test_what_is_held_decoded_is_encoded_in_an_output() -> None:
    codes = VALUES["Base64"]
    assert output_form(codes) == codes.model_dump() | {"sized": 5000}
    assert output_form(codes)["text"] == "YWJjZA=="


def test_a_dataclass_with_an_init_only_field_is_refused_where_it_would_be_constructed_again() -> None:
    @dc.dataclass
    class Scaled:
        x: float
        factor: dc.InitVar[float] = 2.0

        def __post_init__(self, factor: float) -> None:
            self.x *= factor

    with pytest.raises(SerializationError, match="InitVar 'factor'"):
        serialize_value([Scaled(1.0)])
    assert output_form(Scaled(1.0)) == {"x": 2.0}
    assert read(Scaled, {"x": 1.0, "factor": 3.0}).x == 3.0


@pytest.mark.parametrize(
    ("cls", "given", "problem"),
    [
        (Attr, {"x": "1"}, "valid integer"),
        (Attr, {"x": 1, "unknown": 2}, "unknown"),
        (Attr, {}, "x"),
        (AttrHolder, {"attr": {"x": 1, "private": 2}}, r"attr\.private"),
        (Struct, {"firstName": 5}, "firstName"),
        (Untagged, {"a": 1, "unknown": 1}, "unknown"),
        (Row, [], "x"),
        (Row, [1, "a", 2], "at most 2 items"),
        (Struct, {"type": "other", "firstName": "a"}, "struct"),
        (Doubled, {"x": 1, "y": "no number"}, "valid integer"),
        (Jsons, {"numbers": "[1", "anything": "1"}, "JSON"),
        (Jsons, {"numbers": ["x"], "anything": "1"}, "numbers"),
    ],
)
def test_wrong_fields_are_named(cls: Any, given: Any, problem: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=problem):
        read(cls, given)


def test_the_fields_of_attrs_classes_and_structs_are_described() -> None:
    @tool
    def offered(attr: Attr, structs: list[Struct]) -> AttrHolder:
        raise NotImplementedError

    schema = json.loads(offered.spec.input_schema)["properties"]
    assert schema["attr"]["required"] == ["x"]
    assert set(schema["attr"]["properties"]) == {"x", "private", "animals", "later"}
    assert set(schema["structs"]["items"]["properties"]) == {"type", "firstName", "n", "inner"}
    assert set(json.loads(offered.spec.output_schema)["properties"]) == {"attr", "day"}


@pytest.mark.parametrize(
    ("value", "problem"),
    [(Base("x"), "n\n.*valid integer"), (Holder([Base(1), Base(None)], {}), r"items\.1\.n")],  # type: ignore[arg-type]  # the wrong types are what is told
)
def test_a_dataclass_whose_fields_are_of_other_types_is_refused(value: Any, problem: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=problem):
        read(type(value), value)


@dc.dataclass
class Loose:
    n: int
    xs: list[float]
    when: dt.datetime | None = None
    kind: Colour | None = None


@dc.dataclass(frozen=True, slots=True)
class LooseHolder:
    inner: Loose
    others: dict[str, Loose]


@dc.dataclass
class LooseSub(Loose):
    more: str = ""


@attrs.frozen
class LooseAttr:
    n: int
    xs: list[float]
    limit: int = None  # type: ignore[assignment]  # as people write it


class LooseStruct(msgspec.Struct, frozen=True, rename="camel"):
    n: int
    many_xs: list[float]
    limit: int = None  # type: ignore[assignment]  # as people write it
    unset: int | msgspec.UnsetType = msgspec.UNSET


XS = pd.Series([1.5, 2.0])
INSTANCES: dict[str, tuple[Any, Any, Any]] = {
    "dataclass": (Loose, Loose(np.int64(3), XS), Loose(3, [1.5, 2.0])),  # type: ignore[arg-type]  # that is the point
    "no time": (Loose, Loose(3, [], pd.NaT), Loose(3, [], None)),  # type: ignore[arg-type]  # likewise
    "value of an enum": (Loose, Loose(3, [], None, Colour.RED), Loose(3, [], None, Colour.RED)),
    "frozen, in a dict": (
        LooseHolder,
        LooseHolder(Loose(3.0, XS), {"a": Loose(np.int8(1), np.array([2]))}),  # type: ignore[arg-type]  # likewise
        LooseHolder(Loose(3, [1.5, 2.0]), {"a": Loose(1, [2.0])}),
    ),
    "subclass": (Loose, LooseSub(np.int64(3), [], more="m"), LooseSub(3, [], more="m")),  # type: ignore[arg-type]  # likewise
    "attrs": (LooseAttr, LooseAttr(np.int64(3), XS), LooseAttr(3, [1.5, 2.0])),  # type: ignore[arg-type]  # likewise
    "struct": (LooseStruct, LooseStruct(np.int64(3), XS), LooseStruct(3, [1.5, 2.0])),  # type: ignore[arg-type]  # likewise
}


@pytest.mark.parametrize("name", INSTANCES)
def test_an_instance_holds_what_its_fields_are_declared_to_be(name: str) -> None:
    cls, value, wanted = INSTANCES[name]
    annotations: list[Any] = [cls, GenericAlias(list, (cls,)), GenericAlias(dict, (str, cls)) | None]
    for annotation, held in zip(annotations, (value, [value], {"a": value}), strict=True):
        made = compile_check(annotation, "here").validator.validate_python(held)
        made = made[0] if isinstance(made, list) else made["a"] if isinstance(made, dict) else made
        assert type(made) is type(wanted)
        assert repr(made) == repr(wanted)


def test_an_instance_that_holds_it_already_is_not_copied() -> None:
    value = LooseAttr(3, [])
    assert compile_check(Typed | LooseAttr, "here").validator.validate_python(value) == value
    plain = Base(1)
    assert compile_check(Base, "here").validator.validate_python(plain) is plain


WRONG: list[Any] = [
    Loose("x", []),  # type: ignore[arg-type]  # that is the point
    LooseAttr("x", []),  # type: ignore[arg-type]  # likewise
    LooseStruct(1, "x"),  # type: ignore[arg-type]  # likewise
]


@pytest.mark.parametrize("value", WRONG, ids=lambda value: type(value).__name__)
def test_an_instance_that_holds_something_else_is_refused(value: Any) -> None:
    with pytest.raises(pydantic.ValidationError, match="valid"):
        compile_check(type(value), "here").validator.validate_python(value)


NAMES = st.text(max_size=5)
ANIMALS = st.builds(Animal, name=NAMES) | st.builds(Dog, name=NAMES, breed=NAMES) | st.builds(Cat, name=NAMES)
MOMENTS = st.none() | st.datetimes(timezones=st.just(dt.UTC))
DATA = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.one_of(
    st.builds(Zoo, animals=st.lists(ANIMALS), best=ANIMALS, by_name=st.dictionaries(NAMES, ANIMALS, max_size=2)),
    st.builds(Holder, st.lists(st.builds(Base, st.integers()) | st.builds(Sub, st.integers()), max_size=3),
              st.dictionaries(NAMES, ANIMALS, max_size=2), MOMENTS),
    st.recursive(st.builds(Doubled, st.integers()), lambda inner: st.builds(Doubled, st.just(1), st.lists(inner))),
    st.builds(Attr, st.integers(), NAMES, st.lists(ANIMALS, max_size=2)),
    st.recursive(st.builds(Struct, NAMES), lambda inner: st.builds(Struct, NAMES, st.integers(), inner)),
    st.builds(Slotted, a=st.integers(), colour=st.sampled_from(Colour)),
    st.builds(lambda a, extra: Kept(a=a, **extra), st.integers(), st.dictionaries(st.sampled_from(["p", "q"]), DATA)),
    st.builds(Pair, st.builds(Base, st.integers()), st.builds(Dog, name=NAMES, breed=NAMES)),
)  # fmt: skip


@given(OBJECTS)
def test_any_object_is_read_back_as_an_equal_one_from_either_form(value: Any) -> None:
    for form in (input_form, output_form):
        back = read(type(value), form(value))
        assert back == value
        assert repr(back) == repr(value)
