"""Answers of a hub to a client: of calls, streams, lists and sessions."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from typing import Any

from google.protobuf.message import DecodeError

from grpc_tool_bridge import ToolBridgeClient
from grpc_tool_bridge.errors import ToolBridgeError
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from unit.client.fakes import FakeTransport, client_of

REFUSALS = (ToolBridgeError, DecodeError)

Use = Callable[[ToolBridgeClient], Awaitable[Any]]


async def _call(client: ToolBridgeClient) -> Any:
    return await client.call_tool("tool", 1, a=2)


async def _batch(client: ToolBridgeClient) -> Any:
    return await client.execute_batch([{"tool_id": "tool", "args": [1]}] * 2)


async def _stream(client: ToolBridgeClient) -> Any:
    tool = client.tool("tool").with_options(on_progress=lambda _: None, on_log=lambda _: None)
    async with aclosing(tool.stream()) as values:
        return [value async for value in values]


async def _open(client: ToolBridgeClient) -> Any:
    await client.initialize_session("s")
    return [repr(tool) for tool in client.tools.values()]


async def _agent(client: ToolBridgeClient) -> Any:
    asked = {"agent_id": "agent", "input": {"question": "text"}, "stream": True}
    async with aclosing(client.execute_agent_streaming(asked)) as steps:
        async for step in steps:
            repr(step)
            return


_UNARY: dict[bytes, tuple[type[Any], Use]] = {
    b"ExecuteTool": (pb.ToolCallResponse, _call),
    b"BatchExecuteTools": (pb.BatchToolCallResponse, _batch),
    b"GetSessionVariable": (pb.VariableResponse, lambda client: client.session_context.get_variable("v")),
    b"ListSessionVariables": (pb.ListVariablesResponse, lambda client: client.session_context.list_variables()),
    b"SetSessionVariable": (pb.StatusResponse, lambda client: client.session_context.set_variable("v", 1)),
    b"InitializeSession": (pb.InitializeSessionResponse, _open),
    b"HealthCheck": (pb.HealthCheckResponse, lambda client: client.health_check()),
    b"GetMetrics": (pb.MetricsResponse, lambda client: client.get_metrics()),
}
_STREAMS: dict[bytes, tuple[type[Any], Use]] = {
    b"StreamTool": (pb.ToolStreamChunk, _stream),
    b"ExecuteAgent": (pb.AgentExecutionChunk, _agent),
}


def fuzz(data: bytes) -> None:
    """Answers a call of a client; the name of its method and NUL come before, and a length before each message."""
    name, _, data = data.partition(b"\0")
    if name in _UNARY:
        answer, use = _UNARY[name]
        more = {"GetSessionTools": pb.GetSessionToolsResponse()}
        transport = FakeTransport(**more, **{name.decode(): answer.FromString(data)})
    elif name in _STREAMS:
        answer, use = _STREAMS[name]
        messages = [answer.FromString(piece) for piece in _pieces(data)]
        transport = FakeTransport(**{name.decode(): lambda _: _each(messages)}, CancelAgentRun=pb.StatusResponse())
    else:
        return
    asyncio.run(_used(transport, use))


async def _used(transport: FakeTransport, use: Use) -> None:
    client = client_of(transport)
    try:
        await use(client)
    finally:
        client.created_session = False
        await client.close()


async def _each(messages: list[Any]) -> AsyncIterator[Any]:
    for message in messages:
        yield message


def _pieces(data: bytes) -> Iterator[bytes]:
    while data:
        size = int.from_bytes(data[:2], "big")
        yield data[2 : 2 + size]
        data = data[2 + size :]
