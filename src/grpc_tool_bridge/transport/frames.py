"""Frames over gRPC: the streams of the method Link, and the channel to a hub."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc.aio
from grpc.aio import AioRpcError

from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.errors import ProtocolError, ToolBridgeError
from grpc_tool_bridge.link.status import Code, link_error
from grpc_tool_bridge.link.streams import Dialable, FrameStream
from grpc_tool_bridge.rpc.authentication import HEADER, Principal
from grpc_tool_bridge.rpc.methods import METHODS
from grpc_tool_bridge.transport.channel import AuthorizedChannel, Connection, close_stranded
from grpc_tool_bridge.transport.plain_calls import PlainCalls
from grpc_tool_bridge.transport.reads import Reads
from grpc_tool_bridge.transport.servicer import present_principal, present_renewal
from grpc_tool_bridge.transport.status import from_rpc_error
from grpc_tool_bridge.transport.tokens import TokenSource, current_token

# Maximum size of a link's first frame, which contains the hello.
MAX_FIRST_BYTES = 1024 * 1024


class GrpcEndpoint:
    """A hub that is reached over gRPC.

    Args:
        connection: How it is reached.
    """

    def __init__(self, connection: Connection) -> None:
        self.where = connection.where
        self._connection = connection

    def open(self) -> "GrpcWay":
        """See ``Endpoint``."""
        return GrpcWay(self._connection.open(), self._connection.token)


class GrpcWay(Dialable):
    """A channel, over which links are dialled.

    Args:
        channel: To the hub.
        token: Sent with each RPC, or a function that gives it; the channel asks it for all but links. None: none.
    """

    def __init__(self, channel: Any, token: TokenSource | None) -> None:
        self._channel = channel
        self._token = token
        self._authorized = AuthorizedChannel(channel, token) if isinstance(token, str) else channel

    async def dial(self) -> FrameStream:
        """See ``Dialable``; the hub's answer shows when the stream is read."""
        call = self._authorized.stream_stream(METHODS["Link"].path)
        if not callable(self._token):
            return DialledFrames(call())
        return DialledFrames(call(metadata=((HEADER, f"Bearer {await current_token(self._token)}"),)))

    def plain_calls(self, tasks: TaskSet) -> PlainCalls:
        """See ``Dialable``: each call is an RPC of its own."""
        return PlainCalls(self._authorized, tasks)

    async def close(self, *, stranded: bool = False) -> None:
        """Closes the channel."""
        await (close_stranded(self._channel) if stranded else self._channel.close())


class DialledFrames(FrameStream):
    """The client's end of a stream.

    Args:
        rpc: The call of the method Link.
    """

    peer = ""
    over = "gRPC"
    write: Any

    def __init__(self, rpc: Any) -> None:
        self._rpc = rpc
        self.write = rpc.write

    async def read(self) -> bytes | None:
        """See ``FrameStream``."""
        try:
            frame = await self._rpc.read()
        except BaseException as error:
            # gRPC's stack frames keep its call alive.
            error.__traceback__ = None
            raise
        return None if frame is grpc.aio.EOF else frame

    def close(self) -> None:
        """See ``FrameStream``; drops the call, which would keep its channel and gRPC's threads alive."""
        rpc, self._rpc, self.write = self._rpc, None, None
        if rpc is not None:
            rpc.cancel()

    async def failure(self, error: Exception | None) -> ToolBridgeError:
        """See ``FrameStream``; reads the status of the RPC, which a failed write does not contain."""
        if isinstance(error, AioRpcError):
            return from_rpc_error(error, method="Link")
        if error is not None and not isinstance(error, asyncio.InvalidStateError):
            raise error
        code = Code[(await self._rpc.code()).name]
        return await super().failure(None) if code is Code.OK else link_error(code, await self._rpc.details())


class AcceptedFrames(FrameStream):
    """The hub's end of a stream.

    Args:
        context: Of the RPC.
        reads: Reads the first frame in its turn, as any request; None: it is read immediately.
    """

    write: Any

    def __init__(self, context: Any, reads: Reads | None = None) -> None:
        self.peer: str = context.peer()
        self._context = context
        # Until the first frame was read.
        self._reads = reads
        self.write = context.write

    async def read(self) -> bytes | None:
        """See ``FrameStream``."""
        reads, self._reads = self._reads, None
        try:
            frame = await (self._context.read() if reads is None else self._first(reads))
        except BaseException as error:
            # gRPC's stack frames keep its call and the server alive.
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
            raise ProtocolError(
                f"the first frame has {len(frame):,} bytes; with its hello it may have at most {MAX_FIRST_BYTES:,}"
            )
        return frame

    def close(self) -> None:
        """See ``FrameStream``; the RPC itself ends when its handler returns."""
        self._context = self.write = None


def link_behaviour(
    serve: Callable[[FrameStream, Principal | None], Awaitable[None]], reads: Reads | None = None
) -> Callable[[Any, Any], Awaitable[None]]:
    """Returns the handler of the method Link.

    Args:
        serve: Serves a link, as ``LinkServer.serve`` does.
        reads: See ``AcceptedFrames``.
    """

    async def link(_: Any, context: Any) -> None:
        frames = AcceptedFrames(context, reads)
        frames.renew = present_renewal()
        await serve(frames, present_principal())

    return link
