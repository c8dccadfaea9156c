"""Columns that pyarrow alone would change or refuse."""

import datetime as dt
import decimal
import json
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage

from grpc_tool_bridge.errors import SerializationError
from grpc_tool_bridge.rpc.wireformat import TYPE_PREFIX, read_bytes_field
from grpc_tool_bridge.values.arrow_stream import write_inner, write_stream
from grpc_tool_bridge.values.serialization import deserialize_value, serialize_value

DATES = pd.date_range("2026-01-01", periods=3)
ZONED = DATES.tz_localize("Europe/Berlin")
NAT: Any = pd.NaT
NONE: Any = None
NOON = dt.datetime.fromisoformat("2026-01-01T12:00")


def round_trip(value: Any) -> Any:
    return deserialize_value(AnyMessage.FromString(serialize_value(value).SerializeToString()))


def objects(*values: Any) -> Any:
    array = np.empty(len(values), dtype=object)
    for place, value in enumerate(values):
        array[place] = value
    return pd.Series(array, dtype=object)


def arrow(kind: Any, *values: Any) -> Any:
    return pd.Series(pd.arrays.ArrowExtensionArray(pa.chunked_array([pa.array(values, kind)])))


OBJECTS = {
    "decimals of different scale": objects(decimal.Decimal("1.10"), decimal.Decimal("1.1"), None),
    "decimals that are no numbers": objects(decimal.Decimal("NaN"), decimal.Decimal("-Infinity")),
    "tuples": objects((1, "a"), (2.5, None)),
    "lists of two kinds": objects([1, "a"], []),
    "dicts of other keys": objects({"a": 1}, {"b": 1}),
    "dicts of keys that are no text": objects({1: "a"}, {(1, 2): {3}}),
    "sets": objects({1}, frozenset({2})),
    "text and numbers": objects("x", 1),
    "numbers and truth values": objects(1, True, 1.0, 2**80, 1j),
    "text and bytes": objects("1", b"1"),
    "missing values of every kind": objects("x", None, np.nan, pd.NA, NAT),
    "NA": objects("x", pd.NA),
    "NaT": objects("x", NAT),
    "dates and times": objects(dt.date(2026, 1, 1), NOON, dt.time(1), dt.timedelta(1)),
    "timestamps": objects(pd.Timestamp(1), "x", pd.Timestamp("2026-10-25 01:00", tz="UTC").tz_convert("Europe/Berlin")),
    "timestamps of other units": objects(pd.Timestamp("2026").as_unit("s"), pd.Timestamp("2026").as_unit("ns"), 1),
    "timestamps alone": objects(pd.Timestamp("2026"), pd.Timestamp(1)),
    "timedeltas": objects(pd.Timedelta(1), pd.Timedelta("1D").as_unit("s"), 1),
    "periods": objects(pd.Period("2026-01", "M"), pd.Period("2026", "Y")),
    "intervals": objects(pd.Interval(0, 1), pd.Interval(pd.Timestamp(0), pd.Timestamp(1), closed="both")),
    "pandas in containers": objects([pd.Timestamp(1), (pd.NA,)], {pd.Timestamp(2): {pd.Timedelta(3)}}),
    "numpy scalars": objects(np.int64(1), np.float32(1.5), np.str_("x"), np.datetime64(1, "ns"), np.True_),
    "numpy arrays": objects(np.arange(2), np.arange(2)),
    "nothing": objects(),
    "None": objects(None, None),
}
ARROW = {
    "string": arrow(pa.string(), "x", None),
    "large_string": arrow(pa.large_string(), "x", None),
    "binary": arrow(pa.binary(), b"x", None),
    "large_binary": arrow(pa.large_binary(), b"x", None),
    "fixed size binary": arrow(pa.binary(2), b"xy", None),
    "decimal32": arrow(pa.decimal32(5, 2), decimal.Decimal("1.10"), None),
    "decimal64": arrow(pa.decimal64(5, 2), decimal.Decimal("1.10"), None),
    "decimal128": arrow(pa.decimal128(5, 2), decimal.Decimal("1.10"), None),
    "decimal256": arrow(pa.decimal256(50, 2), decimal.Decimal("1.10"), None),
    "date32": arrow(pa.date32(), dt.date(2026, 1, 1), None),
    "date64": arrow(pa.date64(), dt.date(2026, 1, 1), None),
    "time32": arrow(pa.time32("ms"), dt.time(1), None),
    "time64": arrow(pa.time64("ns"), dt.time(1), None),
    "duration": arrow(pa.duration("ns"), dt.timedelta(1), None),
    "timestamp": arrow(pa.timestamp("ms"), NOON, None),
    "timestamp with zone": arrow(pa.timestamp("us", "Europe/Berlin"), NOON, None),
    "interval": arrow(pa.month_day_nano_interval(), (1, 2, 3), None),
    "bool": arrow(pa.bool_(), True, None),
    "uint8": arrow(pa.uint8(), 255, None),
    "int64": arrow(pa.int64(), 2**62 + 1, None),
    "float16": arrow(pa.float16(), np.float16(1), None),
    "double": arrow(pa.float64(), 1.5, float("inf"), None),
    "null": arrow(pa.null(), None),
    "list": arrow(pa.list_(pa.int64()), [1, None], None),
    "large_list": arrow(pa.large_list(pa.string()), ["x"], []),
    "fixed size list": arrow(pa.list_(pa.int64(), 2), [1, 2], None),
    "struct": arrow(pa.struct({"a": pa.int64(), "b": pa.string()}), {"a": 1, "b": None}, None),
    "map": arrow(pa.map_(pa.string(), pa.int64()), [("a", 1)], None),
    "dictionary": arrow(pa.dictionary(pa.int8(), pa.string()), "x", "x", None),
    "list of dictionaries": arrow(pa.list_(pa.dictionary(pa.int8(), pa.string())), ["x", "x"]),
}
CATEGORIES = {
    "intervals by cut": pd.Series(pd.cut([1, 2, 3], 2)),
    "intervals by qcut": pd.Series(pd.qcut([1.5, 2, 3, 9], 2)),
    "labels by cut": pd.Series(pd.cut([1, 2, 3], 2, labels=["low", "high"])),
    "intervals of dates": pd.Series(pd.cut(DATES, 2)),
    "timestamps": pd.Series(pd.Categorical(DATES)),
    "timestamps with a zone": pd.Series(pd.Categorical(ZONED)),
    "timedeltas": pd.Series(pd.Categorical(pd.to_timedelta([1, 2]))),
    "periods": pd.Series(pd.Categorical(pd.period_range("2026-01", periods=2, freq="M"))),
    "ints": pd.Series(pd.Categorical([3, 1, None], categories=[3, 2, 1])),
    "int8": pd.Series(pd.Categorical(np.array([3, 1], "int8"))),
    "floats": pd.Series(pd.Categorical([1.5, 2.5])),
    "truth values": pd.Series(pd.Categorical([True, False])),
    "text": pd.Series(pd.Categorical(["x", None], categories=["y", "x"], ordered=True)),
    "objects of text": pd.Series(pd.Categorical(["x"], categories=pd.Index(["x"], dtype=object))),
    "string": pd.Series(pd.Categorical(pd.array(["x", None], dtype="string"))),
    "text of arrow": pd.Series(pd.Categorical(arrow(pa.string(), "x", None))),
    "Int64": pd.Series(pd.Categorical(pd.array([1, None], dtype="Int64"))),
    "mixed": pd.Series(pd.Categorical(["1", 1, 2.5, (1, 2)], categories=[(1, 2), 2.5, 1, "1"])),
    "decimals": pd.Series(pd.Categorical([decimal.Decimal("1.10"), decimal.Decimal("2.1")])),
    "dates": pd.Series(pd.Categorical([dt.date(2026, 1, 1), None])),
    "none": pd.Series(pd.Categorical([])),
    "all missing": pd.Series(pd.Categorical([None, None])),
}
OTHERS = {
    "complex128": pd.Series([1j, complex("nan")]),
    "complex64": pd.Series(np.array([1j], "c8")),
    "big-endian": pd.Series(np.array([1, 2], ">i4")),
    "big-endian complex": pd.Series(np.array([1j], ">c16")),
    "float16": pd.Series(np.array([1, 2], "f2")),
    "sparse ints": pd.Series(pd.arrays.SparseArray([0, 1, 0])),
    "sparse floats": pd.Series(pd.arrays.SparseArray([np.nan, 1.5])),
    "sparse floats of 0": pd.Series(pd.arrays.SparseArray([0, np.nan, 1.5], fill_value=0.0)),
    "sparse objects": pd.Series(pd.arrays.SparseArray(np.array([0, "a", 1.5], dtype=object), fill_value=0)),
    "sparse complex": pd.Series(pd.arrays.SparseArray([0j, 1j])),
    "sparse dates": pd.Series(pd.arrays.SparseArray(DATES)),
    "sparse truth values": pd.Series(pd.arrays.SparseArray([True, False])),
    "Int64": pd.Series(pd.array([2**62 + 1, None], dtype="Int64")),
    "UInt8": pd.Series(pd.array([1, None], dtype="UInt8")),
    "boolean": pd.Series(pd.array([True, None], dtype="boolean")),
    "Float64": pd.Series(pd.array([1.5, None], dtype="Float64")),
    "Float32": pd.Series(pd.array([1.5, None], dtype="Float32")),
    "NaN beside NA": pd.Series(pd.arrays.FloatingArray(np.array([np.nan, 1]), np.array([False, True]))),
    "str": pd.Series(["x", None], dtype="str"),
    "str in Python": pd.Series(["x", None], dtype=pd.StringDtype("python", na_value=np.nan)),
    "string": pd.Series(["x", None], dtype="string"),
    "string in Python": pd.Series(["x", None], dtype=pd.StringDtype("python")),
    "zone": pd.Series(ZONED),
    "zone in seconds": pd.Series(ZONED).dt.as_unit("s"),
    "missing date": pd.Series([NAT, DATES[0]]),
    "timedelta": pd.Series(pd.to_timedelta([1, None])),
    "period": pd.Series(pd.PeriodIndex(["2026-01", "NaT"], freq="Q")),
    "interval": pd.Series(pd.arrays.IntervalArray.from_tuples([(0.0, 1.0), NONE], closed="both")),
    "interval of dates": pd.Series(pd.interval_range(DATES[0], periods=2)),
    "interval with a zone": pd.Series(pd.arrays.IntervalArray.from_breaks(ZONED, closed="left")),
    "interval with a zone and none": pd.Series(pd.arrays.IntervalArray([pd.Interval(ZONED[0], ZONED[1]), NONE])),
    "interval of timedeltas": pd.Series(pd.interval_range(pd.Timedelta(0), periods=2)),
}
KINDS: dict[str, Any] = {
    f"{kind}: {name}": column
    for kind, columns in {"objects": OBJECTS, "arrow": ARROW, "categories": CATEGORIES, "others": OTHERS}.items()
    for name, column in columns.items()
}


