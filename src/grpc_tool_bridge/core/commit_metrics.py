"""Counts the commits of a store and how long they take."""

from bisect import bisect_left
from itertools import accumulate

from grpc_tool_bridge.core.stored import CommitTimes

# Upper bounds of commit times in seconds: from a fast disk that flushes at once to one that hangs.
BOUNDS = (0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class CommitMetrics:
    """The commits of a store.

    Attributes:
        commits: Commits that succeeded.
        changes: Changes that they had.
        failures: Commits that failed.
        refused: Changes that there was no room for, and that were in no commit. Counted in the loop, the others in the
            writer's thread.
        seconds: Time of all commits together.
        most_seconds: Time of the longest commit.
        within: Commits that took at most the bound at the same place of ``BOUNDS``; the last: longer than all.
    """

    def __init__(self) -> None:
        self.commits = 0
        self.changes = 0
        self.failures = 0
        self.refused = 0
        self.seconds = 0.0
        self.most_seconds = 0.0
        self.within = [0] * (len(BOUNDS) + 1)

    def note(self, changes: int, seconds: float) -> None:
        """Counts a commit."""
        self.commits += 1
        self.changes += changes
        self.seconds += seconds
        self.most_seconds = max(self.most_seconds, seconds)
        self.within[bisect_left(BOUNDS, seconds)] += 1

    def times(self) -> CommitTimes:
        """Returns how long the commits took."""
        return CommitTimes(list(zip((*BOUNDS, float("inf")), accumulate(self.within), strict=True)), self.seconds)
