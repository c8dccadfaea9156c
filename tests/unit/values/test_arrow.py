"""Frames of pandas, pyarrow and polars."""

import datetime as dt
import decimal
import re
import subprocess
import sys
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.wrappers_pb2 import BytesValue

from grpc_tool_bridge.errors import SerializationError
from grpc_tool_bridge.values.serialization import deserialize_value, serialize_value
from support.patience import PATIENCE

PREFIX = "type.googleapis.com/"


def round_trip(value: Any) -> Any:
    return deserialize_value(AnyMessage.FromString(serialize_value(value).SerializeToString()))


def stream_of(table: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def with_attrs(attrs: dict[Any, Any]) -> pd.DataFrame:
    frame = pd.DataFrame({"a": [1]})
    frame.attrs.update(attrs)
    return frame


def objects(*values: Any) -> pd.DataFrame:
    return pd.DataFrame({"a": pd.Series(list(values), dtype=object)})


class Text(str):
    """A text of a class of its own."""

    __slots__ = ()


DATES = pd.date_range("2026-01-01", periods=3)

EXACT = {
    "columns by number": pd.DataFrame(np.zeros((2, 3))),
    "columns by range": pd.DataFrame(np.zeros((2, 3)), columns=pd.RangeIndex(2, 8, 2, name="r")),
    "columns by float": pd.DataFrame([[1, 2]], columns=[1.5, 2.5]),
    "columns of dates": pd.DataFrame([[1, 2, 3]], columns=DATES),
    "named columns": pd.DataFrame([[1]], columns=pd.Index(["q"], name="n")),
    "levels of columns": pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", 1), ("b", 2)])),
    "frequency": pd.DataFrame({"a": [1, 2, 3]}, index=DATES),
    "frequency across a change of clocks": pd.DataFrame(
        {"a": [1, 2, 3]}, index=pd.date_range("2026-03-28", periods=3, tz="Europe/Berlin")
    ),
    "time zone": pd.DataFrame({"a": DATES.tz_localize("Europe/Berlin"), "b": DATES.tz_localize("UTC")}),
    "fixed offset": pd.DataFrame({"a": DATES.tz_localize(dt.timezone(dt.timedelta(hours=1)))}),
    "ordered categories": pd.DataFrame({"a": pd.Categorical(["x", None], categories=["y", "x", "z"], ordered=True)}),
    "categories": pd.DataFrame({"a": pd.Categorical([3, 1, None])}),
    "nullable": pd.DataFrame(
        {
            "a": pd.array([1, None], dtype="Int64"),
            "b": pd.array([True, None], dtype="boolean"),
            "c": pd.array([1.5, None], dtype="Float64"),
            "d": pd.array(["x", None], dtype="string"),
        }
    ),
    "arrow": pd.DataFrame({"a": pd.array([1, None], dtype="int64[pyarrow]")}),
    "period": pd.DataFrame({"a": pd.period_range("2026-01", periods=2, freq="M")}),
    "interval": pd.DataFrame({"a": pd.interval_range(0, 2)}),
    "units": pd.DataFrame({"a": np.array(["2026"], "M8[s]"), "b": np.array([1], "m8[us]")}),
    "small numbers": pd.DataFrame({"a": np.array([1, 2], "f2"), "b": np.array([1, 2], "u1"), "c": [True, False]}),
    "missing": pd.DataFrame({"a": [1.5, np.nan], "b": ["x", None], "c": [pd.NaT, pd.Timestamp("2026-01-01")]}),
    "objects of text": objects("x", "y"),
    "objects and None": objects("x", None),
    "objects and nan": objects("x", np.nan),
    "objects of int": objects(1, 2),
    "objects of bytes": objects(b"x"),
    "objects of date": objects(dt.date(2026, 1, 1)),
    "objects of decimal": objects(decimal.Decimal("1.10")),
    "objects of list": objects([1], [2, 3]),
    "objects of dict": objects({"a": 1}, {"a": None}),
    "objects of None": objects(None, None),
    "empty": pd.DataFrame(),
    "no rows": pd.DataFrame({"a": [], "b": pd.Series([], dtype="int8")}),
    "rows only": pd.DataFrame(index=range(3)),
    "numbered rows only": pd.DataFrame(index=pd.RangeIndex(1, 7, 2, name="r")),
    "no columns": pd.DataFrame(index=[1, 2, 3]),
    "range index": pd.DataFrame({"a": [1, 2]}, index=pd.RangeIndex(5, 9, 2, name="r")),
    "levels": pd.DataFrame({"v": [1, 2]}, index=pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["x", None])),
    "index named as a column": pd.DataFrame({"a": [1]}, index=pd.Index(["q"], name="a")),
    "index of dates as objects": pd.DataFrame({"a": [1]}, index=pd.Index([dt.date(2026, 1, 1)], dtype=object)),
    "attrs": with_attrs({"k": [1, {"a": "b"}]}),
}


