"""What a hub of a cluster serves to its clients and workers: every session of the cluster, wherever it is."""

import uuid
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from functools import partial
from typing import Any

from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.cluster.forwarding.holds import ClusterHold, Holds
from grpc_tool_bridge.cluster.forwarding.interfaces import Guests, GuestTools
from grpc_tool_bridge.cluster.forwarding.owners import Owners
from grpc_tool_bridge.cluster.forwarding.passing import Here, Passing, metadata_of
from grpc_tool_bridge.cluster.forwarding.session_views import SessionViews
from grpc_tool_bridge.cluster.members.certainty import Certainty
from grpc_tool_bridge.core.agents.runs import RunReader
from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.core.hub_front import HubFront
from grpc_tool_bridge.core.names import clip
from grpc_tool_bridge.core.session import Session
from grpc_tool_bridge.core.statuses import failed_status
from grpc_tool_bridge.errors import AlreadyExistsError, CallCancelledError, NotFoundError, ToolBridgeError, error_info
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.proto.dspex_bridge_pb2 import LinkEvent
from grpc_tool_bridge.rpc.buffers import Payload
from grpc_tool_bridge.rpc.context import LOCAL, RequestContext
from grpc_tool_bridge.rpc.methods import METHODS
from grpc_tool_bridge.rpc.session_defaults import METADATA_LOGGER, read_defaults
from grpc_tool_bridge.runner.runner import last_chunk

# Sessions at other hubs whose defaults are remembered; they are read right after a session was opened.
_MAX_DEFAULTS = 1_000

# Two hubs may create one session; the one that comes second attaches to it.
_OPENING_TRIES = 3


