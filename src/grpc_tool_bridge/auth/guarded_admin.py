"""What operators see of a hub, and each principal of its own sessions."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

from grpc_tool_bridge.auth.access import HubAccess
from grpc_tool_bridge.auth.policy.model import Action
from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.core.session_access import SessionAccess, read_access
from grpc_tool_bridge.core.statuses import failed_status
from grpc_tool_bridge.errors import AccessError, NotFoundError, SessionError, ToolBridgeError, UnavailableError
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.authentication import Principal
from grpc_tool_bridge.rpc.bounds import check_request, shown
from grpc_tool_bridge.rpc.context import LOCAL, RequestContext
from grpc_tool_bridge.tools.tool_versions import split_version

# A resource that only a rule for all sessions matches.
_ALL_SESSIONS = "*"


class GuardedAdmin:
    """The methods for operators. Who is none sees what belongs to its own sessions, and to those it may look into.

    Args:
        hub: The hub.
        access: Decides.
    """

    def __init__(self, hub: Hub, access: HubAccess) -> None:
        self._hub = hub
        self._access = access

    # -------------------------------------------------------------------------------------------- parts of the hub

    async def list_hubs(self, request: pb.ListHubsRequest, context: RequestContext = LOCAL) -> pb.ListHubsResponse:
        """Lists the hubs."""
        self._check_part(context, "hubs")
        return await self._hub.list_hubs(request)

    async def list_workers(
        self, request: pb.ListWorkersRequest, context: RequestContext = LOCAL
    ) -> pb.ListWorkersResponse:
        """Lists the workers."""
        self._check_part(context, "workers")
        return await self._hub.list_workers(request)

    async def list_offers(
        self, request: pb.ListOffersRequest, context: RequestContext = LOCAL
    ) -> pb.ListOffersResponse:
        """Lists where tools are run."""
        self._check_part(context, "offers")
        return await self._hub.list_offers(request)

    def _check_part(self, context: RequestContext, part: str) -> None:
        self._access.check(context.principal, Action.ADMINISTER, part, apart=True)

    def _administers(self, principal: Principal | None, part: str) -> bool:
        return self._access.decide_apart(principal, Action.ADMINISTER, part).allowed

    # ------------------------------------------------------------------------------- sessions, and what is in them

    async def list_sessions(
        self, request: pb.ListSessionsRequest, context: RequestContext = LOCAL
    ) -> pb.ListSessionsResponse:
        """Lists the sessions that the caller may use; for who administers them, all."""
        response: pb.ListSessionsResponse = await self._hub.list_sessions(request)
        if not self._administers(context.principal, "sessions"):
            _keep(response.sessions, lambda info: self._knows(info, context.principal))
        return response

    async def list_calls(self, request: pb.ListCallsRequest, context: RequestContext = LOCAL) -> pb.ListCallsResponse:
        """Lists the calls in sessions whose calls the caller may see; each hub decides about its own."""
        response: pb.ListCallsResponse = await self._listed(self._hub.list_calls, request, context)
        return response

    async def list_runs(self, request: pb.ListRunsRequest, context: RequestContext = LOCAL) -> pb.ListRunsResponse:
        """Lists the runs of agents in sessions whose calls the caller may see; each hub decides about its own."""
        response: pb.ListRunsResponse = await self._listed(self._hub.list_runs, request, context)
        return response

    async def _listed(self, method: Callable[..., Awaitable[Any]], request: Any, context: RequestContext) -> Any:
        """Lists what the caller may see in sessions, or in the one that the request names.

        Raises:
            AccessError: It may not see the calls of that session, or there is none: it does not learn which.
        """

        def shows(session_id: str) -> bool:
            return self._sees_calls(session_id, context.principal)

        session_id = request.session_id
        hidden = AccessError(
            f"the calls in session {shown(session_id)} are not shown to you, if there is such a session"
        )
        if session_id in self._hub.store and not shows(session_id):
            raise hidden
        try:
            return await method(request, context, shows)
        except SessionError:
            if shows(session_id):
                raise
            raise hidden from None

    def _knows(self, info: pb.SessionInfo, principal: Principal | None) -> bool:
        access = read_access(info.access) if info.HasField("access") else None
        return self._access.knows(access, info.session_id, principal)

    def _sees_calls(self, session_id: str, principal: Principal | None) -> bool:
        if self._access.is_administrator(principal):
            return True
        return self._access.may_in(self._access_of(session_id), session_id, principal, Action.CALLS) or bool(
            self._access.decide_apart(principal, Action.CALLS, session_id)
        )

    def _access_of(self, session_id: str) -> SessionAccess | None:
        """Returns who may use a session of this hub; None: nobody in particular, or it is not here."""
        try:
            return self._hub.store.peek(session_id).access
        except (SessionError, UnavailableError):
            return None

    async def cancel_call(self, request: pb.CancelCallRequest, context: RequestContext = LOCAL) -> pb.StatusResponse:
        """Cancels a call: one's own, or any in a session in which the caller may cancel."""
        try:
            check_request(request)
            if not self._access.is_administrator(context.principal):
                self._check_cancel(request.call_id, context.principal)
        except ToolBridgeError as error:
            return failed_status(error)
        return await self._hub.cancel_call(request, context)

    def _check_cancel(self, call_id: str, principal: Principal | None) -> None:
        if self._access.decide_apart(principal, Action.CANCEL, _ALL_SESSIONS):
            return
        call = self._hub.admission.ids.find(call_id)
        if call is None:
            # Another hub may have it, and decides.
            return
        session = call.session
        is_own = principal is not None and call.principal is not None and call.principal.name == principal.name
        if is_own or self._access.may_in(session.access, session.id, principal, Action.CANCEL):
            return
        if self._access.decide_apart(principal, Action.CANCEL, session.id):
            return
        if not self._sees_calls(session.id, principal):
            raise NotFoundError(f"no call {shown(call_id)} waits or runs; it may have ended: list the calls again")
        raise AccessError(f"the call {shown(call_id)} is another principal's; ask for the right to cancel it")

    # ------------------------------------------------------------------------------------------------ approvals

    async def list_approvals(
        self, request: pb.ListApprovalsRequest, context: RequestContext = LOCAL
    ) -> pb.ListApprovalsResponse:
        """Lists the calls that wait for approval, of the tools whose calls the caller may approve."""

        def shows(tool: str) -> bool:
            return self._access.decide_apart(context.principal, Action.APPROVE, tool).allowed

        response: pb.ListApprovalsResponse = await self._hub.list_approvals(request, context, shows)
        return response

    async def decide_approval(
        self, request: pb.DecideApprovalRequest, context: RequestContext = LOCAL
    ) -> pb.StatusResponse:
        """Grants or denies a call of a tool whose calls the caller may approve."""

        def check(tool: str) -> None:
            self._access.check(context.principal, Action.APPROVE, tool, apart=True)

        return await self._hub.decide_approval(request, context, check)

    # --------------------------------------------------------------------------------------------------- events

    async def watch_events(
        self, request: pb.WatchEventsRequest, context: RequestContext = LOCAL
    ) -> AsyncGenerator[pb.AdminEvent, None]:
        """Yields the events that the caller may see; those that it may not count as if they had not been."""
        async with aclosing(self._hub.watch_events(request)) as events:
            async for event in events:
                if self._shows(event, context.principal):
                    yield event

    def _shows(self, event: pb.AdminEvent, principal: Principal | None) -> bool:
        if self._access.is_administrator(principal):
            return True
        subject = event.WhichOneof("subject")
        if subject == "call":
            return self._sees_calls(event.call.session_id, principal)
        if subject == "session":
            return self._administers(principal, "sessions") or self._knows(event.session, principal)
        if subject == "worker":
            return self._administers(principal, "workers")
        session_id = event.log.fields.get("session_id", "")
        if session_id and self._sees_calls(session_id, principal):
            return True
        return self._administers(principal, "logs")

    # -------------------------------------------------------------------------------------------------- metrics

    async def get_metrics(self, request: pb.GetMetricsRequest, context: RequestContext = LOCAL) -> pb.MetricsResponse:
        """Returns the metrics that the caller may see.

        Without a policy these are the hub's own, and those of the tools that every session sees.
        """
        response: pb.MetricsResponse = await self._hub.get_metrics(request)
        if not self._access.is_administrator(context.principal):
            shows = self._shown_metrics(context.principal)
            for name in [name for name in response.metrics if not shows(name)]:
                del response.metrics[name]
        return response

    def _shown_metrics(self, principal: Principal | None) -> Callable[[str], bool]:
        if self._access.has_policy:
            return lambda name: self._access.decide(principal, Action.METRICS, name).allowed
        known = self._hub.registry.by_name(None)

        def shows(name: str) -> bool:
            if not name.startswith("tool."):
                return True
            tool = name.removeprefix("tool.").rpartition(".")[0]
            return tool in known or split_version(tool)[0] in known

        return shows


def _keep(entries: Any, shows: Callable[[Any], bool]) -> None:
    """Removes the entries of a list that are not shown."""
    kept = [entry for entry in entries if shows(entry)]
    if len(kept) < len(entries):
        del entries[:]
        entries.extend(kept)
