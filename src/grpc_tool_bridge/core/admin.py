"""The admin service: lists the sessions, workers, calls, runs and offers of a hub or of all hubs, and cancels calls."""

import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from grpc_tool_bridge.core import infos
from grpc_tool_bridge.core.agents.agents import Agents
from grpc_tool_bridge.core.agents.runs import Run
from grpc_tool_bridge.core.calls import HubCall
from grpc_tool_bridge.core.hubs import Hubs, Listing
from grpc_tool_bridge.core.infos import CallIds
from grpc_tool_bridge.core.pages import page_in_order, page_of
from grpc_tool_bridge.core.registry import ToolRegistry
from grpc_tool_bridge.core.statuses import failed_status
from grpc_tool_bridge.core.workers.pool import WorkerPool
from grpc_tool_bridge.core.wrappers import BackendWrappers
from grpc_tool_bridge.errors import CallCancelledError, NotFoundError, ToolBridgeError, ValidationError
from grpc_tool_bridge.errors.throttled_log import ThrottledLog
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.bounds import check_request, shown
from grpc_tool_bridge.rpc.context import LOCAL, RequestContext

_log = logging.getLogger(__name__)


def _moment(field: str) -> Any:
    """Returns a function that reads a time of an entry, by which entries are sorted."""

    def order(entry: Any) -> tuple[int, int]:
        moment = getattr(entry, field)
        return moment.seconds, moment.nanos

    return order


_SESSIONS = Listing("ListSessions", "sessions", _moment("created_at"))
_WORKERS = Listing("ListWorkers", "workers", _moment("connected_at"))
_CALLS = Listing("ListCalls", "calls", _moment("started_at"))
_RUNS = Listing("ListRuns", "runs", _moment("started_at"))
_APPROVALS = Listing("ListApprovals", "approvals", _moment("started_at"))
_OFFERS = Listing("ListOffers", "offers", lambda offer: (offer.tool, offer.hub, offer.worker_id))


# Whether what is in a session, by its id, or what is about a tool, by its name, is shown to the caller.
Shows = Callable[[str], bool]
# Raises AccessError if the caller may not do something about a tool, by its name.
Check = Callable[[str], object]


def _shows_all(session_id: str) -> bool:
    del session_id
    return True


def _has_it(response: pb.StatusResponse) -> bool:
    """Returns whether a hub that answers so has what it was asked about: it has done it, or refuses that."""
    return response.success or response.error.type != NotFoundError.default_type