def described(values: Any) -> list[Any]:
    return [(type(value), repr(value)) for value in values]


def is_hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


@pytest.mark.parametrize("name", KINDS)
def test_a_column_of_every_kind_comes_back_the_same_in_a_series_and_in_a_frame(name: str) -> None:
    column = KINDS[name]
    series = round_trip(column)
    frame = round_trip(pd.DataFrame({"before": range(len(column)), "a": column, "after": "x"}))
    assert [*frame] == ["before", "a", "after"]
    for back in (series, frame["a"], round_trip(column.iloc[:0])):
        assert back.dtype == column.dtype
        assert type(back.array) is type(column.array)
        expected = described(column.to_numpy(dtype=object))[: len(back)]
        assert described(back.to_numpy(dtype=object)) == expected
    if isinstance(column.dtype, pd.CategoricalDtype):
        assert described(series.cat.categories) == described(column.cat.categories)
        assert series.cat.ordered == column.cat.ordered


# pandas has no index of these.
NO_INDEX = {"others: float16", "others: big-endian complex"}


@pytest.mark.parametrize("name", sorted(KINDS.keys() - NO_INDEX))
def test_labels_of_every_kind_come_back_the_same_on_both_axes(name: str) -> None:
    column = KINDS[name]
    labels = pd.Index(column.array, dtype=column.dtype, name="a")
    hashable = not name.startswith("objects") or all(map(is_hashable, column))
    values = np.zeros((len(labels), len(labels)))
    for index in (labels, labels[:0], labels.rename(5), labels.rename(("a", 1.5))):
        for back in (
            round_trip(index),
            round_trip(pd.Series(0, index=index)).index,
            round_trip(pd.DataFrame(values[: len(index), : len(index)], columns=index)).columns if hashable else index,
        ):
            assert type(back) is type(index)
            assert back.dtype == index.dtype
            assert (type(back.name), back.name) == (type(index.name), index.name)
            assert described(back.to_numpy(dtype=object)) == described(index.to_numpy(dtype=object))


