"""What the data packages make, and what looks like it: the nearest row, or refused with what to send."""

import datetime as dt
import io
import re
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from numpy._core.defchararray import chararray

from grpc_tool_bridge.errors import MessageTooLargeError, SerializationError
from grpc_tool_bridge.values import data
from grpc_tool_bridge.values.data import pack_data
from grpc_tool_bridge.values.serialization import deserialize_value, serialize_value

BERLIN = ZoneInfo("Europe/Berlin")


class Frame(pd.DataFrame):
    """A DataFrame as GeoPandas makes one."""

    @property
    def _constructor(self) -> Any:
        return Frame


class Column(pd.Series):
    """A Series of a class of its own."""

    @property
    def _constructor(self) -> Any:
        return Column


class Array(np.ndarray[Any, Any]):
    """An array of a class of its own."""


class PolarsFrame(pl.DataFrame):
    """A polars.DataFrame of a class of its own."""


class Number(np.float64):
    """A scalar of a class of its own."""


class Moment(pd.Timestamp):
    """A Timestamp of a class of its own."""


class ByArray:
    """A stranger, as torch.Tensor is."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self.array


class ByInterface:
    """A stranger, as an image of Pillow is."""

    def __init__(self) -> None:
        self.array = np.array([[1, 2]], "u1")

    @property
    def __array_interface__(self) -> Any:
        return self.array.__array_interface__


class ByStream:
    """A stranger, as a relation of DuckDB is."""

    def __init__(self, table: Any) -> None:
        self.table = table

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self.table.__arrow_c_stream__(requested_schema)


class ByCArray:
    """A stranger, as an array or a batch of nanoarrow is."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __arrow_c_array__(self, requested_schema: Any = None) -> Any:
        return self.array.__arrow_c_array__(requested_schema)


class ByBoth(ByStream):
    """A frame of another package."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise AssertionError("a table says more than an array")


class Broken:
    """A stranger whose memory is elsewhere."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor")

    def __str__(self) -> str:
        return "Broken"


class BrokenStream:
    """A stranger that has no stream."""

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        raise ValueError("the connection is closed")


def round_trip(value: Any) -> Any:
    return deserialize_value(AnyMessage.FromString(serialize_value(value).SerializeToString()))


def same(got: Any, expected: Any) -> bool:
    if type(got) is not type(expected):
        return False
    if isinstance(got, pd.DataFrame | pd.Series | pl.DataFrame | pa.Table):
        return bool(got.equals(expected)) and getattr(got, "attrs", {}) == getattr(expected, "attrs", {})
    if isinstance(got, np.ndarray):
        return got.dtype == expected.dtype and np.array_equal(got, expected)
    if isinstance(got, tuple):
        return len(got) == len(expected) and all(map(same, got, expected))
    return repr(got) == repr(expected)


def with_attrs(frame: Any) -> Any:
    frame.attrs["unit"] = "m"
    return frame


