"""Copies an SQLite store into a backup, while a hub has it, and a backup into a store."""

import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from grpc_tool_bridge.errors import StoreError, ValidationError
from grpc_tool_bridge.stores.sqlite.anew import begin_anew, note_backup
from grpc_tool_bridge.stores.sqlite.disk import LOGS, beside, flush, size_of
from grpc_tool_bridge.stores.sqlite.holding import fold, held, holder, own_as
from grpc_tool_bridge.stores.sqlite.placing import (
    already_there,
    copy_failure,
    copy_into,
    new_file,
    place,
    verify,
)
from grpc_tool_bridge.stores.sqlite.snapshots import read_snapshot, require_store


@dataclass(frozen=True, slots=True)
class Copied:
    """A copy that was made.

    Attributes:
        size: Bytes of the file.
        seconds: How long it took.
        kept: Where the file is that it replaced; None: it replaced none, or that one was not kept.
        epoch: The new epoch of a store that was restored, else empty.
    """

    size: int
    seconds: float
    kept: Path | None = None
    epoch: str = ""


def back_up(path: Path, target: Path, *, replace: bool = False) -> Copied:
    """Copies a store into a file: its state at one moment, while a hub goes on writing.

    The file can be read by this user alone, and gets its name when it is whole, was checked, and is on the disk.

    Args:
        path: The store's file.
        target: The backup.
        replace: Whether it may replace a file.

    Raises:
        AlreadyExistsError: The backup is there already.
        ResourceExhaustedError: The disk has no room for it.
        StoreError: The store cannot be read, or the backup cannot be written.
        ValidationError: The backup would replace the file of a store, or of its log.
    """
    began = time.perf_counter()
    require_store(path)
    _refuse_store(target, path)
    if os.path.lexists(target) and not replace:
        raise already_there(target)
    with new_file(target, size_of(path) + size_of(beside(path, "-wal"))) as new:
        _copy(path, new, target, note_backup, is_backup=False)
        size = new.stat().st_size
        place(new, target, replace=replace)
    return Copied(size, time.perf_counter() - began)


def restore(file: Path, path: Path, *, replace: bool = False) -> Copied:
    """Makes a store of a backup. It gets another epoch, since clients may have seen later changes of this one.

    Args:
        file: The backup, or another store.
        path: The file of the store, which no hub has.
        replace: Whether it may replace a store, which is kept beside it under another name.

    Raises:
        AlreadyExistsError: The store is there already.
        ResourceExhaustedError: The disk has no room for it.
        StoreError: A hub has the store, the backup cannot be read or is damaged, or the store cannot be written.
        ValidationError: Both are the same file.
    """
    began = time.perf_counter()
    require_store(file, is_backup=True)
    path = Path(path)
    if _is_same(file, path):
        raise ValidationError(f"{file} is the store itself; name a backup of it")
    if path.is_dir():
        raise ValidationError(f"{path} is a directory; give the path of a file in it")
    with held(path):
        # The lock is beside the name that its hub uses; what is replaced, where that leads.
        target = Path(os.path.realpath(path))
        if target.exists() and not replace:
            raise already_there(path)
        with new_file(target, size_of(file)) as new:
            epochs: list[str] = []
            _copy(file, new, target, lambda connection: epochs.append(begin_anew(connection)), is_backup=True)
            own_as(new, target if target.exists() else target.parent)
            size = new.stat().st_size
            kept = _set_aside(target)
            place(new, target, replace=True)
    return Copied(size, time.perf_counter() - began, kept, epochs[-1])


def _copy(
    path: Path, new: Path, target: Path, finish: Callable[[sqlite3.Connection], None], *, is_backup: bool
) -> None:
    def copy(source: sqlite3.Connection) -> None:
        try:
            copy_into(new, source, finish)
        except sqlite3.Error as error:
            raise copy_failure(error, path, target, is_backup=is_backup) from None

    read_snapshot(path, copy, is_backup=is_backup)
    verify(new, is_restored=is_backup)


def _set_aside(path: Path) -> Path | None:
    """Keeps a store that will be replaced, under another name, and leaves no log that would be applied to the new one.

    At each moment there is a whole store under its own name, unless it is damaged.
    """
    log, is_there = beside(path, "-wal"), path.exists()
    if not is_there and not size_of(log):
        return None
    kept = _free_name(path)
    if size_of(log):
        # SQLite removes the log of a file that it cannot read, as one that belongs to nothing.
        _link(log, beside(kept, "-wal"))
    # The store may be damaged, which is why it is replaced: then its log stays with it.
    with suppress(StoreError):
        fold(path)
        beside(kept, "-wal").unlink(missing_ok=True)
    if is_there:
        _link(path, kept)
    for suffix in LOGS:
        beside(path, suffix).unlink(missing_ok=True)
    flush(path.parent)
    return kept


def _link(path: Path, name: Path) -> None:
    """Gives a file another name, too; where files have only one, a copy gets it."""
    try:
        os.link(path, name)
    except OSError:
        with new_file(name, size_of(path)) as new:
            shutil.copyfile(path, new)
            own_as(new, path)
            flush(new)
            place(new, name, replace=False)


def _free_name(path: Path) -> Path:
    stem = beside(path, f".replaced-{time.strftime('%Y%m%dT%H%M%S')}")
    names = [stem, *(beside(stem, f"-{number}") for number in range(2, 1_000))]
    return next(name for name in names if not os.path.lexists(name))


def _refuse_store(target: Path, path: Path) -> None:
    """Refuses to write a backup over a store that is in use, or where a log would be applied to it."""
    if target.is_dir():
        raise ValidationError(f"{target} is a directory; give the path of a file in it")
    # SQLite removes what it takes for the journal of an interrupted change.
    names = {os.path.realpath(beside(path, suffix)) for suffix in ("", *LOGS, "-journal", ".lock")}
    if os.path.realpath(target) in names or _is_same(target, path):
        raise ValidationError(f"{target} belongs to the store itself; give another name")
    if size_of(beside(target, "-wal")) or holder(target) is not None:
        raise ValidationError(f"{target} is a store that is in use, or has a log beside it; give another name")


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False
