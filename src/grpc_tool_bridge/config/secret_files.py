"""Files with secrets, and who else can read them."""

import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

# Of the secret of a cluster: who records messages between hubs may try every shorter one.
MIN_CLUSTER_SECRET_CHARS = 16
# A token is one line, and a key a few kilobytes.
MAX_SECRET_BYTES = 1024 * 1024

_log = logging.getLogger(__name__)


def read_secret(path: Path, named: str, *, warn: Callable[[str], None] = _log.warning) -> bytes:
    """Reads a file that holds a secret.

    Args:
        path: The file.
        named: The setting that names the file, for texts.
        warn: Called if the permissions are too open, but nobody else can read the file yet; default: the log.

    Raises:
        ValueError: Others can read or replace the file, or it is too large to be a secret.
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        check_secret_file(file, path, named, warn=warn)
        found = file.read(MAX_SECRET_BYTES + 1)
    if len(found) > MAX_SECRET_BYTES:
        raise ValueError(f"{named} {path} has over {MAX_SECRET_BYTES} bytes; is it the right file?")
    return found


def check_secret_file(file: IO[Any], path: Path, named: str, *, warn: Callable[[str], None] = _log.warning) -> None:
    """Refuses a file that every user of this machine can read, and warns of one with permissions that are too open.

    It checks the opened file, behind all links. Where permissions mean something else, as on Windows or for a pipe, it
    checks nothing.

    Raises:
        ValueError: Others can read, change or replace the file.
    """
    found = os.fstat(file.fileno())
    if os.name == "nt" or not stat.S_ISREG(found.st_mode) or _is_read_only(file):
        return
    real = path.resolve()
    remedy = f"chmod 600 {path}"
    folders = list(real.parents)
    others = stat.S_IMODE(found.st_mode) & stat.S_IRWXO
    # Without access to a folder, nothing below it can be read.
    closed = not all(folder.stat().st_mode & stat.S_IXOTH for folder in folders)
    if others and not closed:
        verb = "change" if others & stat.S_IWOTH else "read"
        raise ValueError(f"{named} {path}: every user of this machine can {verb} it; {remedy}")
    if not closed and _is_open_to_all(real.parent):
        raise ValueError(
            f"{named} {path}: every user of this machine can put another file in its place; chmod o-w {real.parent}"
        )
    group = stat.S_IMODE(found.st_mode) & stat.S_IRWXG
    if others:
        warn(f"{named} {path}: its mode admits every user, and only its folder keeps them out; {remedy}")
    elif group and found.st_uid == os.geteuid():
        warn(f"{named} {path}: its group {found.st_gid} can read it; {remedy}")


def _is_read_only(file: IO[Any]) -> bool:
    """Returns whether its file system is read-only, so that its mode cannot change, as for Kubernetes secrets."""
    return bool(os.fstatvfs(file.fileno()).f_flag & os.ST_RDONLY)


def _is_open_to_all(folder: Path) -> bool:
    mode = folder.stat().st_mode
    # In a sticky folder, such as /tmp, users can only replace their own files.
    return bool(mode & stat.S_IWOTH and not mode & stat.S_ISVTX)


def read_token(token: str | None, token_file: Path | None, **how: Any) -> str | None:
    """Returns the given token, or reads it from its file; ``how`` is passed to ``read_secret``.

    Raises:
        ValueError: The token is empty or has characters that a header cannot carry, or others can read the file.
        OSError: The file cannot be read.
    """
    if token is None and token_file is not None:
        token = read_secret(token_file, "token_file", **how).decode("utf-8", "replace").strip()
    if token is None:
        return None
    if not token or not all("!" <= character <= "~" for character in token):
        where = f" in {token_file}" if token_file else ""
        raise ValueError(f"the token{where} is empty or has characters other than printable ASCII without spaces")
    return token


def read_cluster_secret(secret: str | None, file: Path | None, **how: Any) -> str | None:
    """Returns the given secret of a cluster, or reads it from its file; ``how`` is passed to ``read_secret``.

    Raises:
        ValueError: It is too short, or others can read the file.
        OSError: The file cannot be read.
    """
    if secret is None and file is not None:
        secret = read_secret(file, "cluster_secret_file", **how).decode("utf-8", "replace").strip()
    if secret is not None and len(secret) < MIN_CLUSTER_SECRET_CHARS:
        where = f" in {file}" if file else ""
        raise ValueError(
            f"the cluster's secret{where} is shorter than {MIN_CLUSTER_SECRET_CHARS} characters; openssl rand -hex 32 "
            "makes one"
        )
    return secret
