"""Threads for synchronous tools: daemons, limited in number, never joined."""

import asyncio
import contextvars
import os
import queue
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any

from grpc_tool_bridge.aio import forks

# A thread that was idle for so many seconds ends.
_IDLE_SECONDS = 30.0

# A function, and whether its caller no longer waits for it.
Job = tuple[Callable[[], None], Callable[[], bool]]

# Converts an exception in the thread in which it was raised.
Told = Callable[[BaseException], BaseException]


def _as_it_is(error: BaseException) -> BaseException:
    return error


class ToolThreads:
    """Runs synchronous functions beside the event loop.

    A thread cannot be stopped from outside: if its caller has gone, it runs until its function returns, and counts
    until then. Threads are daemons, so one that never returns does not keep the process alive.

    Args:
        max_threads: Maximum number of threads; more work waits in order.
    """

    def __init__(self, max_threads: int) -> None:
        self._max_threads = max_threads
        self._begin()
        forks.watch(self)

    def _begin(self) -> None:
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        # Threads without a job, and jobs without a thread; both change under one lock, so that they can be compared.
        self._idle = 0
        self._pending = 0
        # At most so many jobs of ``_pending`` are no longer awaited.
        self._unwanted = 0

    def forked(self) -> None:
        """Forgets the threads in a forked process, which does not have them."""
        self._begin()

    @property
    def busy(self) -> int:
        """Threads that run a function now, orphaned ones included."""
        with self._lock:
            return self._threads - self._idle

    @property
    def waiting(self) -> int:
        """Functions that wait for a thread."""
        with self._lock:
            return max(0, self._pending - self._idle)

    async def run(self, function: Callable[[], Any], told: Told = _as_it_is) -> Any:
        """Runs ``function`` in a thread and returns its result; cancelling the wait orphans the thread.

        Args:
            function: The function.
            told: Called in the thread with the exception that it raised; returns the exception to raise here.
        """
        loop = asyncio.get_running_loop()
        # An exception is passed as a value: a failed future would throw it into the caller, where a GeneratorExit
        # could not be distinguished from the end of the wait.
        done: asyncio.Future[tuple[Any, BaseException | None]] = loop.create_future()
        context = contextvars.copy_context()

        def work() -> None:
            try:
                result = context.run(function)
            except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to the one who waits
                _in_loop(loop, _settle, done, None, told(error))
            else:
                _in_loop(loop, _settle, done, result, None)

        self._submit((work, done.cancelled))
        try:
            result, error = await done
        except asyncio.CancelledError:
            self._forget()
            raise
        if error is not None:
            raise error
        return result

    async def iterate(
        self, function: Callable[[], Iterator[Any]], buffer: int, told: Told = _as_it_is
    ) -> AsyncGenerator[Any, None]:
        """Iterates in one thread and yields the values; the thread is at most ``buffer`` values ahead of the reader.

        For the other arguments see ``run``.
        """
        handover = _Handover(asyncio.get_running_loop(), buffer)
        handover.told = told
        context = contextvars.copy_context()
        self._submit((lambda: context.run(handover.produce, function), handover.is_stopped))
        try:
            while True:
                while True:
                    # Read first, so that values from just before the end are not missed.
                    finished = handover.finished
                    if handover.values:
                        break
                    if finished:
                        if handover.error is not None:
                            raise handover.error
                        return
                    await handover.wait()
                value = handover.values.popleft()
                handover.room.release()
                yield value
        finally:
            handover.stop()
            self._forget()

    def _submit(self, job: Job) -> None:
        with self._lock:
            if self._pending >= self._idle and self._threads < self._max_threads:
                # Counted once it is started: the system may refuse another thread.
                threading.Thread(target=self._work, name="tool", daemon=True).start()
                self._threads += 1
                self._idle += 1
            self._pending += 1
        # Outside the lock, which the woken thread acquires first.
        self._jobs.put(job)

    def _forget(self) -> None:
        """Drops jobs that are no longer awaited, once they are the majority, so that they cannot pile up."""
        with self._lock:
            self._unwanted += 1
            if self._unwanted * 2 <= self._pending:
                return
            self._unwanted = 0
            for _ in range(self._jobs.qsize()):
                try:
                    job = self._jobs.get_nowait()
                except queue.Empty:
                    return
                if job[1]():
                    self._pending -= 1
                else:
                    self._jobs.put(job)

    def _work(self) -> None:
        pid = os.getpid()
        while True:
            try:
                work, is_unwanted = self._jobs.get(timeout=_IDLE_SECONDS)
            except queue.Empty:
                with self._lock:
                    if self._pending:
                        # A job was submitted for this thread while its wait timed out.
                        continue
                    self._idle -= 1
                    self._threads -= 1
                    return
            with self._lock:
                self._pending -= 1
                self._idle -= 1
            if not is_unwanted():
                work()
                if os.getpid() != pid:
                    # A tool has forked, and returned in the forked process, which has nothing else to do.
                    os._exit(1)
            # The job's objects must not live until the next job.
            del work, is_unwanted
            with self._lock:
                self._idle += 1


