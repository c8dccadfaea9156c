"""Which process has an SQLite store: a locked file beside it, which the system unlocks however that process ends.

On Linux the store's file itself is locked, too: whoever uses it by another name, a hard link or a mount of the file
alone, has another file beside it, and another log, and two of them damage what they have in common.
"""

import contextlib
import errno
import os
import shlex
import stat
import sys
from pathlib import Path

from grpc_tool_bridge.aio import forks
from grpc_tool_bridge.errors import StoreError
from grpc_tool_bridge.stores.sqlite.disk import MODE, beside

if sys.platform != "win32":
    import fcntl

# Bytes that are read of the file; it has two short lines.
_MAX_BYTES = 256

# A lock that another hub removes at the same moment is made again so often at most.
_ATTEMPTS = 100


class StoreLock:
    """The lock of one store.

    The file has the number of the process, and a note about the store's log: how far it was known to be, and of which
    file; see ``noted``.

    Args:
        path: The store's file.

    Attributes:
        path: The locked file.
    """

    def __init__(self, path: Path) -> None:
        self._store = path
        self.path = beside(path, ".lock")
        self._file: int | None = None
        # The store's file, for its lock alone.
        self._held: int | None = None
        self._is_new = False
        self._noted = ""

    @property
    def is_held(self) -> bool:
        """Whether this process has the store by it."""
        return self._file is not None

    def take(self, *, for_hub: bool = True) -> None:
        """Takes the store for this process.

        Args:
            for_hub: Whether a hub will serve it, and not a command that needs the store for itself.

        Raises:
            StoreError: Another hub has it, or the file cannot be made.
        """
        if sys.platform == "win32":
            raise StoreError("a store in an SQLite file needs locks that Windows does not have; use memory: there")
        for _ in range(_ATTEMPTS):
            file, self._is_new = self._open()
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                holder = _read(file).partition("\n")[0]
                os.close(file)
                raise self._refusal(error, holder, for_hub=for_hub) from None
            if _is_at(file, self.path):
                break
            # Whoever had it has removed it meanwhile.
            os.close(file)
        else:
            raise StoreError(f"other programs remove {self.path} again and again; end them")
        self._file = file
        self._noted = _read(file).partition("\n")[2].strip()
        try:
            self._write()
        except OSError as error:
            self.remove()
            raise cannot_open(self._store, self.path, error) from None
        forks.watch(self)
        self.hold_store()

    def hold_store(self) -> None:
        """Locks the store's file itself, if it is there and the lock can be had beside those of SQLite.

        It stays open until the store is given back: closed earlier, it would give back the locks that SQLite has on it.

        Raises:
            StoreError: Another hub has it by another name. Then the store is given back.
        """
        # Elsewhere, a lock of this kind keeps off those of SQLite.
        if self._held is not None or sys.platform != "linux":
            return
        try:
            file = os.open(self._store, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            # It is not there yet, or SQLite says what is wrong with it.
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(file)
            if error.errno in {errno.EWOULDBLOCK, errno.EACCES}:
                self.remove()
                raise StoreError(
                    f"another hub has the store {self._store} by another name, such as a hard link or a mount of the "
                    "file alone; stop it first, and mount its directory instead of the file"
                ) from None
            return
        self._held = file

    def _open(self) -> tuple[int, bool]:
        # A link would lead to a file of somebody else, which would be written.
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            try:
                file, is_new = os.open(self.path, flags | os.O_CREAT | os.O_EXCL, MODE), True
            except FileExistsError:
                file, is_new = os.open(self.path, flags | os.O_CREAT, MODE), False
        except OSError as error:
            raise cannot_open(self._store, self.path, error) from None
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            os.close(file)
            raise StoreError(f"{self.path} is no file; remove it: the store {self._store} needs the name for its lock")
        if stat.S_IMODE(found.st_mode) != MODE:
            with contextlib.suppress(OSError):
                os.fchmod(file, MODE)
        return file, is_new

    def _refusal(self, error: OSError, holder: str, *, for_hub: bool) -> StoreError:
        if error.errno not in {errno.EWOULDBLOCK, errno.EACCES, errno.EAGAIN}:
            return StoreError(
                f"the file system of the store {self._store} has no locks ({error.strerror}); put it on a local disk"
            )
        named = f" (process {holder})" if holder.isdigit() else ""
        if holder == str(os.getpid()):
            named = " of this process"
        if not for_hub:
            return StoreError(f"a hub{named} has the store {self._store}; stop it first")
        return StoreError(
            f"another hub{named} has the store {self._store}; stop it first, or give this one another file"
        )

    @property
    def noted(self) -> int:
        """How far the store's log was known to be when a hub last had the store; 0: unknown, or it ended in order.

        A file that came to its place in another way, such as a restored one, is not the one that the note is about.
        """
        number, _, identity = self._noted.removeprefix("log ").partition(" ")
        return int(number) if number.isdigit() and identity == self._identity() else 0

    def note(self, log: int) -> None:
        """Notes how far the store's log is, before it goes on from there."""
        self._noted = f"log {log} {self._identity()}" if log else ""
        if self._file is not None:
            self._write()
            os.fsync(self._file)

    def release(self) -> None:
        """Gives the store back."""
        for file in (self._held, self._file):
            if file is not None:
                os.close(file)
        self._held = self._file = None

    def remove(self) -> None:
        """Gives the store back, and removes the file if it was not there before."""
        if self._file is not None and self._is_new:
            with contextlib.suppress(OSError):
                self.path.unlink()
        self.release()

    def forked(self) -> None:
        """Closes the file in a process that was forked: that would hold the lock when this process has ended."""
        self.release()

    def _write(self) -> None:
        assert self._file is not None  # noqa: S101 - it was taken
        text = f"{os.getpid()}\n{self._noted}\n".encode()
        os.pwrite(self._file, text, 0)
        os.ftruncate(self._file, len(text))

    def _identity(self) -> str:
        try:
            found = self._store.stat()
        except OSError:
            return "-"
        return f"{found.st_dev}:{found.st_ino}"


def cannot_open(store: Path, path: Path, error: OSError) -> StoreError:
    """Returns the error for a file of a store that cannot be opened, with what to do."""
    advice = {
        errno.ENOENT: f"make its directory first: mkdir -m 700 {shlex.quote(str(store.parent))}",
        errno.ENOTDIR: "give a path whose directory is one",
        errno.EISDIR: "give the path of a file in it",
        errno.EROFS: "mount its file system so that it can be written",
        errno.ENOSPC: "make room on its disk",
        errno.EDQUOT: "make room on its disk",
        errno.EFBIG: "raise the limit of the size of files",
        errno.EIO: "see whether its disk is well",
        errno.EMFILE: "raise the limit of open files",
        errno.ELOOP: "remove the link, which may lead to a file of somebody else",
        errno.ENAMETOOLONG: "give it a shorter name",
    }.get(error.errno or 0, "let this user write the file and its directory")
    where = "" if path == store else f"{path}: "
    return StoreError(f"the store {store} cannot be opened ({where}{error.strerror or error}); {advice}")


def _read(file: int) -> str:
    return os.pread(file, _MAX_BYTES, 0).decode("ascii", errors="replace").strip("\0 ")


def _is_at(file: int, path: Path) -> bool:
    try:
        found = path.lstat()
    except OSError:
        return False
    return os.path.samestat(found, os.fstat(file))
