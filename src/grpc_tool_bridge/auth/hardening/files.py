"""Files that a hub trusts or that hold its secrets: who else can read, change or replace them."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from grpc_tool_bridge.auth.hardening.deployment import Deployment, Finding, refused
from grpc_tool_bridge.config.secret_files import check_secret_file

_ROOT = 0
# Files that the hub does not use while others can read them.
_REFUSED = frozenset(
    {"token_file", "tokens_file", "tls_key", "secrets_key_file", "cluster_secret_file", "nats_creds", "audit_key_file"}
)


def secret_files(hub: Deployment) -> Iterator[Finding]:
    """Checks the files with secrets."""
    settings = hub.settings
    named = {
        "token_file": settings.token_file,
        "tokens_file": settings.tokens_file,
        "tls_key": settings.tls_key,
        "secrets_key_file": settings.secrets_key_file,
        "cluster_secret_file": settings.cluster_secret_file,
        "nats_creds": settings.nats_creds,
        "nats_tls_key": settings.nats_tls_key,
        "audit_key_file": settings.audit_key_file,
    }
    yield from _all_of(hub, {name: path for name, path in named.items() if path is not None}, secret=True)


def trusted_files(hub: Deployment) -> Iterator[Finding]:
    """Checks the files that say what is allowed: who changes one of them decides."""
    settings = hub.settings
    keys = settings.jwt_keys
    named = {
        "config": hub.config,
        "policy": settings.policy,
        "quotas": settings.quotas,
        "tls_cert": settings.tls_cert,
        "tls_client_ca": settings.tls_client_ca,
        "tls_crl": settings.tls_crl,
        "jwt_keys": None if keys is None or "://" in keys else Path(keys),
        "nats_tls_ca": settings.nats_tls_ca,
        "nats_tls_cert": settings.nats_tls_cert,
    }
    yield from _all_of(hub, {name: path for name, path in named.items() if path is not None}, secret=False)


def data_files(hub: Deployment) -> Iterator[Finding]:
    """Checks the files that a hub writes: those that are there, and else the folders that they would be in."""
    audit = hub.settings.audit or ""
    named = {
        "store": hub.store,
        "audit": Path(audit.removeprefix("file:")) if audit.startswith("file:") else None,
        "recording": hub.recording,
    }
    for name, path in named.items():
        if path is None:
            continue
        if path.exists():
            yield from _all_of(hub, {name: path}, secret=True)
        elif not path.parent.is_dir():
            yield refused(name, f"there is no folder {path.parent}; make it: mkdir -m 700 {path.parent}")
        else:
            yield from _folder(name, path.parent)


def _all_of(hub: Deployment, named: dict[str, Path], *, secret: bool) -> Iterator[Finding]:
    for name, path in named.items():
        found = list(_file(hub, name, path, secret=secret))
        yield from found or [Finding(name, "ok", f"{path} is {'read' if secret else 'changed'} by nobody else")]


def _file(hub: Deployment, name: str, path: Path, *, secret: bool) -> Iterator[Finding]:
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            if secret:
                warnings: list[str] = []
                check_secret_file(file, path, name, warn=warnings.append)
                yield from (Finding(name, "warn", text.removeprefix(f"{name} ")) for text in warnings)
    except ValueError as error:
        text = str(error).removeprefix(f"{name} ")
        yield refused(name, text) if name in _REFUSED else Finding(name, "fail", text)
        return
    except OSError as error:
        yield refused(name, f"{path}: {error.strerror or error}")
        return
    if os.name == "nt" or not stat.S_ISREG(found.st_mode):
        return
    mode = stat.S_IMODE(found.st_mode)
    if mode & stat.S_IWOTH and not secret:
        yield Finding(name, "fail", f"{path}: every user of this machine can change it; chmod o-w {path}")
    elif mode & stat.S_IWGRP:
        yield Finding(name, "warn", f"{path}: its group can change it; chmod g-w {path}")
    if hub.uid is not None and found.st_uid not in (hub.uid, _ROOT):
        text = f"{path} belongs to the user {found.st_uid}, who can change it, and the hub runs as {hub.uid}"
        yield Finding(name, "warn", f"{text}; chown {hub.uid} {path}")
    yield from _replaced(name, path.resolve().parent) if not secret else ()


def _folder(name: str, folder: Path) -> Iterator[Finding]:
    found = list(_replaced(name, folder))
    yield from found or [Finding(name, "ok", f"it will be made in {folder}, for this user alone")]


def _replaced(name: str, folder: Path) -> Iterator[Finding]:
    mode = 0 if os.name == "nt" else folder.stat().st_mode
    # In a sticky folder, such as /tmp, users can only replace their own files.
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        text = f"every user of this machine can put a file of that name into {folder}"
        yield Finding(name, "fail", f"{text}; chmod o-w {folder}")
