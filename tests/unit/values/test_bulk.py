"""What holds up an event loop is told by how much it holds, without running code of its own."""

import dataclasses
import datetime as dt
import enum
from typing import Any

import pytest
from pydantic import BaseModel

from grpc_tool_bridge.values.bulk import is_bulky


class Holder(BaseModel):
    items: list[int]


class Evil:
    def __getattribute__(self, name: str) -> Any:
        raise AssertionError(name)


@dataclasses.dataclass(slots=True)
class Slotted:
    items: list[int]


class Color(enum.Enum):
    RED = 1


@pytest.mark.parametrize(
    "value",
    [
        1,
        "x" * 10_000,
        [1] * 2_000,
        Holder(items=[1]),
        Color.RED,
        [dt.date.min] * 100,
        {"a": [Holder(items=[])]},
    ],
)
def test_small_values_are_not_bulky(value: Any) -> None:
    assert not is_bulky(value)


@pytest.mark.parametrize(
    "value",
    [[1] * 2_001, {"a": [[1] * 1_500, [1] * 1_500]}, Holder(items=[1] * 3_000), [Holder(items=[])] * 300, Slotted([1])],
    ids=["list", "nested", "model", "models", "slots"],
)
def test_what_holds_many_items_or_hides_them_is_bulky(value: Any) -> None:
    assert is_bulky(value)


def test_a_value_that_contains_itself_comes_to_an_end() -> None:
    value: list[Any] = []
    value.append(value)
    assert is_bulky(value)


def test_no_code_of_the_value_itself_runs() -> None:
    assert not is_bulky(Evil())
