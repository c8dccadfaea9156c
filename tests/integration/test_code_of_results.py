"""Code of a result's own class is never run in the event loop, whichever method of it is asked and where it stands."""

import asyncio
import collections
import datetime as dt
import decimal
import fractions
import pathlib
import sys
import uuid
from collections import abc
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any, cast

import numpy as np
import pandas as pd
import polars as pl
import pytest

from grpc_tool_bridge import LocalToolBridge, ToolBridgeError, ToolContext, ToolExecutionError

# What a class is made with and found by, before any tool has returned it; and what its metaclass needs.
_OF_CLASSES = frozenset(
    [
        "__new__",
        "__init__",
        "__class__",
        "__init_subclass__",
        "__subclasshook__",
        "__class_getitem__",
        "__dict__",
        "__doc__",
        "__module__",
        "__slots__",
        "__weakref__",
        "__setattr__",
        "__del__",
        "__hash__",
        "__eq__",
        "__abstractmethods__",
        "_abc_impl",
        "__annotations__",
        "__orig_bases__",
        "__parameters__",
        "__array_finalize__",
        "_typ",
        "_metadata",
        "_internal_names",
        "_internal_names_set",
    ]
)


class Watch:
    """Notes which code of a result's class ran in the event loop, called by the bridge."""

    def __init__(self) -> None:
        self.result: Any = None
        self.watches = False
        self.seen: set[str] = set()

    def give(self) -> Any:
        """Gives the result; what happens to it from here on is noted."""
        self.watches = True
        return self.result

    def note(self, name: str) -> None:
        if not self.watches:
            return
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return
        frame: Any = sys._getframe(1)
        while frame is not None:
            if "/grpc_tool_bridge/" in frame.f_code.co_filename:
                self.seen.add(f"{name} at {frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_lineno}")
                return
            frame = frame.f_back


watch = Watch()


def _noted(base: Any, name: str) -> Any:
    own = getattr(base, name)
    if callable(own):

        def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            watch.note(name)
            return own(self, *args, **kwargs)

        return method

    def attribute(self: Any) -> Any:
        watch.note(name)
        return own.__get__(self) if hasattr(own, "__get__") else own

    return property(attribute)


def _subclass(base: Any, arguments: tuple[Any, ...], *, access: bool) -> Any:
    """Makes an instance of a subclass that notes each call of all its methods and attributes."""
    made: dict[str, Any] = {}
    for name in dir(base):
        if name in _OF_CLASSES or (name == "__getattribute__" and not access):
            continue
        one = {name: _noted(base, name)}
        try:
            type("Sub", (base,), one)(*arguments)
        except Exception:
            # Not one that may be replaced.
            continue
        made |= one
    return type("Sub", (base,), made)(*arguments)


class Object:
    """Is asked for something when it stands in a column."""

    def __repr__(self) -> str:
        watch.note("__repr__")
        return "x"

    def __hash__(self) -> int:
        watch.note("__hash__")
        return 1

    def __eq__(self, other: object) -> bool:
        watch.note("__eq__")
        return self is other

    def __array__(self, *_: Any) -> Any:
        watch.note("__array__")
        return np.array([1])


class Zone(dt.tzinfo):
    """Is asked by every text of a moment."""

    def utcoffset(self, _: Any) -> dt.timedelta:
        watch.note("utcoffset")
        return dt.timedelta(0)

    def tzname(self, _: Any) -> str:
        watch.note("tzname")
        return "UTC"

    def dst(self, _: Any) -> None:
        watch.note("dst")


BASES: list[tuple[Any, tuple[Any, ...]]] = [
    (str, ("x",)),
    (int, (3,)),
    (float, (3.0,)),
    (complex, (1,)),
    (bytes, (b"1",)),
    (bytearray, (b"1",)),
    (list, ([1],)),
    (tuple, ((1,),)),
    (dict, ({"a": 1},)),
    (set, ({1},)),
    (frozenset, ({1},)),
    (dt.datetime, (2020, 1, 1)),
    (dt.date, (2020, 1, 1)),
    (dt.time, (1,)),
    (dt.timedelta, (1,)),
    (decimal.Decimal, ("1",)),
    (uuid.UUID, (str(uuid.UUID(int=1)),)),
    (fractions.Fraction, (1, 2)),
    (pathlib.PurePosixPath, ("x",)),
    (collections.OrderedDict, ({"a": 1},)),
    (collections.Counter, ("ab",)),
    (collections.deque, ([1],)),
    (collections.ChainMap, ({"a": 1},)),
    (collections.UserDict, ({"a": 1},)),
    (collections.UserList, ([1],)),
    (collections.UserString, ("x",)),
    (np.float64, (1,)),
    (np.int64, (1,)),
    (np.ndarray, ((3,),)),
    (pd.Series, ([1],)),
    (pd.DataFrame, ({"a": [1]},)),
    (pl.Series, ([1],)),
    (pl.DataFrame, ({"a": [1]},)),
]


