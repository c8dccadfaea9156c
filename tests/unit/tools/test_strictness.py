import collections
import enum
import uuid
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, TypedDict

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, Strict, ValidationError

from grpc_tool_bridge import ValidationError as RefusedError
from grpc_tool_bridge import tool
from grpc_tool_bridge.tools.checks import compile_check
from grpc_tool_bridge.tools.strictness import strict_schema

SCALARS = (int, float, str, bool, bytes)


MODULUS = 2**61 - 1
MANY = 1_000
INTS = [MODULUS * number for number in range(MANY)]
KEYS = {str(number): number for number in INTS}


class Color(enum.Enum):
    RED = "red"
    FIRST = 1


class Level(enum.IntEnum):
    LOW = 1


class Flags(enum.Flag):
    A = 1
    B = 2


@dataclass
class Point:
    x: int
    y: float = 0.0
    tags: list[str] = field(default_factory=list)


@dataclass
class Node:
    value: int
    next: "Node | None" = None


class Row(TypedDict):
    type: int
    when: NotRequired[date]


class Pair(NamedTuple):
    left: int
    right: str = "r"


class Model(pydantic.BaseModel):
    x: int


@pydantic.dataclasses.dataclass
class PydanticPoint:
    x: int


def check(annotation: Any, value: Any) -> Any:
    return compile_check(annotation, "here").validator.validate_python(value)


def same(left: Any, right: Any) -> bool:
    return type(left) is type(right) and left == right


def is_refused(annotation: Any, value: Any) -> bool:
    try:
        check(annotation, value)
    except ValidationError:
        return True
    return False


class TestScalars:
    @pytest.mark.parametrize("annotation", SCALARS)
    @given(value=st.one_of(st.integers(), st.floats(), st.text(), st.booleans(), st.binary(), st.none()))
    def test_nothing_but_the_type_itself_is_accepted(self, annotation: Any, value: Any) -> None:
        if annotation is float and type(value) is int:
            return
        if annotation is int and isinstance(value, float) and value.is_integer():
            return
        assert is_refused(annotation, value) == (type(value) is not annotation)

    @given(st.integers(-(2**53), 2**53))
    def test_an_int_reaches_a_float_as_a_float(self, value: int) -> None:
        assert same(check(float, value), float(value))

    def test_an_int_too_large_for_a_float_is_refused(self) -> None:
        assert is_refused(float, 10**400)

    @pytest.mark.parametrize(
        ("annotation", "good", "bad"),
        [
            (list[int], [1], ["1"]),
            (dict[str, float], {"a": 1.5}, {"a": "1.5"}),
            (dict[str, bool], {"a": True}, {"a": 1}),
            (int | None, None, True),
            (int | str, 5, 5.5),
            (tuple[int, ...], (1,), (True,)),
            (Row, {"type": 1}, {"type": "1"}),
            (Pair, Pair(1, "a"), (1, 2)),
            (Point, Point(1), {"x": 1.5}),
            (Node, Node(1), {"value": 1, "next": {"value": "2"}}),
            (Annotated[int, Field(ge=0)], 0, "0"),
            (Sequence[int], [1], ["1"]),
            (Mapping[str, int], {"a": 1}, {"a": "1"}),
            (collections.deque[int], collections.deque([1]), ["1"]),
        ],
    )
    def test_they_are_strict_inside_other_types(self, annotation: Any, good: Any, bad: Any) -> None:
        assert same(check(annotation, good), good)
        assert is_refused(annotation, bad)

    def test_who_asks_for_lax_gets_it(self) -> None:
        assert check(Annotated[int, Strict(False)], "5") == 5

    @pytest.mark.parametrize("cls", [Model, PydanticPoint])
    def test_the_schema_of_a_pydantic_class_is_left_alone(self, cls: Any) -> None:
        schema: Any = pydantic.TypeAdapter(cls).core_schema
        before = repr(schema)
        strict_schema(schema)
        assert repr(schema) == before

    def test_what_pydantic_classes_convert_is_converted(self) -> None:
        assert check(Model, {"x": "5"}) == Model(x=5)
        assert check(list[Model], [{"x": "5", "other": 1}]) == [Model(x=5)]
        assert check(PydanticPoint, {"x": "5"}) == PydanticPoint(5)


