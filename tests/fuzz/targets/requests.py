"""Requests of every method that answers at once, to a hub."""

import asyncio
from typing import Any

from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.errors import ToolBridgeError
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.context import LOCAL, takes_context
from grpc_tool_bridge.rpc.methods import METHODS, Method
from grpc_tool_bridge.rpc.request_reader import read_request

REFUSALS = (ToolBridgeError,)

_METHODS = {
    name.encode(): method for name, method in METHODS.items() if not method.response_streaming and name != "Link"
}
_FAULT = "InternalError"


async def echo(value: Any, *more: Any, **named: Any) -> Any:
    """Returns its arguments."""
    return [value, more, named]


async def add(a: int, b: float = 0.0, *, c: list[str] | None = None) -> float:
    """Adds."""
    return a + b + len(c or ())


def fuzz(data: bytes) -> None:
    """Makes a request; the name of its method and NUL come before it."""
    name, _, data = data.partition(b"\0")
    if name not in _METHODS:
        return
    method = _METHODS[name]
    request = read_request(method, data)
    answer = asyncio.run(_answer(method, request))
    assert getattr(answer, "error", pb.ErrorInfo()).type != _FAULT, (name, request)
    for result in getattr(answer, "results", ()):
        assert result.error.type != _FAULT, (name, request)
    answer.SerializeToString()


async def _answer(asked: Method, request: Any) -> Any:
    hub = Hub(tools=[echo, add])
    try:
        await hub.initialize_session(pb.InitializeSessionRequest(session_id="s"))
        method = getattr(hub, asked.attribute)
        return await (method(request, LOCAL) if takes_context(method) else method(request))
    finally:
        await hub.aclose()
