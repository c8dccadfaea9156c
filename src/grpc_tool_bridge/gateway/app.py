"""The routes of the gateway, as one ASGI application."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial, wraps
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.gateway.agents import AgentRoutes
from grpc_tool_bridge.gateway.bodies import fields_of
from grpc_tool_bridge.gateway.dashboard_files import DashboardFiles
from grpc_tool_bridge.gateway.documentation import DocumentationRoutes
from grpc_tool_bridge.gateway.errors import HttpError, JsonResponse, error_response
from grpc_tool_bridge.gateway.guard import Guard
from grpc_tool_bridge.gateway.history import HistoryRoutes, history_of
from grpc_tool_bridge.gateway.hub_calls import HubCalls
from grpc_tool_bridge.gateway.hub_facts import HubFactRoutes
from grpc_tool_bridge.gateway.limits import LimitRoutes
from grpc_tool_bridge.gateway.login import LOGIN_PATH, LOGOUT_PATH
from grpc_tool_bridge.gateway.mcp_route import McpRoute
from grpc_tool_bridge.gateway.metrics import HttpCounts, MetricsRoute
from grpc_tool_bridge.gateway.operations import OperationRoutes
from grpc_tool_bridge.gateway.protected_resource import METADATA_PATHS, ProtectedResource
from grpc_tool_bridge.gateway.sessions import SessionRoutes, VariableRoutes
from grpc_tool_bridge.gateway.tool_lists import ToolListRoutes
from grpc_tool_bridge.gateway.tools import ToolRoutes
from grpc_tool_bridge.rpc.authentication import Authenticator

_NAMES = {404: "RouteNotFound", 405: "MethodNotAllowed"}

Endpoint = Callable[[Request], Awaitable[Any]]

_SESSION = "/api/sessions/{sid}"


class Gateway:
    """A hub as an ASGI application.

    Args:
        hub: The hub; its settings say who may call it.
        authenticator: Decides who callers are; None: they need nothing.
        http: Returns what the server has open.
        mcp_agents: Agents that every client of MCP sees as tools: signatures by name.

    Attributes:
        app: The application.
    """

    def __init__(
        self,
        hub: Hub,
        authenticator: Authenticator | None,
        http: Callable[[], HttpCounts],
        *,
        mcp_agents: Mapping[str, str] | None = None,
    ) -> None:
        settings, needs_token = hub.settings, authenticator is not None
        resource = None
        if settings.jwt_issuer is not None:
            resource = ProtectedResource(settings.jwt_issuer, settings.jwt_audience)
        self._calls = HubCalls(hub)
        self._mcp = McpRoute(hub, mcp_agents)
        dashboard = DashboardFiles()
        self._history = history_of(hub)
        self._tasks = TaskSet()
        documentation = DocumentationRoutes(self._calls, needs_token=needs_token)
        part = partial(_part, self._calls)
        limits = LimitRoutes(hub, http, lambda: self._mcp.sessions)
        self._guard = Guard(
            _Routes(
                [
                    # First what is called most.
                    _bare(Route("/mcp", self._mcp, methods=["GET", "POST", "DELETE"], include_in_schema=False)),
                    *_routes(self._calls),
                    *([] if resource is None else _metadata_routes(resource)),
                    *_history_routes(HistoryRoutes(hub, self._history), partial(part, "history")),
                    _route("/api/hub", part("hubs", HubFactRoutes(hub, needs_token=needs_token).read), "GET"),
                    _route("/api/limits", part("limits", limits.read), "GET"),
                    _route("/metrics", _with_check(self._calls.check_metrics, MetricsRoute(hub, http).read), "GET"),
                    _route(LOGIN_PATH, self._log_in, "POST"),
                    _route(LOGOUT_PATH, self._log_out, "POST"),
                    _route("/openapi.json", documentation.document, "GET"),
                    _route("/docs", documentation.page, "GET"),
                    _route("/", dashboard.page, "GET"),
                    _bare(
                        Route(
                            "/dashboard/{file:path}",
                            _Answers(dashboard.file),
                            methods=["GET"],
                            include_in_schema=False,
                        )
                    ),
                ]
            ),
            authenticator=authenticator,
            memory=hub.memory,
            write_timeout=settings.stream_timeout,
            hosts=settings.http_hosts,
            origins=settings.http_origins,
            secure=settings.tls_cert is not None,
            resource=resource,
        )
        self.app: ASGIApp = self._guard

    def start(self) -> None:
        """Begins the history of the hub."""
        self._tasks.spawn(self._history.run(), "history of the hub")

    async def end_streams(self) -> None:
        """Ends the streams of MCP clients, which would stay open; requests of theirs are refused from now on."""
        await self._mcp.aclose()

    async def aclose(self) -> None:
        """Ends what still runs."""
        await self.end_streams()
        await self._tasks.aclose()
        await self._calls.aclose()

    async def _log_in(self, request: Request) -> Response:
        """Gives a browser a cookie for its token."""
        given = fields_of(await self._calls.body(request), token=str)
        cookie = self._guard.login.cookie(given.get("token", ""), request.headers)
        return JsonResponse({"status": "ok"}, headers={"set-cookie": cookie})

    async def _log_out(self, request: Request) -> Response:
        """Takes the cookie from a browser."""
        cookie = self._guard.login.expired_cookie(request.headers)
        return JsonResponse({"status": "ok"}, headers={"set-cookie": cookie})


def _routes(calls: HubCalls) -> list[Route]:
    sessions, variables, tools = SessionRoutes(calls), VariableRoutes(calls), ToolRoutes(calls)
    agents, hub, listed = AgentRoutes(calls), OperationRoutes(calls), ToolListRoutes(calls)
    tool, variable = f"{_SESSION}/tools/{{tool}}", f"{_SESSION}/variables/{{name}}"
    return [
        _route(f"{tool}/execute", tools.execute, "POST"),
        _route(f"{tool}/stream", tools.stream, "GET", "POST"),
        _route("/api/sessions", sessions.open, "POST"),
        _route("/api/sessions", sessions.list_all, "GET"),
        _route(_SESSION, sessions.describe, "GET"),
        _route(_SESSION, sessions.end, "DELETE"),
        _route(f"{_SESSION}/tools", tools.list_all, "GET"),
        # A tool may have this name as well, but is called by its own routes.
        _route(f"{_SESSION}/tools/batch", tools.batch, "POST"),
        _route(tool, tools.describe, "GET"),
        _route(f"{_SESSION}/variables", variables.list_all, "GET"),
        _route(f"{_SESSION}/variables/watch", variables.watch, "GET"),
        _route(variable, variables.read, "GET"),
        _route(variable, variables.write, "PUT"),
        _route(variable, variables.delete, "DELETE"),
        _route(f"{_SESSION}/agents", agents.create, "POST"),
        _route(f"{_SESSION}/agents/{{agent}}/execute", agents.execute, "POST"),
        _route(f"{_SESSION}/runs/{{run}}", agents.attach, "GET"),
        _route(f"{_SESSION}/runs/{{run}}", agents.cancel, "DELETE"),
        _route("/api/tools", listed.list_all, "GET"),
        _route("/api/tools/{tool}", listed.describe, "GET"),
        _route("/api/agents", agents.list_all, "GET"),
        _route("/api/hubs", hub.hubs, "GET"),
        _route("/api/offers", hub.offers, "GET"),
        _route("/api/workers", hub.workers, "GET"),
        _route("/api/calls", hub.calls, "GET"),
        _route("/api/calls/{call}", hub.cancel_call, "DELETE"),
        _route("/api/approvals", hub.approvals, "GET"),
        _route("/api/approvals/{approval}", hub.decide, "POST"),
        _route("/api/runs", hub.runs, "GET"),
        _route("/api/events", hub.events, "GET"),
        _route("/healthz", hub.alive, "GET"),
        _route("/readyz", hub.ready, "GET"),
    ]


def _history_routes(history: HistoryRoutes, checked: Callable[[Endpoint], Endpoint]) -> list[Route]:
    return [
        _route("/api/history", checked(history.points), "GET"),
        _route("/api/history/tools", checked(history.tools), "GET"),
        _route("/api/history/workers", checked(history.workers), "GET"),
        _route("/api/history/calls", checked(history.calls), "GET"),
    ]


def _metadata_routes(resource: ProtectedResource) -> list[Route]:
    answer = _Answers(resource.metadata)
    return [_bare(Route(path, answer, methods=["GET"], include_in_schema=False)) for path in sorted(METADATA_PATHS)]


def _part(calls: HubCalls, part: str, endpoint: Endpoint) -> Endpoint:
    """Returns an endpoint for those who administer a part of the hub."""
    return _with_check(lambda request: calls.check_part(request, part), endpoint)


def _with_check(check: Callable[[Request], None], endpoint: Endpoint) -> Endpoint:
    """Returns an endpoint that checks each request first."""

    @wraps(endpoint)
    async def checked(request: Request) -> Any:
        check(request)
        return await endpoint(request)

    return checked


def _route(path: str, endpoint: Endpoint, *methods: str) -> Route:
    return _bare(Route(path, _Answers(endpoint), methods=list(methods)))


def _bare(route: Route) -> Route:
    if route.methods is not None:
        # Starlette adds it to GET, which may run a tool here.
        route.methods.discard("HEAD")
    return route


class _Answers:
    """An endpoint as an ASGI application, which answers what it raises as well.

    It does what Starlette does for a function, without its layers for handlers of errors.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        # What the document says of the route.
        self.__doc__ = endpoint.__doc__

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            response = await self._endpoint(Request(scope, receive, send))
        except Exception as error:  # noqa: BLE001 - every failure is a response
            response = error_response(error)
        await response(scope, receive, send)


class _Routes:
    """Routes as an ASGI application, which answers what none of them takes as well."""

    def __init__(self, routes: list[Route]) -> None:
        self.routes = routes
        self._router = Router(routes, redirect_slashes=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # With it, the router raises what it refuses.
        scope["app"] = self
        try:
            await self._router(scope, receive, send)
        except HTTPException as error:
            await self._refusal(Request(scope), error)(scope, receive, send)

    def _refusal(self, request: Request, error: HTTPException) -> JsonResponse:
        text = f"{request.method} {request.url.path!r:.200}: {error.detail}"
        headers = dict(error.headers or {})
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            # Each method may have a route of its own.
            found = [route for route in self.routes if route.matches(request.scope)[0] is not Match.NONE]
            headers["Allow"] = ", ".join(sorted(set().union(*(route.methods or set() for route in found))))
        return error_response(HttpError(error.status_code, _NAMES.get(error.status_code, "HttpError"), text, headers))
