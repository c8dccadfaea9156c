"""Servers of asyncio."""

import asyncio
import contextlib
import gc
import socket

import pytest

from grpc_tool_bridge.aio.servers import close_server
from support.patience import PATIENCE
from support.waiting import soon


@pytest.mark.parametrize("turns", range(4))
async def test_a_connection_that_comes_as_a_server_closes_is_served_or_refused(turns: int) -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    with socket.create_connection(server.sockets[0].getsockname(), timeout=PATIENCE) as client:
        for _ in range(turns):
            await asyncio.sleep(0)
        await close_server(server)
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.to_thread(client.recv, 1) == b""
    await soon(server.wait_closed())
    gc.collect()


async def test_a_server_that_is_closed_can_be_closed_again() -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    for _ in range(2):
        await close_server(server)
        assert not server.is_serving()
