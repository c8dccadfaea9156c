"""Stands before a hub, and lets each principal do what it may.

Calls are decided in ``core/admission``, which asks the same ``HubAccess``. All else is decided here: sessions,
variables, lists of tools, registering, agents, and what operators see (``guarded_admin``).

What is not there for a principal is answered like what is not there at all: a session that it may not use, and a tool
that it may neither call nor stream. What is refused by its name alone, such as a variable, tells nothing of whether it
exists, and is refused as such.
"""

from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing
from typing import Any

from grpc_tool_bridge.auth.access import HubAccess
from grpc_tool_bridge.auth.guarded_admin import GuardedAdmin
from grpc_tool_bridge.auth.guarded_sessions import Entry, GuardedSessions
from grpc_tool_bridge.auth.policy.model import NEW, Action
from grpc_tool_bridge.auth.registering import Registering, principal_of_link
from grpc_tool_bridge.auth.shown import ShownParts
from grpc_tool_bridge.core.agents.runs import RunReader
from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.core.hub_front import HubFront
from grpc_tool_bridge.core.session import Session
from grpc_tool_bridge.core.statuses import failed_status
from grpc_tool_bridge.core.tool_views import ToolFilter
from grpc_tool_bridge.errors import AccessError, ToolBridgeError, error_info
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.bounds import check_request
from grpc_tool_bridge.rpc.context import LOCAL, RequestContext
from grpc_tool_bridge.rpc.methods import METHODS

# Methods of the hub that need no guard here: calls are decided in its admission, and health is for everybody.
_UNGUARDED = frozenset({"execute_tool", "stream_tool", "batch_execute_tools", "health_check"})
_METHODS = frozenset(method.attribute for method in METHODS.values())


