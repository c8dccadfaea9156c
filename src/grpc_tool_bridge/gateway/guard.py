"""Who may call the hub over HTTP: checked before anything else of a request is looked at.

A page of another site can make a browser send requests here, and a name that its owner points here (DNS rebinding) can
make them look like the hub's own. So the host must be one that is known, what a browser says of where a request comes
from must be the hub itself, and what changes something must be JSON, which no form of another site can send.
"""

import ipaddress
import logging
import re
import uuid
from collections.abc import Collection
from functools import lru_cache
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from grpc_tool_bridge.aio.timeouts import ExpiredError, within
from grpc_tool_bridge.errors import AccessError, ToolBridgeError, ValidationError
from grpc_tool_bridge.gateway.errors import REQUEST_ID, ClientStalledError, HttpError, error_response
from grpc_tool_bridge.gateway.login import LOGIN_PAGE, LOGIN_PATH, LOGOUT_PATH, BrowserLogin, follows_link, opens_page
from grpc_tool_bridge.gateway.protected_resource import METADATA_PATHS, ProtectedResource
from grpc_tool_bridge.rpc.authentication import Authenticator, PeerInfo, Principal
from grpc_tool_bridge.rpc.bounds import MAX_NAME_CHARS
from grpc_tool_bridge.rpc.budgets import Budget, Lease

_log = logging.getLogger(__name__)

# What a monitoring system asks without a token.
OPEN_PATHS = frozenset({"/healthz", "/readyz"})

_WITHOUT_TOKEN = OPEN_PATHS | {LOGIN_PATH, LOGOUT_PATH}
# What runs a tool without a body.
_TOOL_STREAM = re.compile(r"/api/sessions/[^/]+/tools/[^/]+/stream")
# All browsers begin so, and hardly anything else does.
_BROWSER = "Mozilla/"
_REQUEST_ID = REQUEST_ID.encode()
_ADDED = ((b"x-content-type-options", b"nosniff"),)

_METHODS = "GET, POST, PUT, DELETE"
_HEADERS = (
    "authorization, content-type, idempotency-key, if-match, last-event-id, mcp-method, mcp-name, "
    "mcp-protocol-version, mcp-session-id, x-request-id"
)
# Stands for an argument of a tool of an MCP client; each tool has its own.
_PARAMETER_NAME = re.compile(r"mcp-param-[a-z0-9_.-]{1,128}")


class Guard:
    """Lets requests pass, as an ASGI application around another.

    Args:
        app: What answers them.
        authenticator: Decides who the caller is; None: no token is required.
        hosts: Names that the hub is reached by, in lower case, besides ``localhost`` and addresses.
        origins: Other origins whose pages may call, such as ``https://agents.example.com``.
        memory: Charged with what large requests and responses hold.
        write_timeout: Seconds that a part of a response waits for a client that does not read.
        secure: Whether it is reached over TLS.
        resource: Tells OAuth clients where they get tokens; None: there is no issuer.

    Attributes:
        login: Of browsers.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        authenticator: Authenticator | None,
        memory: Budget,
        write_timeout: float,
        hosts: Collection[str] = (),
        origins: Collection[str] = (),
        secure: bool = False,
        resource: ProtectedResource | None = None,
    ) -> None:
        self._app = app
        self._resource = resource
        self._open = _WITHOUT_TOKEN if resource is None else _WITHOUT_TOKEN | METADATA_PATHS
        self._authenticator = authenticator
        self._memory = memory
        self._write_timeout = write_timeout
        self._hosts = frozenset({"localhost", *hosts})
        self._origins = frozenset(origins)
        self.login = BrowserLogin(authenticator, secure=secure)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers or refuses one request."""
        headers = Headers(scope=scope)
        # Names in it may have slashes of their own, so that it is routed as it came.
        scope["path"] = scope["raw_path"].partition(b"?")[0].decode("latin-1")
        request_id = uuid.uuid4().hex
        origin = headers.get("origin", "")
        is_allowed = origin in self._origins
        added = _cors_headers(origin) if is_allowed else _ADDED

        async def answer(message: Message) -> None:
            size = len(message.get("body", b""))
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (_REQUEST_ID, request_id.encode()), *added]
            held.set(held.size + size)
            try:
                await within(send(message), self._write_timeout)
            except ExpiredError:
                raise ClientStalledError from None
            finally:
                held.set(held.size - size)

        held = scope["held"] = Lease(self._memory, "a request over HTTP")
        try:
            request_id = scope["request_id"] = _request_id(headers) or request_id
            _check_framing(headers)
            self._check_host(headers)
            if not is_allowed:
                self._check_origin(headers, scope)
            elif scope["method"] == "OPTIONS":
                await answer_preflight(headers, answer)
                return
            if scope["path"] not in self._open:
                scope["principal"] = self._authenticate(headers, scope)
        except ToolBridgeError as error:
            await _refusal(error, headers, scope)(scope, receive, answer)
            return
        try:
            await self._app(scope, receive, answer)
        except ClientStalledError:
            _log.info("a client over HTTP took nothing for %g s; its connection is closed", self._write_timeout)
        finally:
            held.release()

    def _authenticate(self, headers: Headers, scope: Scope) -> Principal | None:
        if self._authenticator is None:
            return None
        try:
            if "authorization" not in headers and (principal := self.login.principal_of(headers)) is not None:
                return principal
            return self._authenticator.authenticate(peer_info(headers, scope))
        except AccessError as error:
            challenge = "Bearer" if self._resource is None else self._resource.challenge(headers, scope)
            raise HttpError(401, error.error_type, error.message, {"WWW-Authenticate": challenge}) from None

    def _check_host(self, headers: Headers) -> None:
        host = _host_of(headers.get("host", ""))
        if host in self._hosts or _is_address(host):
            return
        raise HttpError(
            403,
            "PermissionDenied",
            f"the host {host!r:.80} is not one of this hub; add it to http_hosts if it is, or use an address",
        )

    def _check_origin(self, headers: Headers, scope: Scope) -> None:
        origin, site = headers.get("origin", ""), headers.get("sec-fetch-site", "")
        own = f"{scope['scheme']}://{headers.get('host', '')}"
        is_own = (not origin or origin == own) and site in ("", "same-origin", "none")
        if not is_own and not follows_link(headers, scope):
            raise HttpError(
                403,
                "PermissionDenied",
                f"a page of {origin or 'another site'!r:.80} may not call this hub; add its origin to http_origins if "
                "it may",
            )
        if scope["method"] == "GET" and _TOOL_STREAM.fullmatch(scope["path"]):
            _check_intent(headers, own)


