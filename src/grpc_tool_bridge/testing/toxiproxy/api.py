"""Toxiproxy's HTTP API."""

import json
import secrets
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from grpc_tool_bridge.testing.toxiproxy.bodies import MAX_BYTES
from grpc_tool_bridge.testing.toxiproxy.collection import ProxyCollection, find_toxic
from grpc_tool_bridge.testing.toxiproxy.errors import ApiError
from grpc_tool_bridge.testing.toxiproxy.proxy import Proxy

# Of the API; what follows the plus sign is no part of a version's order.
VERSION = "2.12.0+grpc-tool-bridge"

Endpoint = Callable[[Request], Awaitable[Response]]

_PROXY, _TOXIC = "/proxies/{proxy}", "/proxies/{proxy}/toxics/{toxic}"


class Api:
    """The API as an ASGI application.

    Args:
        proxies: What it serves.

    Attributes:
        app: The application.
    """

    def __init__(self, proxies: ProxyCollection) -> None:
        self._proxies = proxies
        routes = [
            _route("/reset", POST=self._reset),
            _route("/proxies", GET=self._list, POST=self._create),
            _route("/populate", POST=self._populate),
            _route(_PROXY, GET=self._show, POST=self._update, PATCH=self._update, DELETE=self._delete),
            _route(f"{_PROXY}/toxics", GET=self._list_toxics, POST=self._add_toxic),
            _route(
                _TOXIC,
                GET=self._show_toxic,
                POST=self._update_toxic,
                PATCH=self._update_toxic,
                DELETE=self._remove_toxic,
            ),
            _route("/version", GET=self._version),
        ]
        app = Starlette(routes=routes, exception_handlers={HTTPStatus.NOT_FOUND: _not_found})
        app.router.redirect_slashes = False
        self.app: ASGIApp = app

    async def _reset(self, _: Request) -> Response:
        await self._proxies.reset()
        return Response(status_code=HTTPStatus.NO_CONTENT)

    async def _list(self, _: Request) -> Response:
        return _json({proxy.name: proxy.to_json() for proxy in self._proxies.all()})

    async def _create(self, request: Request) -> Response:
        return _json((await self._proxies.create(await _body(request))).to_json(), HTTPStatus.CREATED)

    async def _populate(self, request: Request) -> Response:
        made: list[Proxy] = []
        status, error = int(HTTPStatus.CREATED), {}
        try:
            async for proxy in self._proxies.populate(await _body(request)):
                made.append(proxy)  # noqa: PERF401 - those that were made before an error count
        except ApiError as refused:
            status, error = refused.status, refused.to_json()
        return _json({**error, "proxies": [proxy.to_json() for proxy in made] or None}, status)

    async def _show(self, request: Request) -> Response:
        return _json(self._proxy(request).to_json())

    async def _update(self, request: Request) -> Response:
        return _json((await self._proxies.update(request.path_params["proxy"], await _body(request))).to_json())

    async def _delete(self, request: Request) -> Response:
        await self._proxies.remove(request.path_params["proxy"])
        return Response(status_code=HTTPStatus.NO_CONTENT)

    async def _list_toxics(self, request: Request) -> Response:
        return _json([toxic.to_json() for toxic in self._proxy(request).toxics])

    async def _add_toxic(self, request: Request) -> Response:
        body = await _body(request)
        return _json(self._proxies.add_toxic(self._proxy(request), body).to_json())

    async def _show_toxic(self, request: Request) -> Response:
        return _json(find_toxic(self._proxy(request), request.path_params["toxic"]).to_json())

    async def _update_toxic(self, request: Request) -> Response:
        body, name = await _body(request), request.path_params["toxic"]
        return _json(self._proxies.update_toxic(self._proxy(request), name, body).to_json())

    async def _remove_toxic(self, request: Request) -> Response:
        proxy = self._proxy(request)
        proxy.remove_toxic(find_toxic(proxy, request.path_params["toxic"]))
        return Response(status_code=HTTPStatus.NO_CONTENT)

    async def _version(self, _: Request) -> Response:
        text = f"{json.dumps({'version': VERSION})}\n"
        return Response(text, media_type="application/json;charset=utf-8")

    def _proxy(self, request: Request) -> Proxy:
        return self._proxies.get(request.path_params["proxy"])


def _route(path: str, **endpoints: Endpoint) -> Route:
    """Makes a route; each endpoint is that of the method that it is named by."""

    async def serve(request: Request) -> Response:
        endpoint = endpoints.get(request.method)
        if endpoint is None:
            return Response(status_code=HTTPStatus.METHOD_NOT_ALLOWED)
        response = await _answer(endpoint, request)
        response.headers["X-Toxiproxy-Request-Id"] = secrets.token_hex(10)
        return response

    return Route(path, serve, methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])


async def _answer(endpoint: Endpoint, request: Request) -> Response:
    if request.headers.get("User-Agent", "").startswith("Mozilla/"):
        # A page could send requests to it.
        return _text("User agent not allowed", HTTPStatus.FORBIDDEN)
    try:
        return await endpoint(request)
    except ApiError as error:
        return _text(_dumps(error.to_json()), error.status)


async def _body(request: Request) -> bytes:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_BYTES:
            break
    return body


def _json(content: Any, status: int = HTTPStatus.OK) -> Response:
    return Response(_dumps(content), status, media_type="application/json")


def _dumps(content: Any) -> str:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


def _text(text: str, status: int) -> Response:
    return PlainTextResponse(f"{text}\n", status, headers={"X-Content-Type-Options": "nosniff"})


async def _not_found(_: Request, __: Exception) -> Response:
    return _text("404 page not found", HTTPStatus.NOT_FOUND)
