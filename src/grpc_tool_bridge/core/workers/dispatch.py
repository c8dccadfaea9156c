"""Chooses the worker of a call, and handles calls whose worker was lost."""

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable
from functools import partial
from typing import Protocol

from grpc_tool_bridge.aio.eager import EagerTasks
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.calls import HubCall
from grpc_tool_bridge.core.fair_queue import FairQueue
from grpc_tool_bridge.core.interfaces import CallObserver
from grpc_tool_bridge.core.registered_tool import NoWorkerError, RegisteredTool, nobody_runs
from grpc_tool_bridge.core.workers.addressing import addressed
from grpc_tool_bridge.core.workers.peer import PeerWorker, number_above
from grpc_tool_bridge.core.workers.reports import report_of
from grpc_tool_bridge.core.workers.worker import Worker
from grpc_tool_bridge.errors import ResourceExhaustedError, ToolBridgeError, UnavailableError
from grpc_tool_bridge.link.calls import WorkerCall, WorkerLostError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import LinkEvent, Progress
from grpc_tool_bridge.rpc.buffers import Payload
from grpc_tool_bridge.rpc.callers import caller_text

# A call that has lost this many workers may be what crashed them, so it is not retried.
MAX_LOSSES = 3

# Called with the serialized answer, or with the error.
Answered = Callable[[bytes | None, BaseException | None], None]


class Crew(Protocol):
    """The workers of one tool.

    Attributes:
        workers: The connected ones of this hub.
        peers: Other hubs that offer the tool.
        waiting: The calls that wait for one of them, in turns of those who make them.
        guests: The calls of other hubs that wait for a worker of this one.
    """

    workers: list[Worker]
    peers: list[PeerWorker]
    waiting: "FairQueue[WaitingCall]"
    guests: "FairQueue[WaitingCall]"

    def choose(self, call: HubCall) -> Worker | None:
        """Returns the worker for a call; None if the call has to wait."""

    def free_peer(self) -> PeerWorker | None:
        """Returns the other hub that has most room; None if none has any."""


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
        self._claims = frozenset(settings.forwarded_claims)
        # The tools with waiting calls, in the order of their turns.
        self._waiting: dict[Crew, None] = {}
        self._numbers = itertools.count()
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
            remote = call.remote = self._remote(call, worker, crew, streaming=False)
            call.worker = worker
            if self.observer is not None:
                self.observer.moved(call)
            try:
                worker.link.send(remote, addressed(call.tool, worker, payload) if call.tool.version else payload)
                return await remote.answer()
            except WorkerLostError as lost:
                losses += lost.began
                check_lost(call, crew, worker, lost)
                check_repeatable(call, lost, losses)
                call.worker = None
            except (asyncio.CancelledError, GeneratorExit):
                worker.link.cancel(remote)
                raise
            finally:
                if isinstance(worker, PeerWorker):
                    self._ended_at(worker, crew)

    async def stream(self, call: HubCall, crew: Crew, payload: Payload) -> AsyncGenerator[Payload, None]:
        """Runs one stream on a worker; yields its serialized chunks. Arguments and errors as for ``call``."""
        losses = 0
        while True:
            worker = crew.choose(call) or await self._wait(call, crew, began=losses > 0)
            remote = call.remote = self._remote(call, worker, crew, streaming=True)
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
                check_lost(call, crew, worker, lost)
                check_repeatable(call, lost, losses)
                call.worker = None
            else:
                return
            finally:
                # Does nothing if the call has ended.
                link.cancel(remote)
                if isinstance(worker, PeerWorker):
                    self._ended_at(worker, crew)

    def _remote(self, call: HubCall, worker: Worker, crew: Crew, *, streaming: bool) -> WorkerCall:
        """Makes the request to a worker."""
        caller = self.caller_of(call, worker)
        if not isinstance(worker, PeerWorker):
            return WorkerCall(call, streaming=streaming, told=self.told, caller=caller)
        above = number_above(call, worker)
        remote = WorkerCall(call, streaming=streaming, told=self.told, above=above, at_peer=True, caller=caller)
        worker.begin(crew)
        return remote

    def caller_of(self, call: HubCall, worker: Worker) -> str:
        """Returns what a worker is told of the caller, see ``WorkerCall``; raises ValidationError if it is too long."""
        if call.principal is None or not worker.takes_caller:
            return ""
        # A hub of the cluster decides by it, so it gets all.
        return caller_text(call.principal, call.via, None if worker.is_peer else self._claims)

    def _ended_at(self, peer: PeerWorker, crew: Crew) -> None:
        peer.end(crew)
        if self._waiting:
            # The frame with the answer came before the room was counted.
            self.serve_waiting()

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
        if found is not None and call.origin is not None:
            call.origin.link.report(call.origin.number, found)
        if found is not None and self.observer is not None:
            self.observer.told(call, found)

    # --------------------------------------------------------------------------------------------- which worker

    async def _wait(self, call: HubCall, crew: Crew, *, began: bool) -> Worker:
        tool, is_guest = call.tool, call.origin is not None
        workers: list[Worker] = crew.workers if is_guest else [*crew.workers, *crew.peers]
        queue = crew.guests if is_guest else crew.waiting
        if not workers and not self._may_return(tool):
            raise _nobody_for(call)
        if len(queue) >= self.settings.max_worker_waiting:
            full = ResourceExhaustedError(
                f"the workers of {tool.name} are busy and {len(queue):,} calls wait for them, which is the limit; "
                "call again later, or start more workers",
                details={"retry_after": "1"},
            )
            displaced = queue.displace(call.payer)
            if displaced is None:
                raise full
            displaced.refuse(full)
        waiting = WaitingCall(next(self._numbers))
        queue.append(waiting, call.payer)
        self._waiting.setdefault(crew)
        self._follow(workers)
        if not began:
            call.wait_for("a worker, all of which are busy" if workers else "a worker to come back")
            if self.observer is not None:
                self.observer.moved(call)
        worker = await self._given(call, crew, waiting, queue)
        worker.reserved -= 1
        call.stop_waiting()
        call.refuse_ended()
        if worker.gone:
            # Room that became free meanwhile is handed only to calls that wait.
            return crew.choose(call) or await self._wait(call, crew, began=began)
        return worker

    async def _given(
        self, call: HubCall, crew: Crew, waiting: "WaitingCall", queue: "FairQueue[WaitingCall]"
    ) -> Worker:
        """Returns the worker that a waiting call is given."""
        if call.trace is not None:
            call.trace.waits()
        try:
            return await waiting.worker
        except asyncio.CancelledError:
            if not waiting.worker.cancelled() and waiting.worker.exception() is None:
                waiting.worker.result().reserved -= 1
            queue.remove(waiting)
            if not crew.waiting and not crew.guests:
                self._waiting.pop(crew, None)
            self.serve_waiting()
            raise
        except NoWorkerError:
            raise _nobody_for(call) from None
        finally:
            if call.trace is not None:
                call.trace.waited()

    def serve_waiting(self) -> None:
        """Sends waiting calls to workers with room. Tools take turns, so that a busy tool does not delay the others."""
        crews = deque(self._waiting)
        while crews:
            crew = crews.popleft()
            found = _next_of(crew)
            if found is None:
                self._follow([*crew.workers, *crew.peers] if crew.peers else crew.workers)
                continue
            worker, queue = found
            del self._waiting[crew]
            waiting = queue.take()
            if not waiting.worker.done():
                worker.reserved += 1
                waiting.worker.set_result(worker)
            if crew.waiting or crew.guests:
                self._waiting[crew] = None
                crews.append(crew)

    def refuse_waiting(self, crew: Crew, tool: RegisteredTool) -> None:
        """Fails the waiting calls of a tool that no worker offers any more."""
        self._waiting.pop(crew, None)
        for queue in (crew.waiting, crew.guests):
            while queue:
                queue.take().refuse(nobody_runs(tool.name))

    def _follow(self, workers: Iterable[Worker]) -> None:
        """Checks for room after each frame of these workers' links, while calls wait."""
        for worker in workers:
            if worker.link.on_writable is None:
                worker.link.on_writable = partial(self._on_writable, worker)

    def _on_writable(self, worker: Worker) -> None:
        if not self._waiting:
            worker.link.on_writable = None
        elif worker.has_room:
            # A peer may have no room for the tool that calls wait for; that is found there.
            self.serve_waiting()


