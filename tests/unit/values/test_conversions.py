"""Arrays and columns as plain lists."""

import datetime as dt
import decimal
import re
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from grpc_tool_bridge.errors import SerializationError, ValidationError
from grpc_tool_bridge.tools.tool import as_tool
from grpc_tool_bridge.values.conversions import read_as, to_list
from grpc_tool_bridge.values.serialization import deserialize_value, serialize_value

NAN = float("nan")
DAY = dt.date(2026, 1, 1)
NOON = dt.datetime.fromisoformat("2026-01-01T12:00")
LISTS: dict[str, tuple[Any, Any]] = {
    "ints": (np.array([1, 2], "i1"), [1, 2]),
    "floats": (np.array([1, NAN], "f4"), [1.0, NAN]),
    "truth values": (np.array([True, False]), [True, False]),
    "text": (np.array(["a", "bc"]), ["a", "bc"]),
    "bytes": (np.array([b"a"]), [b"a"]),
    "complex": (np.array([1j]), [1j]),
    "rows": (np.arange(4).reshape(2, 2), [[0, 1], [2, 3]]),
    "no rows": (np.zeros((0, 2)), []),
    "days": (np.array(["2026-01-01", "NaT"], "M8[D]"), [DAY, None]),
    "nanoseconds": (np.array([["2026-01-01T12:00", "NaT"]], "M8[ns]"), [[NOON, None]]),
    "seconds": (np.array(["2026-01-01T12:00"], "M8[s]"), [NOON]),
    "durations": (np.array([1_000, 2_000], "m8[ns]"), [dt.timedelta(0, 0, 1), dt.timedelta(0, 0, 2)]),
    "objects": (np.array([[pd.Timestamp(NOON), pd.NA]], dtype=object), [[NOON, None]]),
    "masked": (np.ma.array([1, 2], mask=[False, True]), [1, None]),
    "matrix": (np.array([[1, 2]]).view(np.matrix), [[1, 2]]),
    "Series": (pd.Series([1, 2]), [1, 2]),
    "Series of floats": (pd.Series([1.5, NAN]), [1.5, NAN]),
    "Series of str": (pd.Series(["a", None]), ["a", None]),
    "Series of string": (pd.Series(["a", None], dtype="string"), ["a", None]),
    "Series of objects": (pd.Series(["a", NAN, None, pd.NA, pd.NaT], dtype=object), ["a", NAN, None, None, None]),
    "Series of dates": (pd.Series([NOON, None]), [NOON, None]),
    "Series of Int64": (pd.Series([1, None], dtype="Int64"), [1, None]),
    "Series of Float64": (pd.Series([1.5, None], dtype="Float64"), [1.5, None]),
    "Series of timedeltas": (pd.Series([dt.timedelta(1)]), [dt.timedelta(1)]),
    "sparse": (pd.Series(pd.arrays.SparseArray([0, 1])), [0, 1]),
    "decimals of arrow": (
        pd.Series([decimal.Decimal("1.10"), None], dtype=pd.ArrowDtype(pa.decimal128(5, 2))),
        [decimal.Decimal("1.10"), None],
    ),
    "lists of arrow": (pd.Series([[1], None], dtype=pd.ArrowDtype(pa.list_(pa.int64()))), [[1], None]),
    "Index": (pd.Index([1, 2]), [1, 2]),
    "RangeIndex": (pd.RangeIndex(2), [0, 1]),
    "MultiIndex": (pd.MultiIndex.from_tuples([("a", 1)]), [("a", 1)]),
    "DatetimeIndex": (pd.DatetimeIndex([NOON]), [NOON]),
    "Categorical": (pd.Categorical(["a", None]), ["a", None]),
    "Categorical of ints": (pd.Categorical([1, None]), [1, None]),
    "unique texts": (pd.Series(["b", "a"]).unique(), ["b", "a"]),
    "array of numpy": (pd.arrays.NumpyExtensionArray(np.array([1, 2])), [1, 2]),
    "polars.Series": (pl.Series([1, None]), [1, None]),
    "polars.Series of floats": (pl.Series([1.5, NAN, None]), [1.5, NAN, None]),
    "polars.Series of text": (pl.Series(["a", None]), ["a", None]),
    "polars.Series of dates": (pl.Series([DAY]), [DAY]),
    "polars.Series of nanoseconds": (pl.Series([NOON], dtype=pl.Datetime("ns")), [NOON]),
    "polars.Series of categories": (pl.Series(["a"], dtype=pl.Categorical), ["a"]),
    "polars.Series of lists": (pl.Series([[1, 2], []]), [[1, 2], []]),
    "polars.Series of structs": (pl.Series([{"a": NOON}], dtype=pl.Struct({"a": pl.Datetime("ns")})), [{"a": NOON}]),
    "arrow": (pa.array([1, None]), [1, None]),
    "arrow in chunks": (pa.chunked_array([["a"], ["b"]]), ["a", "b"]),
    "arrow of nanoseconds": (pa.array([NOON], pa.timestamp("ns")), [NOON]),
    "arrow of times": (pa.array([dt.time(1)], pa.time64("ns")), [dt.time(1)]),
    "arrow of durations": (pa.array([1_000], pa.duration("ns")), [dt.timedelta(0, 0, 1)]),
    "arrow of lists of dates": (pa.array([[NOON]], pa.list_(pa.timestamp("ns"))), [[NOON]]),
    "arrow of dictionaries": (pa.array(["a"]).dictionary_encode(), ["a"]),
}


