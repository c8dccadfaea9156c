"""What is used of the MCP SDK, and of the library of its event streams, beyond their documented interfaces.

| private part | what it tells or does |
| --- | --- |
| ``ServerSession._connection`` | the connection of a request's client, with its state and its end |
| ``send_raw_request(_related_request_id=…)`` | sends a request of the server on the stream of a call |
| ``sse_starlette.sse._get_shutdown_state``, ``_shutdown_watcher`` | the task that waits for the end of the server |

Nothing works without the first two, so a test fails, and names the part, where a release has it no more.
"""

import asyncio
from typing import Any

from mcp.server.connection import Connection
from mcp.server.context import ServerRequestContext
from mcp_types import RequestId
from sse_starlette import sse


def connection_of(context: ServerRequestContext[Any, Any]) -> Connection:
    """Returns the connection that a request came by; that of a client of the handshake protocol stays."""
    connection: Connection = context.session._connection  # noqa: SLF001 - listed above
    return connection


async def send_related_request(
    connection: Connection, method: str, params: Any, opts: Any, *, request_id: RequestId
) -> dict[str, Any]:
    """Sends a request of the server to a client of the handshake protocol, and returns the answer to it.

    Args:
        connection: The client's.
        method: Of the request.
        params: Of the request.
        opts: The SDK's options.
        request_id: The request of the client on whose stream it is sent.
    """
    outbound: Any = connection.outbound
    answer: dict[str, Any] = await outbound.send_raw_request(method, params, opts, _related_request_id=request_id)
    return answer


def end_stream_watcher() -> None:
    """Ends the task by which event streams look for the end of the server, if no stream is left."""
    if sse._get_shutdown_state().events:  # noqa: SLF001 - listed above; the task never ends otherwise
        return
    for task in asyncio.all_tasks():
        if getattr(task.get_coro(), "__qualname__", "") == sse._shutdown_watcher.__qualname__:  # noqa: SLF001
            task.cancel()
