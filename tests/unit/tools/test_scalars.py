"""Scalars that are not quite Python's own: each is read as what it means, or refused."""

import enum
import subprocess
import sys
import warnings
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any, Literal, NamedTuple, TypedDict, cast

import numpy as np
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError
from pydantic_core import SchemaValidator

from grpc_tool_bridge.tools.checks import compile_check
from grpc_tool_bridge.tools.strictness import reading_schema, strict_schema
from support.patience import PATIENCE

with warnings.catch_warnings():
    # NumPy 2.5 warns of it.
    warnings.simplefilter("ignore", DeprecationWarning)
    WITHOUT_UNIT = np.timedelta64(5)


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Mixed(enum.Enum):
    TEXT = "a"
    NUMBER = 1


class Half(enum.Enum):
    HALF = 0.5
    ONE = 1


class Mode(enum.StrEnum):
    FAST = "fast"


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


class OwnInt(int):
    pass


class OwnFloat(float):
    pass


class OwnText(str):
    __slots__ = ()


class Row(TypedDict):
    n: int


class Pair(NamedTuple):
    n: int
    ok: bool = False


def read(annotation: Any, value: Any) -> Any:
    return compile_check(annotation, "here").validator.validate_python(value)


READ = [
    # numbers as JSON and models write them
    (int, 5.0, 5),
    (int, -0.0, 0),
    (int, 1e3, 1000),
    (int, 1e300, int(1e300)),
    (int, float(2**63), 2**63),
    (int | None, 5.0, 5),
    (int | str, 5.0, 5),
    (bool | int, 1.0, 1),
    (list[int], [1.0, 2], [1, 2]),
    (dict[str, int], {"a": 5.0}, {"a": 5}),
    (dict[int, str], {1.0: "a"}, {1: "a"}),
    (tuple[int, ...], (1.0,), (1,)),
    (set[int], {1.0}, {1}),
    (Row, {"n": 5.0}, {"n": 5}),
    (Pair, [5.0], Pair(5)),
    (Annotated[int, Field(ge=5)], 5.0, 5),
    (pydantic.PositiveInt, 5.0, 5),
    (Literal[5], 5.0, 5),
    (Literal["a", 5] | None, 5.0, 5),
    (Level, 1.0, Level.LOW),
    (Mixed, 1.0, Mixed.NUMBER),
    (Half, 0.5, Half.HALF),
    (Rights, 3.0, Rights.READ | Rights.WRITE),
    (Decimal, 5.0, Decimal(5)),
    (float, 5, 5.0),
    # what is a float stays one where a float may be given
    (int | float, 5.0, 5.0),
    (float | int, 5.0, 5.0),
    (Literal[5] | float, 5.0, 5.0),
    (list[int] | list[float], [1.0, 2.5], [1.0, 2.5]),
    # NumPy's, and arrays of no dimensions
    (int, np.int64(5), 5),
    (int, np.int8(-5), -5),
    (int, np.uint64(2**64 - 1), 2**64 - 1),
    (int, np.float64(5.0), 5),
    (int, np.float32(5.0), 5),
    (int, np.array(5), 5),
    (int | float, np.int64(5), 5),
    (float | int, np.int64(5), 5),
    (int | float, np.float32(5.0), 5.0),
    (list[int], [np.int64(5)], [5]),
    (list[int], np.array([1, 2]), [1, 2]),
    (float, np.float64(1.5), 1.5),
    (float, np.float32(0.1), float(np.float32(0.1))),
    (float, np.float16(1.5), 1.5),
    (float, np.longdouble(1.5), 1.5),
    (float, np.int64(5), 5.0),
    (float, np.array(1.5), 1.5),
    (bool, np.bool_(True), True),
    (bool, np.array(False), False),
    (bool | int, np.bool_(True), True),
    (int | bool, np.bool_(True), True),
    (bool | int, np.int64(1), 1),
    (str, np.str_("a"), "a"),
    (str, np.array("a"), "a"),
    (str | int, np.str_("a"), "a"),
    (bytes, np.array(b"a"), b"a"),
    (complex, np.complex64(1 + 2j), 1 + 2j),
    (Decimal, np.int64(5), Decimal(5)),
    (Literal[5], np.int64(5), 5),
    (Literal[5], np.array(5), 5),
    (Literal[True], np.bool_(True), True),
    (Literal["a"], np.str_("a"), "a"),
    (Level, np.int64(1), Level.LOW),
    (Mixed, np.str_("a"), Mixed.TEXT),
    (Mode, np.str_("fast"), Mode.FAST),
    (Rights, np.int64(3), Rights.READ | Rights.WRITE),
    (datetime, np.datetime64("2024-01-02T03:04:05.000006"), datetime.fromisoformat("2024-01-02T03:04:05.000006")),
    (
        datetime,
        np.datetime64("2024-01-02T03:04:05.000006000", "ns"),
        datetime.fromisoformat("2024-01-02T03:04:05.000006"),
    ),
    (datetime, np.datetime64("2024-01-02"), datetime.fromisoformat("2024-01-02")),
    (datetime, np.array("2024-01-02T03", dtype="datetime64[s]"), datetime.fromisoformat("2024-01-02T03:00")),
    (date, np.datetime64("2024-01-02"), date(2024, 1, 2)),
    (date, np.datetime64("2024-01-02T00:00:00", "ns"), date(2024, 1, 2)),
    (timedelta, np.timedelta64(90, "s"), timedelta(seconds=90)),
    (timedelta, np.timedelta64(5_000, "ns"), timedelta(microseconds=5)),
    (timedelta, np.timedelta64(2, "D"), timedelta(days=2)),
    # subclasses
    (int, OwnInt(5), 5),
    (int, Level.LOW, 1),
    (float, OwnFloat(1.5), 1.5),
    (str, OwnText("a"), "a"),
    (str, Mode.FAST, "fast"),
    (Literal[5], OwnInt(5), 5),
    (Literal["fast"], Mode.FAST, "fast"),
    (Literal["a"], OwnText("a"), "a"),
    # buffers, and other numbers that a float holds
    (bytes, bytearray(b"a"), b"a"),
    (bytes, memoryview(b"a"), b"a"),
    (float, Decimal("0.1"), 0.1),
    (float, Fraction(1, 4), 0.25),
]

