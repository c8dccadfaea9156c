"""How long calls took, as a hub counts them: in buckets."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from grpc_tool_bridge.proto.dspex_bridge_pb2 import MetricHistogram


@dataclass(frozen=True)
class Durations:
    """How many calls took how long.

    Attributes:
        counts: The number of calls by the upper bound of their bucket, in milliseconds; the last bound may be infinite.
        total_ms: All durations together.
    """

    counts: Mapping[float, int]
    total_ms: float

    @classmethod
    def read(cls, message: MetricHistogram) -> "Durations":
        """Reads the histogram of a metric."""
        return cls({bucket.upper_bound: bucket.count for bucket in message.buckets}, message.sum)

    @property
    def count(self) -> int:
        """The number of calls."""
        return sum(self.counts.values())

    @property
    def mean_ms(self) -> float | None:
        """The mean duration in milliseconds; None without calls."""
        return self.total_ms / self.count if self.count else None

    def since(self, before: "Durations | None") -> "Durations":
        """Returns those of the calls that ended after ``before`` was read."""
        if before is None:
            return self
        counts = {bound: count - before.counts.get(bound, 0) for bound, count in self.counts.items()}
        # A hub that has restarted counts from 0 again.
        return self if min(counts.values(), default=0) < 0 else Durations(counts, self.total_ms - before.total_ms)

    def plus(self, other: "Durations") -> "Durations":
        """Returns those of both together."""
        bounds = sorted({*self.counts, *other.counts})
        counts = {bound: self.counts.get(bound, 0) + other.counts.get(bound, 0) for bound in bounds}
        return Durations(counts, self.total_ms + other.total_ms)

    def percentile_ms(self, part: float) -> float | None:
        """Estimates the milliseconds that a part of the calls, such as 0.99 of them, took at most.

        Only the bucket of a duration is known: within one, durations count as evenly spread on a logarithmic scale, in
        the first one on a linear one. Those above the last finite bound count as that. None without calls.
        """
        left, low, last = part * self.count, 0.0, None
        for bound, count in sorted(self.counts.items()):
            if math.isinf(bound):
                break
            last = bound
            if count and count >= left:
                return low * (bound / low) ** (left / count) if low else bound * left / count
            left, low = left - count, bound
        return last if self.count else None
