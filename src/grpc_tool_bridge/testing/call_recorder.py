"""Records the calls of the tools of a hub: those of clients, and those that tools and agents make."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from grpc_tool_bridge.core.calls import HubCall
from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.core.interfaces import Backend
from grpc_tool_bridge.core.registered_tool import RegisteredTool
from grpc_tool_bridge.errors import CallCancelledError, SerializationError, error_from_info, error_info
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolCallResponse
from grpc_tool_bridge.rpc.buffers import Payload
from grpc_tool_bridge.rpc.large_messages import whole
from grpc_tool_bridge.runner.error_formatter import FormattedError, ToolRaised
from grpc_tool_bridge.tools.argument_kinds import KEYWORD_ONLY, VAR_KEYWORD, VAR_POSITIONAL, kind_of
from grpc_tool_bridge.tools.tool_calls import RecordedCall, ToolCalls
from grpc_tool_bridge.values.serialization import deserialize_value

# Arguments that cannot be given by position, one by one.
_NOT_POSITIONAL = (KEYWORD_ONLY, VAR_POSITIONAL, VAR_KEYWORD)


class HasHub(Protocol):
    """A BridgeServer, or a LocalToolBridge."""

    hub: Hub


@contextmanager
def record_calls(owner: HasHub | Hub) -> Iterator[ToolCalls]:
    """Records the calls of all tools of a hub, whoever makes them and wherever they run.

    A call that is refused before it reaches its tool, such as for a limit, is not recorded; one whose arguments do not
    fit is.

    Args:
        owner: A BridgeServer, a LocalToolBridge, or their ``hub``.

    Yields:
        The calls.
    """
    hub = owner if isinstance(owner, Hub) else owner.hub
    calls = ToolCalls()
    wrap, registry = hub.registry.wrap, hub.registry

    def recording(tool: RegisteredTool, backend: Backend[HubCall] | None) -> Backend[HubCall]:
        inner = backend if wrap is None else wrap(tool, backend)
        return RecordingBackend(inner or hub.executor.local, calls)

    before = {tool: tool.backend for tool in _tools(hub)}
    for tool, backend in before.items():
        tool.backend = RecordingBackend(backend or hub.executor.local, calls)
    registry.wrap = recording
    try:
        yield calls
    finally:
        registry.wrap = wrap
        for tool in _tools(hub):
            if isinstance(tool.backend, RecordingBackend):
                tool.backend = tool.backend.plain(hub.executor.local)


def _tools(hub: Hub) -> list[RegisteredTool]:
    own = [tool for session in hub.store.sessions() for tool in (session.tools or {}).values()]
    return [*hub.registry.own("").values(), *own]


class RecordingBackend:
    """Runs calls on another backend, and records them; a ``Backend``.

    Args:
        inner: Runs them.
        calls: Gets them.
    """

    def __init__(self, inner: Backend[HubCall], calls: ToolCalls) -> None:
        self.inner = inner
        self._calls = calls
        # The calls that were prepared and do not run yet.
        self._prepared: dict[HubCall, RecordedCall] = {}

    def plain(self, local: Backend[HubCall]) -> Backend[HubCall] | None:
        """Returns the backend of the tool without this one; None for one of the hub's own process."""
        return None if self.inner is local else self.inner

    def prepare(self, call: HubCall, request: Any, payload: Payload, size: int) -> Awaitable[None] | None:
        """As in ``Backend``; records the call."""
        recorded = self._record(call, request)
        try:
            preparing = self.inner.prepare(call, request, payload, size)
        except BaseException as error:
            _end(call, recorded, error)
            raise
        self._prepared[call] = recorded
        return None if preparing is None else self._preparing(call, preparing)

    async def _preparing(self, call: HubCall, preparing: Awaitable[None]) -> None:
        try:
            await preparing
        except BaseException as error:
            _end(call, self._prepared.pop(call), error)
            raise

    async def call(self, call: HubCall, request: Any, answer: Any, *, as_bytes: bool) -> Payload | None:
        """As in ``Backend``; records the result or the error."""
        recorded = self._prepared.pop(call)
        try:
            data = await self.inner.call(call, request, answer, as_bytes=as_bytes)
        except BaseException as error:
            _end(call, recorded, error)
            raise
        outcome = answer if data is None else ToolCallResponse.FromString(bytes(data))
        if outcome.success:
            recorded.result = deserialize_value(outcome.result)
        else:
            recorded.error = error_from_info(outcome.error, recorded.tool)
        recorded.is_done = True
        return data

    async def stream(self, call: HubCall, request: Any, *, as_bytes: bool) -> AsyncGenerator[Any, None]:
        """As in ``Backend``; records the values, and the error."""
        del as_bytes
        recorded = self._prepared.pop(call)
        recorded.result = []
        # Not as bytes, so that each chunk is a message.
        chunks: Any = self.inner.stream(call, request, as_bytes=False)
        try:
            async for chunk in chunks:
                if chunk.HasField("data"):
                    recorded.result.append(deserialize_value(chunk.data))
                yield chunk
        except BaseException as error:
            _end(call, recorded, error)
            raise
        finally:
            await chunks.aclose()
        if call.error is not None:
            recorded.error = error_from_info(call.error, recorded.tool)
        recorded.is_done = True

    def try_call(self, call: HubCall, request: Any, payload: Payload, done: Any) -> None:
        """Leaves the call to ``call``."""

    def _record(self, call: HubCall, request: Any) -> RecordedCall:
        message = whole(request)
        recorded = RecordedCall(
            call.tool.name,
            tuple(map(_read, message.args)),
            {name: _read(value) for name, value in message.kwargs.items()},
            names=[item.name for item in call.tool.spec.arguments if kind_of(item) not in _NOT_POSITIONAL],
        )
        self._calls.add(recorded)
        return recorded


def _end(call: HubCall, recorded: RecordedCall, failure: BaseException) -> None:
    """Records how a call failed, as its caller is told."""
    recorded.is_done = True
    if call.cause is not None:
        failure = call.cause
    raised = failure.error if isinstance(failure, ToolRaised) else failure
    if isinstance(raised, FormattedError):
        info = raised.info
    elif isinstance(raised, asyncio.CancelledError | GeneratorExit):
        info = error_info(CallCancelledError(f"{recorded.tool}: its caller has cancelled the call"))
    else:
        info = error_info(raised, raised_by_tool=raised is not failure)
    recorded.error = error_from_info(info, recorded.tool)


def _read(value: Any) -> Any:
    try:
        return deserialize_value(value)
    except SerializationError:
        # The call is refused, and says why.
        return value
