"""A program in a terminal of its own, at which a test types."""

import os
import pty
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence
from typing import Any

from pexpect import fdpexpect

from support.patience import PATIENCE

# Makes the terminal that of the process, so that Ctrl-C reaches it.
_TAKE = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])"


class Terminal(fdpexpect.fdspawn):  # type: ignore[type-arg]
    """Runs a program in a terminal; see pexpect for its methods.

    ``pexpect.spawn`` runs Python between its fork and the program, in a copy of a process that has threads, such as
    those of gRPC: now and then that ends before the program begins. No Python runs between them here.

    Args:
        words: The program and its arguments.
        env: Its environment.
        rows, columns: Size of the terminal.

    Attributes:
        exitstatus: What the program ended with, negative for a signal; None before ``close``.
    """

    def __init__(self, words: Sequence[str], env: Mapping[str, str], *, rows: int = 24, columns: int = 200) -> None:
        own, given = pty.openpty()
        termios.tcsetwinsize(own, (rows, columns))
        try:
            self._program = subprocess.Popen(
                [sys.executable, "-S", "-c", _TAKE, *words],
                env=dict(env),
                stdin=given,
                stdout=given,
                stderr=given,
                start_new_session=True,
            )
        finally:
            os.close(given)
        super().__init__(own, timeout=PATIENCE, encoding="utf-8")

    def sendcontrol(self, letter: str) -> None:
        """Types a letter with Ctrl held."""
        self.send(chr(ord(letter) & 0x1F))

    def close(self, *, force: bool = False) -> None:
        """Takes the terminal away, which ends most programs, and waits for the end of the program."""
        super().close()
        if force:
            self._program.kill()
        try:
            self.exitstatus: Any = self._program.wait(PATIENCE)
        finally:
            self._program.kill()
            self._program.wait()