class Admin:
    """The unary methods of the service ToolBridgeAdmin.

    Args:
        registry: The tools, and through it the sessions.
        workers: The workers.
        agents: The agents and their runs.
        ids: The ids of calls.
        hubs: This hub and the others.
        wrappers: Has who approves calls.
    """

    def __init__(
        self,
        registry: ToolRegistry,
        workers: WorkerPool,
        agents: Agents,
        ids: CallIds,
        hubs: Hubs,
        wrappers: BackendWrappers,
    ) -> None:
        self._registry = registry
        self._store = registry.store
        self._workers = workers
        self._agents = agents
        self._ids = ids
        self._hubs = hubs
        self._wrappers = wrappers
        # A peer can trigger these log lines as often as it likes.
        self._throttled = ThrottledLog(_log)

    async def list_sessions(self, request: pb.ListSessionsRequest) -> pb.ListSessionsResponse:
        """Lists the sessions, the oldest first."""
        check_request(request)
        response: pb.ListSessionsResponse = await self._hubs.page(_SESSIONS, request, self._sessions)
        return response

    async def _sessions(self, request: pb.ListSessionsRequest) -> pb.ListSessionsResponse:
        page = await page_in_order(
            self._store.from_oldest,
            lambda session: (session.created_at, session.id),
            lambda session: infos.session_info(session, self._registry) if session.ended is None else None,
            what="sessions",
            token=request.page_token,
            size=request.page_size,
        )
        return pb.ListSessionsResponse(sessions=page.entries, next_page_token=page.next_token)

    async def list_workers(self, request: pb.ListWorkersRequest) -> pb.ListWorkersResponse:
        """Lists the connected workers, the oldest first."""
        check_request(request)
        response: pb.ListWorkersResponse = await self._hubs.page(_WORKERS, request, self._listed_workers)
        return response

    async def _listed_workers(self, request: pb.ListWorkersRequest) -> pb.ListWorkersResponse:
        page = await page_of(
            (worker for worker in self._workers.workers() if not infos.is_hub(worker)),
            lambda worker: (worker.connected_at, worker.id),
            infos.worker_info,
            what="workers",
            token=request.page_token,
            size=request.page_size,
        )
        return pb.ListWorkersResponse(workers=page.entries, next_page_token=page.next_token)

    async def list_offers(self, request: pb.ListOffersRequest) -> pb.ListOffersResponse:
        """Lists where tools are run, by the names of the tools; session tools are left out."""
        check_request(request)
        response: pb.ListOffersResponse = await self._hubs.page(_OFFERS, request, self._offers)
        return response

    async def _offers(self, request: pb.ListOffersRequest) -> pb.ListOffersResponse:
        page = await page_of(
            infos.offers(self._registry, request.tool),
            # No name has a line break.
            lambda offer: (0, f"{offer[0]}\n{offer[1]}"),
            lambda offer: pb.ToolOffer(tool=offer[0], worker_id=offer[1]),
            what="offers",
            token=request.page_token,
            size=request.page_size,
        )
        return pb.ListOffersResponse(offers=page.entries, next_page_token=page.next_token)

    async def list_calls(
        self, request: pb.ListCallsRequest, context: RequestContext = LOCAL, shows: Shows | None = None
    ) -> pb.ListCallsResponse:
        """Lists the calls that wait or run, the oldest first; of this hub, in the sessions that are shown."""
        check_request(request)
        local = partial(self._listed_calls, shows=shows or _shows_all)
        response: pb.ListCallsResponse = await self._hubs.page(_CALLS, request, local, context)
        return response

    async def _listed_calls(self, request: pb.ListCallsRequest, shows: Shows) -> pb.ListCallsResponse:
        def write(call: HubCall) -> pb.CallInfo | None:
            if call.over:
                return None
            info = infos.call_info(call, self._ids)
            if request.include_arguments:
                infos.put_held_arguments(info, call)
            return info

        page = await page_of(
            self._calls(request.session_id, shows),
            lambda call: (call.opened_at, self._ids.of(call)),
            write,
            what="calls",
            token=request.page_token,
            size=request.page_size,
        )
        return pb.ListCallsResponse(calls=page.entries, next_page_token=page.next_token)

    def _calls(self, session_id: str, shows: Shows) -> Iterator[HubCall]:
        """Yields the calls of one session, or of all that are shown; they may change meanwhile."""
        for session in [self._store.peek(session_id)] if session_id else self._store.sessions():
            if not session.calls or not shows(session.id):
                continue
            for call in tuple(session.calls):
                assert isinstance(call, HubCall)  # noqa: S101 - a hub's session has no others
                if not call.over:
                    yield call

    async def list_runs(
        self, request: pb.ListRunsRequest, context: RequestContext = LOCAL, shows: Shows | None = None
    ) -> pb.ListRunsResponse:
        """Lists the agent runs, the oldest first; of this hub, in the sessions that are shown."""
        check_request(request)
        local = partial(self._runs, shows=shows or _shows_all)
        response: pb.ListRunsResponse = await self._hubs.page(_RUNS, request, local, context)
        return response

    async def _runs(self, request: pb.ListRunsRequest, shows: Shows) -> pb.ListRunsResponse:
        wanted = self._store.peek(request.session_id) if request.session_id else None

        def position(run: Run) -> tuple[float, str]:
            # No name has a line break.
            return run.started_at, f"{run.session_id}\n{run.run_id}"

        def write(run: Run) -> pb.RunInfo:
            if run.call is not None:
                # It can be cancelled by the id that is listed.
                self._ids.of(run.call)
            return infos.run_info(run)

        page = await page_of(
            (
                run
                for run in self._agents.runs()
                if (wanted is None or run.session_id == wanted.id) and shows(run.session_id)
            ),
            position,
            write,
            what="runs",
            token=request.page_token,
            size=request.page_size,
        )
        return pb.ListRunsResponse(runs=page.entries, next_page_token=page.next_token)

    async def cancel_call(self, request: pb.CancelCallRequest, context: RequestContext = LOCAL) -> pb.StatusResponse:
        """Cancels a call of this hub or another one, with the calls that its tool has made."""
        try:
            check_request(request)
            if not request.call_id:
                raise ValidationError("call_id is empty; use an id from ListCalls or WatchEvents")
            if request.hub:
                there: pb.StatusResponse | None = await self._hubs.at(request.hub, "CancelCall", request, context)
                if there is not None:
                    return there
            call = self._ids.find(request.call_id)
            if call is None:
                text = f"no call {shown(request.call_id)} waits or runs; it may have ended: list the calls again"
                return await self._elsewhere("CancelCall", request, context, text)
            why = f": {request.reason}" if request.reason else ""
            call.cancel(CallCancelledError(f"the call was cancelled by an administrator{why}"))
        except ToolBridgeError as error:
            return failed_status(error)
        said = f": {shown(request.reason)}" if request.reason else ""
        self._throttled.warning("call %s of %s was cancelled by an administrator%s", call.call_id, call.tool.name, said)
        return pb.StatusResponse(success=True, message=f"call {call.call_id} of {call.tool.name} is cancelled")

    async def list_approvals(
        self, request: pb.ListApprovalsRequest, context: RequestContext = LOCAL, shows: Shows | None = None
    ) -> pb.ListApprovalsResponse:
        """Lists the calls that wait for approval, the oldest first; of this hub, of the tools that are shown."""
        check_request(request)
        local = partial(self._approvals, shows=shows or _shows_all)
        response: pb.ListApprovalsResponse = await self._hubs.page(_APPROVALS, request, local, context)
        return response

    async def _approvals(self, request: pb.ListApprovalsRequest, shows: Shows) -> pb.ListApprovalsResponse:
        approver = self._wrappers.approver
        if approver is None:
            return pb.ListApprovalsResponse()
        response: pb.ListApprovalsResponse = await approver.list_approvals(request, shows)
        return response

    async def decide_approval(
        self, request: pb.DecideApprovalRequest, context: RequestContext = LOCAL, check: Check | None = None
    ) -> pb.StatusResponse:
        """Grants or denies a call of this hub or another one that waits for approval.

        Args:
            request: The decision.
            context: Says who decides.
            check: Called with the name of the tool; raises AccessError if the caller may not decide about its calls.
        """
        try:
            check_request(request)
            if request.hub:
                there: pb.StatusResponse | None = await self._hubs.at(request.hub, "DecideApproval", request, context)
                if there is not None:
                    return there
            approver = self._wrappers.approver
            if approver is None or not approver.has(request.approval_id):
                text = (
                    f"no call waits for the approval {shown(request.approval_id)}; it may have ended: list them again"
                )
                return await self._elsewhere("DecideApproval", request, context, text)
            tool = approver.decide(request, context, check)
        except ToolBridgeError as error:
            return failed_status(error)
        what = "granted" if request.grant else "denied"
        return pb.StatusResponse(success=True, message=f"the call of {tool} is {what}")

    async def _elsewhere(self, method: str, request: Any, context: RequestContext, gone: str) -> pb.StatusResponse:
        """Makes a request about what this hub does not have, if another has it.

        Args:
            method: Such as "CancelCall".
            request: The request; one that names a hub is for that alone.
            context: Of the request.
            gone: What is said where no hub has it.

        Raises:
            NotFoundError: None has it, or those that may have it did not answer.
        """
        missing: list[str] = []
        if not request.hub:
            there, missing = await self._hubs.anywhere(method, request, _has_it, context)
            if there is not None:
                answer: pb.StatusResponse = there
                return answer
        if missing:
            gone += f". These hubs did not answer, and may have it: {', '.join(missing)}"
        raise NotFoundError(gone)
