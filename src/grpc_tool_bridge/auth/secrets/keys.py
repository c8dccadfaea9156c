"""The keys that values are sealed with: how they are made, written and read."""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from grpc_tool_bridge.core.sealed import KEY_ID_BYTES

# A key is one word: this, its id, and 32 bytes in the alphabet of URLs. Scanners for leaked secrets find it by its
# beginning, and its id tells a key that was cut or mistyped.
PREFIX = "gtbk1"
KEY_BYTES = 32

# More keys than this are no rotation, but a mistake.
MAX_KEYS = 100

_COMMAND = "grpc-tool-bridge secrets key"


@dataclass(frozen=True, slots=True)
class SealingKey:
    """A key.

    Attributes:
        material: Its 32 bytes.
        id: What it is known by, in hexadecimal digits: it is computed from the key, and tells nothing of it.
    """

    material: bytes = field(repr=False)
    id: str = field(init=False)

    def __post_init__(self) -> None:
        digest = hmac.digest(self.material, b"grpc-tool-bridge key id", hashlib.sha256)
        object.__setattr__(self, "id", digest[:KEY_ID_BYTES].hex())

    def line(self) -> str:
        """Returns the key as a key file has it."""
        text = base64.urlsafe_b64encode(self.material).decode().rstrip("=")
        return f"{PREFIX}.{self.id}.{text}"


def new_key() -> SealingKey:
    """Returns a new random key."""
    return SealingKey(secrets.token_bytes(KEY_BYTES))


def read_keys(text: str, named: str) -> Sequence[SealingKey]:
    """Reads keys: the first seals, and all of them open.

    Args:
        text: One key a line, or several with blanks between them; what follows a ``#`` is a comment.
        named: Where they come from, for texts.

    Raises:
        ValueError: One of them is not a key, or there is none. The text names its line, and has nothing of it.
    """
    found: dict[str, SealingKey] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        for word in line.partition("#")[0].split():
            key = _read_key(word)
            if key is None:
                raise ValueError(f"{named}, line {number}: this is not a whole key; {_COMMAND} makes one")
            if key.id in found:
                raise ValueError(f"{named}, line {number}: key {key.id} is there twice; remove one of them")
            found[key.id] = key
    if not found:
        raise ValueError(f"{named} has no key; {_COMMAND} makes one")
    if len(found) > MAX_KEYS:
        raise ValueError(f"{named} has {len(found)} keys, more than {MAX_KEYS}; remove those that seal nothing")
    return tuple(found.values())


def _read_key(word: str) -> SealingKey | None:
    prefix, _, rest = word.partition(".")
    text = rest.partition(".")[2]
    try:
        material = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    if prefix != PREFIX or len(material) != KEY_BYTES:
        return None
    key = SealingKey(material)
    return key if hmac.compare_digest(key.line().encode(), word.encode()) else None