REFUSED = [
    (int, 5.5), (int, float("inf")), (int, float("nan")), (int, True), (int, np.bool_(True)), (int, np.float64(5.5)),
    (int, "5"), (int, np.str_("5")), (int, np.array([5])), (int, np.timedelta64(5, "s")), (int, np.ma.masked),
    (int, Decimal(5)), (pydantic.StrictInt, 5.0), (list[int], [5.5]), (Annotated[int, Field(ge=6)], 5.0),
    (float, True), (float, np.bool_(True)), (float, np.timedelta64(5, "s")), (float, np.array([1.5])), (float, "1.5"),
    (float, Decimal("0.10000000000000000000001")), (float, Fraction(1, 3)), (float, np.ma.masked), (float, 1j),
    (float, Fraction(10**400)), (float, Decimal("sNaN")),
    (bool, 1), (bool, 1.0), (bool, np.int64(1)), (bool, "true"), (bool, np.array([True])),
    (str, 5), (str, b"a"), (str, np.bytes_(b"a")), (str, np.array(["a"])),
    (bytes, "a"), (bytes, np.str_("a")), (bytes, [1]),
    (Literal[5], 5.5), (Literal[5], True), (Literal[5], "5"), (Literal[True], 1), (Literal[True], 1.0),
    (Literal["5"], 5), (Literal[5], np.array([5])),
    (Level, 1.5), (Level, True), (Level, np.bool_(True)), (Level, 3.0), (Mixed, np.bool_(True)), (Half, 2.0),
    (Rights, 4.0), (Rights, -1),
    (Level, Decimal("sNaN")), (Literal[5], Decimal("sNaN")),
    (Decimal, 5.5), (Decimal, np.float64(0.1)), (dict[int, str], {"1.0": "a"}),
    (datetime, np.datetime64("2024-01-02T03:04:05.123456789")), (datetime, np.datetime64("NaT", "s")),
    (datetime, np.datetime64("20000-01-01")), (datetime, np.timedelta64(5, "s")), (datetime, np.int64(5)),
    (date, np.datetime64("2024-01-02T03:04")), (date, np.datetime64("NaT", "s")),
    (timedelta, np.timedelta64(5, "ns")), (timedelta, np.timedelta64("NaT", "s")), (timedelta, np.timedelta64(1, "M")),
    (timedelta, WITHOUT_UNIT), (timedelta, np.int64(5)),
]  # fmt: skip