class WaitingCall:
    """A call that waits for a worker.

    Args:
        number: Its place in the order of all that wait.
    """

    __slots__ = ("number", "worker")

    def __init__(self, number: int) -> None:
        self.number = number
        self.worker: asyncio.Future[Worker] = asyncio.get_running_loop().create_future()

    def refuse(self, error: ToolBridgeError) -> None:
        """Ends the wait with ``error``."""
        if not self.worker.done():
            self.worker.set_exception(error)


def _next_of(crew: Crew) -> "tuple[Worker, FairQueue[WaitingCall]] | None":
    """Returns the worker that has room, and the queue whose first call it gets; None if no call can have one.

    A call of another hub waits only for a worker of this one: it takes no second hop.
    """
    free = [worker for worker in crew.workers if worker.has_room]
    if free:
        worker = min(free, key=lambda worker: worker.active)
        if crew.waiting and crew.guests:
            is_older = crew.guests.first().number < crew.waiting.first().number
            return worker, crew.guests if is_older else crew.waiting
        return worker, crew.waiting or crew.guests
    peer = crew.free_peer() if crew.waiting else None
    return None if peer is None else (peer, crew.waiting)


def _nobody_for(call: HubCall) -> UnavailableError:
    """Returns the error for a call of a tool that no worker offers; the hub of a guest's call chooses again."""
    error = nobody_runs(call.tool.name)
    if call.origin is not None:
        call.lost = WorkerLostError(error.message, began=False)
    return error


def check_lost(call: HubCall, crew: Crew, worker: Worker, lost: WorkerLostError) -> None:
    """Notes a loss where other hubs are concerned; raises it if the hub of the call has to choose again."""
    if isinstance(worker, PeerWorker) and not lost.began:
        # It tells what it offers in a moment.
        worker.set_limit(crew, 0)
    if call.origin is not None and not crew.workers:
        call.lost = lost
        raise lost


def check_repeatable(call: HubCall, lost: WorkerLostError, losses: int) -> None:
    """Raises UnavailableError if a call whose worker was lost must not be repeated."""
    if lost.began and not call.tool.spec.idempotent:
        raise UnavailableError(
            f"{lost.message}; {call.tool.name} is not marked idempotent, so whether it took effect is not known"
        )
    if losses >= MAX_LOSSES:
        raise UnavailableError(f"{lost.message}; the call has lost {losses} workers and is not retried")
