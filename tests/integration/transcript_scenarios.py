"""What is recorded: each scenario is one kind of call."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import pytest

from grpc_tool_bridge import ToolBridgeError
from integration.transcript_stage import Scenario, Transport
from support.waiting import soon

BOTH: tuple[Transport, ...] = ("link", "rpc")

# By name, with the transports over which each is played.
SCENARIOS: dict[str, tuple[Scenario, Iterable[Transport]]] = {}


def scenario(*transports: Transport) -> Callable[[Scenario], Scenario]:
    """Registers a scenario under its name; without transports, over both."""

    def register(function: Scenario) -> Scenario:
        assert function.__name__ not in SCENARIOS
        SCENARIOS[function.__name__] = function, transports or BOTH
        return function

    return register


def add(a: int, b: int = 2) -> int:
    """Adds up."""
    return a + b


class Gate:
    """A tool that waits until it is let go."""

    def __init__(self) -> None:
        self.waits = asyncio.Event()
        self.opened = asyncio.Event()

    async def wait(self) -> str:
        """Waits."""
        self.waits.set()
        await self.opened.wait()
        return "opened"

    async def reached(self) -> None:
        """Waits until the tool waits."""
        await soon(self.waits.wait())


async def refused(answer: Awaitable[Any]) -> None:
    """Awaits what has to fail; how it does is in the transcript."""
    with pytest.raises(ToolBridgeError):
        await soon(answer)


async def broken_off(call: "asyncio.Task[Any]") -> None:
    """Cancels a call as its caller."""
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
