"""The routes of the gateway, as one ASGI application."""

from collections.abc import Awaitable, Callable
from functools import wraps
from http import HTTPStatus
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp

from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.gateway.agents import AgentRoutes
from grpc_tool_bridge.gateway.bodies import fields_of
from grpc_tool_bridge.gateway.documentation import DocumentationRoutes
from grpc_tool_bridge.gateway.errors import HttpError, JsonResponse, error_response
from grpc_tool_bridge.gateway.guard import LOGIN_PATH, Guard
from grpc_tool_bridge.gateway.hub_calls import HubCalls
from grpc_tool_bridge.gateway.metrics import HttpCounts, MetricsRoute
from grpc_tool_bridge.gateway.operations import OperationRoutes
from grpc_tool_bridge.gateway.sessions import SessionRoutes, VariableRoutes
from grpc_tool_bridge.gateway.tools import ToolRoutes
from grpc_tool_bridge.rpc.authentication import BearerToken

Endpoint = Callable[[Request], Awaitable[Any]]

_SESSION = "/api/sessions/{sid}"


class Gateway:
    """A hub as an ASGI application.

    Args:
        hub: The hub; its settings say who may call it.
        token: What callers need; None: nothing.
        http: Returns what the server has open.

    Attributes:
        app: The application.
    """

    def __init__(self, hub: Hub, token: str | None, http: Callable[[], HttpCounts]) -> None:
        settings = hub.settings
        self._calls = HubCalls(hub)
        documentation = DocumentationRoutes(self._calls, needs_token=token is not None)
        app = Starlette(
            routes=[
                *_routes(self._calls),
                _route("/metrics", MetricsRoute(hub, http).read, "GET"),
                _route(LOGIN_PATH, self._log_in, "POST"),
                _route("/openapi.json", documentation.document, "GET"),
                _route("/docs", documentation.page, "GET"),
            ],
            exception_handlers={HTTPException: _refuse},
        )
        app.router.redirect_slashes = False
        self._guard = Guard(
            app,
            authenticator=BearerToken(token) if token is not None else None,
            memory=hub.memory,
            write_timeout=settings.stream_timeout,
            hosts=settings.http_hosts,
            origins=settings.http_origins,
            secure=settings.tls_cert is not None,
        )
        self.app: ASGIApp = self._guard

    async def aclose(self) -> None:
        """Ends what still runs."""
        await self._calls.aclose()

    async def _log_in(self, request: Request) -> Response:
        """Gives a browser a cookie for its token."""
        given = fields_of(await self._calls.body(request), token=str)
        cookie = self._guard.login_cookie(given.get("token", ""))
        return JsonResponse({"status": "ok"}, headers={"set-cookie": cookie})


def _routes(calls: HubCalls) -> list[Route]:
    sessions, variables, tools = SessionRoutes(calls), VariableRoutes(calls), ToolRoutes(calls)
    agents, hub = AgentRoutes(calls), OperationRoutes(calls)
    tool, variable = f"{_SESSION}/tools/{{tool}}", f"{_SESSION}/variables/{{name}}"
    return [
        # First what is called most.
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
        _route("/api/workers", hub.workers, "GET"),
        _route("/api/calls", hub.calls, "GET"),
        _route("/api/calls/{call}", hub.cancel_call, "DELETE"),
        _route("/api/runs", hub.runs, "GET"),
        _route("/api/events", hub.events, "GET"),
        _route("/healthz", hub.alive, "GET"),
        _route("/readyz", hub.ready, "GET"),
    ]


def _route(path: str, endpoint: Endpoint, *methods: str) -> Route:
    @wraps(endpoint)
    async def answer(request: Request) -> Any:
        try:
            return await endpoint(request)
        except Exception as error:  # noqa: BLE001 - every failure is a response
            return error_response(error)

    route = Route(path, answer, methods=list(methods))
    if route.methods is not None:
        # Starlette adds it to GET, which may run a tool here.
        route.methods.discard("HEAD")
    return route


_NAMES = {404: "RouteNotFound", 405: "MethodNotAllowed"}


async def _refuse(request: Request, error: Exception) -> Response:
    """Answers a request that no route takes."""
    assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for these
    text = f"{request.method} {request.url.path!r:.200}: {error.detail}"
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(sorted(_methods_of(request)))
    return error_response(HttpError(error.status_code, _NAMES.get(error.status_code, "HttpError"), text, headers))


def _methods_of(request: Request) -> set[str]:
    """Collects the methods of a path, each of which may have a route of its own."""
    routes: list[Any] = [route for route in request.app.routes if route.matches(request.scope)[0] is not Match.NONE]
    return set().union(*(route.methods for route in routes))
