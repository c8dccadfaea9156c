"""Seals values with AES-256-GCM, each for the one place where it is stored."""

import hashlib
import hmac
import os
import struct
from collections.abc import Sequence

from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError

from grpc_tool_bridge import optional
from grpc_tool_bridge.auth.secrets.keys import SealingKey, read_keys
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.sealed import (
    KEY_ID_BYTES,
    SEALED_TYPE,
    UnreadableValue,
    ValuePlace,
    is_sealed,
    key_id_of,
    missing_key,
    unusable,
)

try:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
except ImportError as error:
    raise optional.missing(error, "cryptography", extra="secrets") from None

# A sealed value: the id of its key, a byte that says whether its variable was secret, the salt, the nonce, and the
# ciphertext with its tag. Each value has a key of its own, made of the key and the salt: a nonce of 12 random bytes
# alone would let one key seal only some 2^32 values (NIST SP 800-38D, 8.3).
_SALT_BYTES = 16
_NONCE_BYTES = 12
_TAG_BYTES = 16
_HEADER_BYTES = KEY_ID_BYTES + 1 + _SALT_BYTES + _NONCE_BYTES

_OF_VALUE = b"grpc-tool-bridge sealed value 1"

_OPEN, _SECRET = b"\0", b"\1"


class Sealer:
    """Seals with the first of its keys, and opens with all of them.

    Args:
        keys: At least one.
        seals_all: Whether the values of all variables are sealed, and not those of secret ones alone.

    Attributes:
        keys, seals_all: As given.
    """

    def __init__(self, keys: Sequence[SealingKey], *, seals_all: bool = False) -> None:
        self.keys = tuple(keys)
        self.seals_all = seals_all
        self._present = self.keys[0]
        self._by_id = {key.id: key for key in self.keys}

    def __repr__(self) -> str:
        return f"<Sealer with key {self._present.id}, opens {len(self.keys)}>"

    def seal(self, value: Any, place: ValuePlace, *, secret: bool) -> Any:
        """See ``ValueSealer``."""
        key = self._present
        kind = _SECRET if secret else _OPEN
        salt, nonce = os.urandom(_SALT_BYTES), os.urandom(_NONCE_BYTES)
        sealed = _cipher(key, salt).encrypt(nonce, value.SerializeToString(), _bound(place, kind))
        return Any(type_url=SEALED_TYPE, value=b"".join((bytes.fromhex(key.id), kind, salt, nonce, sealed)))

    def open(self, value: Any, place: ValuePlace, *, secret: bool) -> Any | UnreadableValue:
        """See ``ValueSealer``."""
        data = value.value
        if len(data) < _HEADER_BYTES + _TAG_BYTES:
            return unusable(value)
        key = self._by_id.get(key_id_of(value))
        if key is None:
            return missing_key(value)
        kind = data[KEY_ID_BYTES : KEY_ID_BYTES + 1]
        if kind == _SECRET and not secret:
            # Somebody has made it one that is shown.
            return unusable(value)
        nonce_at = KEY_ID_BYTES + 1 + _SALT_BYTES
        salt, nonce = data[KEY_ID_BYTES + 1 : nonce_at], data[nonce_at:_HEADER_BYTES]
        try:
            return Any.FromString(_cipher(key, salt).decrypt(nonce, data[_HEADER_BYTES:], _bound(place, kind)))
        except (InvalidTag, DecodeError):
            return unusable(value)

    def is_due(self, value: Any, *, secret: bool) -> bool:
        """See ``ValueSealer``."""
        if is_sealed(value):
            return key_id_of(value) != self._present.id and key_id_of(value) in self._by_id
        return secret or self.seals_all


def sealer_of(settings: Settings) -> Sealer | None:
    """Returns what seals with the keys of the settings; None if they have none.

    Raises:
        ValueError: They are not keys, or others can read their file.
        OSError: The file cannot be read.
    """
    found = settings.sealing_keys()
    if found is None:
        return None
    named = "secrets_key" if settings.secrets_key is not None else f"secrets_key_file {settings.secrets_key_file}"
    return Sealer(read_keys(found, named), seals_all=settings.secrets_seal_all)


def _cipher(key: SealingKey, salt: bytes) -> AESGCM:
    return AESGCM(hmac.digest(key.material, _OF_VALUE + salt, hashlib.sha256))


def _bound(place: ValuePlace, kind: bytes) -> bytes:
    """Returns what a sealed value is bound to: it opens in this place alone."""
    session, name = place.session_id.encode("utf-8", "surrogatepass"), place.name.encode("utf-8", "surrogatepass")
    lengths = struct.pack(">QII", place.revision, len(session), len(name))
    return b"".join((_OF_VALUE, kind, lengths, session, name))
