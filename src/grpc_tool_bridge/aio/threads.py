"""Threads for synchronous tools: daemons, capped, never waited for."""

import asyncio
import contextvars
import os
import queue
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any

from grpc_tool_bridge.aio import forks

# A thread that had nothing to do for so many seconds ends.
_IDLE_SECONDS = 30.0

# What to do, and whether nobody waits for it any more.
Job = tuple[Callable[[], None], Callable[[], bool]]

# What is made of an exception in the thread in which it was raised.
Told = Callable[[BaseException], BaseException]


def _as_it_is(error: BaseException) -> BaseException:
    return error


class ToolThreads:
    """Runs synchronous functions beside the event loop.

    A thread cannot be stopped from outside: one whose caller has gone runs on until its function returns, and counts
    as long as it does. Threads are daemons, so one that never returns does not hold up the end of the process.

    Args:
        max_threads: Threads at once; more work waits in order.
    """

    def __init__(self, max_threads: int) -> None:
        self._max_threads = max_threads
        self._begin()
        forks.watch(self)

    def _begin(self) -> None:
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        # Threads without a job, and jobs without a thread; both change together, so that they always compare.
        self._idle = 0
        self._pending = 0
        # Jobs of ``_pending`` that nobody waits for any more, at most.
        self._unwanted = 0

    def forked(self) -> None:
        """Forgets, in a forked process, the threads that only the other one has."""
        self._begin()

    @property
    def busy(self) -> int:
        """Threads that run a function now, orphaned ones included."""
        with self._lock:
            return self._threads - self._idle

    async def run(self, function: Callable[[], Any], told: Told = _as_it_is) -> Any:
        """Runs ``function`` in a thread and returns what it returns; a cancelled wait leaves the thread behind.

        Args:
            function: What runs.
            told: Called in the thread with what it raised; gives what is raised here.
        """
        loop = asyncio.get_running_loop()
        # An exception is handed over as a value: a future that fails would throw it into who waits, where a
        # GeneratorExit could not be told from the end of the wait.
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
        """Iterates in one thread and yields what comes; the thread is at most ``buffer`` values ahead of the reader.

        Other arguments as of ``run``.
        """
        handover = _Handover(asyncio.get_running_loop(), buffer)
        handover.told = told
        context = contextvars.copy_context()
        self._submit((lambda: context.run(handover.produce, function), handover.is_stopped))
        try:
            while True:
                while True:
                    # Asked first: what came before the end is then seen, too.
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
                # Counted once it is there: the system may refuse another thread.
                threading.Thread(target=self._work, name="tool", daemon=True).start()
                self._threads += 1
                self._idle += 1
            self._pending += 1
        # Outside the lock, which the thread that it wakes takes first.
        self._jobs.put(job)

    def _forget(self) -> None:
        """Drops jobs that nobody waits for, once they are most: threads that never return must not heap them up."""
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
                        # A job was counted on this thread while its wait ran out.
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
                    # A tool has forked, and the other process has left it: it has nothing else to do.
                    os._exit(1)
            # What the job holds must not live until the next one comes.
            del work, is_unwanted
            with self._lock:
                self._idle += 1


class _Handover:
    """Values on their way from a generator's thread to the loop."""

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
        """Runs in the thread."""
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
        """Waits in the loop until there is something to see."""
        self._waiter = self._loop.create_future()
        if self.values or self.finished:
            return
        await self._waiter

    def is_stopped(self) -> bool:
        """Returns whether nobody reads any more."""
        return self._stopped

    def stop(self) -> None:
        """Tells the thread, in the loop, that nobody reads any more."""
        self._stopped = True
        self.room.release()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def close(values: Any) -> None:
    """Closes what iterates, where it can be closed."""
    end = getattr(values, "close", None)
    if end is not None:
        end()


def _in_loop(loop: asyncio.AbstractEventLoop, callback: Callable[..., None], *args: Any) -> None:
    try:
        loop.call_soon_threadsafe(callback, *args)
    except RuntimeError:
        # The loop was closed while the thread was at work: nobody waits for it any more.
        return


def _settle(done: "asyncio.Future[tuple[Any, BaseException | None]]", result: Any, error: BaseException | None) -> None:
    if not done.done():
        done.set_result((result, error))


# Deeper than the hub lets tools call one another; whoever says that a call is deeper still gets no further threads.
MAX_DEPTH = 64


class NestedThreads:
    """As many threads for each depth of nested calls.

    A call that holds a thread may wait for calls that it has made, which are deeper. So the deepest calls wait for
    nobody, and every thread becomes free again. Threads begin when they are wanted and end when they are idle, so that
    a depth that nobody uses costs nothing.

    Args:
        max_threads: Threads at once of one depth; more work of that depth waits in order.
    """

    def __init__(self, max_threads: int) -> None:
        self._max_threads = max_threads
        self._depths: list[ToolThreads] = [ToolThreads(max_threads)]

    @property
    def busy(self) -> int:
        """Threads that run a function now, orphaned ones included."""
        return sum(threads.busy for threads in self._depths)

    def at(self, depth: int) -> ToolThreads:
        """Returns the threads of calls that have ``depth`` calls above them."""
        depth = min(depth, MAX_DEPTH)
        while len(self._depths) <= depth:
            self._depths.append(ToolThreads(self._max_threads))
        return self._depths[depth]
