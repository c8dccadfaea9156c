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
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb

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
        ended_at: On the monotonic clock.
        info: The serialized CallInfo, without arguments.
    """

    duration_us: int
    number: int
    ended_at: float
    info: bytes


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
            error = pb.ErrorInfo() if ok else infos.error_of(outcome)
            kept = Kept(duration_us, next(self._numbers), now, self._written(call, ok, duration_us, error))
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
            info = pb.CallInfo.FromString(call.info)
            if (
                tool_id in ("", info.tool_id)
                and worker_id in ("", info.worker_id)
                and session_id in ("", info.session_id)
            ):
                found.append(info)
            if len(found) == most:
                break
            if turns.due:
                await turns.give()
        return found

    def _written(self, call: HubCall, ok: bool, duration_us: int, error: pb.ErrorInfo) -> bytes:
        told = infos.without_texts(error)
        told.message = error.message[:MAX_MESSAGE_CHARS]
        info = infos.ended_call_info(call, self._ids, ok=ok, duration_us=duration_us, error=told)
        # It may quote what the call is about.
        info.ClearField("progress")
        return info.SerializeToString()

    def _turn(self, now: float) -> None:
        self.turns_at = now + SLICE_SECONDS
        self._now = _Slice()
        self._slices.append(self._now)
        for metrics in self._raised:
            metrics.noted_us = -1
        self._raised.clear()
