"""What the data packages make reaches the tool and comes back, over every transport, in every place of a call."""

import contextlib
import dataclasses
import json
import sqlite3
from collections.abc import Iterator
from typing import Any

import jsonschema
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pydantic_core import to_jsonable_python

from grpc_tool_bridge import ToolBridgeError
from integration.connections import Connect

DATES = pd.date_range("2026-01-01", periods=2)
PRICES = pd.DataFrame({"a": [1, 2], "b": [1.5, None]}, index=DATES)
SALES = pd.DataFrame({"shop": ["a", "b"], "count": [1, 2], "day": DATES})

# What is sent, and what arrives.
ROWS: dict[str, tuple[Any, Any]] = {
    "a row by date": (PRICES.iloc[-1], PRICES.iloc[-1]),
    "a row of mixed kinds": (SALES.iloc[0], SALES.iloc[0]),
    "a description": (SALES.describe(include="all"), SALES.describe(include="all")),
    "a turned frame": (SALES.T, SALES.T),
    "dtypes of arrow": (
        SALES.convert_dtypes(dtype_backend="pyarrow"),
        SALES.convert_dtypes(dtype_backend="pyarrow"),
    ),
    "categories of intervals": (pd.Series(pd.cut([1, 2], 2)), pd.Series(pd.cut([1, 2], 2))),
    "unique texts": (SALES["shop"].unique(), pd.Series(["a", "b"])),
    "a categorical": (pd.Categorical(["a"]), pd.Series(pd.Categorical(["a"]))),
    "a series of polars": (pl.Series("x", [1, None]), pl.DataFrame({"x": [1, None]})),
    "a lazy frame": (pl.LazyFrame({"x": [1]}), pl.DataFrame({"x": [1]})),
    "a batch of arrow": (pa.record_batch({"x": [1]}), pa.table({"x": [1]})),
    "an array of arrow": (pa.array(["x"]), pa.table({"values": ["x"]})),
    "a matrix": (np.array([[1, 2]]).view(np.matrix), np.array([[1, 2]])),
    "a timestamp": (pd.Timestamp("2026-01-01 12:00"), pd.Timestamp("2026-01-01 12:00").to_pydatetime()),
    "no timestamp": (pd.NaT, None),
}


def described(value: Any) -> tuple[Any, ...]:
    if isinstance(value, pd.DataFrame):
        return (type(value), [*map(repr, value.dtypes)], repr(value.index), repr(value.to_dict("list")))
    if isinstance(value, pd.Series):
        return (type(value), value.dtype, repr(value.name), repr(value.index), repr(value.tolist()))
    return (type(value), repr(value))


@pytest.mark.parametrize("name", ROWS)
async def test_a_value_arrives_as_its_row_as_argument_result_chunk_and_variable(connect: Connect, name: str) -> None:
    value, expected = ROWS[name]
    seen: list[Any] = []

    def echo(value: Any) -> Any:
        seen.append(value)
        return [value]

    def make() -> Any:
        return value

    def stream() -> Iterator[Any]:
        yield value

    world = await connect(echo, make, stream)
    back = await world.tools["echo"](value)
    await world.variables.set_variable("v", value)
    for got in (
        seen[0],
        *back,
        await world.tools["make"](),
        *[chunk async for chunk in world.tools["stream"].stream()],
        await world.variables.get_variable("v"),
    ):
        assert described(got) == described(expected)


async def test_a_parameter_gets_the_class_that_it_is_annotated_with(connect: Connect) -> None:
    seen: dict[str, Any] = {}

    def take(series: pl.Series, lazy: pl.LazyFrame, array: pa.Array, kinds: pd.Categorical, when: pd.Timestamp) -> None:
        seen.update(locals())

    world = await connect(take)
    given: dict[str, Any] = {
        "series": pl.Series("x", [1, 2]),
        "lazy": pl.LazyFrame({"a": [1]}),
        "array": pa.array([1]),
        "kinds": pd.Categorical(["a"]),
        "when": pd.Timestamp("2026-01-01"),
    }
    await world.tools["take"](**given)
    for name, value in given.items():
        assert isinstance(seen[name], type(value)), name
    assert seen["series"].equals(given["series"])
    assert seen["lazy"].collect().equals(given["lazy"].collect())
    assert seen["array"].equals(given["array"])
    assert seen["kinds"].equals(given["kinds"])
    assert seen["when"] == given["when"]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (pd.DataFrame({"x": [object]}), r"column 'x' holds .*; run: frame\['x'\] = frame\['x'\]\.map\(str\)"),
        (pd.Period("2026-01"), "start_time"),
        (pd.Timestamp(1), "nanoseconds"),
        (np.ma.array([1], mask=[True]), "masked"),
        (pl.col("a"), "frame.select"),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_what_cannot_travel_is_refused_where_it_is_sent(connect: Connect, value: Any, reason: str) -> None:
    def echo(value: Any) -> Any:
        return value

    def make() -> Any:
        return value

    world = await connect(echo, make)
    with pytest.raises(ToolBridgeError, match=reason):
        await world.tools["echo"](value)
    with pytest.raises(ToolBridgeError, match=reason):
        await world.tools["make"]()


@dataclasses.dataclass
class Summary:
    """What a tool gives; it is filled with whatever is at hand."""

    rows: int
    mean: float
    shops: list[str]
    counts: list[int]


def summary() -> Summary:
    shops: Any = SALES["shop"].unique()
    counts: Any = SALES["count"]
    return Summary(counts.sum(), counts.mean(), shops, counts.to_numpy())


def row() -> dict[str, Any]:
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.row_factory = sqlite3.Row
        found: dict[str, Any] = connection.execute("select 1 a, 'x' b").fetchone()
        return found


def counts() -> list[tuple[str, int]]:
    pairs: Any = SALES[["shop", "count"]].itertuples(index=False)
    return pairs  # type: ignore[no-any-return]  # an iterator, as people write it


RESULTS: dict[Any, Any] = {
    summary: {"rows": 3, "mean": 1.5, "shops": ["a", "b"], "counts": [1, 2]},
    row: {"a": 1, "b": "x"},
    counts: [("a", 1), ("b", 2)],
}


@pytest.mark.parametrize("function", RESULTS, ids=lambda function: function.__name__)
async def test_what_is_at_hand_arrives_as_the_schema_of_the_result_says(connect: Connect, function: Any) -> None:
    world = await connect(function)
    result = await world.tools[function.__name__]()
    assert repr(result) == repr(RESULTS[function])
    jsonschema.validate(to_jsonable_python(result), json.loads(world.tools[function.__name__].spec.output_schema))


async def test_a_frame_is_no_list_of_the_names_of_its_columns(connect: Connect) -> None:
    def make() -> list[str]:
        return SALES  # type: ignore[return-value]  # that is the point

    def take(names: list[str]) -> list[str]:
        return names

    world = await connect(make, take)
    for call in (world.tools["make"](), world.tools["take"](SALES)):
        with pytest.raises(ToolBridgeError, match=r'valid list, got DataFrame of 2: use its to_dict\("records"\)'):
            await call
