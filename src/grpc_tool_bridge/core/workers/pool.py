"""The connected workers: registering their tools, checking that they respond, and handling their loss.

A worker that stops answering pings is suspect: it gets no new calls, and its idempotent calls go to another worker. It
may only be busy, so its other calls stay with it until it is disconnected.
"""

import asyncio
import logging
import math
import uuid
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from weakref import WeakSet

from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.aio.turns import in_slices
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.names import check_name
from grpc_tool_bridge.core.registered_tool import RegisteredTool, ToolSource
from grpc_tool_bridge.core.registry import ToolRegistry
from grpc_tool_bridge.core.session import Session
from grpc_tool_bridge.core.workers.backend import backend_of, workers_of
from grpc_tool_bridge.core.workers.dispatch import Dispatcher
from grpc_tool_bridge.core.workers.peer import PeerWorker
from grpc_tool_bridge.core.workers.registration import in_the_way, offer, offered_by
from grpc_tool_bridge.core.workers.worker import Worker, WorkerLink
from grpc_tool_bridge.errors import ResourceExhaustedError, UnavailableError, ValidationError
from grpc_tool_bridge.errors.throttled_log import ThrottledLog
from grpc_tool_bridge.link.calls import WorkerCall, WorkerLostError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import RegisterToolsRequest
from grpc_tool_bridge.rpc.bounds import shown
from grpc_tool_bridge.tools.tool_versions import versioned

# Tools that one worker may offer; a session may have as many of its own.
MAX_WORKER_TOOLS = 10_000

_log = logging.getLogger(__name__)


