"""Calls a hub in the same process."""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from functools import partial
from typing import Any

from grpc_tool_bridge.aio import forks
from grpc_tool_bridge.aio.loops import ended_with, has_ended, lives_elsewhere, running_loop
from grpc_tool_bridge.client.local_asks import asked_call, asked_stream
from grpc_tool_bridge.errors import UnimplementedError
from grpc_tool_bridge.rpc.authentication import Principal
from grpc_tool_bridge.rpc.context import RequestContext, takes_context
from grpc_tool_bridge.rpc.methods import METHODS, RUN_TOOLS
from grpc_tool_bridge.rpc.session_defaults import SessionDefaults, defaults_metadata
from grpc_tool_bridge.transport.stubs import Answerers, Unlinked

# Returns on whose behalf the running task acts.
Caller = Callable[[], Principal | None]


class LocalTransport(Unlinked):
    """Calls a hub in the same process: its methods under the stub's names, without a socket.

    Args:
        hub: The hub.
        caller: Returns on whose behalf the running task acts; None: the hub's own process does.
    """

    where = "this process"

    def __init__(self, hub: SessionDefaults, caller: Caller | None = None) -> None:
        self._hub = hub
        self._caller = caller
        self._stub: Any = _LocalStub(hub, None, caller)
        # The hub's event loop, once it is known.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._inherited = False
        forks.watch(self)

    def answer_with(self, answerers: Answerers) -> None:
        """Lets called tools ask questions."""
        self._stub = _LocalStub(self._hub, answerers, self._caller)

    @property
    def stub(self) -> Any:
        """The hub's methods.

        Raises:
            ProtocolError: The hub runs in another event loop, or in another process.
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
            raise ended_with("the hub of this bridge", "create another hub in the loop that runs here")
        else:
            raise lives_elsewhere("the hub of this bridge")

    async def close(self) -> None:
        """Does nothing: the hub belongs to its owner."""

    def forked(self) -> None:
        """Marks the transport unusable in a forked process."""
        self._inherited = self._loop is not None or getattr(self._hub, "loop", None) is not None
        self._loop = None


class _LocalStub:
    def __init__(self, hub: SessionDefaults, answerers: Answerers | None, caller: Caller | None) -> None:
        for name, method in METHODS.items():
            function = getattr(hub, method.attribute, None)
            if function is None:
                continue
            if caller is not None and takes_context(function):
                function = partial(_called_for, caller, function)
            if name == "InitializeSession":
                function = partial(_LocalOpening, hub, function)
            elif answerers is not None and name in RUN_TOOLS:
                function = partial(asked_stream if method.response_streaming else asked_call, answerers, function)
            setattr(self, name, function)

    def __getattr__(self, name: str) -> Any:
        if name in METHODS:
            raise UnimplementedError(f"this hub does not offer {name}")
        raise AttributeError(name)


def _called_for(
    caller: Caller, function: Callable[..., Any], request: Any, context: RequestContext | None = None
) -> Any:
    """Calls a method of the hub on behalf of whom the running task acts for."""
    if context is None:
        context = RequestContext()
    context.principal = caller()
    return function(request, context)


class _LocalOpening:
    """A call that opens a session; like a gRPC call, it has trailing metadata once awaited."""

    def __init__(self, hub: SessionDefaults, function: Callable[[Any], Awaitable[Any]], request: Any) -> None:
        self._hub = hub
        self._answer = function(request)
        self._session_id = ""

    def __await__(self) -> Generator[Any, Any, Any]:
        response = yield from self._answer.__await__()
        self._session_id = response.session_id
        return response

    async def trailing_metadata(self) -> tuple[tuple[str, str], ...]:
        return defaults_metadata(self._hub, self._session_id)
