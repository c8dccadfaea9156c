"""The events of a hub, for those who watch it.

The feed observes calls, workers, sessions and the log only while there is a watcher, so it costs nothing otherwise. A
slow watcher loses the oldest events, and delays nothing else. Watchers that ask for a sample of the calls cost next to
nothing for the calls that are not in it.
"""

import time
from collections.abc import AsyncGenerator, Callable, Collection, Iterator
from functools import partial
from typing import Any, NamedTuple

from google.protobuf.message import Message

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core import infos
from grpc_tool_bridge.core.admission import Admission
from grpc_tool_bridge.core.calls import HubCall
from grpc_tool_bridge.core.gathered import Gathered
from grpc_tool_bridge.core.infos import CallIds
from grpc_tool_bridge.core.interfaces import CallObserver
from grpc_tool_bridge.core.log_lines import LogLines, Report
from grpc_tool_bridge.core.observers import Observers
from grpc_tool_bridge.core.registry import ToolRegistry
from grpc_tool_bridge.core.sample import Sample
from grpc_tool_bridge.core.session import Session
from grpc_tool_bridge.core.watcher import MAX_EVENT_BYTES, Watcher
from grpc_tool_bridge.core.workers.pool import WorkerPool
from grpc_tool_bridge.core.workers.worker import Worker
from grpc_tool_bridge.errors import ResourceExhaustedError, ToolBridgeError, UnavailableError, ValidationError
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.bounds import check_request, shown
from grpc_tool_bridge.rpc.event_kinds import EVENT_KINDS

# Seconds between the events for those who watch a sample: those of that time are written together.
GATHER_SECONDS = 0.2


class _Start(NamedTuple):
    """The start of a call.

    Attributes:
        watchers: Who is told.
        at: Seconds since the epoch.
        worker: The worker that has the call already.
        request: As for ``CallObserver.started``.
    """

    watchers: list[Watcher]
    at: float
    worker: object | None
    request: Any