class TestJsonForms:
    @pytest.mark.parametrize(
        ("annotation", "form", "value"),
        [
            (datetime, "2024-01-02T03:04:05Z", datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)),
            (date, "2024-01-02", date(2024, 1, 2)),
            (time, "03:04:05.5", time(3, 4, 5, 500_000)),
            (timedelta, "P1DT2H", timedelta(days=1, hours=2)),
            (timedelta, "-P1D", timedelta(days=-1)),
            (uuid.UUID, "12345678-1234-5678-1234-567812345678", uuid.UUID("12345678-1234-5678-1234-567812345678")),
            (Decimal, "1.10", Decimal("1.10")),
            (Decimal, 3, Decimal(3)),
            (Path, "a/b", Path("a/b")),
            (Color, "red", Color.RED),
            (Color, 1, Color.FIRST),
            (Level, 1, Level.LOW),
            (Flags, 3, Flags.A | Flags.B),
            (Literal[Color.RED], "red", Color.RED),
            (tuple[int, str], [1, "a"], (1, "a")),
            (tuple[int, ...], [1, 2], (1, 2)),
            (set[int], [1, 2, 2], {1, 2}),
            (set[tuple[int, int]], [[1, 2]], {(1, 2)}),
            (frozenset[str], ["a"], frozenset({"a"})),
            (Point, {"x": 1, "y": 2}, Point(1, 2.0)),
            (Node, {"value": 1, "next": {"value": 2}}, Node(1, Node(2))),
            (Model, {"x": 1}, Model(x=1)),
            (Pair, [1, "a"], Pair(1, "a")),
            (Row, {"type": 1, "when": "2024-01-02"}, {"type": 1, "when": date(2024, 1, 2)}),
            (dict[int, str], {"1": "a"}, {1: "a"}),
            (dict[float, str], {"1.5": "a"}, {1.5: "a"}),
            (dict[bool, str], {"true": "a"}, {True: "a"}),
            (dict[date, int], {"2024-01-02": 1}, {date(2024, 1, 2): 1}),
            (dict[Level, int], {"1": 1}, {Level.LOW: 1}),
            (dict[int | None, int], {"null": 1, "2": 2}, {None: 1, 2: 2}),
            (complex, "1+2j", 1 + 2j),
        ],
    )
    def test_both_forms_reach_the_function_as_the_type(self, annotation: Any, form: Any, value: Any) -> None:
        assert same(check(annotation, form), value)
        assert same(check(annotation, value), value)

    @pytest.mark.parametrize("annotation", [datetime, date, time, timedelta])
    @pytest.mark.parametrize("value", [0, 1_700_000_000, 1.5, True, "1700000000", "1.5", "x", "", b"2024-01-02"])
    def test_a_time_is_never_read_from_a_number_or_other_text(self, annotation: Any, value: Any) -> None:
        assert is_refused(annotation, value)

    @pytest.mark.parametrize(
        ("annotation", "value"),
        [
            (date, datetime(2024, 1, 2, tzinfo=UTC)),
            (date, "2024-01-02T00:00:00"),
            (datetime, date(2024, 1, 2)),
            (timedelta, "1 day"),
            (Decimal, 1.5),
            (Decimal, True),
            (Decimal, "one"),
            (Decimal, None),
            (uuid.UUID, b"1234567812345678"),
            (uuid.UUID, "123"),
            (Color, "1"),
            (Color, True),
            (Color, 1.5),
            (Level, "1"),
            (Flags, "1"),
            (Color, "blue"),
            (list[int], {1}),
            (list[int], iter([1])),
            (tuple[int, ...], {1}),
            (set[int], iter([1])),
            (set[list[int]], [[1]]),
            (frozenset[int], iter([1])),
            (Point, {"x": 1, "z": 1}),
            (Row, {"type": 1, "z": 1}),
            (dict[int, str], {"1.0": "a"}),
            (dict[int, str], {" 1": "a"}),
            (dict[int, str], {"[" * 10_000: "a"}),
            (dict[int, str], {1.5: "a"}),
            (dict[str, int], {1: 1}),
        ],
    )
    def test_what_is_neither_form_is_refused(self, annotation: Any, value: Any) -> None:
        assert is_refused(annotation, value)

    @given(st.timedeltas())
    def test_a_duration_is_read_as_python_writes_it(self, value: timedelta) -> None:
        assert check(timedelta, str(value)) == value

    @given(st.datetimes(timezones=st.timezones() | st.none()), st.dates(), st.times())
    def test_times_are_read_as_python_writes_them(self, moment: datetime, day: date, hour: time) -> None:
        assert check(datetime, moment.isoformat()) == datetime.fromisoformat(moment.isoformat())
        assert check(date, day.isoformat()) == day
        assert check(time, hour.isoformat()) == hour

    @given(st.decimals(allow_nan=False), st.uuids())
    def test_decimals_and_uuids_are_read_as_python_writes_them(self, number: Decimal, name: uuid.UUID) -> None:
        assert check(Decimal, str(number)) == number
        assert check(uuid.UUID, str(name)) == name

    def test_a_decimal_that_is_no_number_passes_unless_bounded(self) -> None:
        assert check(Decimal, "NaN").is_nan()
        assert is_refused(Annotated[Decimal, Field(ge=0)], "NaN")

    def test_bounds_hold_for_the_json_form_as_well(self) -> None:
        early = Annotated[date, Field(le=date(2024, 1, 1))]
        assert check(early, "2023-12-31") == date(2023, 12, 31)
        assert is_refused(early, "2024-01-02")


