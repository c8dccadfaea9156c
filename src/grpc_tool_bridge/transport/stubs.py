"""The generated stubs over a channel."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Protocol

import grpc.aio

from grpc_tool_bridge.aio import forks
from grpc_tool_bridge.aio.loops import has_ended, lives_elsewhere, note_use, running_loop, silence_closed
from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.errors import ProtocolError, ValidationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import Answer, Ask
from grpc_tool_bridge.proto.dspex_bridge_pb2_grpc import SnakepitBridgeStub, ToolBridgeAdminStub
from grpc_tool_bridge.transport.channel import AuthorizedChannel, Connection, close_stranded


class Answering(Protocol):
    """Answers the questions of one call."""

    def take(self, ask: Ask, give: Callable[[Answer], None]) -> Callable[[], object]:
        """Has a question answered.

        Args:
            ask: The question.
            give: Called, later, with the answer.

        Returns:
            What ends that: nobody waits for the answer any more.
        """

    def close(self) -> None:
        """Ends what is under way: the call is over."""


class Answerer(Protocol):
    """Answers what tools ask whoever called them."""

    def of(self, tool_id: str, fail: Callable[[BaseException], None]) -> Answering:
        """Makes what answers the questions of one call.

        Args:
            tool_id: What is called; empty where that is no single tool.
            fail: Called with the error where a question is not answered; ends the call.
        """


class HubStub(SnakepitBridgeStub, ToolBridgeAdminStub):
    """The methods of all services of a hub, by their names.

    Args:
        channel: Where to.
    """

    def __init__(self, channel: Any) -> None:
        SnakepitBridgeStub.__init__(self, channel)
        ToolBridgeAdminStub.__init__(self, channel)


class Transport(Protocol):
    """How a client's calls reach a hub.

    Attributes:
        stub: An object with the methods of the generated stub; made when first used, in the running event loop.
        where: The hub's address, for texts.
        on_relinked: Called with a stub whenever a connection that was lost is there again, before others use it.
        on_moved: Called when it is used in another event loop than before, since that one has ended.
    """

    where: str
    on_relinked: Callable[[Any], Awaitable[None]] | None
    on_moved: Callable[[], None] | None

    @property
    def stub(self) -> Any:
        """The stub."""

    @stub.setter
    def stub(self, stub: Any) -> None: ...

    @property
    def resumes(self) -> bool:
        """Whether what a lost connection broke off may be taken up again over the next."""

    @property
    def is_linked(self) -> bool:
        """Whether the hub sees by itself that the client is there."""

    def answer_with(self, answerer: Answerer) -> None:
        """Lets the tools that are called ask; to be called before the first call.

        Raises:
            ValidationError: No question can come this way.
        """

    async def connect(self, seconds: float) -> None:
        """Goes on for so many seconds to reach the hub, where that is not done with each call."""

    async def close(self) -> None:
        """Closes what was opened."""


class Unlinked:
    """What a transport without a link says of itself."""

    on_relinked: Callable[[Any], Awaitable[None]] | None = None
    on_moved: Callable[[], None] | None = None
    resumes = False
    is_linked = False

    def answer_with(self, answerer: Answerer) -> None:
        """Refuses: a plain RPC brings no questions."""
        del answerer
        raise ValidationError("on_ask: plain RPCs bring no questions; use transport='link', or give 'host:port'")

    async def connect(self, seconds: float) -> None:
        """Does nothing: each call connects."""


class RpcTransport(Unlinked):
    """One RPC for each call, over a channel of its own or one that was given.

    Args:
        target: A connection to open, or a channel that its owner closes.
    """

    def __init__(self, target: Connection | grpc.aio.Channel) -> None:
        self.where = target.where if isinstance(target, Connection) else "the given channel"
        self._target = target
        self._channel: grpc.aio.Channel | None = None
        self._stub: Any = None
        # Where the stub that was made here lives; None where there is none, and in a process that has inherited it.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._inherited = False
        # Of a channel that was given, the moves to come to an end.
        self._closing = TaskSet()
        forks.watch(self)

    @property
    def stub(self) -> Any:
        """The generated stub; made when first used.

        Raises:
            ProtocolError: Its channel lives in another event loop, which still runs, or in another process.
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
        """Makes the stub for the event loop that runs here."""
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
            self._channel = self._target.open()
            token = self._target.token
            authorized: Any = AuthorizedChannel(self._channel, token) if token is not None else self._channel
            self._stub = HubStub(authorized)
            self._loop = loop
            if loop is not None:
                note_use(loop)
        if before is not None and loop is not None and self.on_moved is not None:
            self.on_moved()

    def _use_given(self, channel: grpc.aio.Channel, loop: asyncio.AbstractEventLoop | None) -> None:
        home = getattr(channel, "_loop", None)
        if home is not None and loop is not None and loop is not home:
            raise ProtocolError(
                "the channel that was given belongs to another event loop, where its owner may close it; give one that "
                "is opened in the loop that runs here, or the address, so that the bridge opens its own"
            )
        # gRPC itself would read freed memory, which may end the process.
        if channel.get_state() is grpc.ChannelConnectivity.SHUTDOWN:
            raise ProtocolError("the channel that was given is closed; give one that is open")
        self._stub, self._loop = HubStub(channel), home

    def _abandon(self) -> None:
        """Gives up a channel whose event loop has ended."""
        silence_closed()
        channel, self._channel, self._stub, self._loop = self._channel, None, None, None
        if channel is not None:
            self._closing.spawn(close_stranded(channel), "close")
            forks.note_closed()

    async def close(self) -> None:
        """Closes the channel, where it was opened here."""
        # It is the other process that closes what was inherited.
        self._inherited = False
        stranded = self._loop is not None and self._loop is not running_loop()
        if stranded:
            silence_closed()
        channel, self._channel, self._stub, self._loop = self._channel, None, None, None
        if channel is not None:
            await (close_stranded(channel) if stranded else channel.close())
            forks.note_closed()
        await self._closing.aclose()

    def forked(self) -> None:
        """Refuses, in a process that has inherited it, to be used; what it has of gRPC is never freed there."""
        if self._loop is not None:
            forks.keep(dict(vars(self)))
            self._channel = self._stub = self._loop = None
            self._closing = TaskSet()
            self._inherited = True


async def close_stream(messages: Any) -> None:
    """Tells the other side that nobody reads any more what a streaming method of a stub gave."""
    if isinstance(messages, AsyncGenerator):
        await messages.aclose()
    elif isinstance(messages, grpc.aio.Call):
        messages.cancel()
