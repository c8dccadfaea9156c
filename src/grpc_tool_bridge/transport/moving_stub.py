"""Plain RPCs to one of several hubs: the next one when a hub is gone."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from typing import Any

import grpc
import grpc.aio
from grpc.aio import AioRpcError, Metadata

from grpc_tool_bridge.errors import ToolBridgeError, ToolCommunicationError
from grpc_tool_bridge.link.status import Code, link_error
from grpc_tool_bridge.proto.dspex_bridge_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_tool_bridge.rpc.methods import METHODS
from grpc_tool_bridge.transport.several import in_vain
from grpc_tool_bridge.transport.status import as_rpc_error, from_rpc_error

# These mean that a hub was not reached; any other status is an answer.
_NOT_REACHED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


class MovingStub:
    """Has the methods of the generated stub, and calls them at the first of several hubs that serves.

    A hub is asked for its health before it gets a first call, and again when its connection was lost. So a call reaches
    a hub that serves if there is one; a call that was sent to a hub that then fails is not sent again.

    Args:
        stubs: The stub of each hub, by address.
        is_connected: Returns whether there is a connection to the hub of an address.
        dial_seconds: How long a hub may take to tell its health.

    Attributes:
        where: The address of the hub that is used; empty: none was found yet.
    """

    takes_metadata = True

    def __init__(self, stubs: Mapping[str, Any], is_connected: Callable[[str], bool], dial_seconds: float) -> None:
        self.where = ""
        self._stubs = stubs
        self._names = tuple(stubs)
        self._is_connected = is_connected
        self._dial_seconds = dial_seconds
        self._at = 0
        self._finding = asyncio.Lock()
        for name, method in METHODS.items():
            if not method.request_streaming:
                setattr(self, name, _Method(self, name, streams=method.response_streaming))

    def __getattr__(self, name: str) -> Any:
        # For type checkers, which cannot see the methods.
        raise AttributeError(name)

    async def find(self) -> Any:
        """Returns the stub of a hub that serves.

        Raises:
            AioRpcError: There is none; UNAVAILABLE if one may come back.
        """
        if not self._is_usable():
            async with self._finding:
                if not self._is_usable():
                    await self._look()
        return self._stubs[self.where]

    def leave(self) -> bool:
        """Leaves the hub that is used for the next one; returns whether there is one."""
        if self.where:
            self._at, self.where = (self._names.index(self.where) + 1) % len(self._names), ""
        return len(self._names) > 1

    def note(self, error: AioRpcError, where: str) -> None:
        """Takes note of how a call to the hub at ``where`` has failed."""
        if error.code() is grpc.StatusCode.UNAVAILABLE and where == self.where:
            if isinstance(from_rpc_error(error), ToolCommunicationError):
                self.leave()
            else:
                # The hub answered so: it may be shutting down, or have no worker.
                self.where = ""

    def _is_usable(self) -> bool:
        return bool(self.where) and self._is_connected(self.where)

    async def _look(self) -> None:
        reasons: dict[str, ToolBridgeError] = {}
        self.where = ""
        for step in range(len(self._names)):
            at = (self._at + step) % len(self._names)
            name = self._names[at]
            reason = await self._reason_against(self._stubs[name])
            if reason is None:
                self._at, self.where = at, name
                return
            reasons[name] = reason
        raise as_rpc_error(in_vain(reasons))

    async def _reason_against(self, stub: Any) -> ToolBridgeError | None:
        """Returns why a hub does not serve; None: it does."""
        try:
            health = await stub.HealthCheck(HealthCheckRequest(), timeout=self._dial_seconds)
        except AioRpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                return link_error(Code.UNAVAILABLE, f"nobody answered within {self._dial_seconds:g} s")
            # The call itself gets any other answer.
            return from_rpc_error(error, method="HealthCheck") if error.code() in _NOT_REACHED else None
        if health.status == HealthCheckResponse.SERVING:
            return None
        return link_error(Code.UNAVAILABLE, "the hub is not serving: it starts, shuts down, or cannot use its store")


class _Method:
    """A method of the stub."""

    def __init__(self, stub: MovingStub, name: str, *, streams: bool) -> None:
        self._stub = stub
        self._name = name
        self._streams = streams

    def __call__(self, request: Any, **how: Any) -> Any:
        """Starts a call once it is awaited, or iterated over."""
        return self._stream(request, how) if self._streams else MovingCall(self._stub, self._name, request, how)

    async def _stream(self, request: Any, how: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
        stub = await self._stub.find()
        where = self._stub.where
        call = getattr(stub, self._name)(request, **how)
        try:
            async for message in call:
                yield message
        except AioRpcError as error:
            self._stub.note(error, where)
            raise
        finally:
            call.cancel()


class MovingCall:
    """A call with one answer, which looks for its hub first; await it.

    Args:
        stub: Finds the hub.
        name: The method.
        request: Its request.
        how: The other arguments.
    """

    def __init__(self, stub: MovingStub, name: str, request: Any, how: Mapping[str, Any]) -> None:
        self._stub = stub
        self._name = name
        self._request = request
        self._how = how
        self._call: Any = None

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._run().__await__()

    async def trailing_metadata(self) -> Metadata:
        """Returns the trailing metadata of the answer; none before the call was sent."""
        return Metadata() if self._call is None else await self._call.trailing_metadata()

    async def _run(self) -> Any:
        stub = await self._stub.find()
        where = self._stub.where
        self._call = getattr(stub, self._name)(self._request, **self._how)
        try:
            return await self._call
        except AioRpcError as error:
            self._stub.note(error, where)
            raise
