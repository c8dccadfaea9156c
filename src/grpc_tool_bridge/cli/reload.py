"""A worker that is started anew whenever its source files change.

The worker is a process of its own: what a module has left behind, such as threads, native libraries and registered
codecs, ends with it, and the next one begins clean. The files are polled, which needs no library and sees changes on
every kind of file system.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path

from grpc_tool_bridge.cli import lifeline
from grpc_tool_bridge.cli.signals import ending_signals, exit_code
from grpc_tool_bridge.cli.source_files import SourceFiles

# How often the files are looked at.
LOOK_SECONDS = 0.5
# A worker that was told to end has so much longer than its calls in flight; then it is killed.
SLACK_SECONDS = 5.0

_log = logging.getLogger(__name__)

_Seen = dict[Path, tuple[int, int]]


class Reloader:
    """Runs ``worker`` in a process of its own, one after the other.

    The next one starts when the last has ended: while that still offers a tool, the same one with another schema would
    be refused. Callers do not notice: the hub keeps the tools of a worker for a while when it leaves.

    Args:
        words: The command line, without the program's name.
        files: What to look at.
        worker_id: What every one of them is called; None: one is made up.
        grace: Seconds that calls in flight have.
    """

    def __init__(self, words: Sequence[str], files: SourceFiles, *, worker_id: str | None, grace: float) -> None:
        own = [] if worker_id else ["--worker-id", uuid.uuid4().hex]
        self._words = [words[0], *own, *(word for word in words[1:] if word != "--reload")]
        self._files = files
        self._patience = grace + SLACK_SECONDS
        self._child: asyncio.subprocess.Process | None = None

    async def run(self) -> int:
        """Runs workers until a signal; returns the exit code that it stands for. No worker outlives it."""
        with ending_signals() as signals, lifeline.offered() as (line, environment):
            told = asyncio.ensure_future(signals.get())
            try:
                while not told.done():
                    seen = await asyncio.to_thread(self._files.look)
                    await self._start(line, environment)
                    await self._change(seen, told)
                    if not told.done():
                        await self._end(signal.SIGTERM, signals)
                await self._end(told.result(), signals)
                return exit_code(told.result())
            finally:
                told.cancel()
                self._kill()

    async def _start(self, line: int, environment: dict[str, str]) -> None:
        self._child = await asyncio.create_subprocess_exec(
            sys.executable,
            # Bytecode goes by whole seconds, so that of two changes within one the second would not be seen.
            "-B",
            "-m",
            "grpc_tool_bridge.cli",
            *self._words,
            env={**os.environ, **environment},
            pass_fds=[line],
            stdin=asyncio.subprocess.DEVNULL,
            # Ctrl-C at a terminal is for this process, which passes it on.
            process_group=0,
        )

    async def _change(self, seen: _Seen, told: "asyncio.Future[int]") -> None:
        """Waits until a file is no longer as it was seen, or a signal has come."""
        ended: asyncio.Future[int] | None = None
        if self._child is not None:
            ended = asyncio.ensure_future(self._child.wait())
        try:
            while not told.done():
                waited_for = [told] if ended is None else [told, ended]
                await asyncio.wait(waited_for, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                if ended is not None and ended.done():
                    _log.warning("the worker ended with exit code %d; waiting for a change", ended.result())
                    ended = None
                changed = _changed(seen, await asyncio.to_thread(self._files.look))
                if changed is not None and not told.done():
                    _log.info("%s has changed; the worker starts anew", changed)
                    return
        finally:
            if ended is not None:
                ended.cancel()

    async def _end(self, number: int, signals: "asyncio.Queue[int]") -> None:
        """Tells the worker to end, and waits until it has; further signals are passed on."""
        child = self._child
        if child is None:
            return
        passing = asyncio.ensure_future(self._pass_on(number, signals))
        try:
            await asyncio.wait_for(child.wait(), self._patience)
        except TimeoutError:
            _log.warning("the worker did not end within %g s, and is killed", self._patience)
            self._kill()
            await child.wait()
        finally:
            passing.cancel()

    async def _pass_on(self, number: int, signals: "asyncio.Queue[int]") -> None:
        while True:
            self._send(number)
            number = await signals.get()

    def _kill(self) -> None:
        self._send(signal.SIGKILL)

    def _send(self, number: int) -> None:
        if self._child is not None:
            with contextlib.suppress(ProcessLookupError):
                self._child.send_signal(number)


def _changed(before: _Seen, now: _Seen) -> Path | None:
    """Returns a file that is new, has gone, or has been written."""
    return next((path for path, _ in sorted(before.items() ^ now.items())), None)
