"""The key of an audit trail, and the keys that are made of it."""

import hashlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from grpc_tool_bridge.config.secret_files import read_secret
from grpc_tool_bridge.errors import ValidationError

KEY_BYTES = 32
# No two of 2**64 lines share a code of this size but by chance, and nobody finds one by trying.
MAC_BYTES = 16

_REMEDY = "make one with: grpc-tool-bridge audit key FILE"


class AuditKeys:
    """One key for each purpose, so that what is made for one cannot be used for another.

    Args:
        key: The key of the trail.

    Attributes:
        name: Tells keys apart, without telling anything of them.
        lines: For the codes of lines.
        checkpoints: For the signatures of checkpoints.
        arguments: For the digests of arguments.

    Raises:
        ValidationError: The key does not have its length.
    """

    __slots__ = ("arguments", "checkpoints", "lines", "name")

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValidationError(f"the key of an audit trail has {KEY_BYTES} bytes, and not {len(key)}; {_REMEDY}")
        self.name = _derived(key, b"name").hex()[:8]
        self.lines = _derived(key, b"line")
        self.checkpoints = _derived(key, b"checkpoint")
        self.arguments = _derived(key, b"arguments")


def _derived(key: bytes, purpose: bytes) -> bytes:
    return hashlib.blake2b(key=key, person=purpose, digest_size=KEY_BYTES).digest()


def read_keys(path: Path, *, warn: Callable[[str], None] | None = None) -> AuditKeys:
    """Reads the file of a key.

    Args:
        path: The file: 64 hexadecimal digits, or 32 bytes.
        warn: As for ``read_secret``.

    Raises:
        ValidationError: It has no key, or others can read it.
        OSError: It cannot be read.
    """
    try:
        found = read_secret(path, "audit_key_file", **({} if warn is None else {"warn": warn}))
    except ValueError as error:
        raise ValidationError(str(error)) from None
    try:
        key = found if len(found) == KEY_BYTES else bytes.fromhex(found.decode("ascii"))
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise ValidationError(f"audit_key_file {path} has no key of {KEY_BYTES} bytes; {_REMEDY}")
    return AuditKeys(key)


def make_key(path: Path) -> AuditKeys:
    """Writes a new key into a new file that only this user can read.

    Raises:
        FileExistsError: The file is there already: a key is never replaced.
        OSError: It cannot be written.
    """
    key = secrets.token_bytes(KEY_BYTES)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(key.hex() + "\n")
        file.flush()
        os.fsync(descriptor)
    return AuditKeys(key)
