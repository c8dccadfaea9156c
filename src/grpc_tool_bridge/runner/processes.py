"""Processes for tools that must really end when they are told to, or that need a core of their own."""

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from grpc_tool_bridge.aio.loops import end_tasks, running_loop
from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.aio.threads import MAX_DEPTH
from grpc_tool_bridge.config import MAX_MESSAGE_NODES
from grpc_tool_bridge.errors import UnavailableError
from grpc_tool_bridge.runner.functions import importing
from grpc_tool_bridge.runner.process import ToolProcess
from grpc_tool_bridge.tools.context import ToolContext
from grpc_tool_bridge.tools.tool import Tool
from grpc_tool_bridge.values.scalars import PackedValue

# A process that had nothing to do for so many seconds ends.
_IDLE_SECONDS = 30.0


class ToolProcesses:
    """Runs tools in processes of their own, each one call at a time.

    Processes are spawned when they are wanted, and kept for the next call, of whatever tool. One whose call ends early
    is killed, whatever it does, and the next call gets another.

    Args:
        max_processes: Processes at once of one depth of nested calls, 0: one for each core; more calls of that depth
            wait in order.
        max_depth: Levels of nested containers in a value.
        max_message_bytes: Bytes of a result, or of one value of a stream.
        max_message_nodes: Elements, keys, texts and numbers of it.
    """

    def __init__(
        self, max_processes: int, *, max_depth: int, max_message_bytes: int, max_message_nodes: int = MAX_MESSAGE_NODES
    ) -> None:
        self._max_depth = max_depth
        self._max_message_bytes = max_message_bytes
        self._max_message_nodes = max_message_nodes
        self._max_processes = max_processes or available_cores()
        # Of each depth of nested calls: one that holds a process may wait for those that it has made, which are deeper.
        self._places: dict[int, asyncio.Semaphore] = {}
        # Those that have yet to end, the killed ones included.
        self._living: set[ToolProcess] = set()
        self._busy: set[ToolProcess] = set()
        # With the time at which each became idle, the longest idle first.
        self._idle: deque[tuple[float, ToolProcess]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._endings = TaskSet()
        self._closed = False

    @property
    def busy(self) -> int:
        """Processes that run a tool now."""
        return len(self._busy)

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
        """Runs a call to its result. To cancel the wait kills the process.

        Args:
            tool: A tool with the executor "process" that returns.
            args: Arguments by position, for the tool's ``bind``; what is an Any is taken for an encoded value.
            kwargs: Likewise, by name, without the context.
            context: Where the tool wants one: what it is told from, and what answers what it asks.
            begin: Called when the call is sent to a process that is ready, so that the tool may begin.
            depth: Calls above it.

        Returns:
            The result, encoded.

        Raises:
            RaisedElsewhereError: The tool raised.
            UnavailableError: The process died, or cannot find the function; or there can be none.
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
        """Runs a generator and yields what it yields, encoded. To leave early kills the process.

        Args:
            tool: A tool with the executor "process" that yields.
            args: As of ``run``.
            kwargs: As of ``run``.
            context: As of ``run``.
            buffer: Values that the generator is at most ahead of the reader.
            begin: As of ``run``.
            depth: As of ``run``.

        Raises:
            ToolBridgeError: As of ``run``; after the values that were made before.
        """
        async with self._process(depth) as process:
            values = process.iterate(tool, args, kwargs, context, buffer, begin)
            try:
                async for value in values:
                    yield value
            finally:
                await values.aclose()

    async def aclose(self) -> None:
        """Kills every process and waits until all have ended; calls that run fail."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._idle.clear()
        self.abandon()
        processes = list(self._living)
        for process in processes:
            process.kill()
        for process in processes:
            await process.ended()
        await self._endings.aclose()

    def abandon(self) -> None:
        """Kills the processes of other event loops than the one that runs here, which may have ended."""
        here = running_loop()
        for process in [process for process in self._living if process.loop is not here]:
            self._living.discard(process)
            process.kill()
            end_tasks([process.reader])

    @contextlib.asynccontextmanager
    async def _process(self, depth: int) -> AsyncIterator[ToolProcess]:
        """Takes a process for one call, and keeps it for the next where it is fit for that."""
        if importing.get():
            raise UnavailableError(
                f"{importing.get()} calls a tool while a process imports it to run one; what starts the program "
                "belongs under if __name__ == '__main__'"
            )
        depth = min(depth, MAX_DEPTH)
        if depth not in self._places:
            self._places[depth] = asyncio.Semaphore(self._max_processes)
        async with self._places[depth]:
            process = await self._taken()
            self._busy.add(process)
            try:
                yield process
            finally:
                self._busy.discard(process)
                self._give_back(process)

    async def _taken(self) -> ToolProcess:
        if self._closed:
            raise UnavailableError("the processes for tools have been ended with what they belong to")
        while self._idle:
            _, process = self._idle.pop()
            if process.free:
                return process
            self._end(process)
        process = await ToolProcess.start(
            max_depth=self._max_depth,
            max_message_bytes=self._max_message_bytes,
            max_message_nodes=self._max_message_nodes,
        )
        self._living.add(process)
        return process

    def _give_back(self, process: ToolProcess) -> None:
        if not process.free or self._closed:
            self._end(process)
            return
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
        process.kill()
        self._endings.spawn(self._reap(process), "end of a tool process")

    async def _reap(self, process: ToolProcess) -> None:
        await process.ended()
        self._living.discard(process)


def available_cores() -> int:
    """Counts the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
