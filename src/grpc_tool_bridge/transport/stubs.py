"""Stubs: the generated one over a channel, and one that calls a hub in the same process."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from functools import partial
from typing import Any, Protocol

import grpc.aio

from grpc_tool_bridge.aio import forks
from grpc_tool_bridge.aio.loops import ended_with, has_ended, lives_elsewhere, note_use, running_loop, silence_closed
from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.errors import ProtocolError, UnimplementedError
from grpc_tool_bridge.proto.dspex_bridge_pb2_grpc import SnakepitBridgeStub
from grpc_tool_bridge.rpc.methods import METHODS
from grpc_tool_bridge.rpc.session_defaults import SessionFacts, fact_metadata
from grpc_tool_bridge.transport.channel import AuthorizedChannel, Connection, close_stranded


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

    async def connect(self, seconds: float) -> None:
        """Goes on for so many seconds to reach the hub, where that is not done with each call."""

    async def close(self) -> None:
        """Closes what was opened."""


class _Unlinked:
    """What a transport without a link says of itself."""

    on_relinked: Callable[[Any], Awaitable[None]] | None = None
    on_moved: Callable[[], None] | None = None
    resumes = False
    is_linked = False

    async def connect(self, seconds: float) -> None:
        """Does nothing: each call connects."""


class RpcTransport(_Unlinked):
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
            self._stub = SnakepitBridgeStub(authorized)
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
        self._stub, self._loop = SnakepitBridgeStub(channel), home

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


class LocalTransport(_Unlinked):
    """Calls of a hub in the same process: its methods under the names of the stub, with no socket between.

    Args:
        hub: The hub.
    """

    where = "this process"

    def __init__(self, hub: SessionFacts) -> None:
        self._hub = hub
        self._stub: Any = _LocalStub(hub)
        # Where the hub lives, once that is known.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._inherited = False
        forks.watch(self)

    @property
    def stub(self) -> Any:
        """The hub's methods.

        Raises:
            ProtocolError: The hub lives in another event loop, or in another process.
        """
        if running_loop() is not self._loop:
            self._enter()
        return self._stub

    @stub.setter
    def stub(self, stub: Any) -> None:
        self._stub = stub

    def _enter(self) -> None:
        if self._inherited:
            raise forks.refusal("the hub of this bridge")
        loop = running_loop()
        home = self._loop or getattr(self._hub, "loop", None)
        if home is None or loop is None or home is loop:
            self._loop = home or loop
        elif has_ended(home):
            raise ended_with("the hub of this bridge", "make another hub in the loop that runs here")
        else:
            raise lives_elsewhere("the hub of this bridge")

    async def close(self) -> None:
        """Does nothing: the hub is its owner's."""

    def forked(self) -> None:
        """Refuses, in a process that has inherited it, to be used."""
        self._inherited = self._loop is not None or getattr(self._hub, "loop", None) is not None
        self._loop = None


class _LocalStub:
    def __init__(self, hub: SessionFacts) -> None:
        for name, method in METHODS.items():
            function = getattr(hub, method.attribute, None)
            if function is not None:
                setattr(self, name, partial(_LocalOpening, hub, function) if name == "InitializeSession" else function)

    def __getattr__(self, name: str) -> Any:
        if name in METHODS:
            raise UnimplementedError(f"this hub does not offer {name}")
        raise AttributeError(name)


class _LocalOpening:
    """A call that opens a session; like one of gRPC's, it has trailing metadata once it was awaited."""

    def __init__(self, hub: SessionFacts, function: Callable[[Any], Awaitable[Any]], request: Any) -> None:
        self._hub = hub
        self._answer = function(request)
        self._session_id = ""

    def __await__(self) -> Generator[Any, Any, Any]:
        response = yield from self._answer.__await__()
        self._session_id = response.session_id
        return response

    async def trailing_metadata(self) -> tuple[tuple[str, str], ...]:
        return fact_metadata(self._hub, self._session_id)


async def close_stream(messages: Any) -> None:
    """Tells the other side that nobody reads any more what a streaming method of a stub gave."""
    if isinstance(messages, AsyncGenerator):
        await messages.aclose()
    elif isinstance(messages, grpc.aio.Call):
        messages.cancel()