def described(value: Any) -> Any:
    if type(value) in (list, tuple):
        return [*map(described, value)]
    return (type(value), repr(value))


@pytest.mark.parametrize("name", LISTS)
def test_an_array_is_a_list_of_python_values(name: str) -> None:
    value, expected = LISTS[name]
    got = to_list(value)
    assert type(got) is list
    assert described(got) == described(expected)


NONE_OF_THEM: list[Any] = [
    5, "x", [1], (1,), None, np.float64(1), np.array(5), pd.DataFrame({"a": [1]}), pl.DataFrame({"a": [1]}),
    pl.LazyFrame({"a": [1]}), pa.table({"a": [1]}), pd.Timestamp(0), pa.scalar([1]), np.dtype("f8"),
]  # fmt: skip


@pytest.mark.parametrize("value", NONE_OF_THEM, ids=lambda value: type(value).__name__)
def test_what_is_no_array_is_no_list(value: Any) -> None:
    assert to_list(value) is None


@pytest.mark.parametrize(
    "value",
    [
        np.array([1], "M8[ns]"),
        np.array([1], "m8[ns]"),
        np.array([1], "m8[Y]"),
        np.array(["20260-01-01"], "M8[D]"),
        np.zeros(1, dtype=[("a", "M8[ns]")]),
        pd.Series([pd.Timestamp(1)]),
        pd.Series([pd.Timedelta(1)]),
        pl.Series([1], dtype=pl.Int64).cast(pl.Datetime("ns")),
        pl.Series([1], dtype=pl.Int64).cast(pl.Time),
        pl.Series([1], dtype=pl.Int64).cast(pl.Duration("ns")),
        pa.array([1], pa.timestamp("ns")),
        pa.array([1], pa.time64("ns")),
        pa.array([[1]], pa.list_(pa.time64("ns"))),
        pa.array([1], pa.duration("ns")),
    ],
    ids=str,
)
def test_what_python_cannot_hold_is_refused_and_not_cut(value: Any) -> None:
    with pytest.raises(SerializationError):
        to_list(value)


class Frame(pd.DataFrame):
    """A DataFrame that is made as one."""


class Odd(pd.DataFrame):
    """A DataFrame that is made in a way of its own."""

    def __init__(self, rows: int) -> None:
        raise AssertionError("its constructor takes no frame")


class Column(pd.Series):
    """A Series that is made as one."""


def sent(value: Any) -> Any:
    return deserialize_value(serialize_value(value))


ANNOTATED: dict[str, tuple[Any, Any]] = {
    "pl.Series": (pl.Series, pl.Series("x", [1, None])),
    "pl.Series without a name": (pl.Series, pl.Series(["a"])),
    "pl.LazyFrame": (pl.LazyFrame, pl.LazyFrame({"a": [1]})),
    "pl.DataFrame": (pl.DataFrame, pl.DataFrame({"a": [1]})),
    "pa.Table": (pa.Table, pa.table({"a": [1]})),
    "pa.RecordBatch": (pa.RecordBatch, pa.record_batch({"a": [1]})),
    "pa.RecordBatch of no rows": (pa.RecordBatch, pa.record_batch({"a": pa.array([], pa.int8())})),
    "pa.ChunkedArray": (pa.ChunkedArray, pa.chunked_array([[1], [2]])),
    "pa.Array": (pa.Array, pa.array(["x"])),
    "pa.Array of no rows": (pa.Array, pa.array([], pa.int8())),
    "pa.Int64Array": (pa.Int64Array, pa.array([1, None])),
    "pa.StringArray": (pa.StringArray, pa.array(["x"])),
    "pa.Scalar": (pa.Scalar, pa.scalar(5)),
    "pa.Buffer": (pa.Buffer, pa.py_buffer(b"x")),
    "pd.Categorical": (pd.Categorical, pd.Categorical(["a", None])),
    "pd.arrays.IntervalArray": (pd.arrays.IntervalArray, pd.interval_range(0, 2).array),
    "pd.arrays.IntegerArray": (pd.arrays.IntegerArray, pd.array([1, None])),
    "pd.arrays.ArrowExtensionArray": (pd.arrays.ArrowExtensionArray, pd.array([1], dtype="int64[pyarrow]")),
    "pd.api.extensions.ExtensionArray": (pd.api.extensions.ExtensionArray, pd.Series(["x"]).unique()),
    "pd.Timestamp": (pd.Timestamp, pd.Timestamp("2026-01-01 12:00", tz="Europe/Berlin")),
    "pd.Timedelta": (pd.Timedelta, pd.Timedelta("1s")),
    "pd.DatetimeIndex": (pd.DatetimeIndex, pd.date_range("2026", periods=2)),
    "pd.MultiIndex": (pd.MultiIndex, pd.MultiIndex.from_tuples([("a", 1)])),
    "pd.DataFrame": (pd.DataFrame, pd.DataFrame({"a": [1]})),
    "subclass of pd.DataFrame": (Frame, Frame({"a": [1]})),
    "subclass of pd.Series": (Column, Column([1], name="x")),
    "np.ndarray": (np.ndarray, np.arange(3)),
    "np.ma.MaskedArray": (np.ma.MaskedArray, np.ma.array([1, 2])),
}


