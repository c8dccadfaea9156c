"""Arrays and columns as plain lists."""

import datetime as dt
import decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from grpc_tool_bridge.errors import SerializationError
from grpc_tool_bridge.values.data import to_list

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
