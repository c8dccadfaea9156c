"""Stubs: the generated one over a channel, and one that calls a hub in the same process."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from functools import partial
from typing import Any, Protocol

import grpc.aio

from grpc_tool_bridge.errors import ProtocolError, UnimplementedError
from grpc_tool_bridge.proto.dspex_bridge_pb2_grpc import SnakepitBridgeStub
from grpc_tool_bridge.transport.channel import AuthorizedChannel, Connection
from grpc_tool_bridge.transport.facts import SessionFacts, fact_metadata
from grpc_tool_bridge.wire.methods import METHODS


class Transport(Protocol):
    """How a client's calls reach a hub.

    Attributes:
        stub: An object with the methods of the generated stub; made when first used, in the running event loop.
        where: The hub's address, for texts.
        on_relinked: Called with a stub whenever a connection that was lost is there again, before others use it.
    """

    where: str
    on_relinked: Callable[[Any], Awaitable[None]] | None

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

    @property
    def stub(self) -> Any:
        """The generated stub; made when first used."""
        if self._stub is None:
            self._stub = self._make_stub()
        return self._stub

    @stub.setter
    def stub(self, stub: Any) -> None:
        self._stub = stub

    def _make_stub(self) -> Any:
        if not isinstance(self._target, Connection):
            # gRPC itself would read freed memory, which may end the process.
            if self._target.get_state() is grpc.ChannelConnectivity.SHUTDOWN:
                raise ProtocolError("the channel that was given is closed; give one that is open")
            return SnakepitBridgeStub(self._target)
        self._channel = self._target.open()
        token = self._target.token
        return SnakepitBridgeStub(AuthorizedChannel(self._channel, token) if token is not None else self._channel)  # type: ignore[arg-type]  # as good as a channel

    async def close(self) -> None:
        """Closes the channel, where it was opened here."""
        channel, self._channel, self._stub = self._channel, None, None
        if channel is not None:
            await channel.close()


class LocalTransport(_Unlinked):
    """Calls of a hub in the same process: its methods under the names of the stub, with no socket between.

    Args:
        hub: The hub.
    """

    where = "this process"

    def __init__(self, hub: SessionFacts) -> None:
        self.stub: Any = _LocalStub(hub)

    async def close(self) -> None:
        """Does nothing: the hub is its owner's."""


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
