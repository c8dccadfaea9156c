"""The file with the tokens of callers by name: one object of JSON a line, and no token in it.

A token is ``tb_<id>_<secret>``: the id finds its line, and the beginning lets scanners find tokens that leaked.
"""

import hashlib
import hmac
import json
import os
import re
import secrets
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from grpc_tool_bridge.config.secret_files import check_secret_file
from grpc_tool_bridge.errors import AlreadyExistsError, NotFoundError, ValidationError

PREFIX = b"tb_"

# A line has about 300 bytes.
MAX_FILE_BYTES = 16 * 1024 * 1024

# Valid tokens of one name: the one in use, and the one that it is being replaced by.
MAX_VALID = 2

_TOKEN = re.compile(rb"tb_([a-z2-7]{12})_([A-Za-z0-9_-]{43})")
_NAME = re.compile(r"[\w.@:/+-][\w.@:/+ -]{0,254}")
_ID_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"
_ID_CHARS = 12
_SECRET_BYTES = 32
_SALT_BYTES = 16
_FIELDS = {"id": str, "name": str, "groups": list, "salt": str, "hash": str, "created": str}


@dataclass(frozen=True, slots=True)
class StaticToken:
    """One token, as the file knows it.

    Attributes:
        id: Its public part.
        name: Of whom it is the token.
        groups: The groups of its owner.
        salt, digest: What its secret is checked with.
        created: When it was made, in seconds since the epoch.
        expires: When it expires, likewise; None: it does not.
        revoked: When it was revoked, likewise; None: it was not.
    """

    id: str
    name: str
    groups: frozenset[str]
    salt: bytes
    digest: bytes
    created: float
    expires: float | None = None
    revoked: float | None = None

    def state(self, now: float) -> str:
        """Returns "valid", "expired" or "revoked"."""
        if self.revoked is not None:
            return "revoked"
        return "valid" if self.expires is None or now < self.expires else "expired"

    def has_secret(self, secret: bytes) -> bool:
        """Returns whether a secret is this token's own."""
        return hmac.compare_digest(_digest(self.salt, secret), self.digest)


def split_token(token: bytes) -> tuple[str, bytes] | None:
    """Returns the id and the secret of a token; None if it has another form."""
    found = _TOKEN.fullmatch(token)
    return None if found is None else (found[1].decode(), found[2])


def read_tokens(path: Path) -> Mapping[str, StaticToken]:
    """Reads the tokens of a file by their ids.

    Raises:
        ValueError: A line cannot be used, or others can read or replace the file.
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        check_secret_file(file, path, "tokens_file")
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise ValueError(f"tokens_file {path} has over {MAX_FILE_BYTES} bytes; is it the right file?")
    found: dict[str, StaticToken] = {}
    for number, line in enumerate(data.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith(b"#"):
            continue
        token = _token_of(line, f"tokens_file {path}, line {number}")
        if token.id in found:
            raise ValueError(f"tokens_file {path}, line {number}: the id {token.id} stands there twice")
        found[token.id] = token
    return found


def add_token(
    path: Path, name: str, groups: Iterable[str] = (), *, seconds: float | None = None
) -> tuple[str, StaticToken]:
    """Makes a token and writes it to a file, which is made if there is none.

    Args:
        path: The file.
        name: Whose token it is.
        groups: The groups of its owner.
        seconds: How long it is valid; None: until it is revoked.

    Returns:
        The token, which nothing keeps, and what the file has of it.

    Raises:
        AlreadyExistsError: The name has two valid tokens.
        ValidationError: The name or a group is not valid.
        ValueError: The file cannot be used.
        OSError: It cannot be read or written.
    """
    groups = frozenset(groups)
    for what in (name, *groups):
        if not _NAME.fullmatch(what):
            raise ValidationError(f"{what!r:.80} cannot name a caller or group: use letters, digits and . @ : / + _ -")
    now = float(int(time.time()))
    with _locked(path):
        tokens = dict(read_tokens(path)) if path.exists() else {}
        valid = [token.id for token in tokens.values() if token.name == name and token.state(now) == "valid"]
        if len(valid) >= MAX_VALID:
            raise AlreadyExistsError(
                f"{name} has {len(valid)} valid tokens, {' and '.join(valid)}; revoke the one that is not used any more"
            )
        identity = "".join(secrets.choice(_ID_LETTERS) for _ in range(_ID_CHARS))
        secret, salt = secrets.token_urlsafe(_SECRET_BYTES), secrets.token_bytes(_SALT_BYTES)
        expires = None if seconds is None else now + seconds
        made = StaticToken(identity, name, groups, salt, _digest(salt, secret.encode()), now, expires)
        tokens[identity] = made
        _write(path, tokens.values())
    return f"{PREFIX.decode()}{identity}_{secret}", made


def revoke_token(path: Path, identity: str) -> StaticToken:
    """Revokes the token with an id; one that was revoked before stays so.

    Raises:
        NotFoundError: There is no such token.
        ValueError: The file cannot be used.
        OSError: It cannot be read or written.
    """
    with _locked(path):
        tokens = dict(read_tokens(path))
        token = tokens.get(identity)
        if token is None:
            raise NotFoundError(
                f"{path} has no token with the id {identity!r:.80}; grpc-tool-bridge token list shows them"
            )
        if token.revoked is None:
            token = tokens[identity] = replace(token, revoked=float(int(time.time())))
            _write(path, tokens.values())
    return token


def _digest(salt: bytes, secret: bytes) -> bytes:
    # A slow hash protects passwords, which people choose. These secrets are 256 random bits, which nobody guesses at
    # any speed, and a slow hash would let strangers hold up the event loop.
    return hashlib.sha256(salt + secret).digest()


def _token_of(line: bytes, where: str) -> StaticToken:
    try:
        fields: Any = json.loads(line)
        _check_fields(fields)
        return StaticToken(
            fields["id"],
            fields["name"],
            frozenset(map(str, fields["groups"])),
            bytes.fromhex(fields["salt"]),
            bytes.fromhex(fields["hash"]),
            _seconds(fields["created"]),
            _seconds(fields["expires"]) if fields.get("expires") else None,
            _seconds(fields["revoked"]) if fields.get("revoked") else None,
        )
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{where} cannot be read: {error}") from None


def _check_fields(fields: Any) -> None:
    if not isinstance(fields, dict):
        raise TypeError("it is not an object")
    for name, kind in _FIELDS.items():
        if not isinstance(fields.get(name), kind):
            raise TypeError(f"{name} is missing or of the wrong type")


def _seconds(text: str) -> float:
    found = datetime.fromisoformat(text)
    return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()


def iso_time(seconds: float | None) -> str | None:
    """Writes a time as ISO 8601 in UTC; None stays None."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _line_of(token: StaticToken) -> str:
    fields = {
        "id": token.id,
        "name": token.name,
        "groups": sorted(token.groups),
        "salt": token.salt.hex(),
        "hash": token.digest.hex(),
        "created": iso_time(token.created),
        "expires": iso_time(token.expires),
        "revoked": iso_time(token.revoked),
    }
    return json.dumps(fields, ensure_ascii=False) + "\n"


def _write(path: Path, tokens: Iterable[StaticToken]) -> None:
    """Replaces the file at once: whoever reads it sees the old one or the new one, complete."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    new = Path(name)
    try:
        # mkstemp gives it the mode 0600.
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.writelines(map(_line_of, tokens))
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Lets one process after another change the file; it locks the folder, since the file itself is replaced."""
    if os.name == "nt":
        yield
        return
    import fcntl  # noqa: PLC0415 - not on Windows

    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
