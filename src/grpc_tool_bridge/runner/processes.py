"""Processes for tools that must end when they are cancelled, or that need their own core."""

import asyncio
import contextlib
import logging
import os
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from grpc_tool_bridge.aio.loops import end_tasks, running_loop
from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.aio.threads import MAX_DEPTH
from grpc_tool_bridge.config import MAX_MESSAGE_NODES
from grpc_tool_bridge.errors import UnavailableError
from grpc_tool_bridge.runner.aging import AgeLimits
from grpc_tool_bridge.runner.functions import importing
from grpc_tool_bridge.runner.process import ToolProcess
from grpc_tool_bridge.runner.surroundings import Surroundings
from grpc_tool_bridge.tools.context import ToolContext
from grpc_tool_bridge.tools.tool import Tool
from grpc_tool_bridge.values.scalars import PackedValue

_log = logging.getLogger(__name__)

# Seconds that a process has to import the functions of the one that it replaces.
_LOAD_SECONDS = 60.0
# Seconds after which an idle process ends.
_IDLE_SECONDS = 30.0


class ToolProcesses:
    """Runs tools in separate processes, each one call at a time.

    Processes are spawned on demand and kept for later calls of any tool. If a call ends early, its process is killed,
    and the next call gets another.

    Args:
        max_processes: Concurrent processes at each depth of nested calls; 0: one for each core. Further calls of that
            depth wait in order.
        max_depth: Levels of nested containers in a value.
        max_message_bytes: Maximum bytes of a result, or of one value of a stream.
        max_message_nodes: Maximum elements, keys, texts and numbers of it.
        aging: When a process is replaced. The new one is ready before the old one ends.
        surroundings: Has the lifespans that each process enters before its first call and leaves at its end, unless it
            is killed, and the providers that replace others there. None: there are none.

    Attributes:
        replaced: Processes that were replaced.
    """

    def __init__(
        self,
        max_processes: int,
        *,
        max_depth: int,
        max_message_bytes: int,
        max_message_nodes: int = MAX_MESSAGE_NODES,
        aging: AgeLimits | None = None,
        surroundings: Surroundings | None = None,
    ) -> None:
        self.replaced = 0
        self._aging = aging
        self._surroundings = surroundings
        # Only one process at a time is started besides those that calls need.
        self._replacing = asyncio.Lock()
        self._replacements = TaskSet()
        self._max_depth = max_depth
        self._max_message_bytes = max_message_bytes
        self._max_message_nodes = max_message_nodes
        self._max_processes = max_processes or available_cores()
        # For each depth of nested calls, because a call that holds a process may wait for deeper calls.
        self._places: dict[int, _Places] = {}
        # Processes that have not ended, including killed ones.
        self._living: set[ToolProcess] = set()
        self._busy: set[ToolProcess] = set()
        # With the time at which each became idle, longest idle first.
        self._idle: deque[tuple[float, ToolProcess]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._endings = TaskSet()
        self._closed = False

    @property
    def busy(self) -> int:
        """Processes that run a tool now."""
        return len(self._busy)

    @property
    def limit(self) -> int:
        """Concurrent processes at each depth of nested calls."""
        return self._max_processes

    @property
    def fullest(self) -> tuple[int, int]:
        """How many calls have a process, and how many wait for one, at the depth where they are most."""
        return max(((places.used, places.waiting) for places in self._places.values()), default=(0, 0))

    async def run(
        self,
        tool: Tool,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        context: ToolContext | None,
        *,
        begin: Callable[[], object] | None = None,
        depth: int = 0,
    ) -> PackedValue:
        """Runs a call to its result. Cancelling it kills the process.

        Args:
            tool: A tool with the executor "process" that returns.
            args: Arguments by position, for the tool's ``bind``; an Any is an encoded value.
            kwargs: Arguments by name, without the context.
            context: The tool's context, if it takes one.
            begin: Called when the call is sent to a process that is ready.
            depth: Calls above it.

        Returns:
            The result, encoded.

        Raises:
            RaisedElsewhereError: The tool raised.
            UnavailableError: The process died or cannot find the function, or no process can be started.
            ToolBridgeError: The arguments do not fit the function, or the result cannot be sent.
        """
        async with self._process(depth) as process:
            return await process.run(tool, args, kwargs, context, begin)

    async def iterate(
        self,
        tool: Tool,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        context: ToolContext | None,
        buffer: int,
        *,
        begin: Callable[[], object] | None = None,
        depth: int = 0,
    ) -> AsyncGenerator[PackedValue, None]:
        """Runs a generator and yields its values, encoded. Closing the iterator early kills the process.

        Args:
            tool: A tool with the executor "process" that yields.
            args: As for ``run``.
            kwargs: As for ``run``.
            context: As for ``run``.
            buffer: Values that the generator may be ahead of the reader.
            begin: As for ``run``.
            depth: As for ``run``.

        Raises:
            ToolBridgeError: As for ``run``; after the values that were yielded before.
        """
        async with self._process(depth) as process:
            values = process.iterate(tool, args, kwargs, context, buffer, begin)
            try:
                async for value in values:
                    yield value
            finally:
                await values.aclose()

    async def aclose(self) -> None:
        """Kills all processes and waits until they have ended; running calls fail."""
        self._closed = True
        await self._replacements.aclose()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._idle.clear()
        self.abandon()
        processes = list(self._living)
        await asyncio.gather(*(process.leave() for process in processes))
        for process in processes:
            process.kill()
        for process in processes:
            await process.ended()
        await self._endings.aclose()

    def abandon(self) -> None:
        """Kills the processes of event loops other than the running one, which may have ended."""
        # A task of an ended loop may hold it.
        self._replacing = asyncio.Lock()
        here = running_loop()
        for process in [process for process in self._living if process.loop is not here]:
            self._living.discard(process)
            process.kill()
            end_tasks([process.reader])

    @contextlib.asynccontextmanager
    async def _process(self, depth: int) -> AsyncIterator[ToolProcess]:
        """Takes a process for one call, and keeps it for the next if it is still usable."""
        if importing.get():
            raise UnavailableError(
                f"{importing.get()} calls a tool while a process imports it to run one; what starts the program "
                "belongs under if __name__ == '__main__'"
            )
        depth = min(depth, MAX_DEPTH)
        if depth not in self._places:
            self._places[depth] = _Places(self._max_processes)
        async with self._places[depth].taken():
            process = await self._taken()
            self._busy.add(process)
            if process.age is not None:
                process.age.calls += 1
            try:
                yield process
            finally:
                self._busy.discard(process)
                self._give_back(process)

    async def _taken(self) -> ToolProcess:
        if self._closed:
            raise UnavailableError("the processes for tools were ended with their hub or worker")
        while self._idle:
            _, process = self._idle.pop()
            if process.free:
                return process
            self._end(process)
        return await self._start()

    async def _start(self) -> ToolProcess:
        process = await ToolProcess.start(
            max_depth=self._max_depth,
            max_message_bytes=self._max_message_bytes,
            max_message_nodes=self._max_message_nodes,
            surroundings=self._surroundings,
        )
        if self._aging:
            process.limit_age(self._aging)
        self._living.add(process)
        return process

    def _give_back(self, process: ToolProcess) -> None:
        if not process.free or process.retired or self._closed:
            self._end(process)
            return
        if process.age is not None and not process.is_due and (reached := process.age.reached()):
            process.is_due = True
            self._replacements.spawn(self._replace(process, reached), "replacement of a tool process")
        self._keep(process)

    async def _replace(self, process: ToolProcess, reached: str) -> None:
        """Replaces a process; it takes calls until the next one is ready."""
        async with self._replacing:
            if self._closed or process not in self._living:
                return
            try:
                successor = await self._successor(process)
            except (UnavailableError, TimeoutError) as error:
                # It is tried again after the next call.
                _log.warning("a process for tools has reached %s and was not replaced: %r", reached, error)
                process.is_due = False
                return
            _log.info("a process for tools was replaced after %s", reached)
            self.replaced += 1
            process.retired = True
            for item in [item for item in self._idle if item[1] is process]:
                self._idle.remove(item)
                self._end(process)
            self._keep(successor)

    async def _successor(self, process: ToolProcess) -> ToolProcess:
        """Starts a process that has imported the functions that another one has run.

        Raises:
            UnavailableError: No process can be started, or it has died.
            TimeoutError: An import takes too long.
        """
        successor = await self._start()
        try:
            async with asyncio.timeout(_LOAD_SECONDS):
                await successor.load(list(process.tools.values()))
        except TimeoutError:
            self._end(successor)
            raise
        if not successor.free:
            self._end(successor)
            raise UnavailableError("the next process has died")
        return successor

    def _keep(self, process: ToolProcess) -> None:
        loop = asyncio.get_running_loop()
        self._idle.append((loop.time(), process))
        if self._timer is None:
            self._timer = loop.call_later(_IDLE_SECONDS, self._end_idle)

    def _end_idle(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        while self._idle and self._idle[0][0] + _IDLE_SECONDS <= loop.time():
            self._end(self._idle.popleft()[1])
        if self._idle:
            self._timer = loop.call_at(self._idle[0][0] + _IDLE_SECONDS, self._end_idle)

    def _end(self, process: ToolProcess) -> None:
        if not process.has_lifespans:
            process.kill()
        self._endings.spawn(self._reap(process), "end of a tool process")

    async def _reap(self, process: ToolProcess) -> None:
        await process.leave()
        process.kill()
        await process.ended()
        self._living.discard(process)


class _Places:
    """The processes that calls of one depth may have.

    Args:
        count: How many.

    Attributes:
        used: Calls that have one.
        waiting: Calls that wait for one, in the order in which they came.
    """

    def __init__(self, count: int) -> None:
        self._free = asyncio.Semaphore(count)
        self.used = 0
        self.waiting = 0

    @contextlib.asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        """Takes one."""
        self.waiting += 1
        try:
            await self._free.acquire()
        finally:
            self.waiting -= 1
        self.used += 1
        try:
            yield
        finally:
            self.used -= 1
            self._free.release()


def available_cores() -> int:
    """Returns the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
