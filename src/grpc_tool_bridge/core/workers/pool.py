"""The workers that have dialled in: what they offer, who of them gets a call, and what becomes of those that are lost.

A worker that stops answering pings is suspect: it gets no new calls, and those that may be repeated go to another. It
may merely be busy, so its other calls stay with it until it is out.
"""

import asyncio
import logging
import math
import uuid
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Collection, Sequence
from typing import TYPE_CHECKING, Protocol
from weakref import WeakSet

from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.aio.turns import in_slices
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.calls import HubCall
from grpc_tool_bridge.core.registered_tool import RegisteredTool, ToolSource
from grpc_tool_bridge.core.registry import ToolRegistry
from grpc_tool_bridge.core.variables import check_name
from grpc_tool_bridge.errors import (
    ResourceExhaustedError,
    UnavailableError,
    ValidationError,
)
from grpc_tool_bridge.errors.throttled_log import ThrottledLog
from grpc_tool_bridge.link.calls import WorkerCall, WorkerLostError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import RegisterToolsRequest
from grpc_tool_bridge.rpc.bounds import shown
from grpc_tool_bridge.rpc.methods import AGENTS_FEATURE

if TYPE_CHECKING:
    from grpc_tool_bridge.core.sessions import Session

# Calls at once of a worker that does not say how many it takes.
DEFAULT_CAPACITY = 100

# Tools that one worker may offer; as many as a session may have of its own.
MAX_WORKER_TOOLS = 10_000

# A call that was with so many workers when they were lost may be what ended them; no further one gets it.
MAX_LOSSES = 3

_log = logging.getLogger(__name__)


class WorkerLink(Protocol):
    """A worker's link, as the hub's transport has it."""

    @property
    def features(self) -> Collection[str]:
        """What the worker says that it can do besides running tools."""

    @property
    def open_calls(self) -> int:
        """Calls of the hub that were given and have not come to their end, those that were cancelled included."""

    def calls(self) -> list[WorkerCall]:
        """Lists those of them that somebody waits for."""

    def has_sent(self, call: WorkerCall) -> bool:
        """Tells whether all of a call has been sent, so that its tool may have begun."""

    def start(self, call: WorkerCall, payload: bytes) -> None:
        """Sends a call; raises MessageTooLargeError."""

    def cancel(self, call: WorkerCall) -> None:
        """Tells the worker that a call is wanted no more."""

    def grant(self, call: WorkerCall, size: int) -> None:
        """Tells the worker that so many bytes of a stream were used."""

    def ping(self) -> None:
        """Asks for a sign of life; ``WorkerPool.heard`` is called when it comes."""

    def release(self) -> None:
        """Tells a worker that drains that no call of it is left and none will come."""

    def give_up(self, why: str) -> None:
        """Ends the link."""


class Worker:
    """One worker.

    Attributes:
        id: As it calls itself.
        link: Where it is reached.
        capacity: Calls that it takes at once.
        tools: What it offers.
        suspect: Whether it does not answer.
        gone: Whether it takes no new calls for good: it drains, or its link has ended.
        reserved: Calls that are about to be sent.
        runs_agents: Whether it is an agent runtime, too.
        missed: Pings in a row that it has not answered.
    """

    def __init__(self, worker_id: str, link: WorkerLink) -> None:
        self.id = worker_id
        self.link = link
        self.capacity = DEFAULT_CAPACITY
        self.tools: set[RegisteredTool] = set()
        self.suspect = False
        self.gone = False
        self.reserved = 0
        self.runs_agents = AGENTS_FEATURE in link.features
        self.missed = 0

    @property
    def active(self) -> int:
        """Calls that it has, or is about to get."""
        return self.link.open_calls + self.reserved

    @property
    def has_room(self) -> bool:
        """Whether it takes a call now."""
        return self.active < self.capacity and not self.suspect