TABLE = pa.table({"a": [1, 2]})
ROWS: dict[str, tuple[Any, Any]] = {
    # numpy
    "subclass of ndarray": (np.arange(3).view(Array), np.arange(3)),
    "matrix": (np.array([[1, 2]]).view(np.matrix), np.array([[1, 2]])),
    # NumPy 2.5 warns of its public name.
    "chararray": (np.array(["a", "b"]).view(chararray), np.array(["a", "b"])),
    "recarray without fields": (np.arange(3).view(np.recarray), np.arange(3)),
    "masked array with nothing masked": (np.ma.array([1, 2]), np.array([1, 2])),
    "masked array with a mask of nothing": (np.ma.array([1, 2], mask=[False, False]), np.array([1, 2])),
    "masked array of no dimensions": (np.ma.array(5), np.array(5)),
    "subclass of a scalar": (Number(1.5), np.float64(1.5)),
    # pandas
    "subclass of DataFrame": (with_attrs(Frame({"a": [1]})), with_attrs(pd.DataFrame({"a": [1]}))),
    "subclass of Series": (with_attrs(Column([1], name="x")), with_attrs(pd.Series([1], name="x"))),
    "Categorical": (pd.Categorical(["a", None, "a"]), pd.Series(pd.Categorical(["a", None, "a"]))),
    "unique texts": (pd.Series(["b", "a", "b"]).unique(), pd.Series(["b", "a"])),
    "unique categories": (pd.Series(["b"], dtype="category").unique(), pd.Series(["b"], dtype="category")),
    "array of str": (pd.array(["x", None], dtype="str"), pd.Series(["x", None], dtype="str")),
    "array of string": (pd.array(["x", None], dtype="string"), pd.Series(["x", None], dtype="string")),
    "array of Int64": (pd.array([1, None]), pd.Series([1, None], dtype="Int64")),
    "array of boolean": (pd.array([True, None]), pd.Series([True, None], dtype="boolean")),
    "array of numpy": (pd.arrays.NumpyExtensionArray(np.array([1, 2])), pd.Series([1, 2])),
    "array of dates": (pd.date_range("2026", periods=2).array, pd.Series(pd.date_range("2026", periods=2))),
    "array of periods": (
        pd.period_range("2026", periods=2, freq="Y").array, pd.Series(pd.period_range("2026", periods=2, freq="Y")),
    ),
    "array of intervals": (pd.interval_range(0, 2).array, pd.Series(pd.interval_range(0, 2))),
    "array of arrow": (
        pd.array([1, None], dtype="int64[pyarrow]"), pd.Series(pd.array([1, None], dtype="int64[pyarrow]")),
    ),
    "sparse array": (pd.arrays.SparseArray([0, 1]), pd.Series(pd.arrays.SparseArray([0, 1]))),
    "Timestamp": (pd.Timestamp("2026-01-01 12:00:00.000001"), dt.datetime.fromisoformat("2026-01-01 12:00:00.000001")),
    "Timestamp with a zone": (
        pd.Timestamp("2026-01-01", tz="Europe/Berlin"), dt.datetime(2026, 1, 1, tzinfo=BERLIN),
    ),
    "the second of two hours": (
        pd.Timestamp("2026-10-25 01:30", tz="UTC").tz_convert("Europe/Berlin"),
        dt.datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1),
    ),
    "subclass of Timestamp": (Moment("2026-01-01"), dt.datetime.fromisoformat("2026-01-01")),
    "Timedelta": (pd.Timedelta("-1 days 00:00:00.000001"), dt.timedelta(-1, microseconds=1)),
    "NaT": (pd.NaT, None),
    "NA": (pd.NA, None),
    # polars
    "polars.Series": (pl.Series("x", [1, None]), pl.DataFrame({"x": [1, None]})),
    "polars.Series without a name": (pl.Series([1]), pl.DataFrame({"": [1]})),
    "polars.LazyFrame": (pl.LazyFrame({"a": [1, 2]}).filter(pl.col("a") > 1), pl.DataFrame({"a": [2]})),
    "subclass of polars.DataFrame": (PolarsFrame({"a": [1]}), pl.DataFrame({"a": [1]})),
    # pyarrow
    "RecordBatch": (pa.record_batch({"a": [1, 2]}), TABLE),
    "ChunkedArray": (pa.chunked_array([[1], [2]]), pa.table({"values": [1, 2]})),
    "arrow array": (pa.array(["x", None]), pa.table({"values": ["x", None]})),
    "arrow array of structs": (pa.array([{"a": 1}]), pa.table({"values": [{"a": 1}]})),
    "dictionary array": (
        pa.array(["x"]).dictionary_encode(), pa.table({"values": pa.array(["x"]).dictionary_encode()}),
    ),
    "RecordBatchReader": (TABLE.to_reader(), TABLE),
    "arrow tensor": (pa.Tensor.from_numpy(np.ones((2, 2))), np.ones((2, 2))),
    "buffer": (pa.py_buffer(b"abc"), b"abc"),
    "scalar": (pa.scalar(5), 5),
    "scalar of text": (pa.scalar("x"), "x"),
    "scalar of a list": (pa.scalar([1, 2]), [1, 2]),
    "scalar of a struct": (pa.scalar({"a": [1]}), {"a": [1]}),
    "scalar of a date": (pa.scalar(dt.date(2026, 1, 1)), dt.date(2026, 1, 1)),
    "scalar of nanoseconds": (pa.scalar(0, pa.timestamp("ns")), dt.datetime.fromisoformat("1970-01-01")),
    "null": (pa.scalar(None, pa.int64()), None),
    # strangers, and what numpy has of the kind
    "row of itertuples": (next(pd.DataFrame({"a": [1], "b": ["x"]}).itertuples()), (0, 1, "x")),
    "groups by key": (
        pd.DataFrame({"a": ["x", "y"]}).groupby("a").groups, {"x": pd.RangeIndex(1), "y": pd.RangeIndex(1, 2)},
    ),
    "names of levels": (pd.Index([1], name="i").names, ["i"]),
    "unique values and counts": (np.unique_counts(np.array([1, 1])), (np.array([1]), np.array([2]))),
    "parts of a matrix": (np.linalg.eigh(np.eye(1)), (np.array([1.0]), np.array([[1.0]]))),
    "polynomial": (np.poly1d([1, 2]), np.array([1, 2])),
    "by __array__": (ByArray(np.arange(3)), np.arange(3)),
    "by __array__, of no dimensions": (ByArray(np.array(5)), np.array(5)),
    "by __array__, of a class of its own": (ByArray(np.arange(3).view(Array)), np.arange(3)),
    "by __array_interface__": (ByInterface(), np.array([[1, 2]], "u1")),
    "by __arrow_c_stream__": (ByStream(TABLE), TABLE),
    "by __arrow_c_stream__ of one column": (ByStream(pa.chunked_array([[1, 2]])), pa.table({"values": [1, 2]})),
    "by __arrow_c_array__": (ByCArray(pa.array([1, 2])), pa.table({"values": [1, 2]})),
    "by __arrow_c_array__ of a batch": (ByCArray(pa.record_batch({"a": [1, 2]})), TABLE),
    "by both": (ByBoth(TABLE), TABLE),
}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in ROWS if name != "RecordBatchReader"])
def test_what_looks_like_a_row_of_the_table_travels_as_that_row_at_every_level(name: str) -> None:
    value, expected = ROWS[name]
    for back in (round_trip(value), round_trip([value])[0], round_trip({"a": (value, 1j)})["a"][0]):
        assert same(back, expected), (back, expected)