def peer_info(headers: Headers, scope: Scope) -> PeerInfo:
    """Returns what the client of a request shows of itself."""
    host, port = scope.get("client") or ("", 0)
    address = f"ipv6:[{host}]:{port}" if ":" in host else f"ipv4:{host}:{port}"
    return PeerInfo(tuple(headers.items()), address if host else "", scope.get("certificate"))


def _check_framing(headers: Headers) -> None:
    """Refuses a request whose end a proxy may see elsewhere, which no client sends (RFC 9112, 6.1)."""
    if "transfer-encoding" in headers and "content-length" in headers:
        raise HttpError(
            HTTPStatus.BAD_REQUEST,
            "HttpError",
            "the request has both Content-Length and Transfer-Encoding; send one of them",
            {"Connection": "close"},
        )


def _check_intent(headers: Headers, own: str) -> None:
    """Refuses to run a tool because a browser opens an address, or fetches it for a page that it does not name."""
    if headers.get("sec-fetch-mode") == "navigate" or "sec-purpose" in headers:
        raise HttpError(
            403,
            "PermissionDenied",
            "an address that is opened in a browser does not run a tool; call it from a page, or from /docs",
        )
    is_named = "origin" in headers or headers.get("referer", "").startswith(f"{own}/")
    if headers.get("user-agent", "").startswith(_BROWSER) and not is_named and "sec-fetch-site" not in headers:
        # Sec-Fetch-Site is sent over HTTPS and to localhost only, and Origin not with every GET.
        raise HttpError(
            403,
            "PermissionDenied",
            "this browser does not say which page asks for the stream of a tool; use POST, HTTPS or localhost, or let "
            "the page send its origin as Referer",
        )


def _refusal(error: ToolBridgeError, headers: Headers, scope: Scope) -> Response:
    """Returns the response for a request that does not pass; a person is asked for the token."""
    if isinstance(error, HttpError) and error.status == HTTPStatus.UNAUTHORIZED and opens_page(headers, scope):
        return LOGIN_PAGE.response(error.status, error.headers)
    return error_response(error)


async def answer_preflight(asked: Headers, send: Send) -> None:
    """Answers a preflight request of an allowed origin."""
    wanted = asked.get("access-control-request-headers", "").lower().split(",")
    parameters = [name for name in map(str.strip, wanted) if _PARAMETER_NAME.fullmatch(name)]
    allowed = ", ".join([_HEADERS, *parameters])
    headers = [
        (b"access-control-allow-methods", _METHODS.encode()),
        (b"access-control-allow-headers", allowed.encode()),
        (b"access-control-max-age", b"600"),
    ]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def _cors_headers(origin: str) -> tuple[tuple[bytes, bytes], ...]:
    """Returns the headers by which a browser lets pages of an allowed origin read a response."""
    return (
        *_ADDED,
        (b"access-control-allow-origin", origin.encode()),
        (b"vary", b"Origin"),
        (b"access-control-expose-headers", b"mcp-session-id, retry-after, x-request-id"),
    )


def _request_id(headers: Headers) -> str:
    """Returns the id that the caller gave the request; empty: none."""
    given = headers.get(REQUEST_ID, "")
    if len(given) > MAX_NAME_CHARS or not given.isascii() or not given.isprintable():
        raise ValidationError(f"X-Request-Id must be 1 to {MAX_NAME_CHARS} printable ASCII characters")
    return given


def _host_of(header: str) -> str:
    if header.startswith("["):
        return header.partition("]")[0][1:].lower()
    return header.rpartition(":")[0].lower() if ":" in header else header.lower()


@lru_cache(maxsize=256)
def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
