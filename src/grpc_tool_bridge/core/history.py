"""The last ten minutes of a hub: how many calls ended, failed and ran, and how long they took, every two seconds.

Tools and workers are counted anyway (``ToolMetrics``), so a call costs nothing more. Every two seconds a point is added
with what has changed since the point before, and with nothing for a tool that was not called. The sums over all points
are kept up to date, so that reading them does not go through the points.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import NamedTuple

from grpc_tool_bridge.aio.turns import Turns
from grpc_tool_bridge.core.metrics import OTHER_TOOLS, ToolMetrics

INTERVAL_SECONDS = 2.0
MAX_POINTS = 300
# Tools, and likewise workers, that are told apart in these points; further ones are one, as ``OTHER_TOOLS``. If all of
# them were called in each interval, all points together would take some 40 MB.
MAX_NAMES = 1_000

# Of each tool or worker its name and its counts.
Source = Callable[[], Iterable[tuple[str, ToolMetrics]]]

# What changed in one interval: calls at its end, errors, then the index and the increase of each bucket that grew.
_Changes = tuple[int, ...]
_NOTHING: _Changes = (0, 0)


class Point(NamedTuple):
    """One interval.

    Attributes:
        sequence: Its number, from 1.
        at: Its end, in seconds since the epoch.
        counts: What ended in it, and what was active at its end.
    """

    sequence: int
    at: float
    counts: ToolMetrics


class _Interval(NamedTuple):
    """When a point was: its number, its end since the epoch, and its beginning and end on the monotonic clock."""

    sequence: int
    at: float
    began: float
    ended: float


class History:
    """The points of a hub, and the sums of its tools and workers over all points.

    Args:
        tools: The tools.
        workers: The workers. One that is no longer there has its last calls counted in the next point.
        clock: The monotonic clock, in seconds.
        sleep: Waits for so many seconds.
        max_points: Points that are kept.
        max_names: Tools that are told apart, and workers.

    Attributes:
        tools, workers: Likewise, over all points.
        interval_seconds: How long a point lasts, if nothing delays it.
    """

    def __init__(
        self,
        tools: Source,
        workers: Source,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        max_points: int = MAX_POINTS,
        max_names: int = MAX_NAMES,
    ) -> None:
        self.tools = Window(tools, max_points, max_names)
        self.workers = Window(workers, max_points, max_names)
        self.interval_seconds = INTERVAL_SECONDS
        self._clock = clock
        self._sleep = sleep
        self._intervals: deque[_Interval] = deque(maxlen=max_points)
        self._sequence = 0
        self._began = clock()

    @property
    def seconds(self) -> float:
        """How long all points together lasted."""
        return self._intervals[-1].ended - self._intervals[0].began if self._intervals else 0.0

    async def run(self) -> None:
        """Adds points until it is cancelled; what was counted before is in none of them."""
        await self.begin()
        due = self._clock()
        while True:
            # After a delay, intervals that were missed are not made up for: the next point is longer.
            due = max(due + self.interval_seconds, self._clock())
            await self._sleep(due - self._clock())
            await self.tick()

    async def begin(self) -> None:
        """Begins the first interval."""
        await self.tools.collect()
        await self.workers.collect()
        self._began = self._clock()

    async def tick(self) -> None:
        """Ends an interval: adds its point. Others have their turn meanwhile if there are many tools."""
        await self.tools.prepare()
        await self.workers.prepare()
        self.tools.add_point()
        self.workers.add_point()
        self._sequence += 1
        ended = self._clock()
        self._intervals.append(_Interval(self._sequence, time.time(), self._began, ended))
        self._began = ended

    async def points(self, since: int = 0, *, tool: str = "", worker: str = "") -> list[Point]:
        """Returns points, oldest first.

        Args:
            since: Only those after the point with this number; if there is none yet, it is another hub's: all.
            tool: What concerns this tool; empty: all tools.
            worker: What concerns this worker.
        """
        first = self._sequence - len(self._intervals)
        start = since - first if first < since <= self._sequence else 0
        intervals = list(self._intervals)[start:]
        window, name = (self.workers, worker) if worker else (self.tools, tool)
        changes = window.changes(name)[start:]
        found: list[Point] = []
        turns = Turns()
        for interval, changed in zip(intervals, changes, strict=True):
            found.append(Point(interval.sequence, interval.at, _unpacked(changed)))
            if turns.due:
                await turns.give()
        return found


class Window:
    """What happened to each of many tools or workers: point by point, and in all points together.

    Args:
        source: The tools, or the workers.
        max_points: Points that are kept.
        max_names: Names that are told apart.
    """

    def __init__(self, source: Source, max_points: int, max_names: int) -> None:
        self._source = source
        self._max_points = max_points
        self._max_names = max_names
        # By the counts themselves: a worker that connects again has the same name.
        self._seen: dict[ToolMetrics, _Seen] = {}
        # Of each point what changed, by name, and for all names together.
        self._points: deque[tuple[dict[str, _Changes], _Changes]] = deque()
        self._sums: dict[str, _Sum] = {}
        self._total = _Sum()
        # The point that was prepared, and whether it is in place of the oldest one.
        self._next: tuple[dict[str, _Changes], _Changes] = {}, _NOTHING
        self._is_full = False

    @property
    def total(self) -> ToolMetrics:
        """The sum of all names over all points; ``active`` as in the last point."""
        return self._with_active(self._total, self._points[-1][1] if self._points else _NOTHING)

    def rows(self, prefix: str = "") -> list[tuple[str, ToolMetrics]]:
        """Returns the sum of each name that begins with ``prefix`` over all points, in no particular order."""
        last = self._points[-1][0] if self._points else {}
        return [
            (name, self._with_active(counts, last.get(name, _NOTHING)))
            for name, counts in list(self._sums.items())
            if name.startswith(prefix)
        ]

    def changes(self, name: str = "") -> list[_Changes]:
        """Returns what changed in each point, for one name or for all together."""
        if not name:
            return [total for _, total in self._points]
        return [by_name.get(name, _NOTHING) for by_name, _ in self._points]

    async def prepare(self) -> None:
        """Makes the next point, and has the sums include it and not the oldest one if there are too many.

        Only ``add_point`` adds it, so that the points are complete whenever others have their turn.
        """
        found = await self.collect()
        turns = Turns()
        self._is_full = len(self._points) >= self._max_points
        if self._is_full:
            by_name, changed = self._points[0]
            self._total.give_back(changed)
            for name, old in by_name.items():
                self._give_back(name, old)
                if turns.due:
                    await turns.give()
        for name, changed in found.by_name.items():
            self._sums.setdefault(name, _Sum()).take(changed)
            if turns.due:
                await turns.give()
        self._next = found.by_name, _packed(found.total)
        self._total.take(self._next[1])

    def add_point(self) -> None:
        """Adds the point that was prepared, in place of the oldest one if there are too many."""
        if self._is_full:
            self._points.popleft()
        self._points.append(self._next)

    def _give_back(self, name: str, old: _Changes) -> None:
        counts = self._sums[name]
        counts.give_back(old)
        if not counts.points:
            del self._sums[name]

    async def collect(self) -> "_Found":
        """Returns what has changed since it was last called; yields to others if there is much to compare."""
        found = _Found(self._sums, self._max_names)
        before, self._seen = self._seen, {}
        turns = Turns()
        for name, counts in self._source():
            seen = before.get(counts)
            if counts.calls != (0 if seen is None else seen.calls):
                seen = seen or _Seen(name)
                found.add(name, (counts.active, *seen.increase(counts)))
            elif counts.active:
                found.add(name, (counts.active, 0))
            if seen is not None:
                self._seen[counts] = seen
            if turns.due:
                await turns.give()
        for counts in before.keys() - self._seen.keys():
            seen = before[counts]
            if counts.calls != seen.calls:
                found.add(seen.name, (0, *seen.increase(counts)))
        return found

    @staticmethod
    def _with_active(counts: ToolMetrics, last: _Changes) -> ToolMetrics:
        found = ToolMetrics()
        found.add(counts)
        found.active = last[0]
        return found


class _Found:
    """What has changed in one interval.

    Args:
        known: Names that are told apart already.
        max_names: How many may be.

    Attributes:
        by_name: Of each name, and of those beyond as ``OTHER_TOOLS``.
        total: Of all together.
    """

    def __init__(self, known: Collection[str], max_names: int) -> None:
        self._known = known
        self._room = max_names - len(known) + (OTHER_TOOLS in known)
        self.by_name: dict[str, _Changes] = {}
        self.total = ToolMetrics()

    def add(self, name: str, changed: _Changes) -> None:
        """Adds what has changed of one tool or worker."""
        _add(self.total, changed)
        if name not in self.by_name and name not in self._known and name != OTHER_TOOLS:
            if self._room <= 0:
                name = OTHER_TOOLS
            self._room -= 1
        others = self.by_name.get(name)
        if others is not None:
            both = _unpacked(others)
            _add(both, changed)
            changed = _packed(both)
        self.by_name[name] = changed


class _Seen:
    """The counts of a tool or a worker when they were last looked at."""

    __slots__ = ("buckets", "calls", "errors", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.calls = self.errors = 0
        self.buckets = list(_NO_BUCKETS)

    def increase(self, counts: ToolMetrics) -> list[int]:
        """Returns what the counts are more now, as ``_Changes`` without the first, and remembers them."""
        changed = [counts.errors - self.errors]
        buckets = counts.buckets
        for index, before in enumerate(self.buckets):
            if buckets[index] != before:
                changed += (index, buckets[index] - before)
        self.calls, self.errors, self.buckets = counts.calls, counts.errors, list(buckets)
        return changed


class _Sum(ToolMetrics):
    """The sum of what changed in several points.

    Attributes:
        points: How many they are.
    """

    __slots__ = ("points",)

    def __init__(self) -> None:
        super().__init__()
        self.points = 0

    def take(self, changed: _Changes) -> None:
        """Adds a point."""
        self.points += 1
        _add(self, changed)

    def give_back(self, changed: _Changes) -> None:
        """Takes a point off again."""
        self.points -= 1
        self.active -= changed[0]
        self.errors -= changed[1]
        for place in range(2, len(changed), 2):
            self.calls -= changed[place + 1]
            self.buckets[changed[place]] -= changed[place + 1]


_NO_BUCKETS = tuple(ToolMetrics().buckets)


def _packed(counts: ToolMetrics) -> _Changes:
    grown = [number for pair in enumerate(counts.buckets) if pair[1] for number in pair]
    return counts.active, counts.errors, *grown


def _unpacked(changed: _Changes) -> ToolMetrics:
    counts = ToolMetrics()
    _add(counts, changed)
    return counts


def _add(counts: ToolMetrics, changed: _Changes) -> None:
    """Adds what has changed; every call that ended is in one of the buckets."""
    counts.active += changed[0]
    counts.errors += changed[1]
    for place in range(2, len(changed), 2):
        more = changed[place + 1]
        counts.calls += more
        counts.buckets[changed[place]] += more
