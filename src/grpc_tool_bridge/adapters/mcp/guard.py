"""Runs one program, and ends it with all that it has started when the process that asked for it is gone.

Run as a script, ``python -I -S guard.py FD GRACE PROGRAM ARGS…``, it has no imports of this package: it must start
fast. ``FD`` is the read end of a pipe, which ends when its owner ends, however that happens. The program inherits this
process's streams, so nothing passes through here.

It leaves with the exit code of the program; with 127 if that cannot be run, which its last line on standard error
explains.
"""

import contextlib
import ctypes
import errno
import os
import select
import signal
import sys
import time
from collections.abc import Iterator

CANNOT_RUN = 127
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_POLL_SECONDS = 0.02


def main(arguments: list[str]) -> int:
    """Runs the program; returns the exit code."""
    lifeline, grace, command = int(arguments[0]), float(arguments[1]), arguments[2:]
    os.set_inheritable(lifeline, False)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    # Its own group may be told to end; this process must outlive that.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    wake_read, wake_write = os.pipe()
    for end in (wake_read, wake_write):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    report_read, report_write = os.pipe()
    child = os.fork()
    if child == 0:
        _become(command, report_write)
    os.close(report_write)
    with os.fdopen(report_read, "rb") as report:
        failed = report.read()
    if failed:
        os.waitpid(child, 0)
        os.write(2, failed)
        return CANNOT_RUN
    # Or the program would not see the end of its input, nor its readers that of its output.
    for stream in (0, 1, 2):
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_RDWR), stream)
    code = _watch(child, lifeline, wake_read)
    _end(child, grace if code is None else 0.0)
    return 0 if code is None else code


def _become(command: list[str], report: int) -> None:
    try:
        os.setsid()
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        os.execvp(command[0], command)  # noqa: S606 - there is none on purpose
    except OSError as error:
        what = "not found" if error.errno == errno.ENOENT else (error.strerror or str(error))
        os.write(report, f"{command[0]}: {what}\n".encode())
    finally:
        os._exit(CANNOT_RUN)


def _watch(child: int, lifeline: int, wake: int) -> int | None:
    """Waits for the end of the program, whose exit code it returns, or for that of the owner."""
    while True:
        ready, _, _ = select.select([lifeline, wake], [], [])
        if wake in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(wake, 512)
            code = _reap(child)
            if code is not None:
                return code
        if lifeline in ready and not os.read(lifeline, 512):
            return None


def _reap(child: int) -> int | None:
    """Collects what has ended; returns the exit code of the program if it is among them."""
    code = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if pid == 0:
            return code
        if pid == child:
            code = os.waitstatus_to_exitcode(status)


def _end(child: int, grace: float) -> None:
    """Ends the program and all that it has started: SIGTERM, and after ``grace`` seconds SIGKILL."""
    until = time.monotonic() + grace
    if grace:
        _signal(child, signal.SIGTERM)
    while time.monotonic() < until:
        _reap(child)
        if not _left(child):
            return
        time.sleep(_POLL_SECONDS)
    # What is killed may have started others meanwhile, and its children become ours one level at a time.
    until = time.monotonic() + 5.0
    while _left(child) and time.monotonic() < until:
        _signal(child, signal.SIGKILL)
        _reap(child)
        time.sleep(_POLL_SECONDS)


def _signal(child: int, number: int) -> None:
    with contextlib.suppress(OSError):
        os.killpg(child, number)
    for pid in _descendants(os.getpid()):
        with contextlib.suppress(OSError):
            os.kill(pid, number)


def _left(child: int) -> bool:
    if any(True for _ in _descendants(os.getpid())):
        return True
    try:
        os.killpg(child, 0)
    except OSError:
        return False
    return True


def _descendants(pid: int) -> Iterator[int]:
    """Finds the processes below one, where the system tells; zombies are none."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 - pathlib is slow to import
    except OSError:
        return
    for thread in threads:
        try:
            with open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as file:  # noqa: PTH123
                children = [int(word) for word in file.read().split()]
        except OSError:
            continue
        for child in children:
            yield child
            yield from _descendants(child)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    code = main(sys.argv[1:])
    if code < 0:
        # A process that waits for this one should see the same signal.
        with contextlib.suppress(OSError, ValueError):
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)
