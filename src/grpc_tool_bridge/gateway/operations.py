"""What goes on in the hub, over HTTP: workers, calls, runs, events, health."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.gateway.bodies import count_of, fields_of, flag_of, names_of, path_name
from grpc_tool_bridge.gateway.errors import JsonResponse, status_response
from grpc_tool_bridge.gateway.events import Event, EventStream
from grpc_tool_bridge.gateway.hub_calls import HubCalls
from grpc_tool_bridge.gateway.message_json import message_json
from grpc_tool_bridge.gateway.sessions import page_of_hubs
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb


class OperationRoutes:
    """The routes for operators of the hub.

    Args:
        calls: Makes the calls.
    """

    def __init__(self, calls: HubCalls) -> None:
        self._calls = calls

    async def hubs(self, request: Request) -> Response:
        """Lists the hubs of the cluster, each with what it says of itself; a hub without one lists itself."""
        asked = pb.ListHubsRequest(hub=request.query_params.get("hub", ""))
        return JsonResponse(message_json(await self._calls.ask(request, "list_hubs", asked)))

    async def offers(self, request: Request) -> Response:
        """Lists where the hubs' tools are run, a page of it; ``?tool=`` where one of them is."""
        asked = page_of_hubs(request, pb.ListOffersRequest(tool=request.query_params.get("tool", "")))
        return JsonResponse(message_json(await self._calls.ask(request, "list_offers", asked)))

    async def workers(self, request: Request) -> Response:
        """Lists the workers, a page of them; in a cluster those of all hubs, or with ``?hub=`` those of one."""
        asked = page_of_hubs(request, pb.ListWorkersRequest())
        return JsonResponse(message_json(await self._calls.ask(request, "list_workers", asked)))

    async def calls(self, request: Request) -> Response:
        """Lists the calls that wait or run, a page of them; ``?session_id=`` and ``?hub=`` choose among them."""
        asked = page_of_hubs(request, pb.ListCallsRequest(session_id=request.query_params.get("session_id", "")))
        asked.include_arguments = flag_of(request, "arguments")
        return JsonResponse(message_json(await self._calls.ask(request, "list_calls", asked)))

    async def cancel_call(self, request: Request) -> Response:
        """Cancels a call; ``?hub=`` is the hub of a cluster that has it."""
        asked = pb.CancelCallRequest(
            call_id=path_name(request, "call"),
            reason=request.query_params.get("reason", ""),
            hub=request.query_params.get("hub", ""),
        )
        return status_response(await self._calls.ask(request, "cancel_call", asked))

    async def approvals(self, request: Request) -> Response:
        """Lists the calls that wait for approval and that the caller may approve, a page of them."""
        asked = page_of_hubs(request, pb.ListApprovalsRequest(include_arguments=flag_of(request, "arguments")))
        return JsonResponse(message_json(await self._calls.ask(request, "list_approvals", asked)))

    async def decide(self, request: Request) -> Response:
        """Grants or denies a call that waits for approval; the digest says which arguments were seen."""
        given = fields_of(await self._calls.body(request), digest=str, grant=bool, reason=str, hub=str)
        if "grant" not in given:
            raise ValidationError("grant is missing: true lets the call run, false denies it")
        asked = pb.DecideApprovalRequest(approval_id=path_name(request, "approval"), **given)
        return status_response(await self._calls.ask(request, "decide_approval", asked))

    async def runs(self, request: Request) -> Response:
        """Lists the runs of agents, a page of them; ``?session_id=`` and ``?hub=`` choose among them."""
        asked = page_of_hubs(request, pb.ListRunsRequest(session_id=request.query_params.get("session_id", "")))
        return JsonResponse(message_json(await self._calls.ask(request, "list_runs", asked)))

    async def events(self, request: Request) -> EventStream:
        """Streams what happens from now on; ``?kinds=call,worker`` and ``?session_id=`` filter it.

        ``?calls_per_second=50`` asks for a sample of the calls.
        """
        asked = pb.WatchEventsRequest(
            session_id=request.query_params.get("session_id", ""),
            kinds=names_of(request, "kinds"),
            include_arguments=flag_of(request, "arguments"),
            calls_per_second=count_of(request, "calls_per_second"),
        )
        return self._calls.event_stream(request, _events(self._calls.ask(request, "watch_events", asked)))

    async def alive(self, request: Request) -> Response:
        """Answers while the process runs."""
        del request
        return JsonResponse({"status": "ok"})

    async def ready(self, request: Request) -> Response:
        """Answers 200 while the hub serves, and 503 with the reason while it drains or its store cannot be written."""
        del request
        hub = self._calls.hub
        if hub.serving:
            return JsonResponse({"status": "ok"})
        return JsonResponse({"status": "not serving", "reason": hub.not_serving_reason}, 503)


async def _events(events: AsyncGenerator[Any, None]) -> AsyncGenerator[Event, None]:
    async with aclosing(events):
        async for event in events:
            yield Event("data", message_json(event), str(event.sequence))
