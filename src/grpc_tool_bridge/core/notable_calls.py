"""The slowest and the failed calls of the last minutes, so that they can be looked up afterwards.

Nearly every call costs one comparison: only a call that failed, or that took longer than ``ToolMetrics.noted_us``, is
looked at.
"""

import time
from collections import deque
from collections.abc import Iterator
from heapq import heappush, heapreplace
from itertools import count
from typing import Any, NamedTuple

from grpc_tool_bridge.aio.turns import Turns
from grpc_tool_bridge.core import infos
from grpc_tool_bridge.core.calls import HubCall
from grpc_tool_bridge.core.infos import CallIds
from grpc_tool_bridge.core.metrics import ToolMetrics
from grpc_tool_bridge.core.workers.worker import Worker
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.bounds import MAX_NAME_CHARS

# Calls are kept for ten to ten and a half minutes, by the half minute in which they ended.
KEPT_SECONDS = 600
SLICE_SECONDS = 30

# Of each half minute: the slowest calls of all, the slowest of each of the first tools, and the last failed ones. With
# messages of errors as long as they may be, this is at most some 8 MB; mostly less than one.
MAX_SLOW = 20
MAX_SLOW_OF_TOOL = 3
MAX_TOOLS = 100
MAX_FAILED = 50
MAX_MESSAGE_CHARS = 1_000

KINDS = ("slow", "failed")


class Kept(NamedTuple):
    """A call that is kept; ordered by its duration.

    Attributes:
        duration_us: Duration in microseconds.
        number: Rises with each.
        opened_at, ended_at: On the monotonic clock.
        call_id, session_id, tool_id, request_id, parent_id, worker_id: As in CallInfo.
        error: What is kept of its error; None if it succeeded.
    """

    duration_us: int
    number: int
    opened_at: float
    ended_at: float
    call_id: str
    session_id: str
    tool_id: str
    request_id: str
    parent_id: str
    worker_id: str
    error: "KeptError | None"

    def info(self) -> pb.CallInfo:
        """Describes the call."""
        info = pb.CallInfo(
            call_id=self.call_id,
            session_id=self.session_id,
            tool_id=self.tool_id,
            request_id=self.request_id,
            parent_id=self.parent_id,
            worker_id=self.worker_id,
            state="done",
            duration_us=self.duration_us,
        )
        infos.set_time(info.started_at, infos.time_of(self.opened_at))
        if self.error is not None:
            info.state = infos.failed_state(self.error.type)
            info.error.type = self.error.type or infos.CANCELLED
            info.error.message = self.error.message
            info.error.retryable = self.error.retryable
            if self.error.origin:
                info.error.details["origin"] = self.error.origin
        return info


class KeptError(NamedTuple):
    """What is kept of an error; the fields are those of ErrorInfo, and its origin."""

    type: str
    message: str
    retryable: bool
    origin: str


class _Slowest:
    """The slowest calls, up to a number of them."""

    __slots__ = ("_most", "calls")

    def __init__(self, most: int) -> None:
        self._most = most
        # A heap: the quickest of them is the first.
        self.calls: list[Kept] = []

    @property
    def threshold_us(self) -> int:
        """A call has to take longer to be one of them."""
        return self.calls[0].duration_us if len(self.calls) == self._most else -1

    def put(self, call: Kept) -> None:
        """Adds a call that takes longer than the threshold."""
        if len(self.calls) < self._most:
            heappush(self.calls, call)
        else:
            heapreplace(self.calls, call)


class _Slice:
    """What is kept of one half minute."""

    __slots__ = ("failed", "of_tools", "slowest")

    def __init__(self) -> None:
        self.slowest = _Slowest(MAX_SLOW)
        self.of_tools: dict[str, _Slowest] = {}
        self.failed: deque[Kept] = deque(maxlen=MAX_FAILED)

    def slow(self) -> Iterator[Kept]:
        """Yields the slow calls, each once."""
        seen = {call.number: call for each in self.of_tools.values() for call in each.calls}
        seen.update((call.number, call) for call in self.slowest.calls)
        return iter(seen.values())

    def of_tool(self, tool_id: str) -> _Slowest | None:
        """Returns the slowest calls of a tool; None if too many tools have theirs."""
        known = self.of_tools.get(tool_id)
        if known is None and len(self.of_tools) < MAX_TOOLS:
            known = self.of_tools[tool_id] = _Slowest(MAX_SLOW_OF_TOOL)
        return known


