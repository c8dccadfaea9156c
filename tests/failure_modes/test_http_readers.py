"""Readers of streams over HTTP: many, slow ones, and those that are there when the hub ends."""

import asyncio
import json
import resource
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from grpc_tool_bridge import BridgeServer, Settings
from support.http_events import ReadEvent, sse_events
from support.patience import PATIENCE
from support.waiting import soon, turns, until

READERS = 1_000
UPDATES = 20
HEAD = "GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def enough_files() -> Iterator[None]:
    """Each reader takes a file at both ends."""
    before = soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4 * READERS)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


class Reader:
    """A connection that reads a stream as it came, without a client's buffers."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def of(cls, server: BridgeServer, path: str, limit: int = 2**16) -> "Reader":
        host, _, port = (server.http_address or "").rpartition(":")
        made = cls(*await asyncio.open_connection(host, int(port), limit=limit))
        made.writer.write(HEAD.format(path).encode())
        return made

    async def values(self, count: int) -> list[Any]:
        """Reads the values of so many changes."""
        found: list[Any] = []
        while len(found) < count:
            line = await self.reader.readline()
            assert line, "the stream has ended"
            if line.startswith(b"data: "):
                found.append(json.loads(line.removeprefix(b"data: "))["value"])
        return found

    def leave(self) -> None:
        self.writer.transport.abort()


def watches(server: BridgeServer) -> int:
    return sum(session.watches for session in server.hub.store.sessions())


async def test_a_thousand_readers_see_each_change_in_order_and_leave_nothing(enough_files: None) -> None:
    settings = Settings(max_session_watches=READERS)
    async with BridgeServer(http_address="127.0.0.1:0", settings=settings) as server, server.bridge() as bridge:
        await bridge.initialize("s")
        before, held = set(asyncio.all_tasks()), server.hub.memory.used
        readers = [await Reader.of(server, "/api/sessions/s/variables/watch?names=x") for _ in range(READERS)]
        await until(lambda: watches(server) == READERS, "for the watches")
        reading = asyncio.gather(*(reader.values(UPDATES) for reader in readers))
        for number in range(UPDATES):
            await bridge.session_context.set_variable("x", number)
        assert await soon(reading) == [list(range(UPDATES))] * READERS
        for reader in readers:
            reader.leave()
        await until(lambda: not watches(server), "for the end of the watches")
        await until(lambda: not asyncio.all_tasks() - before, "for the end of their tasks")
        variable = server.hub.memory.used
        await bridge.session_context.delete_variable("x")
        assert server.hub.memory.used <= max(held, variable)


async def endless() -> AsyncIterator[str]:
    while True:
        yield "x" * 50_000


async def test_a_reader_of_a_byte_at_a_time_is_bounded_and_loses_its_stream() -> None:
    settings = Settings(stream_timeout=1.0)
    async with (
        BridgeServer(tools=[endless], http_address="127.0.0.1:0", settings=settings) as server,
        server.bridge() as bridge,
    ):
        await bridge.initialize("s")
        reader = await Reader.of(server, "/api/sessions/s/tools/endless/stream", limit=1)
        await until(lambda: server.hub.admission.active)
        most = 0
        while server.hub.admission.active:
            await soon(reader.reader.read(1))
            most = max(most, server.hub.memory.used)
            await turns()
        assert most < 4 * 1024 * 1024
        reader.leave()


async def forever() -> AsyncIterator[int]:
    yield 1
    await asyncio.Event().wait()


async def _events(response: httpx.Response) -> list[ReadEvent]:
    return [event async for event in sse_events(response.aiter_lines())]


async def test_a_hub_that_drains_lets_streams_end_and_refuses_what_is_new(caplog: pytest.LogCaptureFixture) -> None:
    go_on = asyncio.Event()

    async def gated() -> AsyncIterator[int]:
        yield 1
        await go_on.wait()
        yield 2

    server = BridgeServer(tools=[forever, gated], http_address="127.0.0.1:0")
    async with (
        server,
        server.bridge() as bridge,
        httpx.AsyncClient(base_url=f"http://{server.http_address}", timeout=PATIENCE) as client,
    ):
        await bridge.initialize("s")
        tools = "/api/sessions/s/tools"
        async with (
            client.stream("GET", f"{tools}/gated/stream") as ending,
            client.stream("GET", f"{tools}/forever/stream") as lasting,
        ):
            stopping = asyncio.create_task(server.stop(3.0))
            await until(lambda: server.hub.admission.draining)
            assert (await client.get("/healthz")).status_code == 200
            assert (await client.get("/readyz")).status_code == 503
            refused = await client.post(f"{tools}/gated/execute", json={})
            assert (refused.status_code, refused.json()["error"]["type"]) == (503, "WorkerUnavailable")
            assert int(refused.headers["retry-after"]) >= 1
            go_on.set()
            whole = await soon(_events(ending))
            assert [(event.name, event.data) for event in whole[:-1]] == [("data", 1), ("data", 2)]
            assert whole[-1].name == "complete"
            *_, last = await soon(_events(lasting))
            assert (last.name, last.data["type"]) == ("error", "Cancelled")
        await soon(stopping)
        with pytest.raises(httpx.ConnectError):
            await client.get("/readyz")
    assert not [record for record in caplog.records if record.exc_info]
