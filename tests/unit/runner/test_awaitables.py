"""What a tool's coroutine may wait for."""

import asyncio
from typing import Any

import pytest

from grpc_tool_bridge.runner.awaitables import waitable


class Own(asyncio.Future[None]):
    """Adds nothing that a task asks for."""

    def cancel(self, msg: Any = None) -> bool:
        return super().cancel(msg)


class Odd(asyncio.Future[None]):
    """Has code for what a task asks for."""

    def get_loop(self) -> asyncio.AbstractEventLoop:
        raise SystemExit


class NoFuture:
    def __repr__(self) -> str:
        raise SystemExit


async def test_futures_of_asyncio_are_waited_for() -> None:
    task = asyncio.ensure_future(asyncio.sleep(0))
    gathered = asyncio.gather(asyncio.sleep(0))
    plain: Any = asyncio.futures
    for value in (None, asyncio.get_running_loop().create_future(), task, gathered, Own(), plain._PyFuture()):
        assert waitable(value) is value
    await asyncio.gather(task, gathered)


@pytest.mark.parametrize("make", [lambda: 42, NoFuture, Odd])
async def test_all_else_becomes_something_that_says_what_it_was(make: Any) -> None:
    made = make()
    assert repr(waitable(made)).endswith(f"{type(made).__name__}, which is not an asyncio future")