@pytest.mark.parametrize("name", KINDS)
def test_any_reader_of_arrow_opens_the_stream(name: str) -> None:
    column = KINDS[name]
    payload = serialize_value(column.to_frame("a")).value
    stream = read_bytes_field(payload)
    assert stream is not None
    table = pa.ipc.open_stream(pa.py_buffer(stream)).read_all()
    assert table.column_names == ["a"]
    assert len(table.column("a").to_pylist()) == len(column)


def marked(array: Any, *form: Any) -> AnyMessage:
    table = pa.table({"a": array}, metadata={"dspex.bridge": json.dumps({"forms": [[0, *form]]})})
    return AnyMessage(type_url=TYPE_PREFIX + "pandas.DataFrame", value=write_stream(table))


VIEWS = {
    "string_view": arrow(pa.string_view(), "x", None),
    "binary_view": arrow(pa.binary_view(), b"x", None),
    "list_view": arrow(pa.list_view(pa.int64()), [1], None),
    "list of views": arrow(pa.list_(pa.string_view()), ["x"], None),
}


@pytest.mark.parametrize("name", VIEWS)
def test_a_column_of_views_is_refused_with_the_line_that_mends_it(name: str) -> None:
    frame = VIEWS[name].to_frame("a")
    with pytest.raises(SerializationError, match="column 'a' of dtype") as caught:
        serialize_value(frame)
    mended = {"frame": frame}
    exec(str(caught.value).rpartition("run: ")[2], mended)
    assert len(round_trip(mended["frame"])) == len(frame)