class Feed:
    """Sends events of a hub to its watchers. It is the ``CallObserver`` of the hub.

    Args:
        admission: The calls.
        registry: The tools, and through it the sessions.
        workers: The workers.
        ids: The ids of calls.
    """

    def __init__(self, admission: Admission, registry: ToolRegistry, workers: WorkerPool, ids: CallIds) -> None:
        self._admission = admission
        self._registry = registry
        self._store = registry.store
        self._settings: Settings = registry.store.settings
        self._workers = workers
        self._ids = ids
        self._watchers: dict[Watcher, None] = {}
        self._kinds: frozenset[str] = frozenset()
        # Those that watch every call, or the log; and what decides about the others, while there are any.
        self._thorough: list[Watcher] = []
        self._sample: Sample | None = None
        # Events for those that watch a sample.
        self._gathered = Gathered(GATHER_SECONDS)
        # Calls of which they are not told yet.
        self._starts: dict[HubCall, _Start] = {}
        self._other: CallObserver | None = None
        self._lines = LogLines(self._reported, self._lost)

    async def watch_events(self, request: pb.WatchEventsRequest) -> AsyncGenerator[pb.AdminEvent, None]:
        """Yields the events from now on.

        Raises:
            ValidationError: A kind of event does not exist, or the number of calls is negative.
            UnavailableError: The hub is shutting down.
            ResourceExhaustedError: There are too many watches.
        """
        check_request(request)
        _check_kinds(request.kinds)
        _check_rate(request.calls_per_second)
        if self._admission.draining:
            raise UnavailableError("the hub is shutting down; watch again when it is back")
        self._check_room()
        self._store.memory.take(MAX_EVENT_BYTES, "a watch of events")
        watcher = Watcher(request)
        self._watchers[watcher] = None
        self._observe()
        if not watcher.is_thorough and self._sample is not None:
            watcher.count_omitted(self._sample)
        try:
            while True:
                yield await watcher.next()
        finally:
            self._watchers.pop(watcher, None)
            self._store.memory.give_back(MAX_EVENT_BYTES)
            self._observe()

    def count(self) -> int:
        """Returns how many watches are open."""
        return len(self._watchers)

    def close(self, error: ToolBridgeError) -> None:
        """Ends every watch with ``error``."""
        self._gathered.flush()
        for watcher in self._watchers:
            watcher.close(error)

    def share(self, observer: CallObserver) -> None:
        """Has another observer receive what happens to calls, whether the hub is watched or not."""
        self._other = observer
        self._observe()

    def abandon(self) -> None:
        """Stops observing: the event loop of the watchers has ended."""
        self._watchers.clear()
        self._gathered.clear()
        self._starts.clear()
        self._observe()

    def _check_room(self) -> None:
        most = self._settings.max_admin_watches
        if len(self._watchers) >= most:
            raise ResourceExhaustedError(
                f"the hub has {len(self._watchers)} watches open, which is its limit (max_admin_watches); end one first"
            )

    def _observe(self) -> None:
        """Observes the kinds of events that a watcher wants, and no others."""
        kinds = self._kinds = frozenset().union(*(watcher.kinds for watcher in self._watchers))
        of_calls = [watcher for watcher in self._watchers if watcher.kinds & {"call", "log"}]
        observer: CallObserver | None = self if of_calls else None
        self._thorough = [watcher for watcher in of_calls if watcher.is_thorough]
        self._follow([watcher for watcher in of_calls if not watcher.is_thorough])
        if self._other is not None:
            observer = self._other if observer is None else Observers(self._other, observer)
        self._admission.sample = self._sample if not self._thorough and self._other is None else None
        self._admission.observer = self._workers.dispatcher.observer = observer
        self._workers.on_change = self._worker_changed if "worker" in kinds else None
        self._store.on_change = self._session_changed if "session" in kinds else None
        self._lines.follow(on="log" in kinds)

    def _follow(self, sampling: list[Watcher]) -> None:
        """Has a sample of the calls made for the watchers that ask for one."""
        if not sampling:
            self._sample = None
            return
        self._sample = self._sample or Sample()
        self._sample.follow((watcher.calls_per_second, watcher.session_id) for watcher in sampling)

    # ------------------------------------------------------------------------------------------------ what happens

    def started(self, call: HubCall, request: Any) -> None:
        """As in ``CallObserver``."""
        if self._sample is not None:
            self._decide(call, self._sample)
        watchers = self._watchers_of_call(call)
        if not watchers:
            return
        start = _Start(watchers, time.time(), call.worker, request)
        if type(request) is bytes and not self._thorough:
            self._starts[call] = start
            self._gathered.add(partial(self._tell_start, call), len(request))
        else:
            self._tell_started(call, start)

    def moved(self, call: HubCall) -> None:
        """As in ``CallObserver``."""
        watchers = self._watchers_of_call(call)
        if watchers:
            self._tell_start(call)
            self._tell(watchers, _event("moved", call=infos.call_info(call, self._ids)))

    def told(self, call: HubCall, event: pb.Progress | pb.LogRecord) -> None:
        """As in ``CallObserver``."""
        kind = "call" if isinstance(event, pb.Progress) else "log"
        if kind in self._kinds and (call.watched or self._thorough):
            self._lines.take(event, call)

    def ended(self, call: HubCall, *, ok: bool, duration_us: int, outcome: Any) -> None:
        """As in ``CallObserver``."""
        watchers = self._watchers_of_call(call)
        if not call.watched and self._sample is not None and (not ok or call.notable):
            watchers += self._told_of_end(call, self._sample, ok=ok)
        if not watchers:
            return
        now = time.time()
        start = self._starts.pop(call, None)
        request = start.request if start is not None else None

        def tell() -> None:
            error = pb.ErrorInfo() if ok else infos.error_of(outcome)
            told = infos.without_texts(error)
            info = infos.ended_call_info(call, self._ids, ok=ok, duration_us=duration_us, error=told)

            def add_values(event: pb.AdminEvent) -> None:
                infos.put_arguments(event.call, request)
                if not ok:
                    event.call.error.CopyFrom(error)
                elif (result := infos.result_of(outcome)) is not None:
                    event.result.CopyFrom(result)

            self._tell(watchers, _event("ended", now, call=info), add_values)

        if type(outcome) is bytes and len(outcome) <= infos.MAX_VALUE_BYTES and not self._thorough:
            self._gathered.add(tell, len(outcome))
        else:
            tell()

    def _tell_start(self, call: HubCall) -> None:
        """Tells of the start of a call that is not told yet; if the call has ended, its end tells everything."""
        start = self._starts.pop(call, None)
        if start is not None:
            self._tell_started(call, start)

    def _tell_started(self, call: HubCall, start: "_Start") -> None:
        event = _event("started", start.at, call=infos.started_call_info(call, start.worker, self._ids))
        self._tell(start.watchers, event, lambda whole: infos.put_arguments(whole.call, start.request))

    def _decide(self, call: HubCall, sample: Sample) -> None:
        """Decides whether a call that starts is in the sample, unless that was decided before."""
        if call.watched is None:
            call.watched = self._is_told(call, sample)
        if not call.watched:
            sample.omit(call.session.id)

    def _is_told(self, call: HubCall, sample: Sample) -> bool:
        if call.run_id:
            return True
        parent = call.parent
        if parent is None:
            return sample.take(call.session.id)
        if parent.watched is None:
            # It started when nobody watched; who comes now finds it in the list of calls, and wants to see its own.
            parent.watched = self._is_told(parent, sample)
        return parent.watched

    def _told_of_end(self, call: HubCall, sample: Sample, *, ok: bool) -> list[Watcher]:
        """Returns who is told of the end of a call that is not in the sample, and failed or was slow."""
        session_id = call.session.id
        watchers = [each for each in self._watchers if not each.is_thorough and each.wants("call", session_id)]
        return watchers if watchers and (sample.slow if ok else sample.failed).take() else []

    def _worker_changed(self, operation: str, worker: Worker) -> None:
        watchers = self._watchers_of("worker", "")
        if watchers:
            self._tell(watchers, _event(operation, worker=infos.worker_info(worker)))

    def _session_changed(self, operation: str, session: Session) -> None:
        watchers = self._watchers_of("session", session.id)
        if watchers:
            self._tell(watchers, _event(operation, session=infos.session_info(session, self._registry)))

    def _reported(self, report: Report) -> None:
        """Handles a log record, or a call whose tool has reported progress."""
        line = report.of
        if not isinstance(line, pb.LogRecord):
            if not line.over:
                self.moved(line)
            return
        session_id = line.fields.get("session_id", "")
        among = self._watchers if report.for_all else self._thorough
        watchers = [watcher for watcher in among if watcher.wants("log", session_id)]
        if watchers:
            self._tell(watchers, _event("", log=line))

    def _lost(self, count: int) -> None:
        for watcher in self._watchers:
            if "log" in watcher.kinds:
                watcher.skip(count)

    def _watchers_of_call(self, call: HubCall) -> list[Watcher]:
        among = self._watchers if call.watched else self._thorough
        return [watcher for watcher in among if watcher.wants("call", call.session.id)] if among else []

    def _watchers_of(self, kind: str, session_id: str) -> list[Watcher]:
        return [watcher for watcher in self._watchers if watcher.wants(kind, session_id)]

    def _tell(
        self,
        watchers: Collection[Watcher],
        event: pb.AdminEvent,
        add_arguments: Callable[[pb.AdminEvent], None] | None = None,
    ) -> None:
        """Queues an event for watchers, including arguments or the result for those that want them."""
        for some, version in _versions(watchers, event, add_arguments):
            size, is_own = version.ByteSize(), len(some) == 1
            for watcher in some:
                if watcher.is_thorough:
                    watcher.put(version, size, is_own=is_own)
                else:
                    self._gathered.add(partial(watcher.put, version, size, is_own=is_own), size)