class WorkerPool:
    """All workers of a hub.

    Args:
        registry: Where their tools are.
    """

    def __init__(self, registry: ToolRegistry) -> None:
        self._registry = registry
        self._settings: Settings = registry.store.settings
        self._workers: dict[WorkerLink, Worker] = {}
        # Calls that wait for a worker of their tool, in order.
        self._waiting: dict[RegisteredTool, OrderedDict[_Place, None]] = {}
        # Tools whose last worker was lost, until they are dropped.
        self._orphans: dict[RegisteredTool, _Left] = {}
        # What one link registers and takes back is done in its order, though it may take several turns.
        self._locks: dict[WorkerLink, asyncio.Lock] = {}
        self._drained: WeakSet[WorkerLink] = WeakSet()
        self._tasks = TaskSet()
        self._watching = False
        # A peer can cause its lines as often as it likes.
        self._throttled = ThrottledLog(_log)

    def __len__(self) -> int:
        return len(self._workers)

    def workers(self) -> list[Worker]:
        """Lists the workers that are there."""
        return list(self._workers.values())

    async def aclose(self) -> None:
        """Ends what the pool itself runs."""
        for left in self._orphans.values():
            if left.timer is not None:
                left.timer.cancel()
        self._orphans.clear()
        await self._tasks.aclose()

    # ----------------------------------------------------------------------------------------- who offers what

    def in_order(self, link: WorkerLink) -> asyncio.Lock:
        """Returns what is held while tools of a link are registered or taken back."""
        return self._locks.setdefault(link, asyncio.Lock())

    def register(
        self, link: WorkerLink, request: RegisterToolsRequest, tools: Sequence[ToolSource] | None = None
    ) -> list[RegisteredTool]:
        """Registers tools of a worker, all or none.

        Args:
            link: The worker's.
            request: What it asks for.
            tools: The request's tools, where they were looked at before.

        Raises:
            ValidationError: The worker's id, its capacity or a tool cannot be used.
            AlreadyExistsError: A name is taken, unless by other workers with the identical schema and version.
            ResourceExhaustedError: It would offer too many tools.
            SessionError: There is no such session.
        """
        if request.capacity < 0:
            raise ValidationError(f"capacity is {request.capacity}; it is 0 (the default) or more")
        worker = self._workers.get(link)
        if worker is None and link in self._drained:
            raise UnavailableError("this worker drains, and offers nothing any more")
        if worker is None:
            worker = Worker(request.worker_id or uuid.uuid4().hex, link)
            check_name(worker.id, "a worker id")
        elif request.worker_id and request.worker_id != worker.id:
            raise ValidationError(f"this link is of the worker {worker.id!r}; {shown(request.worker_id)} needs its own")
        elif worker.gone:
            raise UnavailableError(f"the worker {worker.id!r} drains, and offers nothing any more")
        _check_count(worker, request)
        # One that drains leaves by itself, once its calls are over.
        others = (other for other in self._workers.values() if other is not worker and not other.gone)
        before = next((other for other in others if other.id == worker.id), None)
        offered = request.tools if tools is None else tools
        added = self._registry.offer(request.session_id, offered, worker, in_place_of=before)
        # A call that it never ends holds memory, however many it says it takes.
        worker.capacity = min(request.capacity or worker.capacity, self._settings.max_link_calls)
        self._workers[link] = worker
        worker.tools.update(added)
        for tool in added:
            self._keep(tool)
        if before is not None:
            # Its link broke without a word: one that dials again would else wait until it is missed.
            before.link.give_up(f"the worker {worker.id!r} has dialled again")
            self.lost(before.link, "it has dialled again")
        # Others took their place, and nobody will run them.
        gone = [tool for tool in (*worker.tools, *self._orphans) if self._registry.is_gone(tool)]
        for tool in gone:
            self._withdraw(worker, tool)
        self._drop(gone)
        if not self._watching:
            self._watching = True
            self._tasks.spawn(self._watch(), "watch workers")
        self._serve_waiting()
        return added

    def unregister(self, link: WorkerLink, session_id: str, tool_ids: Collection[str]) -> list[str]:
        """Takes back tools that a worker offered, and drops those that no other worker offers.

        Raises:
            NotFoundError: It offers no such tool.
        """
        worker = self._workers[link]
        tools = self._registry.offered(session_id, tool_ids, worker)
        for tool in tools:
            self._withdraw(worker, tool)
        self._drop([tool for tool in tools if not tool.workers])
        return [tool.id for tool in tools]

    def offers(self, link: WorkerLink) -> bool:
        """Tells whether a link is a worker's."""
        return link in self._workers

    def leave(self, link: WorkerLink) -> None:
        """Gives a worker no new calls: it drains. It is told when its last call is over."""
        worker = self._workers.get(link)
        if worker is None:
            self._drained.add(link)
        if worker is None or worker.gone:
            return
        _log.info("worker %s drains", worker.id)
        self._retire(worker)
        self.turn(link)

    def lost(self, link: WorkerLink, why: str) -> None:
        """Takes a worker out whose link has ended; its calls fail, or go to another worker."""
        worker = self._workers.pop(link, None)
        self._locks.pop(link, None)
        # Told by its state as it is now: it ends while the calls hear of it.
        calls = [(call, link.has_sent(call)) for call in link.calls()]

        def tell(lost: tuple[WorkerCall, bool]) -> None:
            call, began = lost
            call.lost(WorkerLostError(f"the worker that ran {call.owner.tool.name} was lost: {why}", began=began))

        if worker is not None:
            if not worker.gone:
                self._throttled.warning("worker %s is out: %s", worker.id, why)
            self._retire(worker)
        in_slices(tell, calls)

    def session_ended(self, session: "Session") -> None:
        """Forgets the tools of a session that has ended."""
        for tool in (session.tools or {}).values():
            for worker in list(tool.workers or ()):
                self._withdraw(worker, tool)
            self._keep(tool)
            self._refuse_waiting(tool)

    def _retire(self, worker: Worker) -> None:
        worker.gone = True
        orphans = []
        for tool in list(worker.tools):
            self._withdraw(worker, tool)
            if not tool.workers and tool not in self._orphans:
                orphans.append(tool)
        if orphans:
            # Whoever restarts a worker need not lose calls: they wait for it for a while.
            left = _Left(orphans)
            left.timer = asyncio.get_running_loop().call_later(
                self._settings.worker_grace_period, self._drop_left, left
            )
            self._orphans.update(dict.fromkeys(orphans, left))

    def _withdraw(self, worker: Worker, tool: RegisteredTool) -> None:
        worker.tools.discard(tool)
        if tool.workers is not None and worker in tool.workers:
            tool.workers.remove(worker)

    def _keep(self, tool: RegisteredTool) -> None:
        self._orphans.pop(tool, None)

    def _drop_left(self, left: "_Left") -> None:
        """Drops the tools that nobody has taken over; one that was left once more since then has more time."""
        self._drop([tool for tool in left.tools if self._orphans.get(tool) is left])

    def _drop(self, tools: Collection[RegisteredTool]) -> None:
        self._registry.drop(tools)
        for tool in tools:
            self._keep(tool)
            self._refuse_waiting(tool)

    def _refuse_waiting(self, tool: RegisteredTool) -> None:
        for place in self._waiting.pop(tool, ()):
            place.refuse(_nobody_runs(tool))

    # ------------------------------------------------------------------------------------------ signs of life

    def heard(self, link: WorkerLink) -> None:
        """Notes a sign of life."""
        worker = self._workers.get(link)
        if worker is not None:
            worker.missed = 0
            if worker.suspect:
                worker.suspect = False
                _log.info("worker %s answers again", worker.id)
                self._serve_waiting()

    async def _watch(self) -> None:
        settings = self._settings
        interval = settings.worker_ping_interval
        # Counted in pings, not in time: a hub that was held up itself must not take that for its workers' silence.
        suspect_at = math.ceil(settings.worker_suspect_after / interval)
        out_at = math.ceil(settings.worker_lost_after / interval)
        while True:
            for worker in list(self._workers.values()):
                if worker.missed >= out_at:
                    why = f"it did not answer for {settings.worker_lost_after:g} s"
                    worker.link.give_up(why)
                    self.lost(worker.link, why)
                    continue
                if worker.missed >= suspect_at:
                    self._suspect(worker)
                worker.missed += 1
                worker.link.ping()
            await asyncio.sleep(interval)

    def _suspect(self, worker: Worker) -> None:
        if not worker.suspect:
            worker.suspect = True
            self._throttled.warning("worker %s does not answer; it gets no new calls until it does", worker.id)
        for call in worker.link.calls():
            tool = call.owner.tool
            others = any(not other.suspect for other in tool.workers or ())
            if tool.spec.idempotent and others and not call.has_arrived:
                worker.link.cancel(call)
                call.lost(WorkerLostError(f"the worker that ran {tool.name} does not answer", began=True))

    # ------------------------------------------------------------------------------------------------- the calls

    async def execute(self, call: HubCall, payload: bytes, *, losses: int = 0) -> bytes:
        """Has a worker run one call.

        Args:
            call: The call, let in and admitted.
            payload: The serialized ToolCallRequest.
            losses: Workers that it was with when they were lost.

        Returns:
            The serialized ToolCallResponse.

        Raises:
            UnavailableError: There is no worker, or it was lost and the call must not be repeated.
            ToolBridgeError: The worker refused the call.
        """
        while True:
            worker = self.choose(call) or await self._wait(call, began=losses > 0)
            remote = WorkerCall(call, streaming=False)
            call.worker = worker
            try:
                worker.link.start(remote, payload)
                return await remote.answer()
            except WorkerLostError as lost:
                losses += lost.began
                check_repeatable(call, lost, losses)
            except (asyncio.CancelledError, GeneratorExit):
                worker.link.cancel(remote)
                raise
            finally:
                call.worker = None

    async def stream(self, call: HubCall, payload: bytes) -> AsyncGenerator[bytes, None]:
        """Has a worker run one stream; yields its serialized chunks. Arguments and errors as of ``execute``."""
        losses = 0
        while True:
            worker = self.choose(call) or await self._wait(call, began=losses > 0)
            remote = WorkerCall(call, streaming=True)
            call.worker = worker
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
                check_repeatable(call, lost, losses)
            else:
                return
            finally:
                call.worker = None
                # Nothing, where it has ended.
                link.cancel(remote)

    def turn(self, link: WorkerLink) -> None:
        """Called after each frame of a link: places may have become free."""
        if self._waiting and any(worker.has_room for worker in self._workers.values()):
            self._serve_waiting()
        worker = self._workers.get(link)
        if worker is not None and worker.gone and not worker.active:
            del self._workers[link]
            link.release()

    def choose(self, call: HubCall) -> Worker | None:
        """Returns the worker with the fewest calls among those with room; None where others wait for one, or none has.

        Of several with as few it is the one that had its last call longest ago.
        """
        tool = call.tool
        workers = tool.workers or ()
        best: Worker | None = None
        if tool not in self._waiting:
            fewest = math.inf
            for worker in workers:
                active = worker.link.open_calls + worker.reserved
                if active < worker.capacity and active < fewest and not worker.suspect:
                    best, fewest = worker, active
        if best is None and call.parent is not None:
            # It has the place of the call that made it, so that calls never wait for themselves.
            best = next((worker for worker in workers if not worker.suspect and _runs_above(call, worker)), None)
        if best is not None and len(workers) > 1:
            assert tool.workers is not None  # noqa: S101 - it has workers
            tool.workers.remove(best)
            tool.workers.append(best)
        return best

    async def _wait(self, call: HubCall, *, began: bool) -> Worker:
        tool = call.tool
        if not tool.workers and tool not in self._orphans:
            raise _nobody_runs(tool)
        queue = self._waiting.setdefault(tool, OrderedDict())
        if len(queue) >= self._settings.max_worker_waiting:
            raise ResourceExhaustedError(
                f"the workers of {tool.name} are busy and {len(queue):,} calls wait for them, which is the limit; "
                "call again later, or start more workers",
                details={"retry_after": "1"},
            )
        place = _Place()
        queue[place] = None
        if not began:
            call.wait_for("a worker, all of which are busy" if tool.workers else "a worker to come back")
        try:
            worker = await place.worker
        except asyncio.CancelledError:
            if not place.worker.cancelled() and place.worker.exception() is None:
                place.worker.result().reserved -= 1
            queue.pop(place, None)
            if not queue and self._waiting.get(tool) is queue:
                del self._waiting[tool]
            self._serve_waiting()
            raise
        worker.reserved -= 1
        call.begin()
        call.refuse_ended()
        # Nobody hands on what became free before it waits again.
        return self.choose(call) or await self._wait(call, began=began) if worker.gone else worker

    def _serve_waiting(self) -> None:
        """Hands on places that are free. The tools take turns, so that those of a busy one hold up no others."""
        tools = deque(self._waiting)
        while tools:
            tool = tools.popleft()
            worker = _with_room(tool)
            if worker is None:
                continue
            queue = self._waiting.pop(tool)
            place, _ = queue.popitem(last=False)
            if not place.worker.done():
                worker.reserved += 1
                place.worker.set_result(worker)
            if queue:
                self._waiting[tool] = queue
                tools.append(tool)