def written(value: Any) -> str:
    return re.sub(r"0x[0-9a-f]+", "", repr(value.collect() if isinstance(value, pl.LazyFrame) else value))


MOMENT = dt.datetime.fromisoformat("2026-01-01 10:00")
NUMPYS: list[tuple[Any, Any, Any]] = [
    (np.int64, 3, np.int64(3)),
    (np.int64, 3.0, np.int64(3)),
    (np.int64, np.int32(3), np.int64(3)),
    (np.uint8, 255, np.uint8(255)),
    (np.float64, 1.5, np.float64(1.5)),
    (np.float64, 3, np.float64(3)),
    (np.float64, float("nan"), np.float64("nan")),
    (np.float32, 0.1, np.float32(0.1)),
    (np.complex128, 1j, np.complex128(1j)),
    (np.bool_, True, np.bool_(True)),
    (np.str_, "a", np.str_("a")),
    (np.bytes_, b"a", np.bytes_(b"a")),
    (np.datetime64, MOMENT, np.datetime64(MOMENT)),
    (np.datetime64, dt.date(2026, 1, 1), np.datetime64("2026-01-01")),
    (np.timedelta64, dt.timedelta(1), np.timedelta64(dt.timedelta(1))),
    (pd.Timestamp, np.datetime64("2026-01-01T00:00:00.000000001"), pd.Timestamp("2026-01-01T00:00:00.000000001")),
    (pd.Timedelta, np.timedelta64(3, "h"), pd.Timedelta("3h")),
]


@pytest.mark.parametrize(("cls", "value", "wanted"), NUMPYS, ids=str)
def test_a_scalar_of_numpy_or_pandas_is_made_of_what_means_the_same(cls: Any, value: Any, wanted: Any) -> None:
    made = read_as(cls, value)
    assert type(made) is type(wanted)
    assert repr(made) == repr(wanted)


@pytest.mark.parametrize("name", ANNOTATED)
def test_a_tool_gets_the_class_that_it_asks_for(name: str) -> None:
    cls, value = ANNOTATED[name]
    assert written(read_as(cls, sent(value))) == written(value)

    def function(item, others):  # type: ignore[no-untyped-def]  # annotated below
        return [item, *others]

    function.__annotations__ = {"item": cls, "others": list[cls]}  # type: ignore[valid-type]  # a class of the table
    _, bound = as_tool(function).bind([], {"item": sent(value), "others": sent([value])})
    for got in (bound["item"], *bound["others"]):
        assert isinstance(got, cls)
        assert written(got) == written(value)


def test_a_tool_refuses_what_its_class_cannot_be_made_of() -> None:
    def function(item: pl.Series) -> None: ...

    with pytest.raises(ValidationError, match=r"item.*Series"):
        as_tool(function).bind([sent(pl.DataFrame({"a": [1], "b": [2]}))], {})


UNFIT: list[tuple[Any, Any]] = [
    (pl.Series, pl.DataFrame({"a": [1], "b": [2]})),
    (pl.Series, 5),
    (pa.Array, pa.table({"a": [1]})),
    (pa.StringArray, pa.table({"values": [1]})),
    (pa.ChunkedArray, pa.table({"values": [1], "b": [2]})),
    (pa.Buffer, "x"),
    (pa.StringScalar, 5),
    (pd.Categorical, pd.Series([1])),
    (pd.Timestamp, "2026-01-01"),
    (pd.Timestamp, dt.date(2026, 1, 1)),
    (pd.Timestamp, None),
    (Odd, pd.DataFrame({"a": [1]})),
    (np.ndarray, [1, 2]),
    (pd.DataFrame, [1]),
    (np.int64, 1.5),
    (np.int64, True),
    (np.int64, "3"),
    (np.int64, np.timedelta64(3, "D")),
    (np.int8, 300),
    (np.float32, 1e300),
    (np.bool_, 1),
    (np.str_, 3),
    (np.str_, "a\0"),
    (np.bytes_, b"a\0"),
    (np.timedelta64, 5),
    (np.datetime64, 5),
    (np.datetime64, dt.datetime(2026, 1, 1, tzinfo=dt.UTC)),
    (np.number, 3),
    (pd.Timestamp, np.datetime64("NaT", "s")),
    (pd.Timedelta, np.timedelta64(3, "Y")),
    (str, 5),
    (object, 5),
]


@pytest.mark.parametrize(("cls", "value"), UNFIT, ids=str)
def test_what_cannot_be_made_is_left_as_it_is(cls: Any, value: Any) -> None:
    assert read_as(cls, value) is value
