"""What the gateway says of itself: a document for programs, and a page for people that shows it."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from grpc_tool_bridge.gateway.hub_calls import HubCalls
from grpc_tool_bridge.gateway.openapi import OpenApi
from grpc_tool_bridge.gateway.pages import Page
from grpc_tool_bridge.llm.tool_marks import is_older_version
from grpc_tool_bridge.values.offload import in_reader

# Documents that are kept: of the hub's tools, and of a session with tools of its own.
_MAX_KEPT = 2


class DocumentationRoutes:
    """The routes of ``/openapi.json`` and ``/docs``.

    Args:
        calls: Reach the hub.
        needs_token: Whether callers need a token.
    """

    def __init__(self, calls: HubCalls, *, needs_token: bool) -> None:
        self._calls = calls
        self._hub = calls.hub
        self._needs_token = needs_token
        self._open_api: OpenApi | None = None
        # By session, each with the revision of the tools that it describes.
        self._kept: dict[str, tuple[int, bytes]] = {}
        self._page = Page("docs.html")

    async def document(self, request: Request) -> Response:
        """Describes the gateway as an OpenAPI document; `?session_id=` with the tools that this session sees."""
        return Response(await self._document(request), media_type="application/json")

    async def page(self, request: Request) -> Response:
        """Shows the document as a page, from which tools can be called."""
        del request
        return self._page.response()

    async def _document(self, request: Request) -> bytes:
        registry = self._hub.registry
        owner = request.query_params.get("session_id", "")
        session = await self._calls.session(request, owner) if owner else None
        sees = self._calls.tool_filter(request, session)
        if session is not None and not session.tools:
            # It sees the hub's.
            owner, session = "", None
        if sees is not None:
            # Each sees others of the tools, so that nothing is kept.
            seen = [tool.spec for tool in registry.listed(session).values() if sees(tool.name)]
            described = self._described(request.app.routes)
            return await in_reader(lambda: described.document([spec for spec in seen if not is_older_version(spec)]))
        revision = registry.revision(session)
        kept = self._kept.pop(owner, None)
        if kept is None or kept[0] != revision:
            listed = registry.listed(session).values()
            specs = [tool.spec for tool in listed if not is_older_version(tool.spec)]
            open_api = self._described(request.app.routes)
            kept = revision, await in_reader(lambda: open_api.document(specs))
        self._kept[owner] = kept
        while len(self._kept) > _MAX_KEPT:
            del self._kept[next(iter(self._kept))]
        return kept[1]

    def _described(self, routes: list[Any]) -> OpenApi:
        if self._open_api is None:
            served = [route for route in routes if isinstance(route, Route)]
            self._open_api = OpenApi(served, needs_token=self._needs_token)
        return self._open_api