class NotableCalls:
    """Keeps the slowest and the failed calls.

    Args:
        ids: The ids of calls.

    Attributes:
        turns_at: When the next half minute begins, on the monotonic clock; from then on every call is to be noted.
    """

    def __init__(self, ids: CallIds) -> None:
        self.turns_at = time.monotonic() + SLICE_SECONDS
        self._ids = ids
        self._numbers = count()
        self._now = _Slice()
        self._slices: deque[_Slice] = deque([self._now], maxlen=KEPT_SECONDS // SLICE_SECONDS + 1)
        # Those whose ``noted_us`` was raised in this half minute.
        self._raised: set[ToolMetrics] = set()

    def note(self, call: HubCall, *, ok: bool, duration_us: int, outcome: Any) -> bool:
        """Keeps a call that has ended if it is notable.

        Args:
            call: The call.
            ok: Whether it succeeded.
            duration_us: Duration in microseconds.
            outcome: As for ``CallObserver.ended``.

        Returns:
            Whether it is one of the slowest of this half minute until now.
        """
        now = time.monotonic()
        if now >= self.turns_at:
            self._turn(now)
        slowest, own = self._now.slowest, self._now.of_tool(call.tool.id)
        among_all = duration_us > slowest.threshold_us
        among_own = own is not None and duration_us > own.threshold_us
        if not ok or among_all or among_own:
            error = None if ok else _kept_error(infos.error_of(outcome))
            kept = Kept(
                duration_us,
                next(self._numbers),
                call.opened_at,
                now,
                self._ids.of(call),
                call.session.id,
                call.tool.id,
                call.known_id,
                self._ids.of(call.parent) if call.parent is not None else "",
                call.worker.id if isinstance(call.worker, Worker) else "",
                error,
            )
            if not ok:
                self._now.failed.append(kept)
            if among_all:
                slowest.put(kept)
            if among_own and own is not None:
                own.put(kept)
        metrics = call.tool.metrics
        metrics.noted_us = slowest.threshold_us if own is None else min(slowest.threshold_us, own.threshold_us)
        self._raised.add(metrics)
        return among_all or among_own

    async def calls(
        self,
        kind: str,
        *,
        tool_id: str = "",
        worker_id: str = "",
        session_id: str = "",
        most: int = 100,
    ) -> list[pb.CallInfo]:
        """Returns calls that ended in the last ten minutes.

        Args:
            kind: "slow" (the slowest first) or "failed" (the newest first; cancelled ones too).
            tool_id: Only calls of this tool or agent; empty: of all.
            worker_id: Only those that this worker ran.
            session_id: Only those of this session.
            most: Maximum number of calls.
        """
        since = time.monotonic() - KEPT_SECONDS
        kept = [
            call
            for each in self._slices
            for call in (each.slow() if kind == "slow" else each.failed)
            if call.ended_at >= since
        ]
        kept.sort(key=lambda call: (call.duration_us if kind == "slow" else 0, call.number), reverse=True)
        found: list[pb.CallInfo] = []
        turns = Turns()
        for call in kept:
            if (
                tool_id in ("", call.tool_id)
                and worker_id in ("", call.worker_id)
                and session_id in ("", call.session_id)
            ):
                found.append(call.info())
            if len(found) == most:
                break
            if turns.due:
                await turns.give()
        return found

    def _turn(self, now: float) -> None:
        self.turns_at = now + SLICE_SECONDS
        self._now = _Slice()
        self._slices.append(self._now)
        for metrics in self._raised:
            metrics.noted_us = -1
        self._raised.clear()


def _kept_error(error: pb.ErrorInfo) -> KeptError:
    # A worker writes all of it.
    kind, origin = (text[:MAX_NAME_CHARS] for text in (error.type, error.details.get("origin", "")))
    return KeptError(kind, error.message[:MAX_MESSAGE_CHARS], error.retryable, origin)
