"""Where the local sockets of hubs are, and who may be trusted behind one.

A hub that listens at a loopback address also has a socket, named after that address, in a folder of its user's own.
Nobody else can make one there: the folder, the socket and the process behind it must be the user's own or root's.
"""

import contextlib
import itertools
import os
import socket
import stat
import struct
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

if sys.platform != "win32":
    import fcntl

# Bytes of a socket's path that the system accepts, without the final NUL.
MAX_PATH_BYTES = 107 if sys.platform == "linux" else 103

_FOLDER = "grpc-tool-bridge"
_LOCK = ".lock"
_ROOT = 0
# Hubs that start or stop at the same moment take turns.
_LOCK_TRIES = 50
_LOCK_SECONDS = 0.002

# Sockets that are looked at when a hub starts.
_MOST_SWEPT = 1_000

# struct ucred of Linux: process, user, group. struct xucred of BSD: version, user, number of groups, groups.
_UCRED = struct.Struct("3i")
_XUCRED = struct.Struct("2Ih16I")
_SOL_LOCAL, _LOCAL_PEERCRED = 0, 1


class UnusableError(OSError):
    """A local socket cannot be used; the text says why."""


def folders() -> list[Path]:
    """Returns where the folder of this user may be, the better place first; on Windows nowhere."""
    found: list[Path] = []
    if sys.platform == "win32":
        return found
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR", ""))
    # Unlike Path.is_dir, this raises no error if the folder is another user's, as after ``su``.
    if runtime.is_absolute() and os.path.isdir(runtime):  # noqa: PTH112
        found.append(runtime / _FOLDER)
    found.append(Path(tempfile.gettempdir()) / f"{_FOLDER}-{os.geteuid()}")
    return found


def socket_name(address: str) -> str:
    """Returns the name of the socket of the hub at ``host:port``; each network namespace has loopback of its own."""
    try:
        network = f"-{Path('/proc/self/ns/net').stat().st_ino}"
    except OSError:
        network = ""
    return f"{address}{network}.sock"


def find(address: str) -> list[Path]:
    """Returns the sockets of the hub at ``host:port``, the better place first; of more than one, a hub has left some.

    Raises:
        UnusableError: There is none, or others could have made it.
    """
    found: list[Path] = []
    # Not the error itself: its traceback would keep whoever dials alive until the garbage is collected.
    why = f"no hub has a local socket for {address}"
    for folder in folders():
        path = folder / socket_name(address)
        try:
            _check_folder(folder)
            _check_socket(path)
        except FileNotFoundError:
            continue
        except UnusableError as error:
            why = str(error)
            continue
        except OSError as error:
            why = f"{path} cannot be used: {error.strerror}"
            continue
        found.append(path)
    if not found:
        raise UnusableError(why)
    return found


def check_peer(connected: socket.socket) -> None:
    """Checks that the process at the other end belongs to this user or to root.

    Raises:
        UnusableError: It does not, or this system does not tell.
    """
    try:
        user = user_of(connected)
    except OSError as error:
        raise UnusableError(f"this system does not tell who is behind a socket: {error}") from None
    if user not in (os.geteuid(), _ROOT):
        raise UnusableError(f"the process at the other end of the socket belongs to another user ({user})")


def connect(path: Path) -> socket.socket:
    """Returns a socket connected to a trusted process.

    Raises:
        UnusableError: Nobody listens there, or it is not this user's or root's.
    """
    connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connected.setblocking(False)
        # A local socket connects immediately, or not at all.
        connected.connect(os.fspath(path))
        check_peer(connected)
    except BaseException as error:
        connected.close()
        if isinstance(error, UnusableError) or not isinstance(error, OSError):
            raise
        raise UnusableError(f"nobody accepts connections at {path}: {error.strerror}") from None
    return connected


def connect_to(address: str) -> tuple[Path, socket.socket]:
    """Returns a socket connected to the hub at ``host:port``, and where it listens.

    Raises:
        UnusableError: There is no socket that may be trusted, or nobody listens at one.
    """
    why = ""
    for path in find(address):
        try:
            return path, connect(path)
        except UnusableError as error:
            why = str(error)
    raise UnusableError(why)


