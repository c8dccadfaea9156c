"""The files of an SQLite store on the disk: their names, sizes and modes, and how they are flushed."""

import errno
import os
from pathlib import Path

# Only the owner may read a file of a store: it has the values of secret variables.
MODE = 0o600

# What belongs to the log: it, and the index of it.
LOGS = ("-wal", "-shm")

# What a file system answers that cannot flush a directory.
_NO_FLUSH = (errno.EINVAL, errno.ENOTSUP)


def beside(path: Path, suffix: str) -> Path:
    """Returns the path of a file beside the store."""
    return path.with_name(path.name + suffix)


def size_of(path: Path) -> int:
    """Returns the bytes of a file; 0 if it is not there."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def flush(path: Path) -> None:
    """Flushes a file or a directory to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some file systems have nothing to flush of a directory.
        if error.errno not in _NO_FLUSH or not path.is_dir():
            raise
    finally:
        os.close(descriptor)
