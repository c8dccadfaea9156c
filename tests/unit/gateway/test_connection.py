"""What is written in one turn is sent at once."""

import asyncio
from typing import Any

from grpc_tool_bridge.gateway.connection import GatheringTransport


class Wire:
    """A transport that notes what happens."""

    def __init__(self) -> None:
        self.done: list[Any] = []

    def write(self, data: bytes) -> None:
        self.done.append(data)

    def close(self) -> None:
        self.done.append("closed")

    def abort(self) -> None:
        self.done.append("aborted")

    def is_closing(self) -> bool:
        return "closed" in self.done

    def get_extra_info(self, name: str) -> str:
        return f"the {name}"


async def _made() -> tuple[Any, Wire]:
    wire: Any = Wire()
    return GatheringTransport(wire, asyncio.get_running_loop()), wire


async def test_parts_of_one_turn_are_one() -> None:
    transport, wire = await _made()
    transport.write(b"head ")
    transport.write(b"body")
    assert wire.done == []
    await asyncio.sleep(0)
    assert wire.done == [b"head body"]
    transport.write(b"more")
    await asyncio.sleep(0)
    assert wire.done == [b"head body", b"more"]


async def test_a_large_part_is_sent_at_once_and_in_order() -> None:
    transport, wire = await _made()
    transport.write(b"head")
    transport.write(b"x" * 20_000)
    assert wire.done == [b"head", b"x" * 20_000]
    await asyncio.sleep(0)
    assert len(wire.done) == 2


async def test_closing_sends_what_waits_and_aborting_does_not() -> None:
    transport, wire = await _made()
    transport.write(b"last")
    transport.close()
    assert wire.done == [b"last", "closed"]
    assert transport.is_closing()
    other, lost = await _made()
    other.write(b"last")
    other.abort()
    await asyncio.sleep(0)
    assert lost.done == ["aborted"]


async def test_everything_else_is_of_the_transport() -> None:
    transport, _ = await _made()
    assert transport.get_extra_info("socket") == "the socket"
