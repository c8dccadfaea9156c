"""The process of a worker, seen from the process that supervises it."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Sequence

from grpc_tool_bridge.cli.lifeline import LifelineOwner

_log = logging.getLogger(__name__)


class WorkerProcess:
    """A worker's process. Made by ``start``.

    Attributes:
        line: The lifeline over which it reports its state.
        ended: A future with its exit code.
        began_at: The loop's time at its start.
    """

    def __init__(self, process: asyncio.subprocess.Process, line: LifelineOwner) -> None:
        self.line = line
        self.ended = asyncio.ensure_future(process.wait())
        self.began_at = asyncio.get_running_loop().time()
        self._process = process

    @classmethod
    async def start(cls, words: Sequence[str]) -> "WorkerProcess":
        """Starts one with a command line, without the program's name."""
        with LifelineOwner() as line:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                # Bytecode is cached by whole seconds, so the second of two changes within a second would be missed.
                "-B",
                "-m",
                "grpc_tool_bridge.cli",
                *words,
                env={**os.environ, **line.environment},
                pass_fds=[line.theirs.fileno()],
                stdin=asyncio.subprocess.DEVNULL,
                # Ctrl-C at a terminal goes to this process, which passes it on. uvloop knows no process groups.
                start_new_session=True,
            )
        return cls(process, line)

    def send(self, number: int) -> None:
        """Sends it a signal."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def end(self, seconds: float) -> None:
        """Waits until it has ended; kills it after ``seconds``."""
        try:
            await asyncio.wait((self.ended,), timeout=seconds)
            if not self.ended.done():
                _log.warning("the worker did not end within %g s, and was killed", seconds)
        finally:
            await self.kill()

    async def kill(self) -> None:
        """Kills it."""
        if not self.ended.done():
            self.send(signal.SIGKILL)
            await asyncio.wait((self.ended,))
        self.line.close()
