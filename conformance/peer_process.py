"""A peer as a process: one JSON object a line, on its stdin and stdout."""

import contextlib
import json
import queue
import shlex
import subprocess
import threading
from functools import partial
from pathlib import Path
from typing import Any, Self

from conformance.checks import PEER_FAILED

# For one answer. A peer that takes longer hangs; the largest request has 64 MiB of payload.
TIMEOUT = 120.0

# Then it is not worth the time.
MAX_FAILURES = 10


class PeerFailedError(Exception):
    """The peer ended, did not answer, or answered with something else than the protocol's JSON."""


class PeerProcess:
    """Starts a peer, and asks it one thing after another.

    Args:
        command: Its command line.
        directory: Where it is started; None: here.
        timeout: Seconds for one answer.
    """

    def __init__(self, command: str, *, directory: Path | None = None, timeout: float = TIMEOUT) -> None:
        self._command = command
        self._timeout = timeout
        self._requests = 0
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        try:
            self._process = subprocess.Popen(
                shlex.split(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd=directory,
                text=True,
                encoding="utf-8",
            )
        except OSError as error:
            raise PeerFailedError(f"the peer {command!r} cannot be started: {error}") from error
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """Sends a request; returns the answer, which has either ``ok`` or ``error``.

        Raises:
            PeerFailedError: The peer gave none.
        """
        self._requests += 1
        number = self._requests
        # One that has ended is noticed by its missing answer.
        with contextlib.suppress(OSError):
            self._stdin.write(json.dumps({"id": number, "do": do, **request}) + "\n")
            self._stdin.flush()
        try:
            line = self._lines.get(timeout=self._timeout)
        except queue.Empty:
            raise PeerFailedError(f"the peer did not answer {do} within {self._timeout:g} s") from None
        if line is None:
            raise PeerFailedError(f"the peer ended instead of answering {do}, with exit code {self._process.wait()}")
        try:
            answer = json.loads(line)
            if answer["id"] == number and len(answer.keys() & {"ok", "error"}) == 1:
                return dict(answer)
        except (ValueError, TypeError, KeyError):
            pass
        raise PeerFailedError(f"the peer answered {do} with {line[:200]!r}, which is not an answer to {number}")

    def close(self) -> None:
        """Ends the peer's input, and the peer if that does not end it."""
        with contextlib.suppress(OSError):
            self._stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        self._stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _stdin(self) -> Any:
        return self._process.stdin

    @property
    def _stdout(self) -> Any:
        return self._process.stdout

    def _read(self) -> None:
        for line in self._stdout:
            self._lines.put(line)
        self._lines.put(None)


class LastingPeer:
    """A peer that is started again if it ends, hangs or breaks the protocol.

    What it was asked then has the error type PEER_FAILED for an answer.

    Args:
        command, directory, timeout: As for ``PeerProcess``.
    """

    def __init__(self, command: str, *, directory: Path | None = None, timeout: float = TIMEOUT) -> None:
        self._start = partial(PeerProcess, command, directory=directory, timeout=timeout)
        self._process = self._start()
        self._left = MAX_FAILURES

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """Sends a request; returns the answer.

        Raises:
            PeerFailedError: It has failed too often, or before it answered anything.
        """
        try:
            return self._process.ask(do, **request)
        except PeerFailedError as error:
            self._left -= 1
            if not self._left or do == "hello":
                raise
            self._process.close()
            self._process = self._start()
            return {"error": {"type": PEER_FAILED, "message": str(error)}}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.close()
