"""Frames over gRPC: the streams of the method Link, and the way to a hub by a channel."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc.aio
from grpc.aio import AioRpcError

from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.errors import ProtocolError, ToolBridgeError
from grpc_tool_bridge.link.status import Code, link_error
from grpc_tool_bridge.link.streams import FrameStream, stream_failure
from grpc_tool_bridge.rpc.authentication import Principal
from grpc_tool_bridge.rpc.methods import METHODS
from grpc_tool_bridge.transport.channel import AuthorizedChannel, Connection, close_stranded
from grpc_tool_bridge.transport.plain_calls import PlainCalls
from grpc_tool_bridge.transport.reads import Reads
from grpc_tool_bridge.transport.servicer import present_principal
from grpc_tool_bridge.transport.status import from_rpc_error

# What is read of a link before its peer has said hello.
MAX_FIRST_BYTES = 1024 * 1024


class GrpcEndpoint:
    """A hub that is reached over gRPC.

    Args:
        connection: Where it is.
    """

    def __init__(self, connection: Connection) -> None:
        self.where = connection.where
        self._connection = connection

    def open(self) -> "GrpcWay":
        """As of an ``Endpoint``."""
        return GrpcWay(self._connection.open(), self._connection.token)


class GrpcWay:
    """A channel, over which links are dialled.

    Args:
        channel: To the hub.
        token: Sent with each RPC; None: none.
    """

    def __init__(self, channel: Any, token: str | None) -> None:
        self._channel = channel
        self._authorized = channel if token is None else AuthorizedChannel(channel, token)

    async def dial(self) -> FrameStream:
        """As of a ``Dialable``; what the hub answers shows when the stream is read."""
        return DialledFrames(self._authorized.stream_stream(METHODS["Link"].path)())

    def plain_calls(self, tasks: TaskSet) -> PlainCalls:
        """As of a ``Dialable``: each call is an RPC of its own."""
        return PlainCalls(self._authorized, tasks)

    async def close(self, *, stranded: bool = False) -> None:
        """Closes the channel."""
        await (close_stranded(self._channel) if stranded else self._channel.close())


class DialledFrames:
    """A stream that was dialled.

    Args:
        rpc: The call of the method Link.
    """

    peer = ""

    def __init__(self, rpc: Any) -> None:
        self._rpc = rpc
        self.write = rpc.write

    async def read(self) -> bytes | None:
        """As of a ``FrameStream``."""
        try:
            frame = await self._rpc.read()
        except BaseException as error:
            # gRPC's own frames hold its call.
            error.__traceback__ = None
            raise
        return None if frame is grpc.aio.EOF else frame

    def close(self) -> None:
        """As of a ``FrameStream``: a call of gRPC would keep its channel, and that all of gRPC's threads."""
        rpc, self._rpc, self.write = self._rpc, None, None
        if rpc is not None:
            rpc.cancel()

    async def failure(self, error: Exception | None) -> ToolBridgeError:
        """As of a ``FrameStream``: by the status of the RPC, which a write to one that has ended does not tell."""
        if isinstance(error, AioRpcError):
            return from_rpc_error(error, method="Link")
        if error is not None and not isinstance(error, asyncio.InvalidStateError):
            raise error
        code = Code[(await self._rpc.code()).name]
        return stream_failure(None) if code is Code.OK else link_error(code, await self._rpc.details())


class AcceptedFrames:
    """A stream that a peer has dialled.

    Args:
        context: Of the RPC.
        reads: Reads the first frame in its turn, as any request; None: nobody waits for others.
    """

    def __init__(self, context: Any, reads: Reads | None = None) -> None:
        self.peer: str = context.peer()
        self._context = context
        # Until the first frame has come.
        self._reads = reads
        self.write: Any = context.write

    async def read(self) -> bytes | None:
        """As of a ``FrameStream``."""
        reads, self._reads = self._reads, None
        try:
            frame = await (self._context.read() if reads is None else self._first(reads))
        except BaseException as error:
            # gRPC's own frames hold its call, and that the server.
            error.__traceback__ = None
            raise
        return None if frame is grpc.aio.EOF else frame

    async def _first(self, reads: Reads) -> Any:
        peer = reads.peers.enter(self.peer)
        try:
            frame = await reads.message(self._context, peer, "a link")
        finally:
            reads.peers.leave(peer)
        if frame is not grpc.aio.EOF and len(frame) > MAX_FIRST_BYTES:
            raise ProtocolError(f"the first frame has {len(frame):,} bytes; with its hello it has {MAX_FIRST_BYTES:,}")
        return frame

    def close(self) -> None:
        """As of a ``FrameStream``: the RPC itself ends with whoever serves it."""
        self._context = self.write = None

    async def failure(self, error: Exception | None) -> ToolBridgeError:
        """As of a ``FrameStream``."""
        return stream_failure(error)


def link_behaviour(
    serve: Callable[[FrameStream, Principal | None], Awaitable[None]], reads: Reads | None = None
) -> Callable[[Any, Any], Awaitable[None]]:
    """Makes the behaviour of the method Link.

    Args:
        serve: Serves a link, as ``LinkServer.serve`` does.
        reads: As of ``AcceptedFrames``.
    """

    async def link(_: Any, context: Any) -> None:
        await serve(AcceptedFrames(context, reads), present_principal())

    return link
