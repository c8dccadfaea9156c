"""Runs a command that must end in time and leave no process behind: ``scripts/contained.py SECONDS COMMAND…``.

On Linux it adopts orphaned processes of the command, kills them and fails, naming each. It needs only Python.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

_PR_SET_CHILD_SUBREAPER = 36
# Seconds that processes have to end after SIGTERM, or after the command has ended.
_GRACE = float(os.environ.get("CONTAINED_GRACE", "10"))


def main(seconds: float, command: list[str]) -> int:
    """Returns the exit code of the command; 124 if it took too long, 1 if it left a process behind."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGTERM, _stop)
    process = subprocess.Popen(command)
    code = 124
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        print(f"contained: {' '.join(command)} did not end within {seconds:g} s", file=sys.stderr)
        for pid in descendants():
            _send(pid, signal.SIGTERM)
    finally:
        left = _end_all()
    if left and code == 0:
        code = 1
    return code


def _stop(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)


def _end_all() -> list[int]:
    deadline = time.monotonic() + _GRACE
    while (left := descendants()) and time.monotonic() < deadline:
        time.sleep(0.05)
    for pid in left:
        print(f"contained: left running, and killed now: {pid} {_command(pid)}", file=sys.stderr)
    while found := descendants():
        for pid in found:
            _send(pid, signal.SIGKILL)
        time.sleep(0.05)
    return left


def descendants() -> list[int]:
    """Returns the processes below this one that run; those that have ended are reaped."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                # After the name in parentheses, which may hold anything: the state and the parent.
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
                if state != "Z":
                    parents[int(entry.name)] = int(parent)
    below = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in below} - below:
        below |= more
    return sorted(below - {os.getpid()})


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:200]
    except OSError:
        return "?"


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
