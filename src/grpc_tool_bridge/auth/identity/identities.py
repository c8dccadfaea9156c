"""The ways in which the settings say that callers prove who they are, as one authenticator."""

from typing import Protocol

from grpc_tool_bridge.auth.identity.certificates import ClientCertificates, check_installed
from grpc_tool_bridge.auth.identity.json_web_tokens import JsonWebTokens
from grpc_tool_bridge.auth.identity.static_tokens import StaticTokens
from grpc_tool_bridge.auth.identity.unix_users import UnixUsers
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.rpc.authentication import (
    NO_TOKEN,
    WRONG_TOKEN,
    BearerToken,
    PeerInfo,
    Principal,
    unauthenticated,
)

# No token is as large; one that is larger is not looked at.
MAX_TOKEN_BYTES = 16 * 1024


class TokenMethod(Protocol):
    """A kind of tokens."""

    def principal_of(self, token: bytes) -> Principal | None:
        """Returns who has a token; None if it is not of this kind; raises AccessError if it is wrong."""


class Identities:
    """Authenticates callers in all ways that are configured.

    A caller that sends a token is whom the token says, and nobody else if it is wrong; one that sends none is whom its
    client certificate or the user of its process says.

    Args:
        settings: Which ways there are, and their files.

    Attributes:
        methods: What they are called, for people.

    Raises:
        ImportError: A way needs a package that is not installed.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._tokens: list[TokenMethod] = []
        self._jwt = None if settings.jwt_issuer is None else JsonWebTokens(settings)
        self._certificates: ClientCertificates | None = None
        self._users: UnixUsers | None = None
        if settings.tls_client_ca is not None:
            check_installed()
        self.methods = methods_of(settings)

    async def start(self) -> None:
        """Reads the files.

        Raises:
            ValidationError: A file cannot be used.
            OSError: A file cannot be read.
        """
        settings = self._settings
        try:
            shared = settings.bearer_token()
            if shared is not None:
                self._tokens.append(BearerToken(shared))
            if settings.tokens_file is not None:
                self._tokens.append(StaticTokens(settings.tokens_file))
            if self._jwt is not None:
                await self._jwt.start()
                self._tokens.append(self._jwt)
            if settings.tls_client_ca is not None:
                self._certificates = ClientCertificates(settings.tls_crl)
            if settings.unix_users:
                self._users = UnixUsers(settings.unix_users)
        except ValidationError:
            raise
        except ValueError as error:
            raise ValidationError(str(error)) from None

    async def aclose(self) -> None:
        """Ends what runs in the background."""
        if self._jwt is not None:
            await self._jwt.aclose()

    def abandon(self) -> None:
        """Gives up what runs in an event loop that has ended."""
        if self._jwt is not None:
            self._jwt.abandon()

    def authenticate(self, peer: PeerInfo) -> Principal:
        """See ``Authenticator``."""
        token = peer.bearer_token()
        if token is not None:
            return self._by_token(token)
        if self._certificates is not None and peer.certificate is not None:
            return self._certificates.principal_of(peer.certificate)
        if self._users is not None and peer.uid is not None:
            return self._users.principal_of(peer.uid)
        raise unauthenticated(NO_TOKEN if self._tokens else f"this hub requires {' or '.join(self.methods)}")

    def _by_token(self, token: bytes) -> Principal:
        if len(token) <= MAX_TOKEN_BYTES:
            for method in self._tokens:
                principal = method.principal_of(token)
                if principal is not None:
                    return principal
        raise unauthenticated(WRONG_TOKEN)


def methods_of(settings: Settings) -> tuple[str, ...]:
    """Returns how the settings let callers prove who they are, for people; empty: callers need not."""
    found = {
        "a token": settings.token is not None or settings.token_file is not None,
        "a token of their own": settings.tokens_file is not None,
        "a JWT": settings.jwt_issuer is not None,
        "a client certificate": settings.tls_client_ca is not None,
        "the user of their process": bool(settings.unix_users),
    }
    return tuple(name for name, there in found.items() if there)
