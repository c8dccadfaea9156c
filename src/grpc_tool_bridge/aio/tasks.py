"""Tasks with an owner."""

import asyncio
import contextvars
import logging
from collections.abc import Coroutine
from typing import Any

from grpc_tool_bridge.aio.loops import end_tasks, running_loop
from grpc_tool_bridge.errors.faults import log_fault

_log = logging.getLogger(__name__)


class TaskSet:
    """Background tasks that belong to one owner, who cancels and awaits them at its end.

    Unlike a ``TaskGroup`` it may be closed from another task than the one that made it. If a task fails, that is logged
    immediately.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def spawn(
        self, coroutine: Coroutine[Any, Any, Any], name: str, *, context: contextvars.Context | None = None
    ) -> "asyncio.Task[Any]":
        """Starts a task, in a context; None: in a copy of the current one."""
        task = asyncio.get_running_loop().create_task(_contained(coroutine, name), name=name, context=context)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        # It may be cancelled before its first step.
        task.add_done_callback(lambda _: coroutine.close())
        return task

    async def aclose(self) -> None:
        """Cancels every task and waits until all have ended; tasks of another loop end in that loop."""
        here = asyncio.get_running_loop()
        tasks = [task for task in self._tasks if task is not asyncio.current_task() and task.get_loop() is here]
        for task in tasks:
            task.cancel()
        self.abandon()
        if tasks:
            await asyncio.wait(tasks)

    def abandon(self) -> None:
        """Gives up the tasks of all loops but the running one."""
        here = running_loop()
        others = [task for task in self._tasks if task.get_loop() is not here]
        self._tasks.difference_update(others)
        end_tasks(others)

    def _done(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log_fault(_log, "background task %s failed", task.get_name(), error=error)


async def _contained(coroutine: Coroutine[Any, Any, Any], name: str) -> Any:
    """Runs a coroutine; a SystemExit or KeyboardInterrupt raised by a task would end the event loop."""
    try:
        return await coroutine
    except (SystemExit, KeyboardInterrupt) as error:
        log_fault(_log, "background task %s failed", name, error=error)
        raise asyncio.CancelledError from None