class _Handover:
    """Passes values from a generator's thread to the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, buffer: int) -> None:
        self.told: Told = _as_it_is
        self.values: deque[Any] = deque()
        self.room = threading.Semaphore(buffer)
        self.finished = False
        self.error: BaseException | None = None
        self._loop = loop
        self._stopped = False
        self._waiter: asyncio.Future[None] | None = None

    def produce(self, function: Callable[[], Iterator[Any]]) -> None:
        """Iterates; runs in the thread."""
        try:
            generator = function()
            try:
                while not self._stopped:
                    self.room.acquire()
                    if self._stopped:
                        break
                    try:
                        value = next(generator)
                    except StopIteration:
                        break
                    self.values.append(value)
                    _in_loop(self._loop, self._wake)
            finally:
                close(generator)
        except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to the one who reads
            self.error = self.told(error)
        self.finished = True
        _in_loop(self._loop, self._wake)

    async def wait(self) -> None:
        """Waits, in the loop, for a value or the end."""
        self._waiter = self._loop.create_future()
        if self.values or self.finished:
            return
        await self._waiter

    def is_stopped(self) -> bool:
        """Returns whether the reader has stopped."""
        return self._stopped

    def stop(self) -> None:
        """Stops the thread, from the loop."""
        self._stopped = True
        self.room.release()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def close(values: Any) -> None:
    """Closes an iterator, if it can be closed."""
    end = getattr(values, "close", None)
    if end is not None:
        end()


def _in_loop(loop: asyncio.AbstractEventLoop, callback: Callable[..., None], *args: Any) -> None:
    try:
        loop.call_soon_threadsafe(callback, *args)
    except RuntimeError:
        # The loop was closed while the thread was busy: nobody waits for it any more.
        return


def _settle(done: "asyncio.Future[tuple[Any, BaseException | None]]", result: Any, error: BaseException | None) -> None:
    if not done.done():
        done.set_result((result, error))


# Deeper than the hub allows nested calls; a call that claims to be deeper gets no further threads.
MAX_DEPTH = 64


class NestedThreads:
    """Threads for each depth of nested calls.

    A call that holds a thread may wait for its nested calls, which are deeper. So the deepest calls wait for no other,
    and every thread becomes free again. Threads start when they are needed and end when they are idle, so that an
    unused depth costs nothing.

    Args:
        max_threads: Maximum number of threads of one depth; more work of that depth waits in order.
    """

    def __init__(self, max_threads: int) -> None:
        self._max_threads = max_threads
        self._depths: list[ToolThreads] = [ToolThreads(max_threads)]

    @property
    def busy(self) -> int:
        """Threads that run a function now, orphaned ones included."""
        return sum(threads.busy for threads in self._depths)

    @property
    def limit(self) -> int:
        """Maximum number of threads of one depth."""
        return self._max_threads

    @property
    def fullest(self) -> tuple[int, int]:
        """How many functions run, and how many wait, at the depth where they are most."""
        return max((threads.busy, threads.waiting) for threads in self._depths)

    def at(self, depth: int) -> ToolThreads:
        """Returns the threads for calls with ``depth`` calls above them."""
        depth = min(depth, MAX_DEPTH)
        while len(self._depths) <= depth:
            self._depths.append(ToolThreads(self._max_threads))
        return self._depths[depth]
