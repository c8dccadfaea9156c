"""Commits and how long they take."""

from grpc_tool_bridge.core.commit_metrics import BOUNDS, CommitMetrics


def test_commits_are_counted_by_how_long_they_took() -> None:
    metrics = CommitMetrics()
    for seconds in (0.0001, BOUNDS[0], 0.3, 100.0):
        metrics.note(2, seconds)
    assert (metrics.commits, metrics.changes, metrics.most_seconds) == (4, 8, 100.0)
    times = metrics.times()
    assert times.seconds == metrics.seconds
    assert times.within[0] == (BOUNDS[0], 2)
    assert times.within[-2:] == [(BOUNDS[-1], 3), (float("inf"), 4)]
