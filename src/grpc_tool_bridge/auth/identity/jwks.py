"""The public keys that JWTs are signed with, as a JSON Web Key Set (RFC 7517) lists them."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

MAX_KEYS = 1_000
MAX_KID_CHARS = 256
MIN_RSA_BITS = 2_048

# What a private key has besides the public one.
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
# The curve that an algorithm needs.
_CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521", "EdDSA": "Ed25519"}


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a set.

    Attributes:
        kid: Its name; empty: it has none.
        kind: "RSA", "EC" or "OKP".
        curve: Of an elliptic one; empty: it has none.
        algorithm: The only algorithm that it is for; empty: any that fits.
        fields: The whole key, without private parts.
    """

    kid: str
    kind: str
    curve: str
    algorithm: str
    fields: Mapping[str, Any]

    def fits(self, algorithm: str) -> bool:
        """Returns whether a signature by an algorithm can be this key's: so a key is never taken for another kind."""
        if self.algorithm and self.algorithm != algorithm:
            return False
        if algorithm[:2] in ("RS", "PS"):
            return self.kind == "RSA"
        return self.kind == ("OKP" if algorithm == "EdDSA" else "EC") and self.curve == _CURVES.get(algorithm)


def read_keys(data: bytes, algorithms: Iterable[str]) -> tuple[Key, ...]:
    """Reads the keys of a set that can check signatures by one of some algorithms; others are left out.

    Raises:
        ValueError: It is not a set of keys, or none of them can be used.
    """
    try:
        found: Any = json.loads(data)
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON") from None
    listed = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(listed, list) or len(listed) > MAX_KEYS:
        raise ValueError(f"it is not a set of at most {MAX_KEYS} keys (JWKS), an object with a list 'keys'")
    wanted = tuple(algorithms)
    keys = tuple(key for key in map(_key_of, listed) if key is not None and any(map(key.fits, wanted)))
    if not keys:
        raise ValueError(f"it has no key for {', '.join(wanted)}")
    for key in keys:
        verifier(key, next(filter(key.fits, wanted)))
    return keys


def verifier(key: Key, algorithm: str) -> Any:
    """Returns what checks signatures by an algorithm that the key fits.

    Raises:
        ValueError: The key is malformed, or so short that its signatures can be forged.
    """
    import jwt  # noqa: PLC0415 - an extra

    try:
        made = jwt.PyJWK(dict(key.fields), algorithm)
    except jwt.PyJWTError as error:
        # Its text may have the key.
        raise ValueError(
            f"the key {key.kid or 'without a name'!r:.80} cannot be read ({type(error).__name__})"
        ) from None
    if key.kind == "RSA" and made.key.key_size < MIN_RSA_BITS:
        raise ValueError(f"the key {key.kid!r:.80} has {made.key.key_size} bits; RSA needs {MIN_RSA_BITS}")
    return made


def _key_of(fields: Any) -> Key | None:
    """Returns one key; None if it is none that checks signatures, such as a shared secret or a key for encryption."""
    if not isinstance(fields, dict) or fields.get("use", "sig") != "sig":
        return None
    kid, kind, curve, algorithm = (fields.get(name, "") for name in ("kid", "kty", "crv", "alg"))
    texts = all(isinstance(value, str) for value in (kid, kind, curve, algorithm))
    if not texts or kind not in ("RSA", "EC", "OKP") or len(kid) > MAX_KID_CHARS:
        return None
    return Key(kid, kind, curve, algorithm, {name: value for name, value in fields.items() if name not in _PRIVATE})