class Place:
    """The socket of one hub.

    Args:
        address: The hub's ``host:port``.

    Attributes:
        socket: It listens.
        path: Where.

    Raises:
        UnusableError: No folder is safe, or something else than a socket stands there.
        OSError: The folder or the socket cannot be made.
    """

    def __init__(self, address: str) -> None:
        folder = _made_folder()
        self.path = folder / socket_name(address)
        if len(os.fsencode(self.path)) > MAX_PATH_BYTES - len(_new("")):
            raise UnusableError(f"the path {self.path} is longer than {MAX_PATH_BYTES - len(_new(''))} bytes")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.socket.setblocking(False)
            with _locked(folder):
                self._bind(folder)
                _remove_stale(folder)
        except BaseException:
            self.socket.close()
            raise

    def _bind(self, folder: Path) -> None:
        # Whoever had it before has lost the address, and left it. A client sees the old one or the new one, complete.
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISSOCK(self.path.lstat().st_mode):
                raise UnusableError(f"{self.path} is not a socket; remove it")
        new = folder / _new(self.path.name)
        with contextlib.suppress(FileNotFoundError):
            new.unlink()
        self.socket.bind(os.fspath(new))
        new.chmod(0o600)
        self.socket.listen(socket.SOMAXCONN)
        self._identity = _identity(new)
        new.rename(self.path)

    def remove(self) -> None:
        """Removes the socket, unless another hub has replaced it; does nothing if it is gone."""
        with contextlib.suppress(OSError), _locked(self.path.parent):
            if _identity(self.path) == self._identity:
                self.path.unlink()


def _remove_stale(folder: Path) -> None:
    """Removes the sockets that hubs of this network namespace have left when they were killed; only Linux tells."""
    try:
        bound = Path("/proc/net/unix").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return
    # By its last part: the folder may have several names, and a space in one.
    alive = {line.rpartition("/")[2] for line in bound.splitlines()}
    for path in itertools.islice(folder.glob(f"*{socket_name('')}"), _MOST_SWEPT):
        # The system knows a socket by the name that it was bound to.
        if _new(path.name) not in alive:
            with contextlib.suppress(OSError, UnusableError):
                _check_socket(path)
                path.unlink()


def _new(name: str) -> str:
    return f".new-{name}"


def _identity(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino


def _made_folder() -> Path:
    why = "there is no folder for it"
    for folder in folders():
        try:
            with contextlib.suppress(FileExistsError):
                folder.mkdir(mode=0o700)
            _check_folder(folder)
            _check_own(folder)
        except OSError as error:
            why = str(error)
        else:
            return folder
    raise UnusableError(why)


def _check_folder(folder: Path) -> None:
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise UnusableError(f"{folder} is not a folder")
    _check_private(folder, found, f"others can open {folder}; run: chmod 700 {folder}")


def _check_own(folder: Path) -> None:
    """Raises UnusableError if a folder is root's, as after ``sudo -E``, and this process cannot write there."""
    owner = folder.lstat().st_uid
    if owner != os.geteuid():
        raise UnusableError(f"{folder} belongs to another user ({owner})")


def _check_socket(path: Path) -> None:
    found = path.lstat()
    if not stat.S_ISSOCK(found.st_mode):
        raise UnusableError(f"{path} is not a socket; remove it")
    _check_private(path, found, f"others can connect to {path}; remove it")


def _check_private(path: Path, found: os.stat_result, exposed: str) -> None:
    """Raises UnusableError if a file is another user's, or, with the text ``exposed``, open to others."""
    if found.st_uid not in (os.geteuid(), _ROOT):
        raise UnusableError(f"{path} belongs to another user ({found.st_uid})")
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise UnusableError(exposed)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Holds the folder's lock; hubs hold it for moments only.

    Raises:
        UnusableError: Another process keeps it.
        OSError: It cannot be opened.
    """
    lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        for left in reversed(range(_LOCK_TRIES)):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not left:
                    raise UnusableError(f"another process holds {folder / _LOCK}") from None
                time.sleep(_LOCK_SECONDS)
            else:
                break
        yield
    finally:
        os.close(lock)


def user_of(connected: socket.socket) -> int:
    """Returns the user whose process is at the other end of a local socket; raises OSError if nobody tells."""
    if hasattr(socket, "SO_PEERCRED"):
        return int(_UCRED.unpack(connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))[1])
    return int(_XUCRED.unpack(connected.getsockopt(_SOL_LOCAL, _LOCAL_PEERCRED, _XUCRED.size))[1])
