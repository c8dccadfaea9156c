"""The log-in of a browser: a page that asks for the token, and the cookie that stands for it from then on."""

import hashlib
import hmac
import secrets
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers
from starlette.types import Scope

from grpc_tool_bridge.gateway.pages import Page
from grpc_tool_bridge.rpc.authentication import Authenticator

COOKIE = "tool_bridge_login"
LOGIN_PATH = "/api/login"
LOGOUT_PATH = "/api/logout"

# Pages that a person opens, and is asked for the token at; for all else it is an error.
PAGE_PATHS = frozenset({"/docs"})

LOGIN_PAGE = Page("login.html")


class BrowserLogin:
    """Cookies of browsers that have logged in.

    Args:
        authenticator: Knows the token; None: none is required.
        secure: Whether the hub is reached over TLS.
    """

    def __init__(self, authenticator: Authenticator | None, *, secure: bool) -> None:
        self._authenticator = authenticator
        self._attributes = f"Path=/; HttpOnly; SameSite=Strict{'; Secure' if secure else ''}"
        # What a browser has that has logged in: nobody else can make it, and it is worth nothing after a restart.
        self._value = hmac.digest(secrets.token_bytes(32), b"login", hashlib.sha256).hex()

    def cookie(self, token: str) -> str:
        """Returns the value of ``Set-Cookie`` for a browser that logs in.

        Raises:
            AccessError: The token is wrong.
        """
        if self._authenticator is not None:
            self._authenticator.authenticate([("authorization", f"Bearer {token}")])
        return f"{COOKIE}={self._value}; {self._attributes}"

    def expired_cookie(self) -> str:
        """Returns the value of ``Set-Cookie`` for a browser that logs out."""
        return f"{COOKIE}=; Max-Age=0; {self._attributes}"

    def has_cookie(self, headers: Headers) -> bool:
        """Returns whether a request is of a browser that has logged in."""
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        return cookie is not None and hmac.compare_digest(cookie.value.encode(), self._value.encode())


def opens_page(headers: Headers, scope: Scope) -> bool:
    """Returns whether a person opens a page, rather than a program or a script asks for it."""
    return (
        scope["method"] == "GET"
        and scope["path"] in PAGE_PATHS
        and "authorization" not in headers
        and "text/html" in headers.get("accept", "")
        and headers.get("sec-fetch-mode", "navigate") == "navigate"
    )
