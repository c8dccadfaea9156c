"""An MCP server over HTTP in the event loop of a test, with an authorization server beside it."""

import asyncio
import base64
import hashlib
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlencode

import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route

from support.waiting import until


class Sure(BaseModel):
    sure: bool


class Site:
    """Both servers.

    Attributes:
        base: The address of both.
        guarded: Whether the MCP server wants a token.
        older: Whether it speaks the protocol of 2025 alone.
        tokens: Those that it takes.
        seen: The headers of the requests that it got.
        grants: The kinds of grants for which tokens were given.
    """

    def __init__(self, *, guarded: bool, older: bool) -> None:
        self.base = ""
        self.older = older
        self.guarded = guarded
        self.tokens: set[str] = set()
        self.seen: list[dict[str, str]] = []
        self.grants: list[str] = []
        self._challenges: dict[str, str] = {}
        self.app = MCPServer("site")
        self.app.add_tool(self.add)
        self.app.add_tool(self.huge)
        self.app.add_tool(self.tell)
        self.app.add_tool(self.ask)

    def add(self, a: int) -> int:
        return a + 1

    def huge(self, size: int) -> str:
        return "x" * size

    async def tell(self, ctx: Context) -> str:
        await ctx.report_progress(1, 2, "half")
        await ctx.info("a line")
        return "done"

    async def ask(self, ctx: Context) -> str:
        return (await ctx.elicit("Sure?", Sure)).action

    @property
    def url(self) -> str:
        return f"{self.base}/mcp"

    def routes(self, json_response: bool) -> Starlette:
        inner = self.app.streamable_http_app(json_response=json_response)

        async def guard(scope: Any, receive: Any, send: Any) -> None:
            headers = {key.decode(): value.decode() for key, value in scope.get("headers", ())}
            self.seen.append(headers)
            token = headers.get("authorization", "").removeprefix("Bearer ")
            if self.guarded and token not in self.tokens:
                where = f'Bearer resource_metadata="{self.base}/.well-known/oauth-protected-resource/mcp"'
                await Response(status_code=401, headers={"WWW-Authenticate": where})(scope, receive, send)
                return
            if self.older and scope.get("method") == "POST":
                message = await receive()
                if b"server/discover" in message["body"]:
                    await Response(status_code=400)(scope, receive, send)
                    return
                waiting = [message]

                async def again() -> Any:
                    return waiting.pop() if waiting else await receive()

                await inner(scope, again, send)
                return
            await inner(scope, receive, send)

        return Starlette(
            routes=[
                Route("/.well-known/oauth-protected-resource/mcp", self._resource),
                Route("/.well-known/oauth-authorization-server", self._metadata),
                Route("/register", self._register, methods=["POST"]),
                Route("/authorize", self._authorize),
                Route("/token", self._token, methods=["POST"]),
                Mount("/", guard),
            ],
            lifespan=inner.router.lifespan_context,
        )

    async def _resource(self, request: Request) -> Response:
        return JSONResponse({"resource": self.url, "authorization_servers": [self.base]})

    async def _metadata(self, request: Request) -> Response:
        return JSONResponse(
            {
                "issuer": self.base,
                "authorization_endpoint": f"{self.base}/authorize",
                "token_endpoint": f"{self.base}/token",
                "registration_endpoint": f"{self.base}/register",
                "response_types_supported": ["code"],
                "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
                "code_challenge_methods_supported": ["S256"],
                "token_endpoint_auth_methods_supported": ["none", "client_secret_basic", "client_secret_post"],
            }
        )

    async def _register(self, request: Request) -> Response:
        return JSONResponse(
            {**json.loads(await request.body()), "client_id": "c1", "token_endpoint_auth_method": "none"}, 201
        )

    async def _authorize(self, request: Request) -> Response:
        given = request.query_params
        self._challenges["code1"] = given["code_challenge"]
        back = urlencode({"code": "code1", "state": given["state"]})
        return RedirectResponse(f"{given['redirect_uri']}?{back}", 302)

    async def _token(self, request: Request) -> Response:
        form = {key: values[0] for key, values in parse_qs((await request.body()).decode()).items()}
        grant = form["grant_type"]
        if grant == "authorization_code":
            digest = hashlib.sha256(form["code_verifier"].encode()).digest()
            if base64.urlsafe_b64encode(digest).decode().rstrip("=") != self._challenges.pop(form["code"]):
                return JSONResponse({"error": "invalid_grant"}, 400)
        if grant == "client_credentials":
            secret = base64.b64encode(b"me:s3cret").decode()
            if request.headers.get("authorization") != f"Basic {secret}":
                return JSONResponse({"error": "invalid_client"}, 401)
        self.grants.append(grant)
        token = f"t{len(self.grants)}"
        self.tokens.add(token)
        return JSONResponse({"access_token": token, "token_type": "Bearer", "refresh_token": "r", "expires_in": 3600})


@asynccontextmanager
async def http_site(
    *, guarded: bool = False, json_response: bool = False, older: bool = False, compressed: bool = False
) -> AsyncIterator[Site]:
    """Serves both, until the end of the block."""
    site = Site(guarded=guarded, older=older)
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    site.base = f"http://127.0.0.1:{listening.getsockname()[1]}"
    routes: Any = site.routes(json_response)
    app = GZipMiddleware(routes) if compressed else routes
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
    serving = asyncio.ensure_future(server.serve(sockets=[listening]))
    await until(lambda: server.started, "for the server")
    try:
        yield site
    finally:
        server.should_exit = True
        await serving
        listening.close()
