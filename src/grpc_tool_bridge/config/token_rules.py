"""What the settings for JWTs may say."""

import ipaddress
from collections.abc import Sequence
from urllib.parse import urlsplit

# Signatures with a private key. "none" and HMAC are not among them: with HMAC, whoever checks a token can make one, and
# a public key could be taken for the shared secret.
JWT_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")


def signing_algorithms(names: Sequence[str]) -> Sequence[str]:
    """Checks the names of algorithms; raises ValueError."""
    wrong = [name for name in names if name not in JWT_ALGORITHMS]
    if wrong or not names:
        what = ", ".join(wrong) if wrong else "an empty list"
        raise ValueError(f"{what} cannot be used to sign tokens; use some of {', '.join(JWT_ALGORITHMS)}")
    return names


def check_jwt_settings(issuer: str | None, audience: Sequence[str], keys: str | None) -> None:
    """Checks that the settings for JWTs are all there, or none of them; raises ValueError."""
    given = {"jwt_issuer": issuer, "jwt_audience": audience, "jwt_keys": keys}
    missing = [name for name, value in given.items() if not value]
    if missing and len(missing) < len(given):
        raise ValueError(f"JWTs need an issuer, an audience and keys; {' and '.join(missing)} not set")
    if keys is not None and is_url(keys) and not _is_safe(keys):
        raise ValueError(
            "jwt_keys must be the path of a file or an https:// URL: over http, others could change the keys"
        )


def is_url(keys: str) -> bool:
    """Returns whether ``jwt_keys`` is a URL, and not the path of a file."""
    return "://" in keys


def _is_safe(url: str) -> bool:
    parts = urlsplit(url)
    if parts.scheme == "https":
        return bool(parts.hostname)
    if parts.scheme != "http":
        return False
    try:
        return ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return parts.hostname == "localhost"
