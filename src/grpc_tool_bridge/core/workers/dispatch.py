"""Chooses the worker of a call, and handles calls whose worker was lost."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Callable, Iterable
from functools import partial
from typing import Protocol

from grpc_tool_bridge.aio.eager import EagerTasks
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.calls import HubCall
from grpc_tool_bridge.core.interfaces import CallObserver
from grpc_tool_bridge.core.registered_tool import RegisteredTool, nobody_runs
from grpc_tool_bridge.core.workers.addressing import addressed
from grpc_tool_bridge.core.workers.reports import report_of
from grpc_tool_bridge.core.workers.worker import Worker
from grpc_tool_bridge.errors import ResourceExhaustedError, UnavailableError
from grpc_tool_bridge.link.calls import WorkerCall, WorkerLostError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import LinkEvent, Progress
from grpc_tool_bridge.rpc.buffers import Payload

# A call that has lost this many workers may be what crashed them, so it is not retried.
MAX_LOSSES = 3

# Called with the serialized answer, or with the error.
Answered = Callable[[bytes | None, BaseException | None], None]


class Crew(Protocol):
    """The workers of one tool.

    Attributes:
        workers: The connected ones.
        waiting: The calls that wait for one of them, in the order in which they came.
    """

    workers: list[Worker]
    waiting: "OrderedDict[WaitingCall, None]"

    def choose(self, call: HubCall) -> Worker | None:
        """Returns the worker for a call; None if the call has to wait."""


class Dispatcher:
    """Sends calls to workers. If all workers of a tool are busy, its calls wait in order.

    Args:
        settings: The hub's settings.
        may_return: Returns whether a lost worker of a tool may still return; until then, calls of the tool wait.

    Attributes:
        observer: Notified when a call begins to wait, is sent to a worker, or its tool reports something, if set.
    """

    def __init__(self, settings: Settings, may_return: Callable[[RegisteredTool], bool]) -> None:
        self.settings = settings
        self.observer: CallObserver | None = None
        self._may_return = may_return
        # The tools with waiting calls, in the order of their turns.
        self._waiting: dict[Crew, None] = {}
        # Calls with a callback that were sent to another worker after theirs was lost.
        self._tasks = EagerTasks()

    @property
    def has_waiting(self) -> bool:
        """Whether calls wait for a worker."""
        return bool(self._waiting)

    async def aclose(self) -> None:
        """Cancels the calls that still run."""
        await self._tasks.aclose()

    # ---------------------------------------------------------------------------------------------------- calls

    async def call(self, call: HubCall, crew: Crew, payload: Payload, *, losses: int = 0) -> Payload:
        """Runs one call on a worker.

        Args:
            call: The call; it has its permits.
            crew: The workers of its tool.
            payload: The serialized ToolCallRequest.
            losses: Number of workers that the call has lost already.

        Returns:
            The serialized ToolCallResponse.

        Raises:
            UnavailableError: There is no worker, or it was lost and the call must not be repeated.
            ToolBridgeError: The worker refused the call.
        """
        while True:
            worker = crew.choose(call) or await self._wait(call, crew, began=losses > 0)
            remote = call.remote = WorkerCall(call, streaming=False, told=self.told)
            call.worker = worker
            if self.observer is not None:
                self.observer.moved(call)
            try:
                worker.link.send(remote, addressed(call.tool, worker, payload) if call.tool.version else payload)
                return await remote.answer()
            except WorkerLostError as lost:
                losses += lost.began
                check_repeatable(call, lost, losses)
                call.worker = None
            except (asyncio.CancelledError, GeneratorExit):
                worker.link.cancel(remote)
                raise

    async def stream(self, call: HubCall, crew: Crew, payload: Payload) -> AsyncGenerator[Payload, None]:
        """Runs one stream on a worker; yields its serialized chunks. Arguments and errors as for ``call``."""
        losses = 0
        while True:
            worker = crew.choose(call) or await self._wait(call, crew, began=losses > 0)
            remote = call.remote = WorkerCall(call, streaming=True, told=self.told)
            call.worker = worker
            if self.observer is not None:
                self.observer.moved(call)
            link = worker.link
            try:
                link.send(remote, addressed(call.tool, worker, payload) if call.tool.version else payload)
                while (chunk := await remote.read()) is not None:
                    yield chunk
                    link.grant(remote, len(chunk))
            except WorkerLostError as lost:
                losses += lost.began
                if remote.has_arrived:
                    raise
                check_repeatable(call, lost, losses)
                call.worker = None
            else:
                return
            finally:
                # Does nothing if the call has ended.
                link.cancel(remote)

    def repeat(
        self, call: HubCall, crew: Crew, payload: Payload, losses: int, answered: Answered
    ) -> "asyncio.Task[None]":
        """Sends a call to another worker after ``losses`` losses; ``answered`` is called with the outcome."""
        call.worker = None
        return self._tasks.spawn(self.call(call, crew, payload, losses=losses), answered)

    def told(self, call: HubCall, event: LinkEvent) -> None:
        """Handles progress and log records of a worker's tool."""
        found = report_of(call.tool.name, event)
        if isinstance(found, Progress):
            call.progress = found
        if found is not None and self.observer is not None:
            self.observer.told(call, found)

    # --------------------------------------------------------------------------------------------- which worker

    async def _wait(self, call: HubCall, crew: Crew, *, began: bool) -> Worker:
        tool, workers, queue = call.tool, crew.workers, crew.waiting
        if not workers and not self._may_return(tool):
            raise nobody_runs(tool.name)
        if len(queue) >= self.settings.max_worker_waiting:
            raise ResourceExhaustedError(
                f"the workers of {tool.name} are busy and {len(queue):,} calls wait for them, which is the limit; "
                "call again later, or start more workers",
                details={"retry_after": "1"},
            )
        waiting = WaitingCall()
        queue[waiting] = None
        self._waiting.setdefault(crew)
        self._follow(workers)
        if not began:
            call.wait_for("a worker, all of which are busy" if workers else "a worker to come back")
            if self.observer is not None:
                self.observer.moved(call)
        try:
            worker = await waiting.worker
        except asyncio.CancelledError:
            if not waiting.worker.cancelled() and waiting.worker.exception() is None:
                waiting.worker.result().reserved -= 1
            queue.pop(waiting, None)
            if not queue:
                self._waiting.pop(crew, None)
            self.serve_waiting()
            raise
        worker.reserved -= 1
        call.stop_waiting()
        call.refuse_ended()
        if worker.gone:
            # Room that became free meanwhile is handed only to calls that wait.
            return crew.choose(call) or await self._wait(call, crew, began=began)
        return worker

    def serve_waiting(self) -> None:
        """Sends waiting calls to workers with room. Tools take turns, so that a busy tool does not delay the others."""
        crews = deque(self._waiting)
        while crews:
            crew = crews.popleft()
            free = [worker for worker in crew.workers if worker.has_room]
            if not free:
                self._follow(crew.workers)
                continue
            worker = min(free, key=lambda worker: worker.active)
            del self._waiting[crew]
            waiting, _ = crew.waiting.popitem(last=False)
            if not waiting.worker.done():
                worker.reserved += 1
                waiting.worker.set_result(worker)
            if crew.waiting:
                self._waiting[crew] = None
                crews.append(crew)

    def refuse_waiting(self, crew: Crew, tool: RegisteredTool) -> None:
        """Fails the waiting calls of a tool that no worker offers any more."""
        self._waiting.pop(crew, None)
        while crew.waiting:
            crew.waiting.popitem(last=False)[0].refuse(nobody_runs(tool.name))

    def _follow(self, workers: Iterable[Worker]) -> None:
        """Checks for room after each frame of these workers' links, while calls wait."""
        for worker in workers:
            if worker.link.on_writable is None:
                worker.link.on_writable = partial(self._on_writable, worker)

    def _on_writable(self, worker: Worker) -> None:
        if not self._waiting:
            worker.link.on_writable = None
        elif worker.has_room:
            self.serve_waiting()


class WaitingCall:
    """A call that waits for a worker."""

    __slots__ = ("worker",)

    def __init__(self) -> None:
        self.worker: asyncio.Future[Worker] = asyncio.get_running_loop().create_future()

    def refuse(self, error: UnavailableError) -> None:
        """Ends the wait with ``error``."""
        if not self.worker.done():
            self.worker.set_exception(error)


def check_repeatable(call: HubCall, lost: WorkerLostError, losses: int) -> None:
    """Raises UnavailableError if a call whose worker was lost must not be repeated."""
    if lost.began and not call.tool.spec.idempotent:
        raise UnavailableError(
            f"{lost.message}; {call.tool.name} is not marked idempotent, so whether it took effect is not known"
        )
    if losses >= MAX_LOSSES:
        raise UnavailableError(f"{lost.message}; the call has lost {losses} workers and is not retried")