@pytest.mark.parametrize("name", EXACT)
def test_a_data_frame_comes_back_the_same(name: str) -> None:
    frame = EXACT[name]
    for back in (round_trip(frame), round_trip([frame, (frame,)])[1][0]):
        pd.testing.assert_frame_equal(frame, back, check_exact=True, check_freq=True, check_column_type=True)
        assert type(back.index) is type(frame.index)
        assert type(back.columns) is type(frame.columns)
        assert back.attrs == frame.attrs
        for column in back:
            if back[column].dtype == object:
                assert list(map(repr, back[column])) == list(map(repr, frame[column]))


def named(index: Any) -> pd.DataFrame:
    return pd.DataFrame({"a": [1]}, index=index)


# What has no form, what the error says, and what the line of pandas in it makes of it.
REFUSED = {
    "objects of object": (objects(object), "column 'a' holds <class 'object'>"),
    "objects of a subclass": (objects(Text("x")), "column 'a' holds 'x' (Text)"),
    "objects of lists of object": (objects([object]), "column 'a' holds"),
    "surrogate": (objects(1, "\ud800"), "column 'a' holds '\\ud800'"),
    "long double": (pd.DataFrame({"a": np.array([1], "longdouble")}), "column 'a' of dtype"),
    "categories of objects": (pd.DataFrame({"a": pd.Categorical([object])}), "column 'a', in its categories, holds"),
    "labels of objects": (pd.DataFrame([[1]], columns=[object]), "its index holds"),
    "index of objects": (named([object]), "its index holds"),
    "level of objects": (named(pd.MultiIndex.from_tuples([("a", object)])), "its index holds"),
    "name of index": (named(pd.Index(["q"], name=object)), "its index has the names"),
    "name of columns": (pd.DataFrame([[1]], columns=pd.Index(["q"], name=object)), "its index has the names"),
    "attrs": (with_attrs({"k": (1,)}), "attrs"),
    "attrs of objects": (with_attrs({"k": object()}), "attrs"),
    "flags": (pd.DataFrame({"a": [1]}).set_flags(allows_duplicate_labels=False), "flags"),
    "own frequency": (
        named(pd.DatetimeIndex(["2026-01-02"], freq=pd.offsets.CDay(holidays=["2026-01-01"]))),
        "the frequency",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_data_frame_that_cannot_travel_is_refused_with_the_line_that_mends_it(name: str) -> None:
    frame, reason = REFUSED[name]
    with pytest.raises(SerializationError, match=re.escape(reason)):
        serialize_value({"a": frame})
    with pytest.raises(SerializationError, match=re.escape(reason)) as caught:
        serialize_value(frame)
    _, _, mend = str(caught.value).rpartition("run: ")
    mended = {"frame": frame.copy()}
    exec(mend, mended)
    assert round_trip(mended["frame"]).shape == frame.shape


def test_a_series_and_an_index_that_cannot_travel_are_refused_with_the_line_that_mends_them() -> None:
    unknown: list[Any] = [object]
    for name, value in {
        "series": pd.Series(unknown),
        "index": pd.Index(unknown),
    }.items():
        with pytest.raises(SerializationError, match="holds <class 'object'>") as caught:
            serialize_value(value)
        mended: dict[str, Any] = {name: value}
        exec(str(caught.value).rpartition("run: ")[2], mended)
        assert list(round_trip(mended[name])) == ["<class 'object'>"]


def test_arrays_of_pandas_in_a_column_are_mended_to_lists_and_not_to_their_pictures() -> None:
    series = pd.Series(["x", "y", "x"]).groupby([1, 1, 2]).unique()
    with pytest.raises(SerializationError, match="run: series") as caught:
        serialize_value(series)
    mended: dict[str, Any] = {"series": series}
    exec(str(caught.value).rpartition("run: ")[2], mended)
    assert list(round_trip(mended["series"])) == [["x", "y"], ["x"]]


SERIES = [
    pd.Series([1, 2, 3], name="a"),
    pd.Series([1.5, None]),
    pd.Series([1], name=7),
    pd.Series([1], name=("a", 1)),
    pd.Series([1], name=("a", None)),
    pd.Series([], dtype="int8"),
    pd.Series(["x"], dtype=object, name="a", index=pd.Index([5], name="a")),
    pd.Series([1, 2, 3], index=DATES, name="values"),
]


@pytest.mark.parametrize("series", SERIES, ids=str)
def test_a_series_comes_back_the_same(series: Any) -> None:
    assert serialize_value(series).type_url == PREFIX + "pandas.Series"
    for back in (round_trip(series), round_trip((series,))[0]):
        pd.testing.assert_series_equal(series, back, check_exact=True)
        assert type(back.name) is type(series.name)
        assert back.name == series.name


INDEXES = [
    pd.RangeIndex(1, 7, 2, name="r"),
    pd.Index([1, 2], name="a"),
    pd.Index(["x", "y"]),
    DATES,
    DATES.tz_localize("Europe/Berlin"),
    pd.timedelta_range("1D", periods=3),
    pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["x", None]),
    pd.CategoricalIndex(["a", "b"]),
    pd.period_range("2026-01", periods=2, freq="M"),
    pd.interval_range(0, 2),
    pd.Index([]),
]


@pytest.mark.parametrize("index", INDEXES, ids=lambda index: type(index).__name__)
def test_an_index_comes_back_the_same(index: Any) -> None:
    assert serialize_value(index).type_url == PREFIX + "pandas.Index"
    for back in (round_trip(index), round_trip((index,))[0]):
        pd.testing.assert_index_equal(index, back, exact=True)
        assert getattr(back, "freq", None) == getattr(index, "freq", None)


def test_a_data_frame_can_be_changed_where_it_arrives() -> None:
    back = round_trip(pd.DataFrame({"a": [1, 2], "b": [1.5, 2.5]}))
    back.loc[0, "a"] = 7
    assert back["a"].tolist() == [7, 2]


def test_an_arrow_table_comes_back_the_same() -> None:
    table = pa.table(
        {"a": pa.chunked_array([[1, None], [3]]), "b": pa.array(["x", "y", "x"]).dictionary_encode()},
        metadata={"k": "v"},
    )
    for value in (table, table.slice(1, 1), pa.table({}), table.slice(0, 0)):
        assert serialize_value(value).type_url == PREFIX + "pyarrow.Table"
        for back in (round_trip(value), round_trip((value,))[0]):
            assert back.equals(value, check_metadata=True)


def test_an_arrow_table_of_rows_without_columns_is_refused() -> None:
    with pytest.raises(SerializationError, match="no column"):
        serialize_value(pa.table({"a": [1]}).select([]))


POLARS = {
    "text": pl.DataFrame({"a": [1, None], "s": ["x", None]}),
    "categorical": pl.DataFrame({"a": pl.Series(["x", "y"], dtype=pl.Categorical)}),
    "enum": pl.DataFrame({"a": pl.Series(["x"], dtype=pl.Enum(["x", "y"]))}),
    "nested": pl.DataFrame({"a": [[1], [2, 3]], "b": [{"x": 1}, {"x": None}]}),
    "array": pl.DataFrame({"a": pl.Series([[1, 2]], dtype=pl.Array(pl.Int8, 2))}),
    "time": pl.DataFrame(
        {
            "a": [dt.datetime(2026, 1, 1, tzinfo=ZoneInfo("Europe/Berlin"))],
            "b": [dt.date(2026, 1, 1)],
            "c": [dt.time(1, 2)],
            "d": [dt.timedelta(1)],
        }
    ),
    "null": pl.DataFrame({"a": [None]}),
    "decimal": pl.DataFrame({"a": [decimal.Decimal("1.10")]}),
    "no name": pl.DataFrame({"a": [1], "": ["x"]}),
    "empty": pl.DataFrame(),
    "no rows": pl.DataFrame(schema={"a": pl.Int8}),
}


@pytest.mark.parametrize("name", POLARS)
def test_a_polars_frame_comes_back_the_same(name: str) -> None:
    frame = POLARS[name]
    assert serialize_value(frame).type_url == PREFIX + "polars.DataFrame"
    for back in (round_trip(frame), round_trip((frame,))[0]):
        assert back.schema == frame.schema
        assert back.equals(frame)


@pytest.mark.parametrize(
    "dtype", [pl.Object, pl.Int128, pl.UInt128, pl.List(pl.Int128), pl.Struct({"a": pl.Int128})], ids=str
)
def test_a_polars_dtype_that_arrow_cannot_hold_is_refused_with_the_line_that_mends_it(dtype: Any) -> None:
    kinds: dict[Any, Any] = {pl.List: [[1]], pl.Struct: [{"a": 1}]}
    values = kinds.get(type(dtype), [1])
    frame = pl.DataFrame({"a": pl.Series(values, dtype=dtype), "b": [1]})
    with pytest.raises(SerializationError, match="Arrow cannot hold column 'a'") as caught:
        serialize_value(frame)
    mended = {"pl": pl, **vars(pl), "frame": frame}
    exec(str(caught.value).rpartition("run: ")[2], mended)
    assert round_trip(mended["frame"]).equals(mended["frame"])


def test_a_polars_name_that_arrow_cannot_hold_is_refused_with_the_line_that_mends_it() -> None:
    frame = pl.DataFrame({"a\0b": [1]})
    with pytest.raises(SerializationError, match="NUL character") as caught:
        serialize_value(frame)
    mended = {"frame": frame}
    exec(str(caught.value).rpartition("run: ")[2], mended)
    assert round_trip(mended["frame"]).equals(pl.DataFrame({"ab": [1]}))


@pytest.mark.parametrize("name", ["pandas.DataFrame", "pandas.Series", "pandas.Index", "polars.DataFrame"])
def test_a_table_of_another_writer_is_read(name: str) -> None:
    payload = BytesValue(value=stream_of(pa.table({"a": [1, 2]}))).SerializeToString()
    # The field twice: the last one counts, and protobuf has to find it.
    for data in (payload, payload + payload):
        assert len(deserialize_value(AnyMessage(type_url=name, value=data))) == 2


@pytest.mark.parametrize(
    "notes", [b"[]", b"{", b'{"objects":[[9,"nan"]]}', b'{"range":[0,5,1]}', b'{"index_freq":"D"}', b'{"name":{}}']
)
def test_wrong_notes_are_refused(notes: bytes) -> None:
    table = pa.table({"a": [1, 2]}).replace_schema_metadata({b"dspex.bridge": notes})
    payload = BytesValue(value=stream_of(table)).SerializeToString()
    with pytest.raises(SerializationError):
        deserialize_value(AnyMessage(type_url="pandas.Series", value=payload))


def test_a_series_of_two_columns_is_refused() -> None:
    payload = BytesValue(value=stream_of(pa.table({"a": [1], "b": [2]}))).SerializeToString()
    with pytest.raises(SerializationError, match="2 columns"):
        deserialize_value(AnyMessage(type_url="pandas.Series", value=payload))


def test_offsets_out_of_the_data_are_refused() -> None:
    stream = stream_of(pa.table({"a": ["x" * 77, "y"]}))
    offsets = np.array([0, 77, 78], "<i4").tobytes()
    assert stream.count(offsets) == 1
    payload = BytesValue(value=stream.replace(offsets, np.array([0, 2**30, 78], "<i4").tobytes())).SerializeToString()
    for name in ("pandas.DataFrame", "pyarrow.Table", "polars.DataFrame"):
        with pytest.raises(SerializationError):
            deserialize_value(AnyMessage(type_url=name, value=payload))


@pytest.mark.parametrize(
    ("value", "package"),
    [
        (pd.DataFrame({"a": [1]}), "pandas"),
        (pd.DataFrame({"a": [1]}), "pyarrow"),
        (pl.DataFrame({"a": [1]}), "polars"),
        (pa.table({"a": [1]}), "pyarrow"),
    ],
)
def test_a_frame_where_its_package_is_missing_names_the_extra(
    value: Any, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = serialize_value(value)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SerializationError, match=rf'needs {package}.*pip install "grpc-tool-bridge\[data\]"'):
        deserialize_value(message)
    with pytest.raises(SerializationError, match=r"grpc-tool-bridge\[data\]"):
        serialize_value(value)


def test_a_panic_of_polars_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def panic(_: Any) -> None:
        raise pl.exceptions.PanicException("no")

    message = serialize_value(pl.DataFrame({"a": [1]}))
    monkeypatch.setattr(pl, "from_arrow", panic)
    with pytest.raises(SerializationError, match="polars cannot read"):
        deserialize_value(message)
    with pytest.raises(SerializationError, match="polars cannot read"):
        serialize_value(pl.DataFrame({"a": [1]}))


def test_periods_are_read_in_a_process_that_has_made_none() -> None:
    frame = pd.DataFrame({"a": pd.period_range("2026-01", periods=2, freq="M"), "b": pd.interval_range(0, 2)})
    program = (
        "import sys\n"
        "from google.protobuf.any_pb2 import Any\n"
        "from grpc_tool_bridge.values.serialization import deserialize_value\n"
        "frame = deserialize_value(Any.FromString(sys.stdin.buffer.read()))\n"
        "print(list(map(str, frame.dtypes)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=serialize_value(frame).SerializeToString(),
        capture_output=True,
        check=True,
        timeout=PATIENCE,
    )
    assert done.stdout.decode().strip() == str(list(map(str, frame.dtypes)))
