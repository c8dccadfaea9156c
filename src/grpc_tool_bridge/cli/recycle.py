"""A worker that is replaced when it is old: after so many calls, so much time, or with so much memory.

Leaks of tools and libraries end with its process. The next process offers the same tools before the previous one takes
no more calls, so there is always one that takes them.
"""

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Iterator, Sequence

from grpc_tool_bridge.aio.backoff import back_off
from grpc_tool_bridge.cli.supervisor import Supervisor
from grpc_tool_bridge.cli.worker_process import WorkerProcess

# Seconds after which a worker that was replaced is killed. Its calls in flight have deadlines of their own.
LEAVE_SECONDS = 3_600.0

_ID_FLAG = "--worker-id"

_log = logging.getLogger(__name__)


class Recycler(Supervisor):
    """Runs ``worker`` in separate processes, each until it is old.

    A process that ends by itself, such as one that the system has killed, is replaced as well.

    Args:
        words: The command line, without the program's name.
        worker_id: The id of the worker; None: one is generated. Its processes are numbered: ``id-1``, ``id-2``.
        grace: Grace period of calls in flight at a signal, in seconds.
    """

    def __init__(self, words: Sequence[str], *, worker_id: str | None, grace: float) -> None:
        super().__init__(grace)
        self._words = list(without_id(words))
        self._worker_id = worker_id or uuid.uuid4().hex
        self._started = 0

    async def _supervise(self, told: "asyncio.Future[int]") -> int | None:
        code = await self._start_next(told, announces=True)
        if code is not None or told.done():
            return code
        waits, lost = back_off(), False
        while self._serving is not None:
            serving = self._serving
            await _first(told, serving.ended, serving.line.spent.wait())
            if told.done():
                return None
            if serving.ended.done():
                # Until its last word has arrived.
                await serving.line.left.wait()
                if serving.line.given_up.is_set():
                    return serving.ended.result()
            if serving.ended.done() and not lost:
                lost = True
                _log.warning("the worker ended with exit code %d; starting the next one", serving.ended.result())
            code = await self._start_next(told, announces=False)
            if told.done():
                return None
            if code is None:
                waits, lost = back_off(), False
            else:
                wait = next(waits)
                _log.warning("the next worker ended with exit code %d; trying again in %.1f s", code, wait)
                await _first(told, asyncio.sleep(wait))
        return None

    def _signalled(self) -> Sequence[WorkerProcess]:
        # Those that leave were not signalled to do so.
        return self._all()

    async def _start_next(self, told: "asyncio.Future[int]", *, announces: bool) -> int | None:
        """Starts the next worker, and lets the previous one leave when the next one serves.

        Returns:
            The exit code of the next one if it has ended before; None if it serves, or if a signal was ``told``.
        """
        self._started += 1
        own = [self._words[0], _ID_FLAG, f"{self._worker_id}-{self._started}", *self._words[1:]]
        worker = self._next = await WorkerProcess.start(own)
        line = worker.line
        for event in (line.imported, line.serving):
            await _first(told, worker.ended, event.wait())
            if told.done():
                return None
            if not event.is_set():
                self._next = None
                line.close()
                return worker.ended.result()
            if event is line.imported:
                await line.give_turn(announces=announces)
        previous, self._serving, self._next = self._serving, worker, None
        if previous is not None:
            await previous.line.retire()
            self._see_off(previous, LEAVE_SECONDS)
        return None


def without_id(words: Sequence[str]) -> Iterator[str]:
    """Yields a command line without the option that sets the worker's id."""
    skips = False
    for position, word in enumerate(words):
        if word == "--":
            yield from words[position:]
            return
        if not skips and word != _ID_FLAG and not word.startswith(f"{_ID_FLAG}="):
            yield word
        skips = word == _ID_FLAG and not skips


async def _first(*events: Awaitable[object]) -> None:
    """Waits until one of several things happens."""
    futures = [asyncio.ensure_future(event) for event in events]
    try:
        await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for event, future in zip(events, futures, strict=True):
            if event is not future:
                future.cancel()
