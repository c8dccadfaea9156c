"""Coroutines that start immediately, and get a task only if they do not finish in their first step."""

import asyncio
import contextvars
import types
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any, TypeVar

from grpc_tool_bridge.aio.loop_internals import can_switch_tasks, enter_task, is_awaited, leave_task

T = TypeVar("T")

# Called with the result, or with the error.
Done = Callable[[Any, BaseException | None], None]


class EagerTasks:
    """Runs coroutines for one owner, who cancels and awaits those that are left at its end.

    In its first step, a coroutine has a task of its own, such as for ``asyncio.timeout``. That task was made before and
    waits; a coroutine that finishes immediately leaves it to the next one. Each coroutine has its own context
    variables, too.
    """

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()
        self._spare: _Runner | None = None

    def __len__(self) -> int:
        return len(self._running)

    def start(self, coroutine: Coroutine[Any, Any, Any], done: Done) -> "asyncio.Task[Any] | None":
        """Starts a coroutine.

        Args:
            coroutine: The coroutine.
            done: Called with its result or its error, before this returns or later.

        Returns:
            The task that continues it; None if it is done.
        """
        runner = self._spare
        if runner is None or not runner.started:
            # A task that was cancelled before its first turn would never run the coroutine.
            if runner is None and can_switch_tasks():
                self._spare = _Runner()
            return self._start_task(coroutine, done)
        self._spare = None
        loop = runner.loop
        caller = enter_task(loop, runner.task)
        try:
            waits_for = runner.context.run(coroutine.send, None)
        except StopIteration as end:
            result, error = end.value, None
        except BaseException as raised:  # noqa: BLE001 - handed to the caller
            result, error = None, raised
        else:
            self._own(runner.task)
            runner.take(coroutine, waits_for, done)
            return runner.task
        finally:
            leave_task(loop, runner.task, caller)
        self._keep(runner)
        done(result, error)
        return None

    def spawn(self, coroutine: Coroutine[Any, Any, Any], done: Done) -> "asyncio.Task[Any]":
        """Runs a coroutine in a new task from its first step; ``done`` is called as by ``start``."""
        return self._start_task(coroutine, done)

    async def aclose(self) -> None:
        """Cancels the running coroutines and waits until they have ended."""
        tasks = set(self._running)
        if self._spare is not None:
            tasks.add(self._spare.task)
            self._spare = None
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _start_task(self, coroutine: Coroutine[Any, Any, Any], done: Done) -> "asyncio.Task[Any]":
        task = asyncio.get_running_loop().create_task(_outcome(coroutine))
        self._own(task)
        task.add_done_callback(partial(_report, coroutine, done))
        return task

    def _own(self, task: "asyncio.Task[Any]") -> None:
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def _keep(self, runner: "_Runner") -> None:
        # A task that was cancelled, or whose context was changed, cannot be used again.
        if self._spare is None and runner.is_fresh():
            self._spare = runner
        else:
            self._own(runner.task)
            runner.task.cancel()


async def _outcome(coroutine: Coroutine[Any, Any, Any]) -> tuple[Any, BaseException | None]:
    """Runs a coroutine and returns what it raises: a SystemExit raised by a task would end the event loop."""
    try:
        return await coroutine, None
    except asyncio.CancelledError:
        raise
    except BaseException as error:  # noqa: BLE001 - handed to the caller
        return None, error


def _report(coroutine: Coroutine[Any, Any, Any], done: Done, task: "asyncio.Task[Any]") -> None:
    if task.cancelled():
        # It may have been cancelled before its first step.
        coroutine.close()
        done(None, asyncio.CancelledError())
    else:
        done(*task.result())


