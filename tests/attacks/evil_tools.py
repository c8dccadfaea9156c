"""Tools that would end or hold up the hub that runs them."""

import asyncio
import threading
from collections.abc import AsyncIterator, Generator
from typing import Any

from grpc_tool_bridge import ToolContext, tool
from integration import evil_tools

# What runs for longer than any call's time does so in real time: it is the wait that is tested.
FOR_EVER = threading.Event()


class Slow(Exception):
    """Has a text that never comes."""

    def __str__(self) -> str:
        FOR_EVER.wait()
        return ""


class SlowNotes(Exception):
    """Has notes that never come."""

    @property
    def __notes__(self) -> Any:  # type: ignore[override]  # that it is no list is what is tested
        FOR_EVER.wait()


class Ends:
    """Ends the program where it is written."""

    def __str__(self) -> str:
        raise SystemExit


class NoFuture:
    """Ends the program where a task waits for it."""

    @property
    def _asyncio_future_blocking(self) -> bool:
        raise SystemExit

    def __repr__(self) -> str:
        raise SystemExit

    def __await__(self) -> Generator[Any, Any, None]:
        yield self


class OddFuture(asyncio.Future[None]):
    """Likewise, and is a future."""

    def add_done_callback(self, *_: Any, **__: Any) -> None:
        raise SystemExit


@tool
async def slow_text() -> None:
    """Raises what cannot be shown, in the event loop."""
    raise Slow


@tool
async def slow_notes() -> None:
    """Likewise, with notes."""
    raise SlowNotes("said")


@tool
def slow_text_in_thread() -> None:
    """Raises what cannot be shown, in a thread."""
    raise Slow


@tool
async def slow_text_in_stream() -> AsyncIterator[int]:
    """Raises what cannot be shown, after a value."""
    yield 1
    raise Slow


@tool
async def slow_result() -> Any:
    """Returns what is never written."""
    return type("Evil", (), {"__str__": lambda _: FOR_EVER.wait()})()


@tool
async def slow_class() -> Any:
    """Returns what never says of which class it is."""
    return type("Evil", (), {"__class__": property(lambda _: FOR_EVER.wait()), "__str__": lambda _: "said"})()


@tool
def asks_for_evil(ctx: ToolContext) -> None:
    """Hands its context a value that ends the program, from a thread."""
    ctx.sync.set_variable("x", Ends())


@tool
async def ignores_its_end() -> None:
    """Is left behind, and then ends the program."""
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            raise SystemExit from None


@tool
async def waits_for_no_future() -> None:
    """Waits for what ends the program."""
    await NoFuture()


@tool
async def waits_for_an_odd_future() -> None:
    """Likewise."""
    await OddFuture()


TOOLS = [
    slow_text,
    slow_notes,
    slow_text_in_thread,
    slow_text_in_stream,
    slow_result,
    slow_class,
    asks_for_evil,
    ignores_its_end,
    waits_for_no_future,
    waits_for_an_odd_future,
    *evil_tools.TOOLS,
]