def _passed(
    name: str, failed: Callable[[Any, ToolBridgeError], Any] | None = None
) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Returns a method with one answer that is passed on if its session is elsewhere.

    Args:
        name: The method.
        failed: Makes the answer for a request and the error that it failed with; None: the error is raised.
    """
    attribute, response = METHODS[name].attribute, METHODS[name].response

    def passed(self: "ClusterHub", request: Any, context: RequestContext = LOCAL) -> Coroutine[Any, Any, Any]:
        local: Callable[[], Coroutine[Any, Any, Any]] = partial(self._here, attribute, request, context)
        if self.owners.is_here(request.session_id):
            return local()
        return self.answer(name, request, context, response, local, failed)

    passed.__doc__ = "As in ``Hub``, of a session anywhere."
    return passed


def _passed_stream(name: str) -> Callable[..., AsyncGenerator[Any, None]]:
    """Returns a method with a stream of answers that is passed on if its session is elsewhere."""
    attribute = METHODS[name].attribute

    def passed(self: "ClusterHub", request: Any, context: RequestContext = LOCAL) -> AsyncGenerator[Any, None]:
        local: Callable[[], AsyncGenerator[Any, None]] = partial(self._here, attribute, request, context)
        if self.owners.is_here(request.session_id):
            return local()
        return self.messages(name, request, context, local)

    passed.__doc__ = "As in ``Hub``, of a session anywhere."
    return passed


def _failed_status(request: Any, error: ToolBridgeError) -> pb.StatusResponse:
    del request
    return failed_status(error)


def _failed_batch(request: pb.BatchToolCallRequest, error: ToolBridgeError) -> pb.BatchToolCallResponse:
    return pb.BatchToolCallResponse(batch_id=clip(request.batch_id), error=error_info(error))


def _failed_agent(request: Any, error: ToolBridgeError) -> pb.CreateReActAgentResponse:
    del request
    return pb.CreateReActAgentResponse(error=error_info(error))


def _failed_call(request: Any, error: ToolBridgeError) -> pb.ToolCallResponse:
    return pb.ToolCallResponse(request_id=clip(request.request_id), error=error_info(error))


class ClusterHub(HubFront):
    """Serves the sessions of a cluster at one of its hubs, as ``Hub`` serves its own.

    A request for a session of this hub takes the way that it takes without a cluster. Any other is passed on to the hub
    that has its session; if that hub is gone, this one takes the session.

    Args:
        hub: The hub of this process.
        certainty: Says whether it owns what it has.
        owners: Finds the hub that has a session.
        guests: The calls that other hubs run here.
        guest_tools: The tools that workers of this hub offer for sessions of other hubs.

    Attributes:
        hub, owners: As given.
        passing: Passes requests on.
        holds: The sessions that links of this hub use.
    """

    hub: Hub

    def __init__(self, hub: Hub, certainty: Certainty, owners: Owners, guests: Guests, guest_tools: GuestTools) -> None:
        super().__init__(hub)
        self.owners = owners
        self.passing = Passing(owners)
        self.holds = Holds(hub, self._beat)
        owners.on_adopted = self._adopted
        self._guests = guests
        self._guest_tools = guest_tools
        self._is_certain = certainty.is_certain
        self._defaults: OrderedDict[str, dict[str, int]] = OrderedDict()
        self._views = SessionViews(hub, self.get_session_tools, self.get_session_info)
        self._tasks = TaskSet()
        self.try_begin_tool = None if hub.try_begin_tool is None else self._try_begin

    def start(self) -> None:
        """Begins to keep the sessions alive that links of this hub use."""
        self._tasks.spawn(self.holds.beat_forever(), "keep sessions at other hubs alive")

    async def aclose(self) -> None:
        """Ends the tasks of the front; the hub stays."""
        await self._tasks.aclose()
        await self.owners.aclose()

    def _here(self, attribute: str, request: Any, context: RequestContext) -> Any:
        """Calls a method of the hub of this process, with the context if it takes one."""
        return self.methods.call(attribute, request, context)

    # ------------------------------------------------------------------------------------------- passing requests on

    async def answer(
        self,
        name: str,
        request: Any,
        context: RequestContext,
        response: type[Any],
        local: Callable[[], Awaitable[Any]],
        failed: Callable[[Any, ToolBridgeError], Any] | None = None,
        on_event: Callable[[LinkEvent], None] | None = None,
    ) -> Any:
        """Answers a request whose session is not surely here.

        Args:
            name: The method.
            request: The request.
            context: Its context.
            response: Class of the answer.
            local: Answers it here, if the session is here or nowhere.
            failed: As for ``_passed``.
            on_event: Called with what the hub that answers reports meanwhile.

        Returns:
            The answer; its bytes if the context has the payload.
        """
        payload, context_payload = context.payload, bool(context.payload)
        try:
            _check_parent(context)
            data = await self.passing.call(
                name, request.session_id, payload or request.SerializeToString(), context, on_event=on_event
            )
        except Here:
            return await local()
        except ToolBridgeError as error:
            if failed is None:
                raise
            return failed(request, error)
        return data if context_payload else response.FromString(bytes(data))

    async def messages(
        self,
        name: str,
        request: Any,
        context: RequestContext,
        local: Callable[[], AsyncGenerator[Any, None]],
    ) -> AsyncGenerator[Any, None]:
        """Answers a request for a stream whose session is not surely here; arguments as for ``answer``."""
        payload, as_bytes = context.payload, bool(context.payload)
        response = METHODS[name].response
        _check_parent(context)
        passed = self.passing.stream(name, request.session_id, payload or request.SerializeToString(), context)
        del payload
        try:
            async with aclosing(passed):
                async for message in passed:
                    yield message if as_bytes else response.FromString(bytes(message))
        except Here:
            async with aclosing(local()) as own:
                async for message in own:
                    yield message

    # ------------------------------------------------------------------------------------------------------ sessions

    async def initialize_session(
        self, request: pb.InitializeSessionRequest, context: RequestContext = LOCAL
    ) -> pb.InitializeSessionResponse:
        """As in ``Hub``: creates a session at this hub, or attaches to one anywhere."""
        local = partial(self._here, "initialize_session", request, context)
        response: pb.InitializeSessionResponse
        if not request.session_id or self.owners.is_here(request.session_id):
            response = await local()
            return response
        tries = 0
        while True:
            tries += 1
            response = await self.answer(
                "InitializeSession",
                request,
                context,
                pb.InitializeSessionResponse,
                local,
                _failed_opening,
                lambda event: self._take_defaults(request.session_id, event),
            )
            if tries == _OPENING_TRIES or response.error.type != AlreadyExistsError.default_type:
                return response
            # Another hub was faster to create it.

    def _take_defaults(self, session_id: str, event: LinkEvent) -> None:
        fields = metadata_of(event, METADATA_LOGGER)
        if not fields:
            return
        found = read_defaults(fields.items())
        self._defaults[session_id] = {f"{name}-ms": int(seconds * 1000) for name, seconds in found.items()}
        self._defaults.move_to_end(session_id)
        if len(self._defaults) > _MAX_DEFAULTS:
            self._defaults.popitem(last=False)

    def session_defaults(self, session_id: str) -> dict[str, int]:
        """As in ``Hub``; of a session that is elsewhere, as its hub said when it was opened."""
        return self.hub.session_defaults(session_id) or self._defaults.get(session_id, {})

    def hold_session(self, session_id: str) -> ClusterHold:
        """As in ``Hub``, of a session anywhere."""
        return self.holds.hold(session_id)

    async def find_session(self, session_id: str) -> Session:
        """As in ``Hub``; of a session that is elsewhere, a view of it, some of which may be a second old."""
        if self.owners.is_here(session_id) or await self.owners.find(session_id) is None:
            return await self.hub.find_session(session_id)
        return await self._views.view(session_id)

    async def spec_of(self, session_id: str, tool_id: str) -> pb.ToolSpec | None:
        """As in ``Hub``."""
        try:
            return self.hub.registry.find(await self.find_session(session_id), tool_id).spec
        except NotFoundError:
            return None

    async def _beat(self, session_id: str) -> bool:
        return bool((await self.heartbeat(pb.HeartbeatRequest(session_id=session_id))).session_valid)

    cleanup_session = _passed("CleanupSession", _failed_status)
    get_session_info = _passed("GetSessionInfo")
    share_session = _passed("ShareSession", _failed_status)
    unshare_session = _passed("UnshareSession", _failed_status)
    heartbeat = _passed("Heartbeat")

    def forget(self, session_id: str, error: ToolBridgeError) -> None:
        """Lets go of a session that this hub does not own any more."""
        if session_id in self.hub.store:
            self._guest_tools.forgot(self.hub.store.peek(session_id))
        self.hub.forget(session_id, error)
        self.owners.drop(session_id)
        self.holds.forgotten(session_id)

    def _adopted(self, session: Session) -> None:
        self._guest_tools.adopted(session)
        self.holds.adopted(session.id)

    # ------------------------------------------------------------------------------------------------- variables

    get_session_variable = _passed("GetSessionVariable")
    set_session_variable = _passed("SetSessionVariable", _failed_status)
    delete_session_variable = _passed("DeleteSessionVariable", _failed_status)
    list_session_variables = _passed("ListSessionVariables")
    watch_session_variables = _passed_stream("WatchSessionVariables")

    # ----------------------------------------------------------------------------------------------------- tools

    get_session_tools = _passed("GetSessionTools")
    watch_session_tools = _passed_stream("WatchSessionTools")

    async def register_tools(
        self, request: pb.RegisterToolsRequest, context: RequestContext = LOCAL
    ) -> pb.RegisterToolsResponse:
        """As in ``Hub``: registers tools of a worker of this hub, also for a session elsewhere."""
        if request.session_id and not self.owners.is_here(request.session_id) and context.peer is not None:
            try:
                if await self.owners.find(request.session_id, context.deadline) is not None:
                    check = getattr(self.hub, "check_guest_tools", None)
                    if check is not None:
                        await check(request, context)
                    return await self._guest_tools.register(context.peer, request)
            except ToolBridgeError as error:
                return pb.RegisterToolsResponse(error=error_info(error))
        return await self.hub.register_tools(request, context)

    async def unregister_tools(
        self, request: pb.UnregisterToolsRequest, context: RequestContext = LOCAL
    ) -> pb.StatusResponse:
        """As in ``Hub``."""
        if not request.session_id or self.owners.is_here(request.session_id):
            return await self.hub.unregister_tools(request, context)
        try:
            elsewhere = await self.owners.find(request.session_id, context.deadline) is not None
        except ToolBridgeError as error:
            return failed_status(error)
        if not elsewhere:
            return await self.hub.unregister_tools(request, context)
        if context.peer is not None and self.hub.workers.offers(context.peer):
            return await self._guest_tools.unregister(context.peer, request)
        response: pb.StatusResponse = await self.answer(
            "UnregisterTools",
            request,
            context,
            pb.StatusResponse,
            lambda: self.hub.unregister_tools(request, context),
            _failed_status,
        )
        return response

    # ----------------------------------------------------------------------------------------------------- calls

    def _try_begin(self, context: RequestContext, done: Any) -> Any:
        """As ``Executor.try_begin``; it begins only calls of sessions that are here."""
        return self.hub.try_begin_tool(context, done) if self._is_certain() else None

    def begin_tool(self, request: Any, context: RequestContext, done: Any) -> Any:
        """As in ``Executor``."""
        begin = self.hub.begin_tool
        if begin is not None and self.owners.is_here(request.session_id):
            return begin(request, context, done)
        return self.execute_tool(request, context)

    def execute_tool(self, request: Any, context: RequestContext = LOCAL) -> Coroutine[Any, Any, Any]:
        """As in ``Executor``, of a session anywhere."""
        if self.owners.is_here(request.session_id):
            return self.hub.execute_tool(request, context)
        return self._run("ExecuteTool", request, context, lambda: self.hub.execute_tool(request, context), _failed_call)

    def batch_execute_tools(
        self, request: pb.BatchToolCallRequest, context: RequestContext = LOCAL
    ) -> Coroutine[Any, Any, pb.BatchToolCallResponse]:
        """As in ``Hub``, of a session anywhere."""
        if self.owners.is_here(request.session_id):
            return self.hub.batch_execute_tools(request, context)
        return self._run(
            "BatchExecuteTools", request, context, lambda: self.hub.batch_execute_tools(request, context), _failed_batch
        )

    async def _run(
        self,
        name: str,
        request: Any,
        context: RequestContext,
        local: Callable[[], Awaitable[Any]],
        failed: Callable[[Any, ToolBridgeError], Any],
    ) -> Any:
        """Runs what may be a nested call of a tool that another hub's call runs here."""
        way = None if context.parent is None else self._guests.way_of(context.parent)
        response = METHODS[name].response
        if way is None:
            return await self.answer(name, request, context, response, local, failed)
        as_bytes, payload = bool(context.payload), context.payload or request.SerializeToString()
        try:
            data = await way[0].call(name, payload, deadline=context.deadline, metadata=way[1], asker=context.asker)
        except ToolBridgeError as error:
            return failed(request, error)
        return data if as_bytes else response.FromString(bytes(data))

    def stream_tool(self, request: pb.ToolStreamRequest, context: RequestContext = LOCAL) -> AsyncGenerator[Any, None]:
        """As in ``Executor``, of a session anywhere."""
        if self.owners.is_here(request.session_id):
            return self.hub.stream_tool(request, context)
        return self._stream(request, context)

    async def _stream(self, request: pb.ToolStreamRequest, context: RequestContext) -> AsyncGenerator[Any, None]:
        began = False
        try:
            async with aclosing(self._stream_elsewhere("StreamTool", request, context)) as chunks:
                async for chunk in chunks:
                    began = True
                    yield chunk
        except ToolBridgeError as error:
            if began:
                raise
            yield last_chunk(clip(request.stream_id), 0, sent=0, error=error_info(error), duration_us=0)

    def _stream_elsewhere(self, name: str, request: Any, context: RequestContext) -> AsyncGenerator[Any, None]:
        way = None if context.parent is None else self._guests.way_of(context.parent)
        local = getattr(self.hub, METHODS[name].attribute)
        if way is None:
            return self.messages(name, request, context, lambda: local(request, context))
        as_bytes, payload = bool(context.payload), context.payload or request.SerializeToString()
        messages = way[0].stream(name, payload, deadline=context.deadline, metadata=way[1], asker=context.asker)
        return _read(messages, None if as_bytes else METHODS[name].response)

    # ---------------------------------------------------------------------------------------------------- agents

    create_react_agent = _passed("CreateReActAgent", _failed_agent)
    cancel_agent_run = _passed("CancelAgentRun", _failed_status)

    def execute_agent(self, request: pb.ExecuteAgentRequest, context: RequestContext = LOCAL) -> RunReader:
        """As in ``Hub``, of a session anywhere."""
        if self.owners.is_here(request.session_id):
            return self.hub.execute_agent(request, context)
        named, begins = bool(request.run_id), bool(request.agent_id) and request.HasField("input")
        if not named and not request.from_sequence:
            # To cancel the run, whose reader may be lost or may cancel, which its hub cannot tell apart.
            request.run_id = uuid.uuid4().hex
            context.payload = request.SerializeToString() if context.payload else b""
        chunks = self._stream_elsewhere("ExecuteAgent", request, context)

        def cancel() -> None:
            # A reader that only observes the run must not cancel it.
            if begins:
                self._tasks.spawn(self._cancel_run(request, context), "cancel a run")

        return RunReader(chunks, cancel, named=named)

    async def _cancel_run(self, request: pb.ExecuteAgentRequest, context: RequestContext) -> None:
        asked = pb.CancelAgentRunRequest(session_id=request.session_id, run_id=request.run_id)
        await self.cancel_agent_run(asked, RequestContext(principal=context.principal, via=context.via))


async def _read(messages: AsyncGenerator[Payload, None], response: Any) -> AsyncGenerator[Any, None]:
    async with aclosing(messages):
        async for message in messages:
            yield message if response is None else response.FromString(bytes(message))


def _failed_opening(request: pb.InitializeSessionRequest, error: ToolBridgeError) -> pb.InitializeSessionResponse:
    return pb.InitializeSessionResponse(session_id=clip(request.session_id), error=error_info(error))


def _check_parent(context: RequestContext) -> None:
    """Refuses a nested call whose session has moved away from the call that makes it."""
    if context.parent is not None:
        raise CallCancelledError("the call that made this one is over: its session has moved to another hub")
