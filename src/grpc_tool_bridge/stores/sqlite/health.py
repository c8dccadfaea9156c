"""What shows whether an SQLite store, and the disk that it is on, are well."""

import os
import sqlite3
import stat
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from grpc_tool_bridge.stores.sqlite.disk import LOGS, beside
from grpc_tool_bridge.stores.sqlite.placing import MAX_PROBLEMS, problems_of
from grpc_tool_bridge.stores.sqlite.snapshots import read_snapshot
from grpc_tool_bridge.stores.sqlite.statements import OF_SESSION

MOUNTS = Path("/proc/self/mountinfo")

# File systems over a network: they do not share the index of the log between processes, and many lose locks.
NETWORK = frozenset(
    {
        "9p", "afs", "ceph", "cifs", "fuse.ceph", "fuse.glusterfs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs", "gfs2",
        "glusterfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "smb3", "smbfs", "virtiofs",
    }
)  # fmt: skip
# File systems that are gone when the machine restarts.
IN_MEMORY = frozenset({"ramfs", "tmpfs"})
# File systems that are gone with their container.
OF_CONTAINER = frozenset({"aufs", "fuse.fuse-overlayfs", "overlay"})

# Bytes that a commit of one small change writes.
_FLUSHED_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Mount:
    """Where a file system is.

    Attributes:
        kind: Such as "ext4".
        point: The directory that it begins at.
    """

    kind: str
    point: str


def damage(path: Path, *, full: bool) -> list[str]:
    """Returns what is wrong with a store, at most ``MAX_PROBLEMS``, while a hub has it or not.

    Args:
        path: The store's file.
        full: Whether to compare the indexes with their tables, and what belongs to sessions with these, too.

    Raises:
        StoreError: It cannot be read at all.
    """
    return read_snapshot(path, partial(_damage, full=full))


def _damage(connection: sqlite3.Connection, *, full: bool) -> list[str]:
    found = problems_of(connection, full=full)
    for table in OF_SESSION if full and not found else ():
        (lost,) = connection.execute(
            f"SELECT count(*) FROM {table} WHERE session_id NOT IN "  # noqa: S608 - a name of ours
            # What a session has left that has ended is removed in slices.
            "(SELECT session_id FROM sessions UNION ALL SELECT session_id FROM ended_sessions)"
        ).fetchone()
        if lost:
            found.append(f"{lost:,} rows of {table} belong to no session")
    return found[:MAX_PROBLEMS]


def readable_by_others(path: Path) -> dict[Path, int]:
    """Returns the files of a store that others than their owner can read or write, with their modes."""
    found = {}
    for suffix in ("", *LOGS, ".lock"):
        file = beside(path, suffix)
        try:
            mode = stat.S_IMODE(file.stat().st_mode)
        except OSError:
            continue
        if mode & 0o077:
            found[file] = mode
    return found


def mount_of(folder: Path) -> Mount | None:
    """Returns the file system that a directory is on; None: the system does not tell."""
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        real = os.path.realpath(folder)
    except OSError:
        return None
    best: Mount | None = None
    for line in lines:
        # "36 35 98:0 /root /mnt rw,noatime shared:1 - ext4 /dev/sda1 rw": a later mount hides an earlier one.
        place, _, rest = line.partition(" - ")
        point = place.split(" ")[4].replace("\\040", " ")
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and (best is None or len(point) >= len(best.point)):
            best = Mount(rest.split(" ")[0], point)
    return best


def flush_seconds(folder: Path, count: int) -> Sequence[float]:
    """Measures how long the disk takes to flush what was written, in seconds, in ascending order.

    Args:
        folder: A directory on it.
        count: How often.

    Raises:
        OSError: No file can be made there.
    """
    took = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(count):
            file.write(bytes(_FLUSHED_BYTES))
            file.flush()
            began = time.perf_counter()
            os.fsync(file.fileno())
            took.append(time.perf_counter() - began)
    return sorted(took)
