"""The peer of the HTTP gateway: a bare route and a bare stream of events, in the same framework and server."""

import asyncio
import json
import socket
from collections.abc import AsyncGenerator
from typing import Any, Self

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

PATH = "/api/sessions/{session}/tools/{tool}"


class HttpServer:
    """A Starlette application on uvicorn that adds, and counts, on a port of the loopback that is free."""

    def __init__(self) -> None:
        routes = [Route(f"{PATH}/execute", _add, methods=["POST"]), Route(f"{PATH}/stream", _count)]
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=2_048)
        self._listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        config = uvicorn.Config(
            Starlette(routes=routes), lifespan="off", log_config=None, access_log=False, http="h11", ws="none"
        )
        self._server = uvicorn.Server(config)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._serving = asyncio.create_task(self._server.serve(sockets=[self._listener]))
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._server.should_exit = True
        await self._serving


async def _add(request: Request) -> Response:
    a, b = (await request.json())["args"]
    return JSONResponse({"success": True, "result": a + b})


async def _count(request: Request) -> Response:
    number = int(request.query_params["number"])

    async def events() -> AsyncGenerator[bytes, None]:
        for index in range(number):
            yield f"event: data\nid: {index}\ndata: {index}\n\n".encode()

    return StreamingResponse(events(), media_type="text/event-stream")


class HttpClient:
    """Calls a bare server or a gateway, over one connection for each concurrent call.

    It speaks just enough HTTP/1.1 to cost little next to the server.

    Args:
        address: ``host:port``.
    """

    def __init__(self, address: str) -> None:
        self._host, _, port = address.partition(":")
        self._port = int(port)
        self._path = PATH.format(session="s", tool="add")
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._all: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        for writer in self._all:
            writer.close()

    async def add(self, a: int, b: int) -> Any:
        """Adds two integers by a request."""
        body = json.dumps({"args": [a, b]}).encode()
        head = f"POST {self._path}/execute HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        reader, writer = self._free.pop() if self._free else await self.connect()
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        length = int(answer.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        result = json.loads(await reader.readexactly(length))["result"]
        self._free.append((reader, writer))
        return result

    async def count(self, number: int, tool: str = "count") -> int:
        """Reads a stream of so many small events to its end; returns how many came."""
        reader, writer = await self.connect()
        path = f"{PATH.format(session='s', tool=tool)}/stream?number={number}"
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        found, rest = 0, b""
        while part := await reader.read(256 * 1024):
            data = rest + part
            found += data.count(b"event: data")
            # It may be cut in two.
            rest = data[-10:] if not data.endswith(b"event: data") else b""
        writer.close()
        return found

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Opens a connection, which is closed with the client."""
        reader, writer = await asyncio.open_connection(self._host, self._port, limit=1024 * 1024)
        self._all.append(writer)
        return reader, writer
