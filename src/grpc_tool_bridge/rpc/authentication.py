"""Who a peer is."""

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

from grpc_tool_bridge.errors import AccessError

# The name under which a peer sends its token, in metadata and headers.
HEADER = "authorization"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who sends requests.

    Attributes:
        name: For logs and rules.
        groups: The groups that it belongs to, for rules.
        claims: What else its proof says of it, such as the claims of a JWT; empty where it says nothing more.
        method: How it proved who it is: "token", "jwt", "certificate", "user" or "hub".
        expires_at: When its proof ends, in seconds since the epoch; None: it does not.
    """

    name: str
    groups: frozenset[str] = frozenset()
    claims: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    method: str = ""
    expires_at: float | None = None


class Authenticator(Protocol):
    """Decides who a peer is: once for a link, an RPC or an HTTP request."""

    def authenticate(self, metadata: Iterable[tuple[str, str | bytes]]) -> Principal:
        """Returns who sends a request.

        Args:
            metadata: Of the request; names are in lower case.

        Raises:
            AccessError: The peer does not prove who it is (Unauthenticated).
        """
        ...


class BearerToken:
    """Authenticates everyone who has the token as the same principal.

    Args:
        token: The token; it is compared in constant time and never logged.
    """

    def __init__(self, token: str) -> None:
        self._expected = f"Bearer {token}".encode()
        self._principal = Principal("token", method="token")

    def authenticate(self, metadata: Iterable[tuple[str, str | bytes]]) -> Principal:
        """See ``Authenticator``."""
        sent = next((value for key, value in metadata if key == HEADER), None)
        if sent is not None and hmac.compare_digest(sent.encode() if isinstance(sent, str) else sent, self._expected):
            return self._principal
        why = "the token is wrong"
        if sent is None:
            why = "this hub requires a token; send it as 'authorization: Bearer …'"
        raise AccessError(why, error_type="Unauthenticated")
