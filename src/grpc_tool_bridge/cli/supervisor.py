"""A process that runs ``worker`` in other processes, and replaces one by the next."""

import asyncio
import signal
from abc import ABC, abstractmethod
from collections.abc import Sequence

from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.cli.signals import ending_signals, exit_code
from grpc_tool_bridge.cli.worker_process import WorkerProcess

# Seconds beyond the grace period of its calls after which a worker is killed.
SLACK_SECONDS = 5.0


class Supervisor(ABC):
    """Runs workers in separate processes, none of which outlives it.

    Args:
        grace: Grace period of calls in flight, in seconds.
    """

    def __init__(self, grace: float) -> None:
        self._patience = grace + SLACK_SECONDS
        # The worker that offers its tools, the one that is to do so, and those that finish their calls in flight.
        self._serving: WorkerProcess | None = None
        self._next: WorkerProcess | None = None
        self._leaving: set[WorkerProcess] = set()
        self._tasks = TaskSet()

    async def run(self) -> int:
        """Runs workers until a signal; returns its exit code, or that of ``_supervise``."""
        with ending_signals() as signals:
            return await self.run_until(signals)

    async def run_until(self, signals: "asyncio.Queue[int]") -> int:
        """Does what ``run`` does in a process whose ``signals`` are collected already."""
        told = asyncio.ensure_future(signals.get())
        try:
            code = await self._supervise(told)
            if code is not None:
                return code
            await self._end(told.result(), signals)
            return exit_code(told.result())
        finally:
            told.cancel()
            for worker in self._all():
                worker.send(signal.SIGKILL)
            for worker in self._all():
                await worker.kill()
            await self._tasks.aclose()

    @abstractmethod
    async def _supervise(self, told: "asyncio.Future[int]") -> int | None:
        """Starts workers until a signal was ``told``; an exit code ends the program without one."""

    @abstractmethod
    def _signalled(self) -> Sequence[WorkerProcess]:
        """Returns the workers that the first signal is for."""

    def _all(self) -> list[WorkerProcess]:
        return [worker for worker in (self._next, self._serving, *self._leaving) if worker is not None]

    def _see_off(self, worker: WorkerProcess, seconds: float) -> None:
        """Waits in the background until a worker has left; kills it after ``seconds``."""
        self._leaving.add(worker)

        async def wait() -> None:
            try:
                await worker.end(seconds)
            finally:
                self._leaving.discard(worker)

        self._tasks.spawn(wait(), "a worker that leaves")

    async def _end(self, number: int, signals: "asyncio.Queue[int]") -> None:
        """Stops the workers and waits for them; further signals are passed on."""
        if self._next is not None:
            await self._next.kill()
            self._next = None
        passing = self._tasks.spawn(self._pass_on(number, signals), "signals")
        await asyncio.gather(*(worker.end(self._patience) for worker in self._all()))
        self._serving = None
        passing.cancel()

    async def _pass_on(self, number: int, signals: "asyncio.Queue[int]") -> None:
        for worker in self._signalled():
            worker.send(number)
        while True:
            number = await signals.get()
            for worker in self._all():
                worker.send(number)
