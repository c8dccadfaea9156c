"""Labels of rows and columns, and the names of Series."""

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
from grpc_tool_bridge.values.arrow_stream import write_inner, write_stream
from grpc_tool_bridge.values.cells import write_label
from grpc_tool_bridge.values.serialization import deserialize_value, serialize_value

DATES = pd.date_range("2026-01-01", periods=2)
CUT = pd.cut([1, 2], 2)


def round_trip(value: Any) -> Any:
    return deserialize_value(AnyMessage.FromString(serialize_value(value).SerializeToString()))


def described(values: Any) -> list[Any]:
    return [(type(value), repr(value)) for value in values]


def columns(*labels: Any, names: Any = None) -> pd.DataFrame:
    frame = pd.DataFrame([range(len(labels))] * 2)
    frame.columns = pd.Index(labels, dtype=object) if names is None else pd.Index(labels, name=names)
    return frame


def rows(*labels: Any, name: Any = None) -> pd.DataFrame:
    return pd.DataFrame({"a": range(len(labels))}, index=pd.Index(labels, name=name))


def multi(*tuples: Any, names: Any = None) -> Any:
    return pd.MultiIndex.from_tuples(tuples, names=names)


SALES = pd.DataFrame(
    {"day": [*DATES, *DATES], "shop": ["a", "a", "b", "b"], "count": [1, 2, 3, 4], "price": [1.5, 2.5, np.nan, 4]}
)
FRAMES: dict[str, Any] = {
    "columns of one name": columns("a", "a"),
    "columns of no name": columns(None, None),
    "columns of mixed kinds": columns("a", 1, 2.5, None, dt.date(2026, 1, 1), pd.Timestamp(1), ("x", 1)),
    "columns that look the same": columns("1", 1),
    "columns of truth values": pd.DataFrame([[1, 2]], columns=[True, False]),
    "columns of decimals": columns(decimal.Decimal("1.10"), decimal.Decimal("1.1")),
    "columns of bytes": columns(b"a", "a"),
    "columns of objects of text": columns("a", "b"),
    "columns with a number as name": columns("a", names=5),
    "columns with a date as name": columns("a", names=pd.Timestamp("2026-01-01")),
    "columns of categories": pd.DataFrame([[1]], columns=pd.CategoricalIndex(["a"], ordered=True)),
    "columns of intervals": pd.DataFrame([[1, 2]], columns=pd.IntervalIndex.from_breaks([0, 1, 2])),
    "columns of periods": pd.DataFrame([[1, 2]], columns=pd.period_range("2026-01", periods=2, freq="M")),
    "columns of dates with a zone": pd.DataFrame([[1, 2]], columns=DATES.tz_localize("Europe/Berlin")),
    "range of columns with a number as name": pd.DataFrame([[1, 2]], columns=pd.RangeIndex(2, name=7)),
    "no column": pd.DataFrame(index=pd.Index([1, "a"])),
    "no row": pd.DataFrame({"a": []}, index=pd.Index([], dtype=object)),
    "rows of mixed kinds": rows("a", 1, 2.5, None, ("x", 1)),
    "rows of dates and missing ones": rows(dt.date(2026, 1, 1), None),
    "rows of objects of text": pd.DataFrame({"a": [1]}, index=pd.Index(["x"], dtype=object)),
    "rows of categories of intervals": pd.DataFrame({"a": [1, 2]}, index=pd.CategoricalIndex(CUT)),
    "rows with a number as name": rows("a", name=0),
    "rows with a tuple as name": rows("a", name=("x", pd.Timestamp(1))),
    "range of rows with a number as name": pd.DataFrame({"a": [1, 2]}, index=pd.RangeIndex(3, 7, 2, name=1)),
    "numbered rows only with a number as name": pd.DataFrame(index=pd.RangeIndex(3, name=1)),
    "rows of one name": pd.DataFrame({"a": [1, 2]}, index=["x", "x"]),
    "levels of one name": pd.DataFrame({"a": [1, 2]}, index=multi(("x", 1), ("y", 2), names=["n", "n"])),
    "levels of mixed kinds": pd.DataFrame({"a": [1, 2]}, index=multi(("x", 1), (2, None), names=[1, None])),
    "levels of which one has the number of another as name": pd.DataFrame(
        {"a": [1, 2]}, index=pd.MultiIndex.from_arrays([[None, 1], pd.Categorical([None, None])], names=[1, 0])
    ),
    "levels with missing ones": pd.DataFrame({"a": [1, 2]}, index=multi(("x", 1), (None, None))),
    "levels of integers with missing ones on both axes": pd.DataFrame(
        [[1, 2], [3, 4]], index=multi((7, 1), (None, 2)), columns=multi(("a", True), ("b", None))
    ),
    "levels of dates and categories": pd.DataFrame({"a": [1, 2]}, index=pd.MultiIndex.from_arrays([[*DATES], CUT])),
    "one level": pd.DataFrame({"a": [1]}, index=pd.MultiIndex.from_arrays([["x"]], names=["n"])),
    "levels on both axes": pd.DataFrame(
        [[1, 2], [3, 4]], index=multi(("x", 1), ("y", 2)), columns=multi(("a", DATES[0]), ("b", DATES[1]), names=[0, 1])
    ),
    "levels of columns of one name": pd.DataFrame([[1, 2]], columns=multi(("a", 1), ("a", 1))),
    "levels of columns with missing ones": pd.DataFrame([[1, 2]], columns=multi(("a", None), ("b", 1.5))),
    "several aggregates": SALES.groupby("shop").agg({"count": ["sum", "mean"], "price": ["min", "max"]}),
    "group of two": SALES.groupby(["shop", "day"]).sum(),
    "group of cuts": SALES.groupby(pd.cut(SALES["price"], 2), observed=False)[["count"]].sum(),
    "pivot": SALES.pivot_table(index="day", columns="shop", values=["count", "price"]),
    "pivot of dates": SALES.pivot(index="shop", columns="day", values="count"),
    "crosstab": pd.crosstab(SALES["shop"], SALES["day"], margins=True),
    "unstack": SALES.set_index(["shop", "day"]).unstack(),
    "description": SALES.describe(),
    "description of all": SALES.describe(include="all"),
    "turned": SALES.T,
    "turned description": SALES.describe(include="all").T,
    "two beside each other": pd.concat([SALES, SALES], axis=1),
    "keys beside each other": pd.concat({"x": SALES, 1: SALES}, axis=1),
    "modes": SALES.mode(),
    "lists": SALES[["shop", "count"]].groupby("shop").agg(list),
    "resampled": SALES.set_index("day").resample("D").agg({"count": "sum", "price": "mean"}),
    "dtypes of arrow": SALES.convert_dtypes(dtype_backend="pyarrow"),
    "nullable dtypes": SALES.convert_dtypes(),
    "dtypes of arrow as labels": SALES.convert_dtypes(dtype_backend="pyarrow").set_index(["shop", "day"]),
}


