"""Callers with a JWT of an issuer that the hub trusts (RFC 7519), checked as RFC 8725 advises."""

import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from grpc_tool_bridge.auth.identity.jwks import Key, verifier
from grpc_tool_bridge.auth.identity.key_source import KeysAtUrl, KeysInFile, KeySource
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.config.token_rules import is_url
from grpc_tool_bridge.optional import missing
from grpc_tool_bridge.rpc.authentication import Principal, unauthenticated
from grpc_tool_bridge.rpc.bounds import MAX_NAME_CHARS

# Tokens that were verified, so that an RPC with one of them costs no signature.
MAX_VERIFIED = 10_000
MAX_GROUPS = 1_000

_log = logging.getLogger(__name__)


class JsonWebTokens:
    """Authenticates callers by the JWTs of one issuer.

    Args:
        settings: The issuer, the audience, the keys and the claims.

    Raises:
        ImportError: PyJWT is not installed.
    """

    def __init__(self, settings: Settings) -> None:
        try:
            import jwt  # noqa: PLC0415 - an extra
            import jwt.algorithms  # noqa: PLC0415 - likewise
        except ImportError as error:
            raise missing(error, "jwt", extra="auth") from None
        if not jwt.algorithms.has_crypto:
            raise ImportError('JWTs need cryptography; run: pip install "grpc-tool-bridge[auth]"')
        self._settings = settings
        source, algorithms = settings.jwt_keys or "", settings.jwt_algorithms
        self._source: KeySource = (
            KeysAtUrl(source, algorithms) if is_url(source) else KeysInFile(Path(source), algorithms)
        )
        # By the token's digest, the least recently used first; and the keys that they were verified with.
        self._verified: OrderedDict[bytes, Principal] = OrderedDict()
        self._keys: Sequence[Key] = ()

    async def start(self) -> None:
        """Gets the keys; raises ValueError or OSError if they are in a file that cannot be used."""
        await self._source.start()

    async def aclose(self) -> None:
        """Ends what runs in the background."""
        await self._source.aclose()

    def abandon(self) -> None:
        """Gives up what runs in an event loop that has ended."""
        self._source.abandon()

    def principal_of(self, token: bytes) -> Principal | None:
        """Returns whom a token names; None if it is no JWT.

        Raises:
            AccessError: It is not valid.
            UnavailableError: Its key is being fetched.
        """
        if token.count(b".") != 2:  # noqa: PLR2004 - header, claims, signature
            return None
        keys = self._source.keys()
        if keys is not self._keys:
            # A key may have been withdrawn.
            self._keys = keys
            self._verified.clear()
        digest = hashlib.sha256(token).digest()
        principal = self._verified.get(digest)
        if principal is None:
            principal = self._verified[digest] = self._verify(token, keys)
            if len(self._verified) > MAX_VERIFIED:
                self._verified.popitem(last=False)
            return principal
        if principal.expires_at is not None and time.time() >= principal.expires_at + self._settings.jwt_leeway:
            del self._verified[digest]
            raise unauthenticated(_EXPIRED)
        self._verified.move_to_end(digest)
        return principal

    def _verify(self, token: bytes, keys: Sequence[Key]) -> Principal:
        import jwt  # noqa: PLC0415 - an extra

        settings = self._settings
        algorithm, kid = self._header_of(token)
        key = self._key(keys, algorithm, kid)
        try:
            claims = jwt.decode(
                token,
                verifier(key, algorithm),
                algorithms=[algorithm],
                audience=settings.jwt_audience,
                issuer=settings.jwt_issuer,
                leeway=settings.jwt_leeway,
                options={"require": ["exp", "iss", "aud"]},
            )
        except jwt.PyJWTError as error:
            raise unauthenticated(_why(error)) from None
        except Exception as error:  # noqa: BLE001 - what cannot be read is refused, whatever it makes of the parser
            _log.debug("a JWT could not be read", exc_info=error)
            raise unauthenticated(_MALFORMED) from None
        return self._principal(claims)

    def _header_of(self, token: bytes) -> tuple[str, str]:
        """Returns the algorithm and the name of the key, before either is believed."""
        import jwt  # noqa: PLC0415 - an extra

        try:
            header = jwt.get_unverified_header(token)
        except Exception:  # noqa: BLE001 - as above
            raise unauthenticated(_MALFORMED) from None
        algorithm, kid = header.get("alg"), header.get("kid", "")
        if algorithm not in self._settings.jwt_algorithms:
            allowed = ", ".join(self._settings.jwt_algorithms)
            raise unauthenticated(f"the token is signed with {algorithm!r:.40}; this hub takes {allowed}")
        return str(algorithm), str(kid)

    def _key(self, keys: Sequence[Key], algorithm: str, kid: str) -> Key:
        named = [key for key in keys if key.kid == kid] if kid else list(keys)
        found = [key for key in named if key.fits(algorithm)]
        if len(found) == 1:
            return found[0]
        if found:
            raise unauthenticated("the token does not say which of the issuer's keys it is signed with (kid)")
        if named and kid:
            raise unauthenticated(f"the token is signed with {algorithm}, for which its key is not")
        raise self._source.unknown(kid)

    def _principal(self, claims: Mapping[str, Any]) -> Principal:
        settings = self._settings
        name = claims.get(settings.jwt_name_claim)
        if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_CHARS or not name.isprintable():
            raise unauthenticated(
                f"the token's claim {settings.jwt_name_claim} must be a name of 1 to {MAX_NAME_CHARS} characters"
            )
        listed = claims.get(settings.jwt_groups_claim, ())
        groups = listed.split() if isinstance(listed, str) else listed
        if not isinstance(groups, list | tuple) or not all(isinstance(group, str) for group in groups):
            raise unauthenticated(f"the token's claim {settings.jwt_groups_claim} must be a list of names")
        if len(groups) > MAX_GROUPS:
            raise unauthenticated(f"the token names {len(groups):,} groups; at most {MAX_GROUPS:,} are taken")
        return Principal(name, frozenset(groups), MappingProxyType(dict(claims)), "jwt", float(claims["exp"]))


_EXPIRED = "the token has expired; get a new one"
_MALFORMED = "the token cannot be read as a JWT"


def _why(error: Exception) -> str:
    """Returns what is wrong with a token; the library's own text may quote it."""
    texts = {
        "ExpiredSignatureError": _EXPIRED,
        "ImmatureSignatureError": "the token is not valid yet; compare the clocks of its issuer and this hub",
        "InvalidAudienceError": "the token is for another audience than this hub (jwt_audience)",
        "InvalidIssuerError": "the token is of another issuer than this hub trusts (jwt_issuer)",
        "InvalidSignatureError": "the token's signature is wrong",
        "MissingRequiredClaimError": "the token lacks one of the claims exp, iss and aud",
    }
    return texts.get(type(error).__name__, _MALFORMED)
