"""A hub that is recorded: the same methods, each of which notes its request and its answer."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, Protocol

from grpc_tool_bridge.core.hub_front import HubFront
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.context import LOCAL, RequestContext
from grpc_tool_bridge.rpc.methods import METHODS
from grpc_tool_bridge.testing.recording.entries import CallLog


class Notes(Protocol):
    """What a recorder notes."""

    pending: dict[int, CallLog]

    def opened(self, request: pb.InitializeSessionRequest, response: pb.InitializeSessionResponse) -> None:
        """Notes a session that was created, or that a client has attached to."""

    def ended(self, request: pb.CleanupSessionRequest) -> None:
        """Notes the end of a session."""

    def worker_registered(self, worker_id: str) -> None:
        """Notes the id of a worker."""

    def begin(self, method: str, request: Any, context: RequestContext) -> CallLog | None:
        """Notes a request; returns None if it is not to be recorded."""

    def answered(self, log: CallLog, answer: Any, *, secret: bool = False) -> None:
        """Notes an answer."""

    def chunk(self, log: CallLog, chunk: Any) -> None:
        """Notes a message of a stream."""

    def failed_with(self, log: CallLog, error: BaseException) -> None:
        """Notes that a call ended with an exception."""

    def over(self, log: CallLog, how: str) -> None:
        """Notes the end of a stream."""

    def is_secret(self, session_id: str, name: str) -> bool:
        """Returns whether a variable is secret."""
        ...


def _recorded(name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Returns a method of a hub that notes its request and its answer."""

    async def recorded(self: "RecordedHub", request: Any, context: RequestContext = LOCAL) -> Any:
        work = self.methods.call(METHODS[name].attribute, request, context)
        return await self._unary(name, request, context, work)

    recorded.__doc__ = "As in ``Hub``."
    return recorded


