"""Which worker gets a call, and what becomes of a call whose worker is lost."""

import asyncio
import math
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Callable, Collection

from grpc_tool_bridge.aio.eager import EagerTasks
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.calls import HubCall
from grpc_tool_bridge.core.interfaces import CallObserver, Cancellable
from grpc_tool_bridge.core.registered_tool import RegisteredTool, nobody_runs
from grpc_tool_bridge.core.workers.worker import Worker
from grpc_tool_bridge.errors import ResourceExhaustedError, ToolBridgeError, UnavailableError
from grpc_tool_bridge.link.calls import WorkerCall, WorkerLostError

# A call that was with so many workers when they were lost may be what ended them; no further one gets it.
MAX_LOSSES = 3

# Called with the bytes of an answer, or with the error.
Answered = Callable[[bytes | None, BaseException | None], None]


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
        # By tool, in the order in which they came, with the workers of the tool.
        self._waiting: dict[RegisteredTool, tuple[list[Worker], OrderedDict[_Place, None]]] = {}
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

    async def call(self, call: HubCall, workers: list[Worker], payload: bytes, *, losses: int = 0) -> bytes:
        """Has a worker run one call.

        Args:
            call: The call; it was admitted.
            workers: Those of its tool.
            payload: The serialized ToolCallRequest.
            losses: Workers that it was with when they were lost.

        Returns:
            The serialized ToolCallResponse.

        Raises:
            UnavailableError: There is no worker, or it was lost and the call must not be repeated.
            ToolBridgeError: The worker refused the call.
        """
        while True:
            worker = self._choose(call, workers) or await self._wait(call, workers, began=losses > 0)
            remote = WorkerCall(call, streaming=False)
            call.worker = worker
            if self.observer is not None:
                self.observer.moved(call)
            try:
                worker.link.start(remote, payload)
                return await remote.answer()
            except WorkerLostError as lost:
                losses += lost.began
                _check_repeatable(call, lost, losses)
            except (asyncio.CancelledError, GeneratorExit):
                worker.link.cancel(remote)
                raise
            finally:
                call.worker = None

    async def stream(self, call: HubCall, workers: list[Worker], payload: bytes) -> AsyncGenerator[bytes, None]:
        """Has a worker run one stream; yields its serialized chunks. Arguments and errors as of ``call``."""
        losses = 0
        while True:
            worker = self._choose(call, workers) or await self._wait(call, workers, began=losses > 0)
            remote = WorkerCall(call, streaming=True)
            call.worker = worker
            if self.observer is not None:
                self.observer.moved(call)
            link = worker.link
            try:
                link.start(remote, payload)
                while (chunk := await remote.read()) is not None:
                    yield chunk
                    link.grant(remote, len(chunk))
            except WorkerLostError as lost:
                losses += lost.began
                if remote.has_arrived:
                    raise
                _check_repeatable(call, lost, losses)
            else:
                return
            finally:
                call.worker = None
                # Nothing, where it has ended.
                link.cancel(remote)

    def try_call(self, call: HubCall, workers: list[Worker], payload: bytes, answered: Answered) -> Cancellable | None:
        """Sends a call to a worker that has room; None where none has.

        Args:
            call: As of ``call``.
            workers: Likewise.
            payload: Likewise.
            answered: Called, later, with the outcome; not after ``cancel``.
        """
        worker = self._choose(call, workers)
        if worker is None:
            return None
        direct = _DirectCall(call, worker, workers, payload, self, answered)
        call.worker = worker
        worker.link.start(direct, payload)
        return direct

    def repeat(self, direct: "_DirectCall", losses: int) -> "asyncio.Task[None]":
        """Gives a call that nobody awaits to another worker."""
        direct.owner.worker = None
        work = self.call(direct.owner, direct.workers, direct.payload, losses=losses)
        return self._tasks.spawn(work, direct.repeated)

    # --------------------------------------------------------------------------------------------- which worker

    def _choose(self, call: HubCall, workers: list[Worker]) -> Worker | None:
        """Returns the worker with the fewest calls among those with room; None where others wait for one, or none has.

        Of several with as few it is the one that had its last call longest ago.
        """
        best: Worker | None = None
        if call.tool not in self._waiting:
            fewest = math.inf
            for worker in workers:
                active = worker.link.open_calls + worker.reserved
                if active < worker.capacity and active < fewest and not worker.suspect:
                    best, fewest = worker, active
        if best is None and call.parent is not None:
            # It has the permit of the call that made it, so that calls never wait for themselves.
            best = next((worker for worker in workers if not worker.suspect and _runs_above(call, worker)), None)
        if best is not None and len(workers) > 1:
            workers.remove(best)
            workers.append(best)
        return best

    async def _wait(self, call: HubCall, workers: list[Worker], *, began: bool) -> Worker:
        tool = call.tool
        if not workers and not self._may_return(tool):
            raise nobody_runs(tool.name)
        _, queue = self._waiting.setdefault(tool, (workers, OrderedDict()))
        if len(queue) >= self.settings.max_worker_waiting:
            raise ResourceExhaustedError(
                f"the workers of {tool.name} are busy and {len(queue):,} calls wait for them, which is the limit; "
                "call again later, or start more workers",
                details={"retry_after": "1"},
            )
        place = _Place()
        queue[place] = None
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
            if not queue and tool in self._waiting and self._waiting[tool][1] is queue:
                del self._waiting[tool]
            self.serve_waiting()
            raise
        worker.reserved -= 1
        call.begin()
        call.refuse_ended()
        # Nobody hands on what became free before it waits again.
        return self._choose(call, workers) or await self._wait(call, workers, began=began) if worker.gone else worker

    def serve_waiting(self) -> None:
        """Hands on room that is free. The tools take turns, so that those of a busy one hold up no others."""
        tools = deque(self._waiting)
        while tools:
            tool = tools.popleft()
            workers, queue = self._waiting[tool]
            free = [worker for worker in workers if worker.has_room]
            if not free:
                continue
            worker = min(free, key=lambda worker: worker.active)
            del self._waiting[tool]
            place, _ = queue.popitem(last=False)
            if not place.worker.done():
                worker.reserved += 1
                place.worker.set_result(worker)
            if queue:
                self._waiting[tool] = (workers, queue)
                tools.append(tool)

    def refuse_waiting(self, tools: Collection[RegisteredTool]) -> None:
        """Ends the wait of the calls of tools that nobody will run."""
        for tool in tools:
            _, queue = self._waiting.pop(tool, (None, ()))
            for place in queue:
                place.refuse(nobody_runs(tool.name))


