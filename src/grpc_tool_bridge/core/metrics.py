"""The metrics of the hub: calls, errors and durations."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import NamedTuple

from grpc_tool_bridge.aio.turns import Turns
from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import MetricHistogram, MetricsResponse, MetricValue

# Upper bounds in milliseconds, three to a decade from 0.1 ms to 100 s; above them is one open bucket.
BOUNDS_MS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000)
_BOUNDS_US = tuple(bound * 1_000 for bound in BOUNDS_MS)

# Tools come and go with sessions; counts are kept for this many names.
MAX_TOOLS = 10_000
# What further tools are counted as: no tool can have this name.
OTHER_TOOLS = "(other)"
# Names ending in a star in one request; every metric is compared with each of them.
MAX_PREFIXES = 100


class ToolMetrics:
    """The metrics of one tool, of several together, or of one worker.

    Attributes:
        calls, errors: Calls that have ended, and those of them that failed.
        active: Calls that run or wait.
        total_us: Durations of the ended calls together, in microseconds.
        buckets: How many of them took at most each of ``BOUNDS_MS``, and longer than the one before.
        noted_us: A call that takes longer may be one of the slowest of the moment; see ``NotableCalls``.
    """

    __slots__ = ("active", "buckets", "calls", "errors", "noted_us", "total_us")

    def __init__(self) -> None:
        self.calls = 0
        self.errors = 0
        self.active = 0
        self.total_us = 0
        self.buckets = [0] * (len(BOUNDS_MS) + 1)
        self.noted_us = -1

    def record(self, duration_us: int, *, ok: bool) -> None:
        """Counts one call that ended after ``duration_us`` microseconds."""
        self.calls += 1
        if not ok:
            self.errors += 1
        self.total_us += duration_us
        self.buckets[bisect_left(_BOUNDS_US, duration_us)] += 1

    def add(self, other: "ToolMetrics") -> None:
        """Adds the counts of another tool."""
        self.calls += other.calls
        self.errors += other.errors
        self.active += other.active
        self.total_us += other.total_us
        self.buckets = [mine + more for mine, more in zip(self.buckets, other.buckets, strict=True)]

    def percentiles_ms(self, *parts: float) -> list[float | None]:
        """Estimates the milliseconds that parts of the calls, such as 0.95 of them, took at most.

        Only the bucket of a duration is known. Within a bucket, durations count as evenly spread on a logarithmic scale
        (in the first, which begins at 0, on a linear one); those above the last bound count as the last bound.

        Args:
            parts: The parts, in ascending order.

        Returns:
            The estimates; None instead if there are no calls.
        """
        if not self.calls:
            return [None] * len(parts)
        found: list[float | None] = []
        ranks = [part * self.calls for part in parts]
        below = 0
        for index, count in enumerate(self.buckets[:-1]):
            while count and len(found) < len(ranks) and below + count >= ranks[len(found)]:
                found.append(_within_bucket(index, (ranks[len(found)] - below) / count))
            below += count
        return [*found, *[float(BOUNDS_MS[-1])] * (len(ranks) - len(found))]

    def cumulative_buckets(self) -> list[tuple[float, int]]:
        """Returns the upper bound of each bucket in seconds, and how many calls took no longer."""
        bounds = (*(bound / 1_000 for bound in BOUNDS_MS), float("inf"))
        return list(zip(bounds, accumulate(self.buckets), strict=True))

    def write_histogram(self, message: MetricHistogram) -> None:
        """Fills in the histogram of durations in milliseconds."""
        message.count, message.sum = self.calls, self.total_us / 1_000
        for bound, count in zip((*BOUNDS_MS, float("inf")), self.buckets, strict=True):
            message.buckets.add(upper_bound=bound, count=count)


class Totals(NamedTuple):
    """The counts of several tools together, as in ``ToolMetrics``."""

    calls: int
    errors: int
    active: int
    total_us: int


class Metrics:
    """The metrics of the whole hub, by tool."""

    def __init__(self) -> None:
        self._tools: dict[str, ToolMetrics] = {}
        self._others = ToolMetrics()

    def of_tool(self, name: str) -> ToolMetrics:
        """Returns the metrics of the tools with this name; beyond ``MAX_TOOLS`` names, further ones share an object."""
        known = self._tools.get(name)
        if known is None:
            if len(self._tools) >= MAX_TOOLS:
                return self._others
            known = self._tools[name] = ToolMetrics()
        return known

    def counts(self) -> list[tuple[str, ToolMetrics]]:
        """Returns the counts themselves, by tool; those beyond ``MAX_TOOLS`` are one, as ``OTHER_TOOLS``."""
        return [*self._tools.items(), (OTHER_TOOLS, self._others)]

    def totals(self) -> Totals:
        """Returns the counts of all tools together."""
        calls = errors = active = total_us = 0
        for counts in (*self._tools.values(), self._others):
            calls += counts.calls
            errors += counts.errors
            active += counts.active
            total_us += counts.total_us
        return Totals(calls, errors, active, total_us)

    async def by_tool(self, most: int) -> tuple[dict[str, ToolMetrics], ToolMetrics]:
        """Copies the counts; where there are many, others have their turn meanwhile.

        Args:
            most: Tools that are told apart: those whose names were used first, so that they stay the same.

        Returns:
            The counts of these, by name, and of all others together.
        """
        told: dict[str, ToolMetrics] = {}
        others = ToolMetrics()
        others.add(self._others)
        turns = Turns()
        for name, counts in list(self._tools.items()):
            copy = others if len(told) >= most else told.setdefault(name, ToolMetrics())
            copy.add(counts)
            if turns.due:
                await turns.give()
        return told, others

    async def snapshot(self, hub: Mapping[str, int | float | str], names: Iterable[str] = ()) -> MetricsResponse:
        """Returns the metrics as messages; yields to other tasks if there are many.

        Args:
            hub: The hub's own metrics.
            names: The names of the wanted metrics; a final "*" matches any ending; empty: all.

        Returns:
            ``hub.…`` as given, and for each tool ``tool.<name>.calls``, ``.errors``, ``.active`` and ``.duration_ms``.
        """
        wanted = _Wanted(names)
        response = MetricsResponse()
        result = response.metrics
        for name, value in hub.items():
            if name in wanted:
                _put(result[name], value)
        turns = Turns()
        for tool, counts in list(self._tools.items()):
            for field, number in (("calls", counts.calls), ("errors", counts.errors), ("active", counts.active)):
                name = f"tool.{tool}.{field}"
                if name in wanted:
                    result[name].integer_value = number
            name = f"tool.{tool}.duration_ms"
            if name in wanted:
                counts.write_histogram(result[name].histogram)
            if turns.due:
                await turns.give()
        return response


def _within_bucket(index: int, part: float) -> float:
    """Returns the milliseconds that are this part of the way through a bucket with two bounds."""
    high = BOUNDS_MS[index]
    if not index:
        return high * part
    low = BOUNDS_MS[index - 1]
    return float(low * (high / low) ** part)


class _Wanted:
    """The metrics that a caller names. A star is allowed only at the end: a pattern could take long to match."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)
        self._prefixes = tuple(name[:-1] for name in self._names if name.endswith("*"))
        if len(self._prefixes) > MAX_PREFIXES:
            raise ValidationError(
                f"{len(self._prefixes):,} metric names end in '*'; at most {MAX_PREFIXES} may: request all instead"
            )

    def __contains__(self, name: str) -> bool:
        return not self._names or name in self._names or name.startswith(self._prefixes)


def _put(message: MetricValue, value: float | str) -> None:
    if isinstance(value, str):
        message.string_value = value
    elif isinstance(value, int):
        message.integer_value = value
    else:
        message.double_value = value
