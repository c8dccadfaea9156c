"""Which worker gets a call, and what becomes of a call whose worker is lost."""

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
from grpc_tool_bridge.core.workers.worker import Worker
from grpc_tool_bridge.errors import ResourceExhaustedError, UnavailableError
from grpc_tool_bridge.link.calls import WorkerCall, WorkerLostError

# A call that was with so many workers when they were lost may be what ended them; no further one gets it.
MAX_LOSSES = 3

# Called with the bytes of an answer, or with the error.
Answered = Callable[[bytes | None, BaseException | None], None]


class Crew(Protocol):
    """The workers of one tool.

    Attributes:
        workers: Those that are there.
        places: The calls that wait for one of them, in the order in which they came.
    """

    workers: list[Worker]
    places: "OrderedDict[Place, None]"

    def choose(self, call: HubCall) -> Worker | None:
        """Returns who gets the call; None where it has to wait."""


class Dispatcher:
    """Gives calls to workers. A call that finds none with room waits, in order.

    Args:
        settings: The hub's.
        may_return: Tells whether a worker may come back that offered a tool; its calls wait then.

    Attributes:
        observer: Told of calls that begin to wait or were given to a worker; None: nobody is.
    """

    def __init__(self, settings: Settings, may_return: Callable[[RegisteredTool], bool]) -> None:
        self.settings = settings
        self.observer: CallObserver | None = None
        self._may_return = may_return
        # Of the tools whose calls wait, in the order of their turns.
        self._waiting: dict[Crew, None] = {}
        # Calls that are not awaited, and went to another worker when theirs was lost.
        self._tasks = EagerTasks()

    @property
    def has_waiting(self) -> bool:
        """Whether calls wait for a worker."""
        return bool(self._waiting)

    async def aclose(self) -> None:
        """Ends what runs."""
        await self._tasks.aclose()

    # ---------------------------------------------------------------------------------------------------- calls

    async def call(self, call: HubCall, crew: Crew, payload: bytes, *, losses: int = 0) -> bytes:
        """Has a worker run one call.

        Args:
            call: The call; it was admitted.
            crew: The workers of its tool.
            payload: The serialized ToolCallRequest.
            losses: Workers that it was with when they were lost.

        Returns:
            The serialized ToolCallResponse.

        Raises:
            UnavailableError: There is no worker, or it was lost and the call must not be repeated.
            ToolBridgeError: The worker refused the call.
        """
        while True:
            worker = crew.choose(call) or await self._wait(call, crew, began=losses > 0)
            remote = WorkerCall(call, streaming=False)
            call.worker = worker
            if self.observer is not None:
                self.observer.moved(call)
            try:
                worker.link.send(remote, payload)
                return await remote.answer()
            except WorkerLostError as lost:
                losses += lost.began
                check_repeatable(call, lost, losses)
            except (asyncio.CancelledError, GeneratorExit):
                worker.link.cancel(remote)
                raise
            finally:
                call.worker = None

    async def stream(self, call: HubCall, crew: Crew, payload: bytes) -> AsyncGenerator[bytes, None]:
        """Has a worker run one stream; yields its serialized chunks. Arguments and errors as of ``call``."""
        losses = 0
        while True:
            worker = crew.choose(call) or await self._wait(call, crew, began=losses > 0)
            remote = WorkerCall(call, streaming=True)
            call.worker = worker
            if self.observer is not None:
                self.observer.moved(call)
            link = worker.link
            try:
                link.send(remote, payload)
                while (chunk := await remote.read()) is not None:
                    yield chunk
                    link.grant(remote, len(chunk))
            except WorkerLostError as lost:
                losses += lost.began
                if remote.has_arrived:
                    raise
                check_repeatable(call, lost, losses)
            else:
                return
            finally:
                call.worker = None
                # Nothing, where it has ended.
                link.cancel(remote)

    def repeat(
        self, call: HubCall, crew: Crew, payload: bytes, losses: int, answered: Answered
    ) -> "asyncio.Task[None]":
        """Gives a call that nobody awaits to another worker; ``answered`` is called with the outcome."""
        call.worker = None
        return self._tasks.spawn(self.call(call, crew, payload, losses=losses), answered)

    # --------------------------------------------------------------------------------------------- which worker

    async def _wait(self, call: HubCall, crew: Crew, *, began: bool) -> Worker:
        tool, workers, queue = call.tool, crew.workers, crew.places
        if not workers and not self._may_return(tool):
            raise nobody_runs(tool.name)
        if len(queue) >= self.settings.max_worker_waiting:
            raise ResourceExhaustedError(
                f"the workers of {tool.name} are busy and {len(queue):,} calls wait for them, which is the limit; "
                "call again later, or start more workers",
                details={"retry_after": "1"},
            )
        place = Place()
        queue[place] = None
        self._waiting.setdefault(crew)
        self._follow(workers)
        if not began:
            call.wait_for("a worker, all of which are busy" if workers else "a worker to come back")
            if self.observer is not None:
                self.observer.moved(call)
        try:
            worker = await place.worker
        except asyncio.CancelledError:
            if not place.worker.cancelled() and place.worker.exception() is None:
                place.worker.result().reserved -= 1
            queue.pop(place, None)
            if not queue:
                self._waiting.pop(crew, None)
            self.serve_waiting()
            raise
        worker.reserved -= 1
        call.begin()
        call.refuse_ended()
        # Nobody hands on what became free before it waits again.
        return crew.choose(call) or await self._wait(call, crew, began=began) if worker.gone else worker

    def serve_waiting(self) -> None:
        """Hands on room that is free. The tools take turns, so that those of a busy one hold up no others."""
        crews = deque(self._waiting)
        while crews:
            crew = crews.popleft()
            free = [worker for worker in crew.workers if worker.has_room]
            if not free:
                self._follow(crew.workers)
                continue
            worker = min(free, key=lambda worker: worker.active)
            del self._waiting[crew]
            place, _ = crew.places.popitem(last=False)
            if not place.worker.done():
                worker.reserved += 1
                place.worker.set_result(worker)
            if crew.places:
                self._waiting[crew] = None
                crews.append(crew)

    def refuse_waiting(self, crew: Crew, tool: RegisteredTool) -> None:
        """Ends the wait of the calls of a tool that nobody will run."""
        self._waiting.pop(crew, None)
        while crew.places:
            crew.places.popitem(last=False)[0].refuse(nobody_runs(tool.name))

    def _follow(self, workers: Iterable[Worker]) -> None:
        """Looks for room after each frame of these workers' links, for as long as calls wait."""
        for worker in workers:
            if worker.link.on_writable is None:
                worker.link.on_writable = partial(self._on_writable, worker)

    def _on_writable(self, worker: Worker) -> None:
        if not self._waiting:
            worker.link.on_writable = None
        elif worker.has_room:
            self.serve_waiting()


class Place:
    """A call that waits for a worker."""

    __slots__ = ("worker",)

    def __init__(self) -> None:
        self.worker: asyncio.Future[Worker] = asyncio.get_running_loop().create_future()

    def refuse(self, error: UnavailableError) -> None:
        """Ends the wait with an error."""
        if not self.worker.done():
            self.worker.set_exception(error)


def check_repeatable(call: HubCall, lost: WorkerLostError, losses: int) -> None:
    """Raises where a call whose worker was lost must not go to another one."""
    if lost.began and not call.tool.spec.idempotent:
        raise UnavailableError(
            f"{lost.message}; {call.tool.name} is not marked idempotent, so whether it took effect is not known"
        )
    if losses >= MAX_LOSSES:
        raise UnavailableError(f"{lost.message}; it was the call's worker number {losses}, and no other one gets it")
