"""The write-ahead log of an SQLite file, as https://www.sqlite.org/fileformat.html#the_write_ahead_log has it."""

import hashlib
import sqlite3
import struct
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

HEADER_BYTES = 32
_FRAME_HEADER_BYTES = 24

# In the index of the log: pages that were carried over to the file, and pages of which that was begun.
_CARRIED = (96, 128)


@dataclass(frozen=True)
class Copy:
    """A store at one moment, as a process that was killed then would have left it.

    Attributes:
        at: Nanoseconds of the monotonic clock.
        file: The file.
        log: Its log, up to the last page of the last commit.
        ends: Where the frames in it end, each with whether a commit ends there.
        needed: Bytes of the log of which a part may be in the file already, so that no crash takes them away.
    """

    at: int
    file: bytes
    log: bytes
    ends: list[tuple[int, bool]]
    needed: int

    @property
    def commits(self) -> list[int]:
        """Where the commits end, from that on which is needed."""
        return [end for end, is_commit in self.ends if is_commit and end >= self.needed]

    def before(self, place: int) -> int:
        """Returns where the last commit ends of a log that has all bytes before a place, and no others."""
        return max((end for end in self.commits if end <= place), default=self.needed)

    def write(self, store: Path, log: bytes) -> None:
        """Makes a store of the file with another log."""
        for suffix in ("-shm", ".lock"):
            store.with_name(store.name + suffix).unlink(missing_ok=True)
        store.write_bytes(self.file)
        store.with_name(store.name + "-wal").write_bytes(log)


def copy_of(store: Path, at: int) -> Copy:
    """Copies a store whose process stands still."""
    log = store.with_name(store.name + "-wal").read_bytes()
    index = store.with_name(store.name + "-shm").read_bytes()
    ends = frames(log)
    last = max((end for end, is_commit in ends if is_commit), default=HEADER_BYTES)
    ends = [(end, is_commit) for end, is_commit in ends if end <= last]
    carried = max(struct.unpack_from("=I", index, place)[0] for place in _CARRIED)
    needed = ends[min(carried, len(ends)) - 1][0] if carried and ends else HEADER_BYTES
    return Copy(at, store.read_bytes(), log[:last], ends, needed)


def frames(log: bytes) -> list[tuple[int, bool]]:
    """Returns where the frames of a log end, each with whether a commit ends there; not those of an earlier log."""
    if len(log) < HEADER_BYTES:
        return []
    (page,) = struct.unpack_from(">I", log, 8)
    size, salts = _FRAME_HEADER_BYTES + page, log[16:24]
    found = []
    for begin in range(HEADER_BYTES, len(log) - size + 1, size):
        if log[begin + 8 : begin + 16] != salts:
            break
        (pages,) = struct.unpack_from(">I", log, begin + 4)
        found.append((begin + size, pages > 0))
    return found


def digest(connection: sqlite3.Connection, *, without: str = "") -> str:
    """Returns a digest of all rows of all tables, without those of one."""
    found = hashlib.sha256()
    names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
    for name in (name for (name,) in names if name != without):
        for row in connection.execute(f'SELECT * FROM "{name}"'):
            found.update(repr((name, row)).encode())
    return found.hexdigest()


def digest_of(store: Path) -> str:
    """Returns a digest of all that is in a store."""
    with closing(sqlite3.connect(store)) as connection:
        return digest(connection)
