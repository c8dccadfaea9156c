"""The generated stubs over a channel, and how a client reaches a hub."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Protocol

import grpc.aio

from grpc_tool_bridge.aio import forks
from grpc_tool_bridge.aio.loops import has_ended, lives_elsewhere, note_use, running_loop, silence_closed
from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.errors import ProtocolError, ToolBridgeError, ValidationError
from grpc_tool_bridge.link.status import Code, code_of
from grpc_tool_bridge.proto.dspex_bridge_pb2 import Answer, Ask
from grpc_tool_bridge.proto.dspex_bridge_pb2_grpc import SnakepitBridgeStub, ToolBridgeAdminStub
from grpc_tool_bridge.transport.channel import AuthorizedChannel, Connection, close_stranded
from grpc_tool_bridge.transport.moving_stub import MovingStub
from grpc_tool_bridge.transport.tokens import TokenSource


class Answering(Protocol):
    """Answers the questions of one call."""

    def take(self, ask: Ask, give: Callable[[Answer], None]) -> Callable[[], object]:
        """Starts to answer a question.

        Args:
            ask: The question.
            give: Called later with the answer.

        Returns:
            A function that withdraws the question.
        """

    def close(self) -> None:
        """Withdraws all questions: the call is over."""


class Answerer(Protocol):
    """Answers the questions of the tools that one caller calls."""

    def of(self, tool_id: str, fail: Callable[[BaseException], None]) -> Answering:
        """Returns what answers the questions of one call.

        Args:
            tool_id: The tool; empty if the call is not of a single tool.
            fail: Called with the error if a question is not answered; ends the call.
        """


class Answerers(Protocol):
    """Knows who answers the questions of each call that a client makes."""

    def here(self) -> Answerer | None:
        """Returns what answers the questions of a call that the running task makes; None: nobody can."""


class HubStub(SnakepitBridgeStub, ToolBridgeAdminStub):
    """The methods of all services of a hub.

    Args:
        channel: To the hub.
    """

    takes_metadata = True

    def __init__(self, channel: Any) -> None:
        SnakepitBridgeStub.__init__(self, channel)
        ToolBridgeAdminStub.__init__(self, channel)


class Transport(Protocol):
    """How a client's calls reach a hub.

    Attributes:
        stub: An object with the methods of the generated stub; made when first used, in the running event loop.
        on_relinked: Called with a stub for each connection but the first, before other calls use it.
        on_moved: Called when it is used in a new event loop, because the previous one has ended.
    """

    on_relinked: Callable[[Any], Awaitable[None]] | None
    on_moved: Callable[[], None] | None

    @property
    def where(self) -> str:
        """The hub's address, for texts; of several, the one in use, or all while there is none."""

    @property
    def stub(self) -> Any:
        """The stub."""

    @stub.setter
    def stub(self, stub: Any) -> None: ...

    @property
    def resumes(self) -> bool:
        """Whether what a lost connection interrupted can be resumed over the next one."""

    @property
    def is_linked(self) -> bool:
        """Whether there is a link, by which the hub sees that the client is alive."""

    def answer_with(self, answerers: Answerers) -> None:
        """Answers the questions of tools with ``answerers``; to be called before the first call.

        Raises:
            ValidationError: Questions cannot be sent over this transport.
        """

    async def connect(self, seconds: float) -> None:
        """Tries for ``seconds`` to reach the hub, unless each call connects by itself."""

    def move_on(self, error: ToolBridgeError) -> bool:
        """Leaves a hub that cannot serve now for the next address; returns whether there is one.

        Args:
            error: The hub's answer; only UNAVAILABLE is a reason to leave.
        """

    async def close(self) -> None:
        """Closes the connection."""


class Unlinked:
    """The base class of transports without a link."""

    on_relinked: Callable[[Any], Awaitable[None]] | None = None
    on_moved: Callable[[], None] | None = None
    resumes = False
    is_linked = False

    def answer_with(self, answerers: Answerers) -> None:
        """Raises ValidationError: a plain RPC cannot carry questions."""
        del answerers
        raise ValidationError("on_ask: plain RPCs cannot carry questions; use transport='link', or pass 'host:port'")

    async def connect(self, seconds: float) -> None:
        """Does nothing: each call connects."""

    def move_on(self, error: ToolBridgeError) -> bool:
        """Returns False: there is one hub."""
        del error
        return False