class WorkerPool:
    """All workers of a hub.

    Args:
        registry: Holds their tools.

    Attributes:
        dispatcher: Sends calls to them.
        on_change: Called with "connected", "changed" (its tools), "draining" or "disconnected", and the worker, while
            the hub is watched; otherwise None. Other hubs are left out.
    """

    def __init__(self, registry: ToolRegistry) -> None:
        self._registry = registry
        self._settings: Settings = registry.store.settings
        self._workers: dict[WorkerLink, Worker] = {}
        # Calls that were sent to hubs that have left.
        self._sent_before = 0
        self.on_change: Callable[[str, Worker], None] | None = None
        self.dispatcher = Dispatcher(self._settings, lambda tool: (tool.base or tool) in self._orphans)
        # Tools whose last worker was lost, until they are removed.
        self._orphans: dict[RegisteredTool, _Left] = {}
        # The registrations of one link are applied in order, though each may take several turns of the loop.
        self._locks: dict[WorkerLink, asyncio.Lock] = {}
        self._drained: WeakSet[WorkerLink] = WeakSet()
        self._tasks = TaskSet()
        self._watching = False
        # A peer can trigger these log lines as often as it likes.
        self._throttled = ThrottledLog(_log)

    def __len__(self) -> int:
        return len(self.workers())

    def workers(self) -> list[Worker]:
        """Returns the connected workers, without other hubs."""
        return [worker for worker in self._workers.values() if not worker.is_peer]

    def peers(self) -> list[PeerWorker]:
        """Returns the other hubs that have registered tools."""
        return [worker for worker in self._workers.values() if isinstance(worker, PeerWorker)]

    @property
    def sent_to_peers(self) -> int:
        """Calls that were sent to other hubs, ended or not."""
        return self._sent_before + sum(peer.begun for peer in self.peers())

    def _note_sent(self, worker: Worker | None) -> None:
        if isinstance(worker, PeerWorker):
            self._sent_before += worker.begun

    async def aclose(self) -> None:
        """Ends the tasks and timers of the pool."""
        for left in self._orphans.values():
            if left.timer is not None:
                left.timer.cancel()
        self._orphans.clear()
        await self.dispatcher.aclose()
        await self._tasks.aclose()

    # ----------------------------------------------------------------------------------------- who offers what

    def in_order(self, link: WorkerLink) -> asyncio.Lock:
        """Returns the lock to hold while tools of a link are registered or unregistered."""
        return self._locks.setdefault(link, asyncio.Lock())

    def register(
        self,
        link: WorkerLink,
        request: RegisterToolsRequest,
        tools: Sequence[ToolSource] | None = None,
        *,
        is_peer: bool = False,
    ) -> list[RegisteredTool]:
        """Registers tools of a worker, all or none.

        Args:
            link: The worker's link.
            request: The request.
            tools: The request's tools, if they are prepared already.
            is_peer: Whether it is another hub; its capacity is then that of each of these tools, and 0 is none.

        Raises:
            ValidationError: The worker's id, its capacity or a tool is not valid.
            AlreadyExistsError: A name is taken, unless by other workers with the identical schema and version.
            ResourceExhaustedError: The worker would offer too many tools.
            SessionError: There is no such session.
            UnavailableError: The worker is draining.
        """
        worker = self._worker_of(link, request, is_peer=is_peer)
        # A draining worker leaves by itself when its calls have ended.
        others = (other for other in self._workers.values() if other is not worker and not other.gone)
        # A worker that has the id of another hub is not that hub, and must not end its link.
        before = next((other for other in others if other.id == worker.id and other.is_peer is is_peer), None)
        offered = request.tools if tools is None else tools
        added = offer(self._registry, self.dispatcher, request.session_id, offered, worker, in_place_of=before)
        # Each call that it never answers holds memory, so its own capacity is capped.
        if isinstance(worker, PeerWorker):
            for tool in added:
                worker.set_limit(backend_of(tool), min(request.capacity, self._settings.max_link_calls))
        else:
            worker.capacity = min(request.capacity or worker.capacity, self._settings.max_link_calls)
        is_new = link not in self._workers
        self._workers[link] = worker
        worker.tools.update(added)
        for tool in added:
            self._keep(tool)
        if before is not None:
            # Its old link broke unnoticed; without this, its tools would stay there until its pings are missed.
            before.link.abort(f"the worker {worker.id!r} has reconnected")
            self.on_disconnect(before.link, "it has reconnected")
        # They were replaced, so no worker will run them.
        gone = [tool for tool in (*worker.tools, *self._orphans) if self._registry.is_gone(tool)]
        for tool in gone:
            self._withdraw(worker, tool)
        self._drop(gone)
        if not self._watching:
            self._watching = True
            self._tasks.spawn(self._watch(), "watch workers")
        self.dispatcher.serve_waiting()
        self._note("connected" if is_new else "changed", worker)
        return added

    def _worker_of(self, link: WorkerLink, request: RegisterToolsRequest, *, is_peer: bool) -> Worker:
        """Returns the worker of a link that registers tools, a new one if it had none; raises as ``register`` does."""
        if request.capacity < 0:
            raise ValidationError(f"capacity must be 0 (the default) or more, not {request.capacity}")
        worker = self._workers.get(link)
        if worker is None and link in self._drained:
            raise UnavailableError("this worker is draining and cannot register tools")
        if worker is None:
            made_id = request.worker_id or uuid.uuid4().hex
            worker = PeerWorker(made_id, link, self._settings.max_link_calls) if is_peer else Worker(made_id, link)
            check_name(worker.id, "a worker id")
        elif request.worker_id and request.worker_id != worker.id:
            raise ValidationError(
                f"this link belongs to the worker {worker.id!r}; {shown(request.worker_id)} needs its own"
            )
        elif worker.gone:
            raise UnavailableError(f"the worker {worker.id!r} is draining and cannot register tools")
        if not is_peer:
            _check_count(worker, request)
        return worker

    def make_room(self, sources: Iterable[ToolSource]) -> None:
        """Removes tools that only other hubs offer where this hub is about to register its own, which are another.

        A worker's tool with the identical schema joins them instead.

        Args:
            sources: What this hub is about to register for every session.
        """
        gone = in_the_way(self._registry.own(""), sources)
        for tool in gone:
            for worker in list(workers_of(tool)):
                self._withdraw(worker, tool)
        if gone:
            self._drop(gone)

    def worker_of(self, link: WorkerLink) -> Worker | None:
        """Returns the worker of a link; None if it has registered no tools."""
        return self._workers.get(link)

    def set_room(self, worker_id: str, room: int | None) -> None:
        """Notes for how many further calls the workers of another hub have room.

        Args:
            worker_id: The id by which it has registered its tools.
            room: The number of calls; None: it is not known.
        """
        for peer in self.peers():
            if peer.id == worker_id:
                peer.set_room(room)
        self.dispatcher.serve_waiting()

    def unregister(self, link: WorkerLink, session_id: str, tool_ids: Collection[str]) -> list[str]:
        """Unregisters tools of a worker, and removes those that no other worker offers.

        Raises:
            NotFoundError: The worker does not offer one of them.
        """
        worker = self._workers[link]
        if worker.is_peer:
            # It may not know yet that this hub's own have taken the place of some.
            known = offered_by(worker, session_id, ())
            own = {name for tool in known for name in (tool.id, versioned(tool.id, tool.version))}
            tool_ids = [tool_id for tool_id in tool_ids if tool_id in own]
        tools = offered_by(worker, session_id, tool_ids) if tool_ids or not worker.is_peer else []
        for tool in tools:
            self._withdraw(worker, tool)
        self._drop([tool for tool in tools if not workers_of(tool)])
        self._note("changed", worker)
        return [tool.id for tool in tools]

    def offers(self, link: WorkerLink) -> bool:
        """Returns whether a link belongs to a worker."""
        return link in self._workers

    def on_drain(self, link: WorkerLink) -> None:
        """Marks a worker as draining: it gets no new calls, and is told when its last call has ended."""
        worker = self._workers.get(link)
        if worker is None:
            self._drained.add(link)
        if worker is None or worker.gone:
            return
        _log.info("worker %s is draining", worker.id)
        self._retire(worker)
        self._note("draining", worker)
        link.on_writable = partial(self._release_idle, worker)
        self._release_idle(worker)

    def on_disconnect(self, link: WorkerLink, why: str) -> None:
        """Removes a worker whose link has ended; its calls fail, or go to another worker."""
        worker = self._workers.pop(link, None)
        self._note_sent(worker)
        self._locks.pop(link, None)
        # Read now: the state of the link is gone by the time the calls are told.
        calls = [(call, link.has_sent(call)) for call in link.calls()]

        def tell(lost: tuple[WorkerCall, bool]) -> None:
            call, began = lost
            call.lost(WorkerLostError(f"the worker that ran {call.owner.tool.name} was lost: {why}", began=began))

        if worker is not None:
            if not worker.gone:
                kind = "the other hub as worker" if worker.is_peer else "worker"
                self._throttled.warning("%s %s disconnected: %s", kind, worker.id, why)
            self._retire(worker)
            self._note("disconnected", worker)
        in_slices(tell, calls)

    def session_ended(self, session: Session) -> None:
        """Removes the tools of a session that has ended."""
        changed: dict[Worker, None] = {}
        for tool in session.tools.all() if session.tools else ():
            for worker in list(workers_of(tool)):
                self._withdraw(worker, tool)
                changed[worker] = None
            self._keep(tool)
            self._refuse_waiting(tool)
        for worker in changed:
            self._note("changed", worker)

    def _retire(self, worker: Worker) -> None:
        worker.gone = True
        orphans = []
        for tool in list(worker.tools):
            self._withdraw(worker, tool)
            if not workers_of(tool) and tool not in self._orphans:
                orphans.append(tool)
        if orphans:
            # So that a restart of the worker loses no calls: they wait for it for a while.
            left = _Left(orphans)
            left.timer = asyncio.get_running_loop().call_later(
                self._settings.worker_grace_period, self._drop_left, left
            )
            self._orphans.update(dict.fromkeys(orphans, left))

    def _withdraw(self, worker: Worker, tool: RegisteredTool) -> None:
        worker.tools.discard(tool)
        backend = backend_of(tool)
        if backend is not None:
            backend.discard(worker)

    def _keep(self, tool: RegisteredTool) -> None:
        self._orphans.pop(tool, None)

    def _drop_left(self, left: "_Left") -> None:
        """Removes the tools that no worker has taken over; one that was orphaned again later gets its full time."""
        self._drop([tool for tool in left.tools if self._orphans.get(tool) is left])

    def _drop(self, tools: Collection[RegisteredTool]) -> None:
        self._registry.drop(tools)
        for tool in tools:
            self._keep(tool)
            self._refuse_waiting(tool)

    def _refuse_waiting(self, tool: RegisteredTool) -> None:
        crew = backend_of(tool)
        if crew is not None:
            self.dispatcher.refuse_waiting(crew, tool)

    def _release_idle(self, worker: Worker) -> None:
        """Releases a draining worker if its last call has ended."""
        if not worker.active and self._workers.get(worker.link) is worker:
            del self._workers[worker.link]
            self._note_sent(worker)
            worker.link.release()
            self._note("disconnected", worker)

    def _note(self, change: str, worker: Worker) -> None:
        self._registry.note_offers()
        if self.on_change is not None and not worker.is_peer:
            self.on_change(change, worker)

    # ------------------------------------------------------------------------------------------ signs of life

    def on_pong(self, link: WorkerLink) -> None:
        """Resets the count of missed pings."""
        worker = self._workers.get(link)
        if worker is not None:
            worker.missed = 0
            if worker.suspect:
                worker.suspect = False
                _log.info("worker %s answers again", worker.id)
                self.dispatcher.serve_waiting()

    async def _watch(self) -> None:
        settings = self._settings
        interval = settings.worker_ping_interval
        # Counted in pings, not in time: if the hub itself was blocked, its workers must not count as silent.
        suspect_at = math.ceil(settings.worker_suspect_after / interval)
        out_at = math.ceil(settings.worker_lost_after / interval)
        while True:
            for worker in list(self._workers.values()):
                if worker.missed >= out_at:
                    why = f"it did not answer for {settings.worker_lost_after:g} s"
                    worker.link.abort(why)
                    self.on_disconnect(worker.link, why)
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
            others = any(not other.suspect for other in workers_of(tool))
            if tool.spec.idempotent and others and not call.has_arrived:
                worker.link.cancel(call)
                call.lost(WorkerLostError(f"the worker that ran {tool.name} does not answer", began=True))


class _Left:
    """The tools that one lost worker has orphaned: they are removed together, as one change."""

    __slots__ = ("timer", "tools")

    def __init__(self, tools: Collection[RegisteredTool]) -> None:
        self.tools = tools
        self.timer: asyncio.TimerHandle | None = None


def _check_count(worker: Worker, request: RegisterToolsRequest) -> None:
    if len(request.tools) <= MAX_WORKER_TOOLS - len(worker.tools):
        return
    ids = {(tool.id, tool.version) for tool in worker.tools}
    ids.update((spec.tool_id or spec.name, spec.version) for spec in request.tools)
    if len(ids) > MAX_WORKER_TOOLS:
        raise ResourceExhaustedError(
            f"the worker {worker.id!r} would offer {len(ids):,} tools, the limit is {MAX_WORKER_TOOLS:,}"
        )
