"""Who a peer is."""

import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from grpc_tool_bridge.errors import AccessError

# The name under which a peer sends its token, in metadata and headers.
HEADER = "authorization"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who sends requests.

    Attributes:
        name: For logs and rules.
    """

    name: str


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
        self._principal = Principal("token")

    def authenticate(self, metadata: Iterable[tuple[str, str | bytes]]) -> Principal:
        """See ``Authenticator``."""
        sent = next((value for key, value in metadata if key == HEADER), None)
        if sent is not None and hmac.compare_digest(sent.encode() if isinstance(sent, str) else sent, self._expected):
            return self._principal
        why = "the token is wrong"
        if sent is None:
            why = "this hub requires a token; send it as 'authorization: Bearer …'"
        raise AccessError(why, error_type="Unauthenticated")