class RpcTransport(Unlinked):
    """One RPC for each call, over a channel of its own or a given one; with several addresses, see ``MovingStub``.

    Args:
        target: A connection to open, or a channel, which its owner closes.
    """

    def __init__(self, target: Connection | grpc.aio.Channel) -> None:
        self._where = target.where if isinstance(target, Connection) else "the given channel"
        self._target = target
        self._channel: _Channels | None = None
        self._stub: Any = None
        # The event loop that the stub belongs to; None if there is no stub, and in a forked process.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._inherited = False
        # Closes channels whose event loops have ended.
        self._closing = TaskSet()
        forks.watch(self)

    @property
    def where(self) -> str:
        """See ``Transport``."""
        return (self._stub.where if isinstance(self._stub, MovingStub) else "") or self._where

    def move_on(self, error: ToolBridgeError) -> bool:
        """See ``Transport``."""
        return isinstance(self._stub, MovingStub) and code_of(error) is Code.UNAVAILABLE and self._stub.leave()

    @property
    def stub(self) -> Any:
        """The generated stub; made when first used.

        Raises:
            ProtocolError: Its channel belongs to another event loop that still runs, or to another process.
        """
        if self._stub is None or (self._loop is not None and running_loop() is not self._loop):
            self._enter()
        return self._stub

    @stub.setter
    def stub(self, stub: Any) -> None:
        self._stub = stub
        if self._channel is None:
            self._loop = None

    def _enter(self) -> None:
        """Makes the stub for the running event loop."""
        if self._inherited:
            raise forks.refusal(f"the bridge to {self.where}")
        before, loop = self._loop, running_loop()
        if not isinstance(self._target, Connection):
            self._use_given(self._target, loop)
            return
        if before is not None and loop is not None:
            if not has_ended(before):
                raise lives_elsewhere(f"the bridge to {self.where}")
            self._abandon()
        if self._stub is None:
            self._channel = _Channels(self._target)
            self._stub = self._channel.stub
            self._loop = loop
            if loop is not None:
                note_use(loop)
        if before is not None and loop is not None and self.on_moved is not None:
            self.on_moved()

    def _use_given(self, channel: grpc.aio.Channel, loop: asyncio.AbstractEventLoop | None) -> None:
        home = getattr(channel, "_loop", None)
        if home is not None and loop is not None and loop is not home:
            raise ProtocolError(
                "the given channel belongs to another event loop, where its owner may close it; pass one that was "
                "opened in the running loop, or the address, so that the bridge opens its own"
            )
        # gRPC would read freed memory, which may crash the process.
        if channel.get_state() is grpc.ChannelConnectivity.SHUTDOWN:
            raise ProtocolError("the given channel is closed; pass one that is open")
        self._stub, self._loop = HubStub(channel), home

    def _abandon(self) -> None:
        """Gives up a channel whose event loop has ended."""
        silence_closed()
        channel, self._channel, self._stub, self._loop = self._channel, None, None, None
        if channel is not None:
            self._closing.spawn(channel.close(stranded=True), "close")
            forks.note_closed()

    async def close(self) -> None:
        """Closes the channel if it was opened here."""
        # The parent process closes what was inherited.
        self._inherited = False
        stranded = self._loop is not None and self._loop is not running_loop()
        if stranded:
            silence_closed()
        channel, self._channel, self._stub, self._loop = self._channel, None, None, None
        if channel is not None:
            await channel.close(stranded=stranded)
            forks.note_closed()
        await self._closing.aclose()

    def forked(self) -> None:
        """Makes the transport unusable in a forked process; its gRPC objects are never freed there."""
        if self._loop is not None:
            forks.keep(dict(vars(self)))
            self._channel = self._stub = self._loop = None
            self._closing = TaskSet()
            self._inherited = True


class _Channels:
    """The channels of a connection, one for each address, and their stub."""

    def __init__(self, connection: Connection) -> None:
        connections = connection.each()
        self._channels = {each.where: each.open() for each in connections}
        stubs = {where: HubStub(_authorized(channel, connection.token)) for where, channel in self._channels.items()}
        if len(connections) > 1:
            self.stub: Any = MovingStub(stubs, self._is_connected, connection.keepalive.timeout)
        else:
            (self.stub,) = stubs.values()

    def _is_connected(self, where: str) -> bool:
        return self._channels[where].get_state() is grpc.ChannelConnectivity.READY

    async def close(self, *, stranded: bool = False) -> None:
        for channel in self._channels.values():
            await (close_stranded(channel) if stranded else channel.close())


def _authorized(channel: grpc.aio.Channel, token: TokenSource | None) -> Any:
    # A function that gives tokens is asked by the channel itself.
    return AuthorizedChannel(channel, token) if isinstance(token, str) else channel


async def close_stream(messages: Any) -> None:
    """Closes the stream that a stub's method returned: nobody reads it any more."""
    if isinstance(messages, AsyncGenerator):
        await messages.aclose()
    elif isinstance(messages, grpc.aio.Call):
        messages.cancel()
