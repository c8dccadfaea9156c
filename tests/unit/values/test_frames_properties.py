"""What holds for every frame of pandas: it comes back as it was, or is refused with the column and what mends it."""

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grpc_tool_bridge.errors import SerializationError
from grpc_tool_bridge.values.serialization import deserialize_value, serialize_value
from support.soak import examples

pytestmark = pytest.mark.slow

ROUNDS = settings(max_examples=examples(150), deadline=None, suppress_health_check=list(HealthCheck))

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
moments = st.datetimes(dt.datetime.fromisoformat("1900-01-01"), dt.datetime.fromisoformat("2200-01-01"))
spans = st.timedeltas(dt.timedelta(-9_999), dt.timedelta(9_999))
timestamps = st.builds(
    lambda moment, zone, unit: pd.Timestamp(moment, tz="UTC").tz_convert(zone).as_unit(unit),
    moments,
    st.sampled_from([None, "UTC", "Europe/Berlin", "America/St_Johns"]),
    st.sampled_from(["us", "ns"]),
)
# What stands in a cell, or as a label; all can be hashed.
labels: st.SearchStrategy[Any] = st.deferred(
    lambda: (
        st.none()
        | st.booleans()
        | st.integers(-(2**70), 2**70)
        | st.floats(allow_nan=False)
        | texts
        | st.binary(max_size=4)
        | st.dates()
        | st.times()
        | moments
        | spans
        | st.decimals(allow_nan=False, places=2)
        | st.uuids()
        | timestamps
        | spans.map(pd.Timedelta)
        | st.builds(lambda number: pd.Interval(number, number + 1, closed="left"), st.integers(0, 9))
        | st.builds(lambda number: pd.Period(ordinal=number, freq="M"), st.integers(0, 999))
        | st.integers(-9, 9).map(np.int32)
        | st.lists(labels, max_size=2).map(tuple)
    )
)
cells = st.recursive(
    labels | st.sampled_from([pd.NA, pd.NaT, float("nan")]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


def object_array(values: list[Any]) -> Any:
    array = np.empty(len(values), dtype=object)
    for place, value in enumerate(values):
        array[place] = value
    return array


def of_arrow(kind: Any, items: st.SearchStrategy[Any]) -> tuple[st.SearchStrategy[Any], Any]:
    return items, lambda values: pd.arrays.ArrowExtensionArray(pa.chunked_array([pa.array(values, kind)]))


# Typed for arrays of one kind and not of any.
array_of: Any = pd.array
names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)
small = st.integers(0, 100)
decimals = st.decimals("-99", "99", places=2)
# How a dtype is made of a list of items, None being a missing one.
DTYPES: dict[str, tuple[st.SearchStrategy[Any], Any]] = {
    "int8": (small, lambda values: np.array(values, "i1")),
    "big-endian": (small, lambda values: np.array(values, ">i4")),
    "float16": (small, lambda values: np.array(values, "f2")),
    "float64": (st.floats(), lambda values: np.array(values, "f8")),
    "complex": (st.complex_numbers(), lambda values: np.array(values, "c16")),
    "bool": (st.booleans(), lambda values: np.array(values, "?")),
    "dates": (st.none() | moments, lambda values: array_of(values, dtype="M8[us]")),
    "dates in nanoseconds": (st.integers(0, 2**60), lambda values: np.array(values, "i8").view("M8[ns]")),
    "dates in a zone": (
        moments,
        lambda values: array_of([pd.Timestamp(value, tz="Asia/Tokyo") for value in values], dtype="M8[us, Asia/Tokyo]"),
    ),
    "durations": (spans, lambda values: array_of(values, dtype="m8[us]")),
    "str": (st.none() | texts, lambda values: array_of(values, dtype="str")),
    "string": (st.none() | texts, lambda values: array_of(values, dtype="string")),
    "string in Python": (st.none() | texts, lambda values: array_of(values, dtype=pd.StringDtype("python"))),
    "Int64": (st.none() | st.integers(-(2**63), 2**63 - 1), lambda values: array_of(values, dtype="Int64")),
    "UInt8": (st.none() | small, lambda values: array_of(values, dtype="UInt8")),
    "boolean": (st.none() | st.booleans(), lambda values: array_of(values, dtype="boolean")),
    "Float64": (st.none() | st.floats(allow_nan=False), lambda values: array_of(values, dtype="Float64")),
    "sparse": (st.sampled_from([0, 0, 1]), lambda values: pd.arrays.SparseArray(np.array(values, "i8"))),
    "period": (small, lambda values: array_of([pd.Period(ordinal=value, freq="D") for value in values], "period[D]")),
    "interval": (
        st.none() | small, lambda values: pd.arrays.IntervalArray.from_arrays(
            [float("nan") if value is None else value for value in values],
            [float("nan") if value is None else value + 1 for value in values],
        ),
    ),
    "categories of text": (st.none() | texts, pd.Categorical),
    "categories of ints": (st.none() | small, pd.Categorical),
    "categories of dates": (st.none() | st.dates(), lambda values: pd.Categorical(object_array(values))),
    "categories of intervals": (small, lambda values: pd.cut([*values, 0, 1], 3)[: len(values)]),
    "arrow text": of_arrow(pa.string(), st.none() | texts),
    "arrow decimals": of_arrow(pa.decimal128(9, 2), st.none() | decimals),
    "arrow dates": of_arrow(pa.timestamp("us", "Europe/Berlin"), st.none() | moments),
    "arrow days": of_arrow(pa.date32(), st.none() | st.dates()),
    "arrow lists": of_arrow(pa.list_(pa.int64()), st.none() | st.lists(st.none() | small, max_size=2)),
    "arrow structs": of_arrow(
        pa.struct({"a": pa.int8(), "b": pa.string()}), st.none() | st.fixed_dictionaries({"a": small, "b": texts})
    ),
    "arrow maps": of_arrow(pa.map_(pa.string(), pa.int8()), st.lists(st.tuples(texts, small), max_size=2)),
    "arrow words": of_arrow(pa.dictionary(pa.int8(), pa.string()), st.none() | texts),
    "decimals": (st.none() | st.decimals(allow_nan=False), object_array),
    "objects": (cells, object_array),
    "labels": (labels, object_array),
}  # fmt: skip
# pandas has no index of half floats, and does not swap the bytes of complex numbers.
INDEX_DTYPES = sorted(DTYPES.keys() - {"float16", "objects", "arrow lists", "arrow structs", "arrow maps"})


@st.composite
def arrays(draw: st.DrawFn, length: int, names: list[str]) -> Any:
    items, make = DTYPES[draw(st.sampled_from(names))]
    return make(draw(st.lists(items, min_size=length, max_size=length)))


def as_labels(array: Any) -> Any:
    return pd.Index(array, dtype=array.dtype)


@st.composite
def indexes(draw: st.DrawFn, length: int) -> Any:
    kind = draw(st.sampled_from(["range", "flat", "levels"]))
    if kind == "range":
        index: Any = pd.RangeIndex(3, 3 + 2 * length, 2)
    elif kind == "flat":
        index = as_labels(draw(arrays(length, INDEX_DTYPES)))
    else:
        parts = [as_labels(draw(arrays(length, INDEX_DTYPES))) for _ in range(2)]
        try:
            index = pd.MultiIndex.from_arrays(parts)
        except (TypeError, ValueError, Warning):
            # Labels that pandas cannot sort or tell apart, or warns of.
            index = parts[0]
    return index.set_names([draw(st.none() | texts | labels) for _ in range(index.nlevels)])


@st.composite
def frames(draw: st.DrawFn) -> pd.DataFrame:
    height, width = draw(st.integers(0, 4)), draw(st.integers(0, 4))
    index = draw(indexes(height))
    frame = pd.DataFrame({number: draw(arrays(height, sorted(DTYPES))) for number in range(width)}, index=range(height))
    frame.index = index
    frame.columns = draw(indexes(width))
    return frame


def described(values: Any) -> list[Any]:
    return [(type(value), repr(value)) for value in values]


def assert_same_labels(got: Any, expected: Any) -> None:
    assert type(got) is type(expected)
    assert described(got.names) == described(expected.names)
    for level in range(expected.nlevels):
        assert got.get_level_values(level).dtype == expected.get_level_values(level).dtype
    assert described(got) == described(expected)


@given(frames())
@ROUNDS
def test_a_frame_comes_back_the_same(frame: pd.DataFrame) -> None:
    message = AnyMessage.FromString(serialize_value(frame).SerializeToString())
    back = deserialize_value(message)
    assert_same_labels(back.index, frame.index)
    assert_same_labels(back.columns, frame.columns)
    for position in range(frame.shape[1]):
        old, new = frame.iloc[:, position], back.iloc[:, position]
        assert new.dtype == old.dtype
        assert type(new.array) is type(old.array)
        assert described(new.to_numpy(dtype=object)) == described(old.to_numpy(dtype=object))


@given(frames())
@ROUNDS
def test_a_row_and_a_column_of_a_frame_come_back_as_series_under_their_names(frame: pd.DataFrame) -> None:
    picked = [frame.iloc[:, 0]] if frame.shape[1] else []
    if len(frame) and frame.shape[1]:
        picked.append(frame.iloc[0])
    for series in picked:
        back = deserialize_value(serialize_value(series))
        assert described([back.name]) == described([series.name])
        assert back.dtype == series.dtype
        assert described(back.to_numpy(dtype=object)) == described(series.to_numpy(dtype=object))
        assert_same_labels(back.index, series.index)


@given(frames(), st.data())
@ROUNDS
def test_a_frame_with_bytes_changed_is_read_or_refused(frame: pd.DataFrame, data: st.DataObject) -> None:
    message = serialize_value(frame)
    payload = bytearray(message.value)
    for _ in range(data.draw(st.integers(1, 3))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    try:
        back = deserialize_value(AnyMessage(type_url=message.type_url, value=bytes(payload)))
    except SerializationError:
        return
    assert isinstance(back, pd.DataFrame)


@given(st.lists(st.tuples(names, st.lists(st.none() | st.integers(-9, 9), min_size=3, max_size=3)), max_size=3))
@ROUNDS
def test_a_frame_of_polars_comes_back_the_same(columns: list[tuple[str, list[Any]]]) -> None:
    frame = pl.DataFrame(dict(columns), schema_overrides=dict.fromkeys(dict(columns), pl.Int8))
    back = deserialize_value(serialize_value(frame))
    assert back.schema == frame.schema
    assert back.equals(frame)
