"""What a client of the old protocol was sent survives its connection."""

import asyncio
import contextlib
from typing import Any

import pytest

from grpc_tool_bridge import BridgeServer, ToolContext
from integration.mcp_clients import Frames, RawClient, old_body
from support.waiting import soon, until


class Tools:
    """The tools, and how they went."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.go = asyncio.Event()
        self.ended = asyncio.Event()

    async def wait(self, ctx: ToolContext) -> str:
        """Waits."""
        ctx.log("begun")
        self.started.set()
        await self.go.wait()
        ctx.log("ends")
        self.ended.set()
        return "waited"

    async def quick(self) -> str:
        """Does nothing."""
        return "quick"

    def server(self) -> BridgeServer:
        return BridgeServer(tools=[self.wait, self.quick], http_address="127.0.0.1:0")


def _call(name: str, request_id: Any) -> dict[str, Any]:
    return old_body("tools/call", {"name": name, "arguments": {}}, request_id)


async def _broken(client: RawClient, tools: Tools, request_id: Any = 5) -> str:
    """Begins a call whose connection breaks; returns the id of the last event that came."""
    async with client.stream("POST", body=_call("wait", request_id)) as frames:
        assert await soon(frames.next()) is None
        assert frames.last_id
        assert int(frames.retry) > 0
        await soon(tools.started.wait())
        assert (await soon(frames.message()))["params"]["data"] == "begun"
        return frames.last_id


async def test_a_call_goes_on_without_its_connection_and_its_result_is_read_over_the_next() -> None:
    tools = Tools()
    async with tools.server() as server, RawClient(server) as client:
        await client.connect()
        last = await _broken(client, tools)
        tools.go.set()
        await soon(tools.ended.wait())
        async with client.stream(last_event_id=last) as frames:
            assert (await soon(frames.message()))["params"]["data"] == "ends"
            answer = await soon(frames.message())
            assert (answer["id"], answer["result"]["content"][0]["text"]) == (5, "waited")
            # All of it has been sent.
            with pytest.raises(EOFError):
                await soon(frames.next())
        async with client.stream(last_event_id=frames.last_id) as frames:
            assert frames.response.status_code == 200


async def test_what_still_comes_is_sent_over_the_next_connection() -> None:
    tools = Tools()
    async with tools.server() as server, RawClient(server) as client:
        await client.connect()
        last = await _broken(client, tools)
        async with client.stream(last_event_id=last) as frames:
            tools.go.set()
            assert (await soon(frames.message()))["params"]["data"] == "ends"
            assert (await soon(frames.message()))["id"] == 5


async def test_a_client_does_not_get_what_another_was_sent() -> None:
    tools = Tools()
    async with tools.server() as server, RawClient(server) as client, RawClient(server) as other:
        await client.connect()
        await other.connect()
        last = await _broken(client, tools)
        tools.go.set()
        await soon(tools.ended.wait())
        async with other.stream(last_event_id=last) as frames:
            with pytest.raises(EOFError):
                await soon(frames.next())


@pytest.mark.parametrize("last", ["x", "999999", "-1", "1 2"])
async def test_an_event_that_is_not_kept_ends_the_stream(last: str) -> None:
    async with Tools().server() as server, RawClient(server) as client:
        await client.connect()
        async with client.stream(last_event_id=last) as frames:
            with pytest.raises(EOFError):
                await soon(frames.next())


async def test_what_is_read_over_the_next_connection_ends_with_the_session() -> None:
    tools = Tools()
    async with tools.server() as server, RawClient(server) as client:
        await client.connect()
        last = await _broken(client, tools)
        async with client.stream(last_event_id=last) as frames:
            reading = asyncio.create_task(_all_of(frames))
            await client.leave()
            await soon(reading)


async def _all_of(frames: Frames) -> list[Any]:
    found = []
    with contextlib.suppress(EOFError):
        while True:
            found.append(await frames.next())
    return found


async def test_the_events_of_a_session_are_given_back_at_its_end() -> None:
    tools = Tools()
    async with tools.server() as server, RawClient(server) as client:
        before = server.hub.memory.used
        await client.connect()
        tools.go.set()
        for _ in range(3):
            await soon(client.call_old("quick"))
        await client.leave()
        await until(lambda: server.hub.memory.used == before)