class _DirectCall(WorkerCall):
    """A call whose end is called back.

    Args:
        owner: The call as the hub has it.
        worker: Who runs it.
        workers, payload, answered: As of ``Dispatcher.try_call``.
        dispatcher: Gives it to another worker.
    """

    owner: HubCall
    _repeating: "asyncio.Task[None] | None" = None

    def __init__(
        self,
        owner: HubCall,
        worker: Worker,
        workers: list[Worker],
        payload: bytes,
        dispatcher: Dispatcher,
        answered: Answered,
    ) -> None:
        super().__init__(owner, streaming=False)
        self.workers = workers
        self.payload = payload
        self._worker = worker
        self._dispatcher = dispatcher
        self._answered = answered

    def replied(self, payload: bytes) -> None:
        """Takes the answer."""
        self._end(payload, None)

    def fail(self, error: Exception) -> None:
        """Takes the worker's refusal."""
        if self._repeating is None:
            self._end(None, error)

    def lost(self, error: WorkerLostError) -> None:
        """Goes to another worker, where the call may be repeated."""
        # A link that is aborted is lost once more when it ends.
        if self._over or self._repeating is not None:
            return
        losses = int(error.began)
        try:
            _check_repeatable(self.owner, error, losses)
        except ToolBridgeError as refusal:
            self._end(None, refusal)
            return
        self._repeating = self._dispatcher.repeat(self, losses)

    def repeated(self, payload: bytes, error: BaseException | None) -> None:
        """Takes the outcome of the other worker."""
        self._repeating = None
        self._end(None, error) if error is not None else self._end(payload, None)

    def cancel(self) -> bool:
        """Ends it; nobody is told."""
        if self._over:
            return False
        self._over = True
        if self._repeating is not None:
            self._repeating.cancel()
        else:
            self._worker.link.cancel(self)
        return True

    def _end(self, payload: bytes | None, error: BaseException | None) -> None:
        if not self._over:
            self._over = True
            if self._repeating is not None:
                # The first worker has answered after all.
                self._repeating.cancel()
            self._answered(payload, error)


class _Place:
    """A call that waits for a worker."""

    __slots__ = ("worker",)

    def __init__(self) -> None:
        self.worker: asyncio.Future[Worker] = asyncio.get_running_loop().create_future()

    def refuse(self, error: UnavailableError) -> None:
        if not self.worker.done():
            self.worker.set_exception(error)


def _runs_above(call: HubCall, worker: Worker) -> bool:
    above = call.parent
    while above is not None:
        if above.worker is worker:
            return True
        above = above.parent
    return False


def _check_repeatable(call: HubCall, lost: WorkerLostError, losses: int) -> None:
    """Raises where a call whose worker was lost must not go to another one."""
    if lost.began and not call.tool.spec.idempotent:
        raise UnavailableError(
            f"{lost.message}; {call.tool.name} is not marked idempotent, so whether it took effect is not known"
        )
    if losses >= MAX_LOSSES:
        raise UnavailableError(f"{lost.message}; it was the call's worker number {losses}, and no other one gets it")