def _versions(
    watchers: Collection[Watcher], event: pb.AdminEvent, add_arguments: Callable[[pb.AdminEvent], None] | None
) -> Iterator[tuple[Collection[Watcher], pb.AdminEvent]]:
    """Yields the event as it is for some of its watchers, and with what only the others want."""
    if add_arguments is None:
        yield watchers, event
        return
    bare = [watcher for watcher in watchers if not watcher.with_arguments]
    if len(bare) < len(watchers):
        whole = event
        if bare:
            whole = pb.AdminEvent()
            whole.CopyFrom(event)
        add_arguments(whole)
        yield [watcher for watcher in watchers if watcher.with_arguments], whole
    if bare:
        yield bare, event


def _event(operation: str, at: float = 0.0, **subject: Message) -> pb.AdminEvent:
    """Makes an event that happened at this time, in seconds since the epoch; 0: now."""
    event = pb.AdminEvent(operation=operation, **subject)  # type: ignore[arg-type]  # each is of its field's type
    infos.set_time(event.timestamp, at or time.time())
    return event


def _check_kinds(kinds: Collection[str]) -> None:
    for kind in kinds:
        if kind not in EVENT_KINDS:
            raise ValidationError(f"{shown(kind)} is not a kind of event; the kinds are {', '.join(EVENT_KINDS)}")


def _check_rate(calls_per_second: int) -> None:
    if calls_per_second < 0:
        raise ValidationError(f"calls_per_second must be 0 (every call) or more, not {calls_per_second}")
