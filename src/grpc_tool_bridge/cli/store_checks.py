"""The checks of ``doctor --store``: finds problems of a store, and of the disk that it is on."""

import os
import shlex
import shutil
import stat
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from grpc_tool_bridge.auth.secrets.keys import read_keys
from grpc_tool_bridge.cli.failures import one_line
from grpc_tool_bridge.cli.reach_checks import Check
from grpc_tool_bridge.cli.settings import read_settings
from grpc_tool_bridge.cli.store_text import size_text
from grpc_tool_bridge.errors import StoreError
from grpc_tool_bridge.stores.sqlite import health
from grpc_tool_bridge.stores.sqlite.disk import beside, size_of
from grpc_tool_bridge.stores.sqlite.report import report
from grpc_tool_bridge.stores.sqlite.schema import VERSION
from grpc_tool_bridge.stores.sqlite.sealing import sealed_values
from grpc_tool_bridge.stores.sqlite.snapshots import read_snapshot

FLUSHES = 20

# A durable write waits for one flush; beyond this many seconds, callers notice.
SLOW_FLUSH_SECONDS = 0.02

# With less room, a hub may soon be unable to store anything.
LITTLE_ROOM = 64 * 1024 * 1024


def examine_store(path: Path, *, full: bool) -> Iterator[Check]:
    """Yields each check of a store as it finishes.

    Args:
        path: The store's file, which need not be there yet.
        full: Whether to check all of it, which reads the whole file.
    """
    if not path.parent.is_dir():
        yield Check(
            "store",
            "fail",
            f"there is no directory {path.parent}; make it: mkdir -m 700 {shlex.quote(str(path.parent))}",
        )
        return
    if os.path.lexists(path):
        yield from _contents(path, full=full)
        if path.is_file():
            yield _files(path)
    else:
        yield Check("store", "warn", f"there is no store {path} yet; a hub makes it: serve --store")
    yield _disk(path.parent)
    yield _room(path)
    yield from _directory(path.parent)


def _contents(path: Path, *, full: bool) -> Iterator[Check]:
    try:
        found = report(path)
    except StoreError as error:
        yield Check("store", "fail", one_line(error.message))
        return
    migrates = "" if found.format == VERSION else f", which this version changes to {VERSION} when its hub starts"
    had = "no process is known to have it" if found.process is None else f"process {found.process} has it"
    count = len(found.sessions)
    kept = f"{count:,} session{'' if count == 1 else 's'} in {size_text(found.size)}"
    yield Check("store", "ok", f"{path}: {kept}; format {found.format}{migrates}; {had}")
    began = time.perf_counter()
    try:
        problems = health.damage(path, full=full)
    except StoreError as error:
        problems = [error.message]
    if problems:
        what = one_line("; ".join(problems))
        text = f"damaged: {what}; stop the hub, and bring back a backup with grpc-tool-bridge store restore"
        yield Check("integrity", "fail", text)
        return
    seconds = time.perf_counter() - began
    how = "full check" if full else "quick check; --full compares the indexes, too"
    yield Check("integrity", "ok", f"nothing is damaged ({how}; {seconds:.1f} s)")
    yield _secrets(path)


def _secrets(path: Path) -> Check:
    """Checks whether values of secret variables are sealed, and whether the settings here have the keys."""
    found = read_snapshot(path, sealed_values)
    if found.bare_secrets:
        text = (
            f"{found.bare_secrets} values of secret variables are not sealed; whoever reads the file reads them. Set "
            "secrets_key_file (grpc-tool-bridge secrets key makes a key), and run grpc-tool-bridge secrets rotate"
        )
        return Check("secrets", "warn", text)
    if not found.by_key:
        return Check("secrets", "ok", "it has no values of secret variables")
    known = _known_keys()
    missing = sorted(set(found.by_key) - known)
    if known and missing:
        text = f"no key {', '.join(missing)} in the settings here, with which values are sealed; add what is missing"
        return Check("secrets", "fail", text)
    sealed = ", ".join(f"{count} with key {key_id}" for key_id, count in sorted(found.by_key.items()))
    hint = "" if known else "; the hub needs these keys, which the settings here do not name"
    return Check("secrets", "ok", f"values are sealed: {sealed}{hint}")


def _known_keys() -> set[str]:
    """Returns the ids of the keys that the environment names; none if they cannot be read by this user."""
    settings = read_settings({}, None)
    try:
        found = settings.sealing_keys()
        return set() if found is None else {key.id for key in read_keys(found, "secrets_key")}
    except (OSError, ValueError):
        return set()


def _files(path: Path) -> Check:
    others = health.readable_by_others(path)
    if others:
        named = " ".join(str(file) for file in others)
        modes = ", ".join(f"{mode:o}" for mode in others.values())
        return Check("files", "warn", f"others may use them (mode {modes}): chmod 600 {named}")
    return Check("files", "ok", "only their owner may read them")


def _disk(folder: Path) -> Check:
    mount = health.mount_of(folder)
    if mount is None:
        return Check("disk", "ok", "this system does not tell which file system it has; it has to be a local one")
    where = f"{mount.kind} at {mount.point}"
    if mount.kind in health.NETWORK:
        return Check("disk", "fail", f"{where} is not a local disk, which a store needs; give a path on one")
    if mount.kind in health.IN_MEMORY:
        return Check("disk", "warn", f"{where} is in memory, and empty after a restart of the machine")
    if mount.kind in health.OF_CONTAINER:
        return Check("disk", "warn", f"{where} goes with its container; put the store on a volume")
    return Check("disk", "ok", where)


def _room(path: Path) -> Check:
    try:
        free = shutil.disk_usage(path.parent).free
    except OSError as error:
        return Check("room", "fail", f"not known: {error.strerror}")
    used = size_of(path) + size_of(beside(path, "-wal"))
    text = f"{size_text(free)} are left on the disk"
    if free < LITTLE_ROOM:
        return Check("room", "fail", f"{text}; make room, or the hub will refuse changes")
    if free < used:
        return Check("room", "warn", f"{text}, less than the store has: no backup and no vacuum fits")
    return Check("room", "ok", text)


def _directory(folder: Path) -> Iterator[Check]:
    mode = folder.stat().st_mode
    try:
        took = health.flush_seconds(folder, FLUSHES)
    except OSError as error:
        text = f"{folder} cannot be written ({error.strerror}); let the hub's user write it"
        yield Check("directory", "fail", text)
        return
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        text = f"every user may replace files of {folder} (mode {stat.S_IMODE(mode):o}); chmod o-w it"
        yield Check("directory", "warn", text)
    else:
        yield Check("directory", "ok", f"{folder} can be written by {_user()}")
    median = statistics.median(took)
    text = f"{median * 1000:.2f} ms (median of {FLUSHES}; {took[0] * 1000:.2f} to {took[-1] * 1000:.2f})"
    is_slow = median > SLOW_FLUSH_SECONDS
    hint = "; every durable write waits for one: use a faster disk" if is_slow else ""
    yield Check("flush", "warn" if is_slow else "ok", f"the disk flushes in {text}{hint}")


def _user() -> str:
    return f"user {os.geteuid()}" if hasattr(os, "geteuid") else "this user"
