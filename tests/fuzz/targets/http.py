"""Bytes that come over a connection to the HTTP gateway: heads, queries and bodies."""

import asyncio
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.gateway.app import Gateway
from grpc_tool_bridge.gateway.connection import connection_class
from grpc_tool_bridge.gateway.metrics import HttpCounts
from grpc_tool_bridge.proto.dspex_bridge_pb2 import CleanupSessionRequest, InitializeSessionRequest

REFUSALS: tuple[type[Exception], ...] = ()

_SESSION = "s"
_SECONDS = 60.0
_CONNECTION = connection_class(_SECONDS, _SECONDS)


async def add(a: int, b: int = 0) -> int:
    """Adds."""
    return a + b


async def echo(value: Any, *more: Any, **named: Any) -> Any:
    """Returns its arguments."""
    return [value, more, named]


async def count(words: list[str]) -> Any:
    """Yields words."""
    for word in words:
        yield word


class _Transport(asyncio.Transport):
    """Keeps what was written, and reads no more once it is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.closed = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def write(self, data: Any) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    abort = close

    def pause_reading(self) -> None:
        pass

    resume_reading = pause_reading


def fuzz(data: bytes) -> None:
    """Sends bytes; where the first is odd, the second part after an empty line is a body whose length is added."""
    flag, data = data[:1], data[1:]
    head, empty, body = data.partition(b"\r\n\r\n")
    if flag and flag[0] % 2 and empty:
        data = b"%b\r\nContent-Length: %d\r\n\r\n%b" % (head, len(body), body)
    answer = asyncio.run(_answer(data))
    # Whatever a peer sends is no fault of the hub.
    assert b"HTTP/1.1 500" not in answer, answer


async def _answer(data: bytes) -> bytes:
    hub = Hub(tools=[add, echo, count])
    await hub.initialize_session(InitializeSessionRequest(session_id=_SESSION))
    gateway = Gateway(hub, None, lambda: HttpCounts(0, 0))
    config = uvicorn.Config(gateway.app, lifespan="off", log_config=None, access_log=False, ws="none", http=_CONNECTION)
    config.load()
    state, transport = ServerState(), _Transport()
    connection: Any = _CONNECTION(config=config, server_state=state, app_state={})
    connection.connection_made(transport)
    for piece in (data[: len(data) // 2], data[len(data) // 2 :]):
        if piece and not transport.closed:
            connection.data_received(piece)
        # A stream of events has no end, and no request waits for anything but its own bytes.
        await _settled(state)
    connection.connection_lost(None)
    if state.tasks:
        await asyncio.wait(state.tasks)
    await gateway.aclose()
    for session in [*hub.store.sessions()]:
        await hub.cleanup_session(CleanupSessionRequest(session_id=session.id, force=True))
    await hub.aclose()
    assert not hub.memory.used, "what the requests held is still counted"
    return bytes(transport.written)


async def _settled(state: ServerState) -> None:
    """Waits until the tasks of a connection only wait for its peer."""
    for _ in range(20):
        await asyncio.sleep(0)
        if not state.tasks:
            return
