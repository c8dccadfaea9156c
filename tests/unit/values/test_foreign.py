"""Code of strangers runs in no event loop, unless a program writes the value there itself."""

import asyncio
import dataclasses
import datetime as dt
import enum
import threading
from collections import Counter, OrderedDict, UserDict, deque
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from pydantic import BaseModel

from grpc_tool_bridge import deserialize_value, serialize_value
from grpc_tool_bridge.values.foreign import ForeignCodeError, foreign, in_place, is_bulky
from grpc_tool_bridge.values.offload import outside_loop, written
from grpc_tool_bridge.values.serialization import pack_value
from support.patience import PATIENCE


class Printed:
    def __str__(self) -> str:
        return threading.current_thread().name


class Table(Mapping[str, str]):
    def __getitem__(self, key: str) -> str:
        return threading.current_thread().name

    def __iter__(self) -> Iterator[str]:
        return iter(["a"])

    def __len__(self) -> int:
        return 1


class Overridden(dict[str, str]):
    def __iter__(self) -> Iterator[str]:
        raise NotImplementedError


class Index:
    def __index__(self) -> int:
        return 5


class Hit(NamedTuple):
    score: int


def names() -> Iterator[str]:
    yield threading.current_thread().name


STRANGERS = [Printed, Table, names, lambda: iter([1]), Overridden, Index]
OWN = [
    lambda: Hit(1), lambda: Counter("a"), lambda: OrderedDict(a=1), lambda: deque([1]), lambda: UserDict(a=1),
    lambda: type("Text", (str,), {})("t"), lambda: range(3), lambda: ({"a": b"x"},),
]  # fmt: skip


@pytest.mark.parametrize("make", STRANGERS)
async def test_it_is_interrupted_in_an_event_loop(make: Any) -> None:
    for hold in (lambda item: item, lambda item: [1.5, {"a": (item,)}]):
        with pytest.raises(ForeignCodeError):
            pack_value(hold(make()))


@pytest.mark.parametrize("make", OWN)
async def test_what_only_the_bridge_and_python_read_is_not(make: Any) -> None:
    pack_value([make()])


@pytest.mark.parametrize("make", [Printed, Table, names])
async def test_it_runs_in_a_thread_then(make: Any) -> None:
    back = deserialize_value(await written(make()))
    [name] = [back] if isinstance(back, str) else back.values() if isinstance(back, dict) else back
    assert name == "tool"


@pytest.mark.parametrize("make", [Printed, Table, names])
async def test_a_program_that_writes_a_value_itself_has_it_written_there(make: Any) -> None:
    here = threading.current_thread().name
    assert here in str(deserialize_value(serialize_value(make())))
    # And nowhere else.
    with pytest.raises(ForeignCodeError):
        foreign(make())


def test_it_may_run_where_no_loop_runs() -> None:
    foreign(object())
    pack_value(iter([1]))


async def test_leave_is_taken_back_where_it_was_given() -> None:
    with in_place():
        with in_place():
            foreign(object())
        foreign(object())
    with pytest.raises(ForeignCodeError):
        foreign(object())


async def test_a_loop_goes_on_while_an_iterator_waits() -> None:
    go_on = threading.Event()

    def waits() -> Iterator[int]:
        yield int(go_on.wait(PATIENCE))

    waiting = asyncio.ensure_future(written(waits()))
    await asyncio.sleep(0)
    go_on.set()
    assert deserialize_value(await waiting) == [1]


async def test_what_fails_in_a_thread_fails_as_it_would_here() -> None:
    def fails() -> Iterator[int]:
        yield from ()
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        await written(fails())
    assert await outside_loop(lambda: 5) == 5


MANY = {
    "scalars": list(np.arange(3_000)),
    "arrays": {str(number): np.arange(2) for number in range(3_000)},
    "frames": [pd.DataFrame({"a": [1]})] * 30,
    "rows": {"rows": [pd.Series([1, "a"])] * 30},
}
FEW = {"scalars": list(np.arange(1_000)), "frames": [pd.DataFrame({"a": [1]})] * 10, "frame": pd.DataFrame({"a": [1]})}


@pytest.mark.parametrize("name", MANY)
async def test_much_of_it_is_written_outside_of_an_event_loop_as_well(name: str) -> None:
    with pytest.raises(ForeignCodeError):
        pack_value(MANY[name])
    message = await asyncio.to_thread(pack_value, MANY[name])
    assert message == await outside_loop(lambda: pack_value(MANY[name]))


@pytest.mark.parametrize("name", FEW)
async def test_a_little_of_it_is_written_where_it_is(name: str) -> None:
    assert pack_value(FEW[name])[1]


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
