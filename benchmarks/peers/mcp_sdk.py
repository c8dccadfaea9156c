"""The official MCP SDK, as it comes: its server and its client, over streamable HTTP or stdio.

As a program, it is the server over stdio: ``python -m benchmarks.peers.mcp_sdk``.
"""

import asyncio
import contextlib
import socket
import sys
from typing import Any, Self

import uvicorn
from mcp import Client, StdioServerParameters
from mcp.server.mcpserver import MCPServer

from benchmarks.work import WrongAnswerError, add


class McpServer:
    """Serves ``add`` over streamable HTTP, on a port of the loopback that is free."""

    def __init__(self) -> None:
        # Of TCP by name, else asyncio leaves TCP_NODELAY off for its connections.
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.bind(("127.0.0.1", 0))
        self.address = "http://{}:{}/mcp".format(*self._socket.getsockname())
        self._server = uvicorn.Server(uvicorn.Config(_make_server().streamable_http_app(), log_level="warning"))

    async def __aenter__(self) -> Self:
        self._serving = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._server.should_exit = True
        await self._serving


class McpClient:
    """Calls an MCP server.

    Args:
        address: A URL; None: start a server of its own and speak to it over stdio.
    """

    def __init__(self, address: str | None = None) -> None:
        over_stdio = StdioServerParameters(command=sys.executable, args=["-m", "benchmarks.peers.mcp_sdk"])
        self._client = Client(address or over_stdio)
        self._opened = contextlib.AsyncExitStack()

    async def add(self, a: int, b: int) -> Any:
        """Adds two integers by a call.

        Raises:
            WrongAnswerError: The answer is an error.
        """
        answer = await self._client.call_tool("add", {"a": a, "b": b})
        if answer.is_error:
            raise WrongAnswerError(f"{a} + {b} was answered with the error {answer.content!r}")
        return answer.structured_content["result"]

    async def __aenter__(self) -> Self:
        await self._opened.enter_async_context(self._client)
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._opened.aclose()


def _make_server() -> MCPServer[Any]:
    server = MCPServer("benchmarks", log_level="WARNING")
    server.tool()(add)
    return server


if __name__ == "__main__":
    _make_server().run("stdio")