def test_a_reader_of_batches_is_read_once() -> None:
    assert same(round_trip(TABLE.to_reader()), TABLE)
    assert same(round_trip([TABLE.to_reader()])[0], TABLE)


def test_rows_of_itertuples_and_pieces_of_a_file_are_lists() -> None:
    frame = pd.DataFrame({"a": [1, 2]})
    assert round_trip(frame.itertuples(index=False)) == [(1,), (2,)]
    pieces = pd.read_csv(io.StringIO(frame.to_csv(index=False)), chunksize=1)
    assert pd.concat(round_trip(pieces)).equals(frame)
    assert round_trip({"a": frame.itertuples(name=None)}) == {"a": [(0, 1), (1, 2)]}


def test_a_memory_map_travels_as_its_array(tmp_path: Path) -> None:
    mapped = np.memmap(tmp_path / "numbers", dtype="i4", mode="w+", shape=(3,))
    mapped[:] = [1, 2, 3]
    assert same(round_trip(mapped), np.array([1, 2, 3], "i4"))


REFUSED: dict[str, tuple[Any, str]] = {
    "masked values": (np.ma.array([1, 2], mask=[False, True]), "filled(...)"),
    "masked": (np.ma.masked, "filled(...)"),
    "recarray": (np.rec.array([(1, 2.5)], dtype=[("a", "i4"), ("b", "f8")]), "astype()"),
    "array of objects": (np.array([1, "a"], dtype=object), "send it as a list"),
    "array of objects by __array__": (ByArray(np.array([1, "a"], dtype=object)), "send it as a list"),
    "dtype": (np.dtype("f8"), "send str() of it"),
    "generator": (np.random.default_rng(0), "send its seed"),
    "function of numpy": (np.mean, "send plain data"),
    "ufunc": (np.add, "send its name"),
    "Timestamp of nanoseconds": (pd.Timestamp(1), 'value.floor("us")'),
    "Timestamp beyond year 9999": (pd.Timestamp(np.datetime64(10**12, "s")), "send str() of it"),
    "Timedelta of nanoseconds": (pd.Timedelta(1), 'value.floor("us")'),
    "Period": (pd.Period("2026-01"), "send its start_time"),
    "Interval": (pd.Interval(0, 1), "[interval.left, interval.right]"),
    "DateOffset": (pd.offsets.MonthEnd(), "send its freqstr"),
    "DateOffset of several": (pd.DateOffset(months=1), "send its freqstr"),
    "dtype of pandas": (pd.Int64Dtype(), "send str() of it"),
    "categories": (pd.CategoricalDtype(["a"]), "send str() of it"),
    "groups": (pd.DataFrame({"a": [1]}).groupby("a"), "groups.sum()"),
    "groups of a Series": (pd.Series([1]).groupby([1]), "groups.sum()"),
    "rolling": (pd.Series([1]).rolling(1), "window.mean()"),
    "expanding": (pd.Series([1]).expanding(), "window.mean()"),
    "resampler": (pd.Series([1], index=pd.date_range("2026", periods=1)).resample("D"), "groups.sum()"),
    "accessor": (pd.Series(["a"]).str, "send plain data"),
    "Expr": (pl.col("a"), "frame.select(expression)"),
    "groups of polars": (pl.DataFrame({"a": [1]}).group_by("a"), "groups.sum()"),
    "dtype of polars": (pl.Int64, "send str() of it"),
    "dtype of polars with parameters": (pl.Datetime("ns"), "send str() of it"),
    "schema of arrow": (TABLE.schema, "schema.empty_table()"),
    "field of arrow": (pa.field("a", pa.int64()), "its name and type"),
    "type of arrow": (pa.int64(), "send str() of it"),
    "scalar of nanoseconds": (pa.scalar(1, pa.timestamp("ns")), 'value.floor("us")'),
    "scalar of a time of nanoseconds": (pa.scalar(1, pa.time64("ns")), 'cast("time64[us]"'),
    "a frame that fails when it is collected": (pl.LazyFrame({"a": [1]}).select("b"), "collect()"),
    "array elsewhere": (Broken(), "cuda:0"),
    "stream that fails": (BrokenStream(), "the connection is closed"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_form_is_refused_with_what_to_send_and_never_becomes_its_text(name: str) -> None:
    value, reason = REFUSED[name]
    for sent in (value, [value], {"a": (value, 1j)}):
        with pytest.raises(SerializationError, match=re.escape(reason)):
            serialize_value(sent)


def test_a_stream_without_end_is_refused_as_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "_MAX_STREAM_BYTES", 1_000)
    batch = pa.record_batch({"a": [1] * 100})

    def batches() -> Any:
        while True:
            yield batch

    for value in (
        pa.RecordBatchReader.from_batches(batch.schema, batches()),
        ByStream(pa.RecordBatchReader.from_batches(batch.schema, batches())),
    ):
        with pytest.raises(MessageTooLargeError):
            serialize_value(value)


@pytest.mark.parametrize("value", [object(), 5, "x", [1], dt.date(2026, 1, 1), int, pd.DataFrame, pd])
def test_what_no_data_package_made_is_left_to_others(value: Any) -> None:
    assert pack_data(value) is None


class Waits(BaseException):
    """Raised where code of others would run."""


@pytest.mark.parametrize(
    "value",
    [
        ByArray(np.arange(3)),
        ByInterface(),
        ByStream(TABLE),
        ByCArray(pa.array([1])),
        pl.LazyFrame({"a": [1]}),
        TABLE.to_reader(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_code_of_others_is_announced_before_it_runs(value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    announced = []

    def foreign(item: object) -> None:
        announced.append(item)
        raise Waits

    monkeypatch.setattr(data, "foreign", foreign)
    for sent in (value, [value]):
        with pytest.raises(Waits):
            serialize_value(sent)
    assert announced == [value, value]
