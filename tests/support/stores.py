"""The stores that a hub can have: what every test of state runs over."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple


class Store(NamedTuple):
    """A kind of store.

    Attributes:
        url: Returns the URL of a store in a directory.
        is_durable: Whether what it has outlives its hub.
        copied: Copies a store that a hub writes to another directory, as a crash of the machine would leave it; returns
            the copy's URL. None: it cannot be copied.
    """

    url: Callable[[Path], str]
    is_durable: bool = True
    copied: Callable[[Path, Path], str] | None = None


def _sqlite(directory: Path) -> str:
    return f"sqlite:///{directory / 'hub.db'}"


def _sqlite_copied(source: Path, target: Path) -> str:
    # The file first: what a checkpoint moves into it meanwhile is in the log, too.
    for name in ("hub.db", "hub.db-wal"):
        if (source / name).exists():
            shutil.copy(source / name, target / name)
    return _sqlite(target)


# A store more is a line more.
STORES: Mapping[str, Store] = {
    "memory": Store(lambda _: "memory:", is_durable=False),
    "sqlite": Store(_sqlite, copied=_sqlite_copied),
}
