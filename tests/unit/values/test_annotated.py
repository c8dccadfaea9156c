"""What arrived, as the class that a parameter is annotated with."""

import datetime as dt
import re
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.tools.tool import as_tool
from grpc_tool_bridge.values.data import read_as
from grpc_tool_bridge.values.serialization import deserialize_value, serialize_value


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
    (pd.Timestamp, np.datetime64("NaT")),
    (pd.Timedelta, np.timedelta64(3, "Y")),
    (str, 5),
    (object, 5),
]


@pytest.mark.parametrize(("cls", "value"), UNFIT, ids=str)
def test_what_cannot_be_made_is_left_as_it_is(cls: Any, value: Any) -> None:
    assert read_as(cls, value) is value