def ids(value: Any) -> str:
    return repr(value)[:40].encode("ascii", "replace").decode()


@pytest.mark.parametrize(("annotation", "given", "value"), READ, ids=ids)
def test_what_means_the_same_reaches_the_function_as_its_type(annotation: Any, given: Any, value: Any) -> None:
    found = read(annotation, given)
    assert type(found) is type(value)
    assert repr(found) == repr(value)


@pytest.mark.parametrize(("annotation", "given"), REFUSED, ids=ids)
def test_what_does_not_is_refused(annotation: Any, given: Any) -> None:
    with pytest.raises(ValidationError):
        read(annotation, given)


@given(st.floats())
def test_a_float_is_an_int_just_where_it_is_integral_and_then_exactly(number: float) -> None:
    if number.is_integer():
        assert type(read(int, number)) is int
        assert read(int, number) == number
    else:
        with pytest.raises(ValidationError):
            read(int, number)


ANNOTATIONS: list[Any] = [
    int, float, str, bool, bytes, complex, Decimal, int | float, float | int, bool | int, int | str | None,
    Literal[1, "a", True], Literal[1] | float, Level, Mixed, Half, Level | int,
    Decimal | float, list[int] | list[float], dict[int, str],
    dict[str, int | float], tuple[int, ...], set[float], Row, Pair, Pair | list, date | str,
    timedelta | int, datetime | date,
]  # fmt: skip
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 2), st.floats(), st.sampled_from([0.5, 1.0, 2.0]), st.binary(max_size=1),
    st.sampled_from(["a", "1", "1.0", "2024-01-02", "fast", "n", "P1D"]), st.dates(), st.decimals(),
    st.complex_numbers(),
)  # fmt: skip
VALUES = st.one_of(
    SCALARS,
    st.lists(SCALARS, max_size=3),
    st.tuples(SCALARS, SCALARS),
    st.dictionaries(st.sampled_from(["a", "1", "n", "1.0"]), SCALARS, max_size=2),
    st.just(Pair(1)),
    st.just(Level.LOW),
)


@given(st.sampled_from(ANNOTATIONS), VALUES)
def test_the_reading_schema_takes_all_that_the_strict_one_takes(annotation: Any, value: Any) -> None:
    schema = compile_check(annotation, "here").schema
    try:
        SchemaValidator(cast("Any", strict_schema(schema))).validate_python(value)
    except ValidationError:
        return
    # Of a union, it may choose another of two types that both can be read; but it refuses nothing.
    SchemaValidator(cast("Any", reading_schema(schema))).validate_python(value)


def test_a_value_of_another_package_that_says_it_has_no_dimensions_is_left_alone() -> None:
    class Quantity:
        ndim = 0
        dtype = np.dtype(float)

        def item(self) -> float:
            raise AssertionError("it was asked for its value")

    with pytest.raises(ValidationError):
        read(int, Quantity())


def test_numpy_is_not_imported_to_read_scalars() -> None:
    code = (
        "import sys; from grpc_tool_bridge import tool\n"
        "from typing import Literal\n"
        "def f(a: int, b: Literal[1], c: float): return a, b, c\n"
        "assert tool(f).bind((5.0, 1.0, 2), {}) == ([5, 1, 2.0], {})\n"
        "assert 'numpy' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE)
