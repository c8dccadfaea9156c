"""Who a peer is."""

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

from grpc_tool_bridge.errors import AccessError

# The name under which a peer sends its token, in metadata and headers.
HEADER = "authorization"

_SCHEME = b"bearer "


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


@dataclass(frozen=True, slots=True)
class PeerInfo:
    """What a peer shows of itself: with the hello of a link, with an RPC, or with an HTTP request.

    Attributes:
        metadata: What it sent; names are in lower case.
        address: Where it connects from, such as ``ipv4:10.0.0.7:51324``, for logs; empty: not known.
        certificate: Its certificate in DER, whose chain and key TLS has verified; None: it has shown none.
        uid: The user whose process is at the other end of a local socket, as the system says; None: not known.
    """

    metadata: Iterable[tuple[str, str | bytes]] = field(default=(), repr=False)
    address: str = ""
    certificate: bytes | None = field(default=None, repr=False)
    uid: int | None = None

    def bearer_token(self) -> bytes | None:
        """Returns the token that it has sent; None: none. A header of another scheme is an empty token."""
        sent = next((value for key, value in self.metadata if key == HEADER), None)
        if sent is None:
            return None
        data = sent.encode("utf-8", "replace") if isinstance(sent, str) else sent
        return data[len(_SCHEME) :] if data[: len(_SCHEME)].lower() == _SCHEME else b""


@runtime_checkable
class Authenticator(Protocol):
    """Decides who a peer is.

    It is asked once for a link, an RPC or an HTTP request, and again every few seconds for a link that is open: so a
    proof that is revoked or has expired ends its link.
    """

    def authenticate(self, peer: PeerInfo) -> Principal:
        """Returns who a peer is; it is called in the event loop, and must not block.

        Args:
            peer: What the peer shows of itself.

        Raises:
            AccessError: The peer does not prove who it is (Unauthenticated).
            UnavailableError: That cannot be told now; the peer may try again.
        """
        ...


def unauthenticated(why: str) -> AccessError:
    """Returns the error for a peer that does not prove who it is."""
    return AccessError(why, error_type="Unauthenticated")


class BearerToken:
    """Authenticates everyone who has the token as the same principal.

    Args:
        token: The token; it is compared in constant time and never logged.
    """

    def __init__(self, token: str) -> None:
        self._expected = token.encode()
        self._principal = Principal("token", method="token")

    def principal_of(self, token: bytes) -> Principal | None:
        """Returns the principal; None if the token is another one."""
        return self._principal if hmac.compare_digest(token, self._expected) else None

    def authenticate(self, peer: PeerInfo) -> Principal:
        """See ``Authenticator``."""
        sent = peer.bearer_token()
        if sent is None:
            raise unauthenticated(NO_TOKEN)
        principal = self.principal_of(sent)
        if principal is None:
            raise unauthenticated(WRONG_TOKEN)
        return principal


NO_TOKEN = "this hub requires a token; send it as 'authorization: Bearer …'"  # noqa: S105 - a text
WRONG_TOKEN = "the token is wrong"  # noqa: S105 - a text
