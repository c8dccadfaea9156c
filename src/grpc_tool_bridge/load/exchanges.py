"""What the load generator calls: a tool, its stream, a batch of it, or the hub alone."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from grpc_tool_bridge.client.arguments import pack_arguments, put_arguments, result_of
from grpc_tool_bridge.client.caller import Caller
from grpc_tool_bridge.client.options import to_milliseconds
from grpc_tool_bridge.config import BATCH_TIMEOUT, CALL_TIMEOUT, STREAM_TIMEOUT
from grpc_tool_bridge.errors import ProtocolError, SessionNotFoundError, error_from_info
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    BatchConfig,
    BatchToolCallRequest,
    HeartbeatRequest,
    ToolCallRequest,
    ToolSpec,
    ToolStreamRequest,
)

Shape = Literal["ping", "call", "stream", "batch"]


@dataclass(frozen=True, slots=True)
class Exchange:
    """What one call sent and received.

    Attributes:
        sent, received: Bytes of its messages, without those of the transport.
        values: Results, or values of a stream.
        first_at: When the first value of a stream came, by the clock of the event loop; None for anything else.
    """

    sent: int
    received: int
    values: int = 1
    first_at: float | None = None


class Call(Protocol):
    """Makes one call of a client, as often as it is awaited."""

    async def __call__(self) -> Exchange:
        """Makes the call.

        Raises:
            ToolBridgeError: It failed.
        """


@dataclass(frozen=True, kw_only=True)
class Target:
    """What is called. Each client encodes its request once, so that the generator spends little on a call.

    Attributes:
        tool: The tool's spec; None: the hub alone, by a heartbeat of the session.
        args, kwargs: The tool's arguments.
        stream: Read a stream of the tool, also if it returns one value.
        batch: Calls in one batch; None: single calls.
        timeout: Seconds for each call; None: the tool's own, else the bridge's default.
    """

    tool: ToolSpec | None = None
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] | None = None
    stream: bool = False
    batch: int | None = None
    timeout: float | None = None

    @property
    def shape(self) -> Shape:
        """How it is called."""
        if self.tool is None:
            return "ping"
        if self.batch is not None:
            return "batch"
        return "stream" if self.stream else "call"

    @property
    def seconds(self) -> float:
        """The timeout of a call."""
        if self.timeout is not None:
            return self.timeout
        if self.shape == "batch":
            return BATCH_TIMEOUT
        own = self.tool.limits.timeout_ms / 1000 if self.tool is not None else 0.0
        return own or (STREAM_TIMEOUT if self.shape == "stream" else CALL_TIMEOUT)

    def call_of(self, caller: Caller) -> Call:
        """Returns what makes the call for a client.

        Raises:
            SerializationError: An argument cannot be represented.
            ValidationError: The timeout is not valid.
        """
        session_id = caller.require_session()
        if self.tool is None:
            return Ping(caller, HeartbeatRequest(session_id=session_id), self.seconds)
        name, tool_id = self.tool.name, self.tool.tool_id or self.tool.name
        packed = pack_arguments(self.args, self.kwargs or {}, lambda: name, self.tool)
        milliseconds = to_milliseconds(self.seconds, name)
        if self.batch is not None:
            batch = BatchToolCallRequest(session_id=session_id, config=BatchConfig(parallel=True))
            for index in range(self.batch):
                put_arguments(batch.items.add(index=index, tool_id=tool_id), packed)
            return ToolBatch(caller, batch, self.seconds, name)
        if self.stream:
            stream = ToolStreamRequest(session_id=session_id, tool_id=tool_id, timeout_ms=milliseconds)
            put_arguments(stream, packed)
            return ToolStream(caller, stream, self.seconds, name)
        request = ToolCallRequest(session_id=session_id, tool_id=tool_id, timeout_ms=milliseconds)
        put_arguments(request, packed)
        return ToolCall(caller, request, self.seconds, name)


@dataclass(slots=True)
class _Request:
    """A request that is sent again and again.

    Attributes:
        caller: Makes the calls.
        request: The request.
        seconds: The timeout of each call.
        name: The tool's name, for errors.
        size: Bytes of the request.
    """

    caller: Caller
    request: Any
    seconds: float
    name: str = ""
    size: int = field(init=False)

    def __post_init__(self) -> None:
        self.size = self.request.ByteSize()


class Ping(_Request):
    """A heartbeat of the session: the cheapest request that a hub answers."""

    __slots__ = ()

    async def __call__(self) -> Exchange:
        """Makes the call."""
        response = await self.caller.unary("Heartbeat", self.request, self.seconds)
        if not response.session_valid:
            raise SessionNotFoundError(f"the hub has no session {self.request.session_id!r} any more")
        return Exchange(self.size, response.ByteSize(), 0)


class ToolCall(_Request):
    """A call of a tool; its result is not decoded."""

    __slots__ = ()

    async def __call__(self) -> Exchange:
        """Makes the call."""
        response = await self.caller.unary("ExecuteTool", self.request, self.seconds, tool=self.name)
        result_of(response, self.name)
        return Exchange(self.size, response.ByteSize())


class ToolBatch(_Request):
    """A batch of calls of a tool; it fails as the first failed call in it does."""

    __slots__ = ()

    async def __call__(self) -> Exchange:
        """Makes the calls."""
        response = await self.caller.call("BatchExecuteTools", self.request, timeout=self.seconds)
        wanted, got = len(self.request.items), len(response.results)
        if got != wanted:
            raise ProtocolError(f"a batch of {wanted} calls was answered with {got} results")
        for result in response.results:
            result_of(result, self.name)
        return Exchange(self.size, response.ByteSize(), got)


class ToolStream(_Request):
    """A stream of a tool, read to its end; its values are not decoded."""

    __slots__ = ()

    async def __call__(self) -> Exchange:
        """Reads the stream."""
        received = values = 0
        first_at = None
        chunks = self.caller.stream("StreamTool", self.request, timeout=self.seconds, tool=self.name)
        async with aclosing(chunks):
            async for chunk in chunks:
                received += chunk.ByteSize()
                kind = chunk.WhichOneof("content")
                if kind == "data":
                    values += 1
                    first_at = first_at or asyncio.get_running_loop().time()
                elif kind == "complete":
                    return Exchange(self.size, received, values, first_at)
                elif kind == "error":
                    raise error_from_info(chunk.error, self.name)
        raise ProtocolError(f"the stream of {self.name} ended without 'complete' or 'error'")