class RecordedHub(HubFront):
    """Serves a hub and records it; what is not recorded is the hub's own.

    Args:
        hub: The hub.
        notes: The recorder.
    """

    def __init__(self, hub: Any, notes: Notes) -> None:
        super().__init__(hub)
        self._notes = notes

    # A recording takes messages.
    takes_large_calls = False

    # --------------------------------------------------------------------------------------------------- sessions

    async def initialize_session(
        self, request: pb.InitializeSessionRequest, context: RequestContext = LOCAL
    ) -> pb.InitializeSessionResponse:
        """As in ``Hub``."""
        response: pb.InitializeSessionResponse = await self.methods.call("initialize_session", request, context)
        if response.success:
            self._notes.opened(request, response)
        return response

    async def cleanup_session(
        self, request: pb.CleanupSessionRequest, context: RequestContext = LOCAL
    ) -> pb.StatusResponse:
        """As in ``Hub``."""
        response: pb.StatusResponse = await self.methods.call("cleanup_session", request, context)
        if response.success:
            self._notes.ended(request)
        return response

    def register_tools(
        self, request: pb.RegisterToolsRequest, context: RequestContext = LOCAL
    ) -> Awaitable[pb.RegisterToolsResponse]:
        """As in ``Hub``."""
        self._notes.worker_registered(request.worker_id)
        registered: Awaitable[pb.RegisterToolsResponse] = self.hub.register_tools(request, context)
        return registered

    # ------------------------------------------------------------------------------------------------------ calls

    async def execute_tool(self, request: pb.ToolCallRequest, context: RequestContext = LOCAL) -> Any:
        """As in ``Executor``."""
        return await self._unary("ExecuteTool", request, context, self.hub.execute_tool(request, context))

    # Every call is recorded by ``execute_tool``.
    try_begin_tool = None

    def begin_tool(
        self, request: pb.ToolCallRequest, context: RequestContext, done: Callable[..., None]
    ) -> Coroutine[Any, Any, Any]:
        """As in ``Executor``; never forwarded without a task."""
        del done
        return self.execute_tool(request, context)

    async def batch_execute_tools(
        self, request: pb.BatchToolCallRequest, context: RequestContext = LOCAL
    ) -> pb.BatchToolCallResponse:
        """As in ``Hub``."""
        work = self.hub.batch_execute_tools(request, context)
        response: pb.BatchToolCallResponse = await self._unary("BatchExecuteTools", request, context, work)
        return response

    def stream_tool(self, request: pb.ToolStreamRequest, context: RequestContext = LOCAL) -> AsyncGenerator[Any, None]:
        """As in ``Executor``."""
        return self._stream("StreamTool", request, context, lambda: self.hub.stream_tool(request, context))

    # -------------------------------------------------------------------------------------------------- variables

    async def get_session_variable(
        self, request: pb.GetVariableRequest, context: RequestContext = LOCAL
    ) -> pb.VariableResponse:
        """As in ``Hub``."""
        secret = self._notes.is_secret(request.session_id, request.variable_name)
        work = self.methods.call("get_session_variable", request, context)
        response: pb.VariableResponse = await self._unary("GetSessionVariable", request, context, work, secret=secret)
        return response

    set_session_variable = _recorded("SetSessionVariable")
    delete_session_variable = _recorded("DeleteSessionVariable")
    list_session_variables = _recorded("ListSessionVariables")

    def watch_session_variables(
        self, request: pb.WatchVariablesRequest, context: RequestContext = LOCAL
    ) -> AsyncGenerator[Any, None]:
        """As in ``Hub``."""
        watch = partial(self.methods.call, "watch_session_variables", request, context)
        return self._stream("WatchSessionVariables", request, context, watch)

    # ----------------------------------------------------------------------------------------------------- agents

    create_react_agent = _recorded("CreateReActAgent")
    cancel_agent_run = _recorded("CancelAgentRun")

    def execute_agent(
        self, request: pb.ExecuteAgentRequest, context: RequestContext = LOCAL
    ) -> AsyncGenerator[Any, None]:
        """As in ``Hub``."""
        return self._stream("ExecuteAgent", request, context, lambda: self.hub.execute_agent(request, context))

    # -------------------------------------------------------------------------------------------------- recording

    async def _unary(
        self, method: str, request: Any, context: RequestContext, work: Awaitable[Any], *, secret: bool = False
    ) -> Any:
        log = self._notes.begin(method, request, context)
        if log is None:
            return await work
        try:
            answer = await work
        except BaseException as error:
            self._notes.failed_with(log, error)
            raise
        finally:
            self._notes.pending.pop(id(request), None)
        self._notes.answered(log, answer, secret=secret)
        return answer

    def _stream(
        self, method: str, request: Any, context: RequestContext, start: Callable[[], AsyncGenerator[Any, None]]
    ) -> AsyncGenerator[Any, None]:
        log = self._notes.begin(method, request, context)
        chunks = start()
        return chunks if log is None else RecordedStream(chunks, self._notes, log, request)


class RecordedStream(AsyncGenerator[Any, None]):
    """A stream whose messages are noted.

    Args:
        chunks: The stream.
        notes: The recorder.
        log: The call.
        request: Its request.
    """

    def __init__(self, chunks: AsyncGenerator[Any, None], notes: Notes, log: CallLog, request: Any) -> None:
        self._chunks = chunks
        self._notes = notes
        self._log = log
        self._request = request
        self._over = False

    def __getattr__(self, name: str) -> Any:
        # A reader of a run has ``cancel`` and ``gone``.
        return getattr(self._chunks, name)

    async def asend(self, value: None) -> Any:
        """Returns the next message."""
        try:
            chunk = await self._chunks.asend(value)
        except StopAsyncIteration:
            self._end("done")
            raise
        except BaseException as error:
            self._end(error)
            raise
        self._notes.chunk(self._log, chunk)
        return chunk

    async def athrow(self, *error: Any) -> Any:
        """As for a generator."""
        return await self._chunks.athrow(*error)

    async def aclose(self) -> None:
        """Stops reading."""
        try:
            await self._chunks.aclose()
        finally:
            self._end("cancelled")

    def _end(self, how: str | BaseException) -> None:
        if self._over:
            return
        self._over = True
        self._notes.pending.pop(id(self._request), None)
        if isinstance(how, str):
            self._notes.over(self._log, how)
        else:
            self._notes.failed_with(self._log, how)
