"""Values of every kind reach the tool and come back as they were, over every transport."""

import dataclasses
import enum
import uuid
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Literal
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from pydantic import BaseModel

from grpc_tool_bridge import ToolExecutionError
from integration.connections import Connect


@dataclasses.dataclass
class Point:
    x: int
    y: float = 0.5


class Order(BaseModel):
    id: uuid.UUID
    placed: datetime
    total: Decimal
    lines: list[str] = []


class Colour(enum.Enum):
    RED = "red"


VALUES = [
    "text",
    "",
    "ünï\u0000cödé 🛰",
    0,
    -(2**63),
    2**63 - 1,
    2**200,
    3.0,
    -0.0,
    1e308,
    float("inf"),
    True,
    False,
    None,
    b"\x00\xff",
    [],
    {},
    [1, 2.0, "3", None, True],
    {"b": 1, "a": {"z": [1.0, 2**60]}},
    {1: "one", (2, 3): "pair"},
    (1, "two", None),
    {1, 2, 3},
    frozenset({"a"}),
    datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC),
    datetime(2026, 3, 1, 12, 30),  # noqa: DTZ001 - a naive one must stay naive
    datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1),
    date(2026, 3, 1),
    time(23, 59, 59, 1),
    timedelta(days=-1, microseconds=3),
    uuid.UUID("12345678123456781234567812345678"),
    Decimal("1.10"),
    Decimal("NaN"),
    complex(1, -2),
    [{"when": date(2026, 1, 1), "price": Decimal("0.30")}],
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:40].encode("ascii", "replace").decode())
async def test_a_value_comes_back_with_its_type_and_its_order(connect: Connect, value: Any) -> None:
    seen: list[Any] = []

    async def echo(value: Any) -> Any:
        seen.append(value)
        return value

    world = await connect(echo)
    back = await world.tools["echo"](value)
    assert type(back) is type(seen[0]) is type(value)
    assert repr(back) == repr(seen[0]) == repr(value)


async def test_arguments_reach_the_function_as_the_types_of_its_signature(connect: Connect) -> None:
    seen: dict[str, Any] = {}

    def take(
        when: datetime,
        price: Decimal,
        ident: uuid.UUID,
        point: Point,
        order: Order,
        mode: Literal["fast", "slow"],
        note: str | None = None,
        tags: list[str] | None = None,
    ) -> str:
        seen.update(locals())
        return "taken"

    order = Order(id=uuid.uuid4(), placed=datetime(2026, 1, 2, tzinfo=UTC), total=Decimal("9.90"), lines=["pen"])
    world = await connect(take)
    given: dict[str, Any] = {
        "when": datetime(2026, 3, 1, tzinfo=UTC),
        "price": Decimal("1.10"),
        "ident": uuid.uuid4(),
        "point": Point(1, 2.5),
        "order": order,
        "mode": "slow",
        "note": None,
        "tags": ["a"],
    }
    assert await world.tools["take"](**given) == "taken"
    for name, value in given.items():
        assert type(seen[name]) is type(value), name
        assert seen[name] == value, name


async def test_plain_data_of_a_json_caller_is_made_into_the_types_of_the_signature(connect: Connect) -> None:
    seen: dict[str, Any] = {}

    def take(when: datetime, ident: uuid.UUID, price: Decimal, point: Point) -> None:
        seen.update(locals())

    world = await connect(take)
    await world.tools["take"](
        when="2026-03-01T00:00:00Z",
        ident="12345678-1234-5678-1234-567812345678",
        price="1.10",
        point={"x": 1, "y": 2.5},
    )
    assert seen["when"] == datetime(2026, 3, 1, tzinfo=UTC)
    assert seen["ident"] == uuid.UUID("12345678123456781234567812345678")
    assert seen["price"] == Decimal("1.10")
    assert seen["point"] == Point(1, 2.5)


async def test_results_of_plain_classes_come_as_their_data(connect: Connect) -> None:
    def make() -> list[Any]:
        return [Point(1), Colour.RED]

    world = await connect(make)
    assert await world.tools["make"]() == [{"x": 1, "y": 0.5}, "red"]


@pytest.mark.parametrize("dtype", ["<f8", "<i4", "|b1", "<c16", "<U3"])
async def test_arrays_keep_their_dtype_shape_and_values(connect: Connect, dtype: str) -> None:
    def twice(array: np.ndarray[Any, Any]) -> list[Any]:
        return [array, array[::-1]]

    array = np.arange(12).reshape(3, 4).astype(dtype)
    world = await connect(twice)
    back, reverse = await world.tools["twice"](array)
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)
    np.testing.assert_array_equal(reverse, array[::-1])


async def test_frames_keep_their_columns_index_and_types(connect: Connect) -> None:
    seen: list[pd.DataFrame] = []

    def head(frame: pd.DataFrame, rows: int = 2) -> pd.DataFrame:
        seen.append(frame)
        return frame.head(rows)

    frame = pd.DataFrame(
        {"n": [1, 2, 3], "s": ["a", "b", None], "t": pd.to_datetime(["2026-01-01"] * 3, utc=True)},
        index=pd.Index([10, 20, 30], name="key"),
    )
    world = await connect(head)
    back = await world.tools["head"](frame, rows=2)
    pd.testing.assert_frame_equal(seen[0], frame)
    pd.testing.assert_frame_equal(back, frame.head(2))


async def test_an_unknown_class_comes_as_its_text(connect: Connect) -> None:
    class Strange:
        def __str__(self) -> str:
            return "strange but told"

    async def make() -> Any:
        return Strange()

    world = await connect(make)
    assert await world.tools["make"]() == "strange but told"


async def test_a_literal_that_is_none_of_its_values_is_refused_with_the_choices(connect: Connect) -> None:
    def pick(mode: Literal["fast", "slow"]) -> str:
        return mode

    world = await connect(pick)
    with pytest.raises(ToolExecutionError) as caught:
        await world.tools["pick"]("medium")
    assert caught.value.error_type == "ValidationError"
    assert "fast" in caught.value.details["mode"]
    assert "slow" in caught.value.details["mode"]
    assert await world.tools["pick"]("fast") == "fast"


async def test_what_a_tool_does_to_its_argument_does_not_reach_the_caller(connect: Connect) -> None:
    async def spoil(values: list[int]) -> int:
        values.append(99)
        return len(values)

    world = await connect(spoil)
    mine = [1, 2]
    assert await world.tools["spoil"](mine) == 3
    assert mine == [1, 2]
