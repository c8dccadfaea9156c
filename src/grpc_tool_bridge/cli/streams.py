"""The three standard streams of the program, which may be in any state when it starts.

A stream may be closed, full, without a reader, in an encoding that lacks most characters, or all of these. This module
is loaded before anything heavy, so it imports nothing of the package.
"""

import codecs
import contextlib
import errno
import io
import os
import select
import sys
from collections.abc import Iterator
from typing import IO, Any, TextIO

# The non-ASCII characters of our own texts; any other is written as a Python escape.
_PLAIN = {"…": "...", "→": "->", "—": "-", "•": "*", "·": "*"}
_ERRORS = "grpc_tool_bridge.shown"
_STDIN, _STDOUT, _STDERR = 0, 1, 2

# Those that were closed when the program started.
_closed: set[int] = set()


class PipeClosedError(Exception):
    """Nobody reads the output any more."""


class OutputError(Exception):
    """The output cannot be written."""


class _Output(io.RawIOBase):
    """Writes to a descriptor; failures raise errors of this module, not OSError.

    Args:
        descriptor: Where to.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def writable(self) -> bool:
        return True

    def write(self, data: "memoryview | bytes") -> int:  # type: ignore[override]  # the base takes any buffer
        if _STDOUT in _closed:
            raise OutputError("stdout is closed, so nothing can be printed; >/dev/null discards the output")
        while True:
            try:
                return os.write(self._descriptor, data)
            except BlockingIOError:
                # Another process that shares the descriptor made it non-blocking.
                select.select([], [self._descriptor], [])
            except OSError as error:
                if error.errno == errno.EPIPE:
                    raise PipeClosedError from None
                raise OutputError(f"cannot write to stdout: {error.strerror}") from None

    def keep(self) -> None:
        """Switches to another descriptor, and points the original one to stderr."""
        descriptor = os.dup(self._descriptor)
        os.dup2(_STDERR, self._descriptor)
        self._descriptor = descriptor


class _ErrorOutput(_Output):
    """Writes to stderr; failures are ignored, since there is nowhere to report them."""

    def write(self, data: "memoryview | bytes") -> int:  # type: ignore[override]  # as above
        while True:
            try:
                return os.write(self._descriptor, data)
            except BlockingIOError:
                select.select([], [self._descriptor], [])
            except OSError:
                return len(data)


def prepare() -> None:
    """Makes the standard streams of this process usable. Called once, before the first use."""
    for descriptor in (_STDIN, _STDOUT, _STDERR):
        try:
            os.fstat(descriptor)
        except OSError:
            # Takes the lowest free one; otherwise the next socket would be stdout, and output would go to a peer.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
            _closed.add(descriptor)
    codecs.register_error(_ERRORS, _shown)
    sys.stdout = _text(_Output(_STDOUT), sys.stdout, line_buffering=os.isatty(_STDOUT))
    sys.stderr = _text(_ErrorOutput(_STDERR), sys.stderr, line_buffering=True)


def stdout_is_closed() -> bool:
    """Returns whether stdout was closed when the program started."""
    return _STDOUT in _closed


def require_stdout() -> None:
    """Raises OutputError if nothing can be printed, before work whose result would be lost."""
    if _STDOUT in _closed:
        raise OutputError("stdout is closed, so nothing can be printed; >/dev/null discards the output")


@contextlib.contextmanager
def kept_stdout() -> Iterator[None]:
    """Keeps stdout for this program's own lines.

    All other output goes to stderr meanwhile, from Python, native code or a child process.
    """
    out = sys.stdout
    raw = getattr(getattr(out, "buffer", None), "raw", None)
    if isinstance(raw, _Output):
        out.flush()
        raw.keep()
    with contextlib.redirect_stdout(sys.stderr):
        yield


@contextlib.contextmanager
def taken_streams() -> Iterator[tuple[int, int]]:
    """Takes stdin and stdout for this program's own messages; gives the descriptors to read and to write.

    All other output goes to stderr meanwhile, and whatever else reads stdin finds it empty: Python, native code or a
    child process. What follows on stdin is for this program alone, so the descriptors stay taken.

    Raises:
        OutputError: One of them was closed when the program started.
    """
    require_stdout()
    if _STDIN in _closed:
        raise OutputError("stdin is closed, so there is nothing to answer")
    sys.stdout.flush()
    # Above the standard ones, and not inherited.
    reads, writes = os.dup(_STDIN), os.dup(_STDOUT)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, _STDIN)
    os.close(nothing)
    os.dup2(_STDERR, _STDOUT)
    with contextlib.redirect_stdout(sys.stderr):
        yield reads, writes


def read_stdin() -> str:
    """Reads all of stdin as UTF-8.

    Raises:
        ValueError: It is closed, cannot be read, or is not UTF-8.
    """
    if _STDIN in _closed or sys.stdin is None:
        raise ValueError("it is closed")
    try:
        if not hasattr(sys.stdin, "buffer"):
            return sys.stdin.read()
        return sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 at byte {error.start:,}") from None
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from None


def write(text: str, file: IO[str] | None = None) -> None:
    """Writes a text to ``file``, or stdout, at once.

    Raises:
        PipeClosedError: Nobody reads the output any more.
    """
    file = file or sys.stdout
    try:
        file.write(text)
        file.flush()
    except BrokenPipeError:
        raise PipeClosedError from None


def discard_output() -> None:
    """Discards unwritten output, so that the interpreter does not complain at exit."""
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):
        return
    _closed.discard(_STDOUT)
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, descriptor)
    os.close(devnull)


def _text(raw: Any, before: "TextIO | None", *, line_buffering: bool) -> io.TextIOWrapper:
    encoding = getattr(before, "encoding", None) or "utf-8"
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, _ERRORS, line_buffering=line_buffering)


def _shown(error: UnicodeError) -> tuple[str | bytes, int]:
    """Replaces characters that an encoding lacks: an ellipsis by three dots, a byte of a file name by its number."""
    if not isinstance(error, UnicodeEncodeError):
        return codecs.backslashreplace_errors(error)
    parts = [_plain(character) for character in error.object[error.start : error.end]]
    return "".join(parts), error.end


def _plain(character: str) -> str:
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    return _PLAIN.get(character) or character.encode("ascii", "backslashreplace").decode()
