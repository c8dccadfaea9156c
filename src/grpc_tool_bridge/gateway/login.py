"""The log-in of a browser: a page that asks for the token, and the cookie that stands for it from then on."""

import hashlib
import secrets
from collections import OrderedDict

from starlette.datastructures import Headers
from starlette.types import Scope

from grpc_tool_bridge.errors import AccessError
from grpc_tool_bridge.gateway.pages import Page
from grpc_tool_bridge.rpc.authentication import Authenticator, PeerInfo, Principal

# How the names of cookies begin.
COOKIE = "tool_bridge_login"
LOGIN_PATH = "/api/login"
LOGOUT_PATH = "/api/logout"

# Pages that a person opens, and is asked for the token at; for all else it is an error.
PAGE_PATHS = frozenset({"/", "/docs"})

# Browsers that are logged in; the one that was used least recently has to log in again for a further one.
MAX_LOGINS = 1_000

LOGIN_PAGE = Page("login.html")


class BrowserLogin:
    """Cookies of browsers that have logged in.

    Args:
        authenticator: Knows the token; None: none is required.
        secure: Whether the hub is reached over TLS.
    """

    def __init__(self, authenticator: Authenticator | None, *, secure: bool) -> None:
        self._authenticator = authenticator
        self._secure = secure
        # What each browser has shown, by the digest of its cookie: nobody else can make one, and it is worth nothing
        # after a restart. The least recently used come first.
        self._logins: OrderedDict[bytes, PeerInfo] = OrderedDict()

    def cookie(self, token: str, headers: Headers) -> str:
        """Returns the value of ``Set-Cookie`` for a browser that logs in.

        Args:
            token: What the person gave.
            headers: Of the browser's request.

        Raises:
            AccessError: The token is wrong.
            UnavailableError: That cannot be told now.
        """
        peer = PeerInfo((("authorization", f"Bearer {token}"),))
        if self._authenticator is not None:
            self._authenticator.authenticate(peer)
        value = secrets.token_hex(32)
        self._logins[_digest(value)] = peer
        if len(self._logins) > MAX_LOGINS:
            self._logins.popitem(last=False)
        return f"{_name(headers)}={value}; {self._attributes(headers)}"

    def expired_cookie(self, headers: Headers) -> str:
        """Returns the value of ``Set-Cookie`` for a browser that logs out; ``headers`` are those of its request."""
        key = self._login_of(headers)
        if key is not None:
            del self._logins[key]
        return f"{_name(headers)}=; Max-Age=0; {self._attributes(headers)}"

    def has_cookie(self, headers: Headers) -> bool:
        """Returns whether a request is of a browser that has logged in."""
        return self._login_of(headers) is not None

    def principal_of(self, headers: Headers) -> Principal | None:
        """Returns who has logged in with the browser of a request; None: nobody, or what was shown is over.

        Raises:
            UnavailableError: That cannot be told now.
        """
        key = self._login_of(headers)
        if key is None or self._authenticator is None:
            return None
        try:
            # Once more for each request: what was shown may be revoked or have expired.
            principal = self._authenticator.authenticate(self._logins[key])
        except AccessError:
            del self._logins[key]
            return None
        self._logins.move_to_end(key)
        return principal

    def _login_of(self, headers: Headers) -> bytes | None:
        # Other programs of this host may have set any others, well formed or not.
        for part in headers.get("cookie", "").split(";"):
            name, _, given = part.strip().partition("=")
            if name.startswith(COOKIE) and (key := _digest(given)) in self._logins:
                return key
        return None

    def _attributes(self, headers: Headers) -> str:
        # A proxy may have ended TLS.
        is_secure = self._secure or headers.get("origin", "").startswith("https://")
        return f"Path=/; HttpOnly; SameSite=Strict{'; Secure' if is_secure else ''}"


def _digest(value: str) -> bytes:
    """Returns the digest that a cookie is looked up by, so that the time it takes tells nothing of the others."""
    return hashlib.sha256(value.encode()).digest()


def _name(headers: Headers) -> str:
    """Returns the name of a cookie, with the port: a host's cookies are those of all its ports."""
    port = headers.get("host", "").rpartition(":")[2]
    return f"{COOKIE}_{port}" if port.isdecimal() else COOKIE


def follows_link(headers: Headers, scope: Scope) -> bool:
    """Returns whether a browser opens a page in a tab of its own, by a link that may be another site's.

    The other site sees nothing of the page, and an address of a page does nothing but show it.
    """
    return (
        scope["method"] == "GET"
        and scope["path"] in PAGE_PATHS
        and "origin" not in headers
        and headers.get("sec-fetch-mode") == "navigate"
        and headers.get("sec-fetch-dest") == "document"
    )


def opens_page(headers: Headers, scope: Scope) -> bool:
    """Returns whether a person opens a page, rather than a program or a script asks for it."""
    return (
        scope["method"] == "GET"
        and scope["path"] in PAGE_PATHS
        and "authorization" not in headers
        and "text/html" in headers.get("accept", "")
        and headers.get("sec-fetch-mode", "navigate") == "navigate"
    )