class _Mapping(abc.Mapping[str, int]):
    """Written by hand."""

    def __getitem__(self, name: str) -> int:
        watch.note("__getitem__")
        return 1

    def __iter__(self) -> Iterator[str]:
        watch.note("__iter__")
        return iter(["a"])

    def __len__(self) -> int:
        watch.note("__len__")
        return 1


def _said_to_be_of(module: str) -> Any:
    # As one made by ``type`` of an abstract class is, whose metaclass is written in Python.
    return type("Made", (_Mapping,), {"__module__": module})()


OTHERS: dict[str, Callable[[], Any]] = {
    "objects in an array": lambda: np.array([Object()], dtype=object),
    "objects in a column": lambda: pd.Series([Object(), Object()], dtype=object),
    "objects as labels": lambda: pd.DataFrame([[1]], columns=pd.Index([Object()], dtype=object)),
    "objects in a column of polars": lambda: pl.Series("o", [Object()], dtype=pl.Object),
    "zone": lambda: dt.datetime(2020, 1, 1, tzinfo=Zone()),
    "zone of a time": lambda: dt.time(1, tzinfo=Zone()),
    "mapping said to be of abc": lambda: _said_to_be_of("abc"),
    "mapping said to be of collections": lambda: _said_to_be_of("collections"),
}
RESULTS: dict[str, Callable[[], Any]] = {
    **{base.__name__: partial(_subclass, base, given, access=False) for base, given in BASES},
    **{f"{base.__name__}, access": partial(_subclass, base, given, access=True) for base, given in BASES},
    **OTHERS,
}


async def plain() -> Any:
    return watch.give()


async def inside() -> Any:
    return [watch.give(), {"a": watch.result}]


async def streamed() -> AsyncIterator[Any]:
    yield watch.give()


async def returns_a_stream() -> Any:
    async def values() -> AsyncIterator[Any]:
        yield watch.give()

    return values()


async def declared_dict() -> dict[str, int]:
    return watch.give()  # type: ignore[no-any-return]


async def declared_list() -> list[int]:
    return watch.give()  # type: ignore[no-any-return]


async def declared_set() -> set[int]:
    return watch.give()  # type: ignore[no-any-return]


async def declared_int() -> int:
    return watch.give()  # type: ignore[no-any-return]


async def declared_text() -> str:
    return watch.give()  # type: ignore[no-any-return]


async def declared_array() -> np.ndarray[Any, Any]:
    return watch.give()  # type: ignore[no-any-return]


async def declared_frame() -> pd.DataFrame:
    return watch.give()  # type: ignore[no-any-return]


async def declared_union() -> int | str | dt.datetime | list[int] | dict[str, int]:
    return watch.give()  # type: ignore[no-any-return]


# Two of it in each of 60 levels.
SHARED: list[Any] = []
for _ in range(60):
    SHARED = [SHARED, SHARED]


async def shared_where_a_number_is_declared() -> int:
    return SHARED  # type: ignore[return-value]


async def shared_in_a_note() -> None:
    error = ValueError("said")
    vars(error)["__notes__"] = [SHARED]
    raise error


async def shared_in_an_os_error() -> None:
    raise OSError(1, SHARED)


async def shared_as_progress(ctx: ToolContext) -> None:
    ctx.progress(cast("Any", SHARED))


TOOLS = [
    plain,
    inside,
    streamed,
    returns_a_stream,
    declared_dict,
    declared_list,
    declared_set,
    declared_int,
    declared_text,
    declared_array,
    declared_frame,
    declared_union,
]


@pytest.mark.parametrize("result", RESULTS)
async def test_no_code_of_a_result_runs_in_the_event_loop(result: str) -> None:
    seen: dict[str, set[str]] = {}
    async with LocalToolBridge(tools=TOOLS) as bridge:
        tools = await bridge.initialize()
        for tool in TOOLS:
            watch.result, watch.seen, watch.watches = RESULTS[result](), set(), False
            try:
                # Whether it is taken is none of this test's business.
                await tools[tool.__name__]()
            except ToolBridgeError:
                pass
            finally:
                watch.watches = False
            if watch.seen:
                seen[tool.__name__] = watch.seen

    assert not seen


@pytest.mark.parametrize(
    "tool", [shared_where_a_number_is_declared, shared_in_a_note, shared_in_an_os_error, shared_as_progress]
)
async def test_what_stands_in_many_places_is_gone_through_once(tool: Any) -> None:
    # Python itself would write it for ever, without letting another thread run.
    async with LocalToolBridge(tools=[tool]) as bridge:
        tools = await bridge.initialize()
        with pytest.raises(ToolExecutionError) as raised:
            await tools[tool.__name__]()

    assert raised.value.error_type != "TimeoutError"