class _Runner:
    """A task that waits for a coroutine to continue after its first step."""

    __slots__ = ("_coroutine", "_done", "_job", "_pristine", "_waits_for", "context", "loop", "started", "task")

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.context = contextvars.copy_context()
        self._pristine = self.context.copy()
        self._job: asyncio.Future[None] = self.loop.create_future()
        self._coroutine: Coroutine[Any, Any, Any] | None = None
        self._waits_for: Any = None
        self._done: Done | None = None
        self.started = False
        self.task = self.loop.create_task(self._run(), context=self.context)

    def is_fresh(self) -> bool:
        """Returns whether the previous coroutine has left no trace."""
        task = self.task
        # The job is done if the task was cancelled, even if that was undone; callbacks wait for the task's end.
        return (
            self.context == self._pristine and not self._job.done() and not task.cancelling() and not is_awaited(task)
        )

    def take(self, coroutine: Coroutine[Any, Any, Any], waits_for: Any, done: Done) -> None:
        """Continues a coroutine that waits for ``waits_for``."""
        self._coroutine, self._waits_for, self._done = coroutine, waits_for, done
        if not self._job.done():
            # Otherwise the coroutine cancelled its own task, which will notice.
            self._job.set_result(None)

    async def _run(self) -> None:
        self.started = True
        cancelled: asyncio.CancelledError | None = None
        try:
            await self._job
        except asyncio.CancelledError as error:
            cancelled = error
        if self._coroutine is None or self._done is None:
            return
        try:
            result = await resume(self._coroutine, self._waits_for, cancelled)
        except BaseException as error:  # noqa: BLE001 - handed to the caller
            self._done(None, error)
        else:
            self._done(result, None)


@types.coroutine
def resume(
    coroutine: Coroutine[Any, Any, T], waits_for: Any, cancelled: asyncio.CancelledError | None = None
) -> Generator[Any, Any, T]:
    """Continues a coroutine after its first step, in the running task.

    Args:
        coroutine: The coroutine.
        waits_for: What its first step waits for.
        cancelled: A cancellation that came before the task could wait.
    """
    try:
        if cancelled is not None and (waits_for is None or not waits_for.cancel()):
            # Cancelled before the task could wait, and what it waits for is done already.
            waits_for = coroutine.throw(cancelled)
        while True:
            try:
                sent = yield waits_for
            except GeneratorExit:
                coroutine.close()
                raise
            except BaseException as error:  # noqa: BLE001 - whatever the loop throws in is the coroutine's to handle
                waits_for = coroutine.throw(error)
            else:
                waits_for = coroutine.send(sent)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]  # a StopIteration holds anything


class Write:
    """A started write; await it to wait for its end. Unlike a task it takes no turns of the loop.

    Args:
        write: The coroutine that writes; its first step, which passes the message to gRPC, is made here. If that
            fails, waiting raises the error.
    """

    def __init__(self, write: Coroutine[Any, Any, None]) -> None:
        self._write = write
        self._waits_for: Any = None
        self._done = False
        self._error: Exception | None = None
        try:
            self._waits_for = write.send(None)
        except StopIteration:
            self._done = True
        except Exception as error:  # noqa: BLE001 - kept for whoever waits
            self._error = error.with_traceback(None)

    def close(self) -> None:
        """Gives up the wait; an error of the write is ignored."""
        self.abandon()
        self._done = True
        self._write.close()

    def abandon(self) -> None:
        """Lets the write finish in the background; its error is ignored."""
        waits_for = self._waits_for
        if not self._done and isinstance(waits_for, asyncio.Future):
            waits_for.add_done_callback(_heed)

    @types.coroutine
    def wait(self, turns: int = 0) -> Generator[Any, None, None]:
        """Waits for its end.

        Args:
            turns: Of the event loop that it yields first, so that a quick write ends before the loop sleeps.
        """
        if self._error is not None:
            raise self._error
        if self._done:
            return
        cancelled: asyncio.CancelledError | None = None
        try:
            try:
                for _ in range(turns):
                    yield
            except asyncio.CancelledError as error:
                cancelled = error
            yield from resume(self._write, self._waits_for, cancelled)
        finally:
            self._done = True
            self._write.close()

    def __await__(self) -> Generator[Any, None, None]:
        yield from self.wait()


def _heed(write: asyncio.Future[None]) -> None:
    if not write.cancelled():
        write.exception()
