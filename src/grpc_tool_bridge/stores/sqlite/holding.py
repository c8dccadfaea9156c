"""Who has an SQLite store, and how to have it without being a hub."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from grpc_tool_bridge.errors import StoreError
from grpc_tool_bridge.stores.sqlite.disk import LOGS, beside, size_of
from grpc_tool_bridge.stores.sqlite.failures import store_error
from grpc_tool_bridge.stores.sqlite.file import StoreFile, check, connect

# What the system says of the locks that processes hold; on Linux alone.
LOCKS = Path("/proc/locks")


def holder(path: Path) -> int | None:
    """Returns the process that has a store; None: nobody has it, or the system does not tell.

    It looks without trying the lock: a hub that starts at the same moment would find it taken.

    Args:
        path: The store's file.
    """
    lock = StoreFile(path).lock_path
    try:
        found = lock.stat()
        noted = lock.read_text(encoding="ascii", errors="replace").partition("\n")[0]
        lines = LOCKS.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    for line in lines:
        # "1: FLOCK ADVISORY WRITE 4242 fe:00:1234 0 EOF": a process, and a file by its device and its number.
        _, kind, *words = line.split()
        if kind != "FLOCK":
            continue
        process, (device, _, number) = words[2], words[3].rpartition(":")
        # Some file systems give their files another device than the system knows them by.
        if number == str(found.st_ino) and (device == _device(found.st_dev) or process == noted):
            return int(process)
    return None


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Has a store, as a hub has it: no hub can open it meanwhile. What fails leaves no lock that was not there before.

    Args:
        path: The store's file.

    Raises:
        StoreError: A hub has it.
    """
    file = StoreFile(path)
    lock = file.lock_path
    is_new = not lock.exists()
    file.take()
    try:
        if is_new:
            own_as(lock, path if path.exists() else path.parent)
        yield
    except BaseException:
        file.give_up()
        raise
    finally:
        file.close()


def fold(path: Path) -> None:
    """Carries what is in the log over into the file, and removes the log; no hub has the store.

    Raises:
        StoreError: It cannot be read or written, is no store, or another program reads it.
    """
    try:
        with closing(connect(path)) as connection:
            check(connection, path)
            (is_busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.Error as error:
        raise store_error(error, path) from None
    if is_busy or size_of(beside(path, "-wal")):
        raise StoreError(f"another program reads the store {path}; end it, and try again")
    for suffix in LOGS:
        beside(path, suffix).unlink(missing_ok=True)


def own_as(path: Path, like: Path) -> None:
    """Gives a file that root has made to the owner of another file: the user of the hub, who could not open it."""
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        found = like.stat()
        try:
            os.chown(path, found.st_uid, found.st_gid)
        except OSError as error:
            raise StoreError(f"{path} cannot be given to the owner of {like} ({error.strerror})") from None


def _device(number: int) -> str:
    return f"{os.major(number):02x}:{os.minor(number):02x}"