class GuardedHub(HubFront):
    """A hub whose methods do what their caller may; all of them take the context of the request.

    Args:
        hub: The hub.
        access: Decides.

    Attributes:
        hub, access: As given.
        shown: What it shows to whom, for the gateway.
        list_hubs, list_offers, list_sessions, list_workers, list_calls, list_runs, cancel_call, watch_events,
            get_metrics, list_approvals, decide_approval: As in ``GuardedAdmin``.
        share_session, unshare_session: As in ``GuardedSessions``.
        find_session: As in ``GuardedSessions``.
    """

    hub: Hub

    def __init__(self, hub: Hub, access: HubAccess) -> None:
        super().__init__(hub)
        self.access = access
        hub.admission.access = access
        self._sessions = GuardedSessions(hub, access)
        self.share_session, self.unshare_session = self._sessions.share, self._sessions.unshare
        self.shown = ShownParts(access)
        self._registering = Registering(hub, access)
        admin = GuardedAdmin(hub, access)
        self.list_hubs, self.list_offers, self.list_workers = admin.list_hubs, admin.list_offers, admin.list_workers
        self.list_sessions, self.list_calls, self.list_runs = admin.list_sessions, admin.list_calls, admin.list_runs
        self.cancel_call, self.watch_events, self.get_metrics = admin.cancel_call, admin.watch_events, admin.get_metrics
        self.list_approvals, self.decide_approval = admin.list_approvals, admin.decide_approval
        self._generation = 0

    def __getattr__(self, name: str) -> Any:
        # What is no method for callers: its settings, workers, and what its server needs.
        if name in _METHODS and name not in _UNGUARDED:
            raise AttributeError(name)
        return super().__getattr__(name)

    def policy_changed(self) -> None:
        """Has all who follow the tools look again: others may be shown to them."""
        self._generation += 1
        self.hub.registry.show_anew()

    def _only(self, session: Session, context: RequestContext) -> ToolFilter | None:
        """Returns which of the tools of a session a caller sees; None: all."""
        principal, access, generation = context.principal, self.access, self._generation
        if access.is_administrator(principal):
            return None
        return ToolFilter(
            lambda name: access.sees(session, name, principal),
            f" {principal} {generation}",
            lambda: generation != self._generation,
        )

    # ------------------------------------------------------------------------------------------------- sessions

    async def initialize_session(
        self, request: pb.InitializeSessionRequest, context: RequestContext = LOCAL
    ) -> pb.InitializeSessionResponse:
        """Creates a session, which then belongs to the caller, or attaches to one that the caller may use."""

        def check_quota() -> None:
            quota = self.hub.admission.payers.quota_of(context)
            if quota is not None and context.principal is not None:
                quota.check_sessions(self.hub.store.owned_by(context.principal.name))

        entry = Entry(self.access, context.principal, check_quota, lambda session: self._only(session, context))
        return await self.hub.initialize_session(request, entry)

    async def cleanup_session(
        self, request: pb.CleanupSessionRequest, context: RequestContext = LOCAL
    ) -> pb.StatusResponse:
        """Ends a session; for who owns it."""
        try:
            check_request(request)
            await self.hub.store.settle(request.session_id)
            self._sessions.require_owner(request.session_id, context, "end")
        except ToolBridgeError as error:
            return failed_status(error)
        return await self.hub.cleanup_session(request)

    async def get_session_info(
        self, request: pb.GetSessionInfoRequest, context: RequestContext = LOCAL
    ) -> pb.SessionInfo:
        """Describes a session; with the tools that the caller sees."""
        check_request(request)
        await self.hub.store.settle(request.session_id)
        session = self._sessions.require(request.session_id, context)
        info = await self.hub.get_session_info(request)
        only = self._only(session, context)
        if only is not None:
            info.tool_count = self.hub.registry.count(session, only)
        return info

    async def heartbeat(self, request: pb.HeartbeatRequest, context: RequestContext = LOCAL) -> pb.HeartbeatResponse:
        """Keeps a session alive; to others it is not there."""
        check_request(request)
        try:
            self._sessions.require(request.session_id, context)
        except ToolBridgeError:
            response = pb.HeartbeatResponse()
            response.server_time.GetCurrentTime()
            return response
        return await self.hub.heartbeat(request)

    async def find_session(self, session_id: str, context: RequestContext = LOCAL) -> Session:
        """As in ``Hub``, for a caller that may use the session."""
        session = await self.hub.find_session(session_id)
        return self._sessions.checked(session, context)

    # ------------------------------------------------------------------------------------------------ variables

    def _check_variable(self, request: Any, context: RequestContext, action: Action) -> None:
        check_request(request)
        self._sessions.require_right(request.session_id, context, action)
        self.access.check(context.principal, action, request.variable_name)

    async def get_session_variable(
        self, request: pb.GetVariableRequest, context: RequestContext = LOCAL
    ) -> pb.VariableResponse:
        """Reads a variable."""
        self._check_variable(request, context, Action.READ)
        return await self.hub.get_session_variable(request)

    def set_session_variable(
        self, request: pb.SetVariableRequest, context: RequestContext = LOCAL
    ) -> Awaitable[pb.StatusResponse]:
        """Sets a variable; what it returns is as from the hub."""
        try:
            self._check_variable(request, context, Action.WRITE)
            quota = self.hub.admission.payers.quota_of(context)
            if quota is not None and context.parent is None:
                quota.take_bytes(context.size or request.ByteSize())
        except ToolBridgeError as error:
            return _failed(error)
        return self.hub.set_session_variable(request)

    async def delete_session_variable(
        self, request: pb.DeleteVariableRequest, context: RequestContext = LOCAL
    ) -> pb.StatusResponse:
        """Deletes a variable."""
        try:
            self._check_variable(request, context, Action.WRITE)
        except ToolBridgeError as error:
            return failed_status(error)
        return await self.hub.delete_session_variable(request)

    async def list_session_variables(
        self, request: pb.ListVariablesRequest, context: RequestContext = LOCAL
    ) -> pb.ListVariablesResponse:
        """Lists the variables that the caller may read."""
        check_request(request)
        self._sessions.require_right(request.session_id, context, Action.READ)
        principal = context.principal
        if self.access.is_administrator(principal):
            return await self.hub.list_session_variables(request)
        return await self.hub.list_session_variables(request, lambda name: self._reads(name, context))

    def _reads(self, name: str, context: RequestContext) -> bool:
        return self.access.decide(context.principal, Action.READ, name).allowed

    async def watch_session_variables(
        self, request: pb.WatchVariablesRequest, context: RequestContext = LOCAL
    ) -> AsyncGenerator[pb.VariableUpdate, None]:
        """Yields the changes of the variables that the caller may read, as long as it may use the session."""
        check_request(request)
        self._sessions.require_right(request.session_id, context, Action.READ)
        for name in request.variable_names:
            self.access.check(context.principal, Action.READ, name)
        async with aclosing(self.hub.watch_session_variables(request)) as updates:
            async for update in updates:
                self._sessions.require_right(request.session_id, context, Action.READ)
                # A reset is of no variable.
                if not update.name or self._reads(update.name, context):
                    yield update

    # ---------------------------------------------------------------------------------------------------- tools

    async def get_session_tools(
        self, request: pb.GetSessionToolsRequest, context: RequestContext = LOCAL
    ) -> pb.GetSessionToolsResponse:
        """Lists the tools that the caller may call or stream."""
        check_request(request)
        session = self._sessions.require(request.session_id, context)
        return await self.hub.get_session_tools(request, self._only(session, context))

    async def watch_session_tools(
        self, request: pb.WatchSessionToolsRequest, context: RequestContext = LOCAL
    ) -> AsyncGenerator[pb.ToolUpdate, None]:
        """Yields the changes of the tools that the caller may call or stream, as long as it may use the session."""
        check_request(request)
        session = self._sessions.require(request.session_id, context)
        async with aclosing(self.hub.watch_session_tools(request, self._only(session, context))) as updates:
            async for update in updates:
                self._sessions.require(request.session_id, context)
                yield update

    async def spec_of(self, session_id: str, tool_id: str, context: RequestContext = LOCAL) -> pb.ToolSpec | None:
        """As in ``Hub``, of a tool that the caller sees."""
        spec = await self.hub.spec_of(session_id, tool_id)
        if spec is None or self.access.is_administrator(context.principal):
            return spec
        session = self.hub.store.peek(session_id)
        return spec if self.access.sees(session, spec.name, context.principal) else None

    async def register_tools(
        self, request: pb.RegisterToolsRequest, context: RequestContext = LOCAL
    ) -> pb.RegisterToolsResponse:
        """Registers tools of a worker that its principal may register, and that are no other principal's."""
        try:
            check_request(request)
            if request.session_id:
                caller = principal_of_link(context)
                self._sessions.require_right(request.session_id, context, Action.REGISTER, caller)
        except ToolBridgeError as error:
            return pb.RegisterToolsResponse(error=error_info(error))
        return await self.hub.register_tools(request, context, self._registering.admit(request, context))

    async def check_guest_tools(self, request: pb.RegisterToolsRequest, context: RequestContext) -> None:
        """Refuses tools of a worker of this hub for a session of another hub, which it may not register.

        Raises:
            AccessError: It may not.
        """
        self._registering.check_names([spec.name for spec in request.tools], context)
        self._registering.check_worker(request.worker_id, context)

    async def unregister_tools(
        self, request: pb.UnregisterToolsRequest, context: RequestContext = LOCAL
    ) -> pb.StatusResponse:
        """Removes tools: over a worker's link its own, otherwise those of a session that the caller may register."""
        try:
            check_request(request)
            if request.session_id:
                self._sessions.require_right(request.session_id, context, Action.REGISTER)
        except ToolBridgeError as error:
            return failed_status(error)
        return await self.hub.unregister_tools(request, context, self._registering.admit_removal(context))

    # --------------------------------------------------------------------------------------------------- agents

    async def create_react_agent(
        self, request: pb.CreateReActAgentRequest, context: RequestContext = LOCAL
    ) -> pb.CreateReActAgentResponse:
        """Creates an agent."""
        try:
            check_request(request)
            session = self._sessions.require_right(request.session_id, context, Action.RUN)
            self.access.check(context.principal, Action.RUN, NEW)
        except ToolBridgeError as error:
            return pb.CreateReActAgentResponse(error=error_info(error))
        return await self.hub.create_react_agent(request, context, self._only(session, context))

    def execute_agent(self, request: pb.ExecuteAgentRequest, context: RequestContext = LOCAL) -> RunReader:
        """Starts a run of an agent, or attaches to one."""
        reader: RunReader = self.hub.execute_agent(request, context)
        if self.access.is_administrator(_caller(context)):
            return reader

        async def chunks() -> AsyncGenerator[Any, None]:
            self._check_run(request, context)
            async with aclosing(reader):
                async for chunk in reader:
                    yield chunk

        return RunReader(chunks(), reader.cancel, named=bool(request.run_id))

    def _check_run(self, request: pb.ExecuteAgentRequest, context: RequestContext) -> None:
        check_request(request)
        caller = _caller(context)
        if context.parent is not None and context.parent.session.id != request.session_id:
            raise AccessError("a tool runs agents in the session of its own call only")
        session = self._sessions.require_right(request.session_id, context, Action.RUN, caller)
        agents = {request.agent_id} if request.agent_id else set()
        run = self.hub.agents.of(session).runs.get(request.run_id) if request.run_id else None
        if run is not None:
            agents.add(run.agent_id)
        for agent_id in agents:
            self.access.check(caller, Action.RUN, agent_id)

    async def cancel_agent_run(
        self, request: pb.CancelAgentRunRequest, context: RequestContext = LOCAL
    ) -> pb.StatusResponse:
        """Cancels a run: one's own, or any of a session in which one may cancel."""
        try:
            check_request(request)
            session = self._sessions.require(request.session_id, context)
            run = self.hub.agents.of(session).runs.get(request.run_id)
            began_by = None if run is None or run.call is None else run.call.principal
            is_own = began_by is not None and context.principal is not None and began_by.name == context.principal.name
            if not is_own and not self._sessions.may_cancel(session.access, session.id, context.principal):
                raise AccessError("the run is another principal's; ask who owns the session for the right to cancel")
        except ToolBridgeError as error:
            return failed_status(error)
        return await self.hub.cancel_agent_run(request)


async def _failed(error: ToolBridgeError) -> pb.StatusResponse:
    return failed_status(error)


def _caller(context: RequestContext) -> Any:
    """Returns who makes a request that runs something: for a nested one, whoever has made the outermost."""
    return context.principal if context.parent is None else context.parent.principal
