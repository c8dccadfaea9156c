"""Durations, counted in buckets of constant relative width, so that any number of them takes the same memory."""

import math
from array import array
from collections.abc import Iterator

# Each power of two has so many buckets: a bucket is at most 1/128 of its duration wide, which is 0.8 %.
_BUCKET_BITS = 7
# About 19 hours in microseconds; longer durations are counted in the last bucket.
_MAX_MICROSECONDS = 2**36 - 1


class Histogram:
    """Counts durations; those below 256 µs exactly to the microsecond, longer ones to 0.8 %.

    Attributes:
        count: How many were recorded.
        total: Their sum in seconds.
        least, most: The shortest and the longest in seconds, exactly; 0 without any.
    """

    def __init__(self) -> None:
        self._counts = array("Q", bytes(8 * (_index(_MAX_MICROSECONDS) + 1)))
        self.count = 0
        self.total = 0.0
        self.least = 0.0
        self.most = 0.0

    @property
    def mean(self) -> float:
        """The mean in seconds; 0 without any."""
        return self.total / self.count if self.count else 0.0

    def record(self, seconds: float) -> None:
        """Counts a duration; a negative one as 0."""
        seconds = max(0.0, seconds)
        self._counts[_index(min(round(seconds * 1e6), _MAX_MICROSECONDS))] += 1
        self.least = min(self.least, seconds) if self.count else seconds
        self.most = max(self.most, seconds)
        self.count += 1
        self.total += seconds

    def percentile(self, percent: float) -> float:
        """Returns the seconds that ``percent`` of a hundred took at most; 0 without any.

        It is the upper end of a bucket, so it is never too small, and at most 0.8 % too large.
        """
        wanted = max(1, math.ceil(self.count * percent / 100))
        seen = 0
        for upper, count in self.buckets():
            seen += count
            if seen >= wanted:
                return upper
        return self.most

    def buckets(self) -> Iterator[tuple[float, int]]:
        """Yields the upper end in seconds and the count of each bucket that is not empty, in rising order."""
        for index, count in enumerate(self._counts):
            if count:
                yield min(_upper(index) / 1e6, self.most), count


def _index(microseconds: int) -> int:
    shift = max(0, microseconds.bit_length() - _BUCKET_BITS - 1)
    return (shift << _BUCKET_BITS) + (microseconds >> shift)


def _upper(index: int) -> int:
    """Returns the largest number of microseconds in a bucket."""
    shift = max(0, (index >> _BUCKET_BITS) - 1)
    return ((index - (shift << _BUCKET_BITS) + 1) << shift) - 1