CATEGORY_TEXTS = write_inner(pa.table({"labels": ["x", "y"]}))
WORDS = pa.array(["x" * 9, "y"])
HOSTILE = {
    "views": marked(pa.array(["x"], pa.string_view()), "arrow"),
    "runs": marked(pa.RunEndEncodedArray.from_arrays(pa.array([9], pa.int32()), pa.array(["x"])), "arrow"),
    "an unknown form": marked(WORDS, "pickle"),
    "no form": marked(WORDS),
    "too many parts": marked(WORDS, "cells", 1, 2),
    "cells of text": marked(WORDS, "cells"),
    "cells that are none": marked(pa.array([b"\xff"]), "cells"),
    "cells of nothing": marked(pa.array([b""]), "cells"),
    "null cells": marked(pa.nulls(2, pa.binary()), "cells"),
    "cells of views": marked(pa.array([b"x"], pa.binary_view()), "cells"),
    "objects of a dictionary": marked(WORDS.dictionary_encode(), "objects", "none"),
    "objects of views": marked(pa.array(["x"], pa.string_view()), "objects", "none"),
    "objects of runs": marked(
        pa.RunEndEncodedArray.from_arrays(pa.array([9], pa.int32()), pa.array(["x"])), "objects", "none"
    ),
    "a dtype of objects": marked(pa.array([1]), "numpy", "O"),
    "a dtype of text": marked(pa.array([1]), "numpy", "<U99999999"),
    "pairs that are none": marked(pa.array([1.0, 2.0, 3.0]), "numpy", "<c16"),
    "categories beyond the last": marked(
        pa.DictionaryArray.from_arrays(pa.array([2]), pa.array(["a", "b", "c"])), "categories", CATEGORY_TEXTS, False
    ),
    "categories of text": marked(WORDS, "categories", CATEGORY_TEXTS, False),
    "categories that are no stream": marked(WORDS.dictionary_encode(), "categories", "AAAA", False),
    "categories that take no space": marked(
        WORDS.dictionary_encode(), "categories", write_inner(pa.table({"labels": pa.nulls(100_000)})), False
    ),
    "categories of views": marked(
        WORDS.dictionary_encode(),
        "categories",
        write_inner(pa.table({"labels": pa.array(["x", "y"], pa.string_view())})),
        False,
    ),
    "sparse in sparse": marked(pa.array([1]), "sparse", "GAA=", ["sparse", "GAA=", None]),
    "an interval of numbers": marked(pa.array([1]), "interval", "left"),
    "text of numbers": marked(pa.array([1]), "text", "pyarrow", "NA"),
    "text in an unknown storage": marked(WORDS, "text", "pickle", "NA"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_form_that_no_writer_gives_is_refused(name: str) -> None:
    with pytest.raises(SerializationError):
        deserialize_value(HOSTILE[name])


@pytest.mark.parametrize("place", [-1, 1, "a", None])
def test_a_form_of_no_column_is_refused(place: Any) -> None:
    table = pa.table({"a": [1]}, metadata={"dspex.bridge": json.dumps({"forms": [[place, "arrow"]]})})
    with pytest.raises(SerializationError, match="does not have"):
        deserialize_value(AnyMessage(type_url="pandas.DataFrame", value=write_stream(table)))


def test_two_forms_of_one_column_are_refused() -> None:
    notes = {"forms": [[0, "arrow"]], "objects": [[0, "none"]]}
    table = pa.table({"a": [1]}, metadata={"dspex.bridge": json.dumps(notes)})
    with pytest.raises(SerializationError, match="a column twice"):
        deserialize_value(AnyMessage(type_url="pandas.DataFrame", value=write_stream(table)))