class TestUnions:
    @pytest.mark.parametrize(
        ("annotation", "value"),
        [
            (datetime | str, "2024-01-02"),
            (str | datetime, "2024-01-02"),
            (Color | str, "red"),
            (int | float, 1),
            (float | int, 1),
            (bool | int, 1),
            (int | bool, True),
            (uuid.UUID | str, "12345678-1234-5678-1234-567812345678"),
            (Decimal | int, 1),
            (timedelta | str, "P1D"),
            (tuple[int, ...] | list[int], [1]),
            (date | datetime, datetime(2024, 1, 2, tzinfo=UTC)),
        ],
    )
    def test_a_value_of_a_choices_own_type_stays_as_it_is(self, annotation: Any, value: Any) -> None:
        assert same(check(annotation, value), value)

    def test_a_form_is_read_where_no_choice_is_its_type(self) -> None:
        assert check(date | int, "2024-01-02") == date(2024, 1, 2)
        assert check(Point | int, {"x": 1}) == Point(1)

    def test_a_choice_by_its_tag_is_found(self) -> None:
        class Cat(TypedDict):
            kind: Literal["cat"]
            lives: int

        class Dog(TypedDict):
            kind: Literal["dog"]

        pet = Annotated[Cat | Dog, Field(discriminator="kind")]
        assert check(pet, {"kind": "cat", "lives": 9}) == {"kind": "cat", "lives": 9}
        assert is_refused(pet, {"kind": "cat", "lives": "9"})


class TestLiterals:
    @pytest.mark.parametrize(
        ("annotation", "good", "bad"),
        [(Literal[1], 1, True), (Literal[1], 1, 1.5), (Literal[True], True, 1), (Literal["a"] | None, None, [])],
    )
    def test_equal_values_of_other_types_are_refused(self, annotation: Any, good: Any, bad: Any) -> None:
        assert same(check(annotation, good), good)
        assert is_refused(annotation, bad)

    def test_a_value_wins_over_a_member_that_has_it(self) -> None:
        assert check(Literal["red", Color.RED], "red") == "red"

    def test_a_long_list_of_values_is_cut(self) -> None:
        many: Any = Literal.__getitem__(tuple(range(100)))
        with pytest.raises(ValidationError, match=r"18, 19 or 80 more"):
            check(many, "x")


def test_an_iterable_reaches_the_function_as_a_list_checked_in_full() -> None:
    assert check(Iterable[int], [1, 2]) == [1, 2]
    assert is_refused(Iterable[int], [1, "x"])
    assert is_refused(Iterable[int], iter([1]))


def test_a_class_used_twice_is_rewritten_in_both_places() -> None:
    @dataclass
    class Colors:
        one: Color
        two: Color

    assert check(tuple[Colors, Colors], [{"one": "red", "two": 1}] * 2) == (Colors(Color.RED, Color.FIRST),) * 2
    assert is_refused(Colors, {"one": "red", "two": True})


class Holder(BaseModel):
    model_config = ConfigDict(strict=True)

    members: set[int] = set()
    keyed: dict[int, int] = {}


def bound(annotation: Any, value: Any) -> Any:
    def take(value: Any) -> None:
        """Takes a value."""

    take.__annotations__["value"] = annotation
    args, _ = tool(take).bind([value], {})
    return args[0]


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (set[int], INTS),
        (frozenset[int] | None, INTS),
        (set[Decimal], [str(number) for number in INTS]),
        (dict[int, int], KEYS),
        (dict[int, Any], dict.fromkeys(INTS, 1)),
        (defaultdict[int, int], KEYS),
        (OrderedDict[Decimal, int], KEYS),
        (Counter[int], dict.fromkeys(INTS, 1)),
        (list[set[int]], [INTS]),
        (Holder, {"members": set(INTS)}),
        (Holder, {"keyed": dict.fromkeys(INTS, 1)}),
    ],
)
def test_too_many_of_one_hash_are_refused(annotation: Any, value: Any) -> None:
    with pytest.raises(RefusedError, match="has more than 100 members or keys with the same hash"):
        bound(annotation, value)


@pytest.mark.parametrize(
    ("annotation", "value", "read"),
    [
        (set[int], list(range(1_000)), set(range(1_000))),
        (set[int], [1] * 1_000, {1}),
        (dict[int, int], {str(number): 1 for number in range(1_000)}, dict.fromkeys(range(1_000), 1)),
        (Holder, {"members": set(range(1_000))}, Holder(members=set(range(1_000)))),
        (list[int], INTS, INTS),
        (dict[str, int], KEYS, KEYS),
    ],
)
def test_others_are_read_as_they_were(annotation: Any, value: Any, read: Any) -> None:
    assert bound(annotation, value) == read


def test_what_is_wrong_with_a_large_set_is_told_at_its_place() -> None:
    with pytest.raises(RefusedError, match=r"argument 'value': \[700\] should be a valid integer"):
        bound(set[int], [*range(700), "x", *range(700, 2_000)])