@pytest.mark.parametrize("name", FRAMES)
def test_labels_come_back_the_same(name: str) -> None:
    frame = FRAMES[name]
    for back in (round_trip(frame), round_trip([frame, (frame,)])[1][0]):
        pd.testing.assert_frame_equal(frame, back, check_exact=True, check_freq=True, check_column_type=True)
        for before, after in ((frame.index, back.index), (frame.columns, back.columns)):
            assert type(after) is type(before)
            assert described(after) == described(before)
            assert described(after.names) == described(before.names)
        for position in range(frame.shape[1]):
            old, new = frame.iloc[:, position], back.iloc[:, position]
            assert described(new.to_numpy(dtype=object)) == described(old.to_numpy(dtype=object))


PRICES = pd.DataFrame({"a": [1, 2], "b": [1.5, 2.5]}, index=DATES)
SERIES: dict[str, Any] = {
    "a row by number": pd.DataFrame([[1, 2]], columns=["a", "b"]).iloc[0],
    "a row by date": PRICES.iloc[-1],
    "a row by a date with a zone": PRICES.tz_localize("Europe/Berlin").iloc[-1],
    "a row of two levels": SALES.groupby(["shop", "day"]).sum().iloc[0],
    "a row of mixed kinds": SALES.iloc[0],
    "a row of a cut": SALES.groupby(pd.cut(SALES["price"], 2), observed=True).sum(numeric_only=True).iloc[0],
    "greatest of each": SALES.max(),
    "kinds": SALES["shop"].describe(),
    "counts": SALES["shop"].value_counts(),
    "counts of a cut": pd.cut(SALES["price"], 2).value_counts(),
    **{
        f"the name {name!r}": pd.Series([1], name=name)
        for name in (
            1.5, float("nan"), np.int64(1), np.float32(1.5), np.str_("x"), np.datetime64(1, "ns"), 2**80, b"x",
            pd.Timestamp(1), pd.Timestamp("2026", tz="UTC"), pd.Timedelta(1), pd.NaT, pd.NA, pd.Period("2026", "Y"),
            pd.Interval(0, 1), dt.date(2026, 1, 1), decimal.Decimal("1.10"), ("a", 1.5), ("a", pd.Timestamp(1)),
            ("a", ("b", np.int64(1))), frozenset({1}),
        )
    },
}  # fmt: skip


@pytest.mark.parametrize("name", SERIES)
def test_a_series_comes_back_under_its_own_name(name: str) -> None:
    series = SERIES[name]
    for back in (round_trip(series), round_trip({"a": (series,)})["a"][0]):
        pd.testing.assert_series_equal(series, back, check_exact=True, check_names=False)
        assert described([back.name]) == described([series.name])
        assert described(back.to_numpy(dtype=object)) == described(series.to_numpy(dtype=object))
        assert described(back.index) == described(series.index)


def test_a_series_whose_name_cannot_travel_is_refused_with_the_line_that_mends_it() -> None:
    with pytest.raises(SerializationError, match="its name <object object") as caught:
        serialize_value(pd.Series([1], name=object()))
    mended: dict[str, Any] = {"series": pd.Series([1], name=object())}
    exec(str(caught.value).rpartition("run: ")[2], mended)
    assert round_trip(mended["series"]).tolist() == [1]


def inner(**notes: Any) -> str:
    return write_inner(pa.table({"labels": ["x"]}, metadata={"dspex.bridge": json.dumps(notes)}))


NO_NAMES = write_label([None])


@pytest.mark.parametrize(
    "notes",
    [
        {"columns": "AAAA"},
        {"columns": []},
        {"columns": inner(columns="AAAA")},
        {"columns": write_inner(pa.table({"a": pa.nulls(100_000)}))},
        {"columns": write_inner(pa.table({"a": pa.array(["x"], pa.string_view())}))},
        {"index": {"names": write_label([None, None]), "multi": False, "exact": []}},
        {"index": {"names": write_label("a"), "multi": False, "exact": []}},
        {"index": {"names": NO_NAMES, "multi": True, "exact": [0]}},
        {"index": {"names": "?", "multi": False, "exact": []}},
        {"index": 5},
    ],
    ids=str,
)
def test_notes_of_labels_that_no_writer_makes_are_refused(notes: Any) -> None:
    table = pa.table({"a": [1]}, metadata={"dspex.bridge": json.dumps(notes)})
    with pytest.raises(SerializationError):
        deserialize_value(AnyMessage(type_url="pandas.DataFrame", value=write_stream(table)))