class _Left:
    """The tools that one worker left behind: they are dropped together, as one change."""

    __slots__ = ("timer", "tools")

    def __init__(self, tools: Collection[RegisteredTool]) -> None:
        self.tools = tools
        self.timer: asyncio.TimerHandle | None = None


class _Place:
    """A call that waits for a worker."""

    __slots__ = ("worker",)

    def __init__(self) -> None:
        self.worker: asyncio.Future[Worker] = asyncio.get_running_loop().create_future()

    def refuse(self, error: UnavailableError) -> None:
        if not self.worker.done():
            self.worker.set_exception(error)


def _with_room(tool: RegisteredTool) -> Worker | None:
    workers = [worker for worker in tool.workers or () if worker.has_room]
    return min(workers, key=lambda worker: worker.active, default=None)


def _check_count(worker: Worker, request: RegisterToolsRequest) -> None:
    if len(request.tools) <= MAX_WORKER_TOOLS - len(worker.tools):
        return
    ids = {tool.id for tool in worker.tools}
    ids.update(spec.tool_id or spec.name for spec in request.tools)
    if len(ids) > MAX_WORKER_TOOLS:
        raise ResourceExhaustedError(
            f"the worker {worker.id!r} would offer {len(ids):,} tools, the limit is {MAX_WORKER_TOOLS:,}"
        )


def _runs_above(call: HubCall, worker: Worker) -> bool:
    above = call.parent
    while above is not None:
        if above.worker is worker:
            return True
        above = above.parent
    return False


def check_repeatable(call: HubCall, lost: WorkerLostError, losses: int) -> None:
    """Raises where a call whose worker was lost must not go to another one."""
    if lost.began and not call.tool.spec.idempotent:
        raise UnavailableError(
            f"{lost.message}; {call.tool.name} is not marked idempotent, so whether it took effect is not known"
        )
    if losses >= MAX_LOSSES:
        raise UnavailableError(f"{lost.message}; it was the call's worker number {losses}, and no other one gets it")


def _nobody_runs(tool: RegisteredTool) -> UnavailableError:
    return UnavailableError(f"no worker runs {tool.name} now; start one that offers it, or call again later")
