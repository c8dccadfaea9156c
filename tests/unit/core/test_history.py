"""The points of the last minutes, and the sums over them."""

import asyncio
from random import Random

import pytest

from grpc_tool_bridge.core import history as module
from grpc_tool_bridge.core.history import INTERVAL_SECONDS, History
from grpc_tool_bridge.core.metrics import OTHER_TOOLS, Metrics, ToolMetrics
from support.waiting import until

NOTHING = (0, 0, 0)


class Counted:
    """What a history looks at.

    Attributes:
        metrics: Those of the tools.
        workers: Names of workers, with their counts.
        now: What the clock says.
    """

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.workers: list[tuple[str, ToolMetrics]] = []
        self.now = 100.0

    def history(self, *, max_points: int = 300, max_names: int = 1_000) -> History:
        return History(
            self.metrics.counts,
            lambda: self.workers,
            clock=lambda: self.now,
            max_points=max_points,
            max_names=max_names,
        )

    def call(self, name: str, *durations_us: int, ok: bool = True) -> None:
        for duration_us in durations_us:
            self.metrics.of_tool(name).record(duration_us, ok=ok)


@pytest.fixture
def counted() -> Counted:
    return Counted()


def told(counts: ToolMetrics) -> tuple[int, int, int]:
    return counts.calls, counts.errors, counts.active


async def points_of(
    history: History, since: int = 0, *, tool: str = "", worker: str = ""
) -> list[tuple[int, int, int]]:
    return [told(point.counts) for point in await history.points(since, tool=tool, worker=worker)]


def sums_of(history: History) -> dict[str, tuple[int, int, int]]:
    return {name: told(counts) for name, counts in history.tools.rows()}


async def test_a_point_has_what_ended_in_its_interval_and_is_active_at_its_end(counted: Counted) -> None:
    counted.call("before", 1_000)
    history = counted.history()
    await history.begin()
    counted.call("add", 1_000, 3_000)
    counted.call("fail", 1_000, ok=False)
    counted.metrics.of_tool("wait").active = 2
    await history.tick()
    counted.metrics.of_tool("wait").active = 0
    counted.call("add", 10)
    await history.tick()
    await history.tick()
    assert await points_of(history) == [(3, 1, 2), (1, 0, 0), NOTHING]
    assert await points_of(history, tool="add") == [(2, 0, 0), (1, 0, 0), NOTHING]
    assert await points_of(history, tool="wait") == [(0, 0, 2), NOTHING, NOTHING]
    assert await points_of(history, tool="unknown") == [NOTHING] * 3
    assert sums_of(history) == {"add": (3, 0, 0), "fail": (1, 1, 0), "wait": (0, 0, 0)}
    assert told(history.tools.total) == (4, 1, 0)
    (first, second, _) = await history.points(tool="add")
    assert first.counts.buckets == counted_as(1_000, 3_000)
    assert second.counts.buckets == counted_as(10)


def counted_as(*durations_us: int) -> list[int]:
    counts = ToolMetrics()
    for duration_us in durations_us:
        counts.record(duration_us, ok=True)
    return counts.buckets


async def test_only_later_points_are_returned_unless_the_number_is_of_another_hub(counted: Counted) -> None:
    history = counted.history(max_points=3)
    await history.begin()
    for _ in range(5):
        await history.tick()
    kept = [3, 4, 5]
    for since, expected in ((0, kept), (1, kept), (2, kept), (3, [4, 5]), (4, [5]), (5, []), (6, kept), (10**6, kept)):
        assert [point.sequence for point in await history.points(since)] == expected, since


async def test_a_history_without_points_is_empty(counted: Counted) -> None:
    history = counted.history()
    assert await history.points() == await history.points(7) == []
    assert history.seconds == 0
    assert told(history.tools.total) == NOTHING
    assert history.tools.rows() == []


async def test_the_window_lasts_from_its_first_interval_to_the_end_of_its_last(counted: Counted) -> None:
    history = counted.history(max_points=2)
    counted.now = 101.0
    await history.begin()
    for now, seconds in ((103.0, 2.0), (108.0, 7.0), (110.0, 7.0), (112.5, 4.5)):
        counted.now = now
        await history.tick()
        assert history.seconds == seconds


@pytest.mark.parametrize("seed", range(5))
async def test_the_sums_are_those_of_the_points(counted: Counted, seed: int) -> None:
    random = Random(seed)
    history = counted.history(max_points=7, max_names=5)
    await history.begin()
    names = [f"t{number}" for number in range(12)]
    for _ in range(40):
        for _ in range(random.randrange(12)):
            counted.call(
                random.choice(names), random.randrange(1, 10 ** random.randrange(1, 10)), ok=random.random() < 0.8
            )
        for name in names:
            counted.metrics.of_tool(name).active = random.randrange(2)
        await history.tick()
        rows = dict(history.tools.rows())
        assert len(rows) <= 6
        assert len(rows.keys() - {OTHER_TOOLS}) <= 5
        total = ToolMetrics()
        for name, row in rows.items():
            points = [point.counts for point in await history.points(tool=name)]
            added = ToolMetrics()
            for counts in points:
                added.add(counts)
            assert (row.calls, row.errors, row.buckets) == (added.calls, added.errors, added.buckets)
            assert row.active == points[-1].active
            total.add(row)
        assert told(history.tools.total) == told(total)
        assert history.tools.total.buckets == total.buckets


async def test_tools_beyond_the_most_are_one_until_there_is_room(counted: Counted) -> None:
    history = counted.history(max_points=2, max_names=2)
    await history.begin()
    for name in ("a", "b", "c", "d"):
        counted.call(name, 1_000)
    await history.tick()
    assert sums_of(history) == {"a": (1, 0, 0), "b": (1, 0, 0), OTHER_TOOLS: (2, 0, 0)}
    counted.call("c", 1_000)
    counted.call("b", 1_000)
    await history.tick()
    assert sums_of(history) == {"a": (1, 0, 0), "b": (2, 0, 0), OTHER_TOOLS: (3, 0, 0)}
    # "a" has left the window.
    await history.tick()
    counted.call("c", 1_000)
    await history.tick()
    assert sums_of(history) == {"c": (1, 0, 0)}


async def test_a_worker_that_has_gone_has_its_last_calls_counted(counted: Counted) -> None:
    history = counted.history()
    first, second = ToolMetrics(), ToolMetrics()
    counted.workers, first.active = [("w", first)], 1
    first.record(1_000, ok=True)
    await history.begin()
    first.record(1_000, ok=True)
    await history.tick()
    first.record(1_000, ok=False)
    # It has connected again, by the same name.
    second.record(1_000, ok=True)
    counted.workers, second.active = [("w", second)], 3
    await history.tick()
    first.record(1_000, ok=True)
    await history.tick()
    assert await points_of(history, worker="w") == [(1, 0, 1), (2, 1, 3), (0, 0, 3)]
    assert [(name, told(row)) for name, row in history.workers.rows()] == [("w", (3, 1, 3))]
    # Tools and workers are counted apart.
    assert told(history.tools.total) == NOTHING


async def test_rows_are_chosen_by_how_their_names_begin(counted: Counted) -> None:
    history = counted.history()
    await history.begin()
    for name in ("files.read", "files.write", "web.read"):
        counted.call(name, 1_000)
    await history.tick()
    assert sorted(name for name, _ in history.tools.rows("files.")) == ["files.read", "files.write"]


async def test_others_have_their_turn_while_many_tools_are_looked_at(
    counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = counted.history(max_points=1)
    await history.begin()
    monkeypatch.setattr("grpc_tool_bridge.aio.turns.SLICE_SECONDS", 0.0)
    monkeypatch.setattr("grpc_tool_bridge.aio.turns.Turns.due", True)
    for _ in range(2):
        for number in range(50):
            counted.call(f"t{number}", 1_000)
        turns = 0
        ticking = asyncio.ensure_future(history.tick())
        while not ticking.done():
            turns += 1
            # Whatever is read meanwhile is whole.
            assert len(await history.points()) in (0, 1)
            await asyncio.sleep(0)
        assert turns > 50
    assert told(history.tools.total) == (50, 0, 0)


async def test_a_point_is_added_every_two_seconds_and_a_delay_is_not_made_up_for(counted: Counted) -> None:
    slept: list[float] = []
    delays = [0.0, 0.5, 30.0, 0.0, 0.0]

    async def sleep(seconds: float) -> None:
        if not delays:
            raise asyncio.CancelledError
        slept.append(seconds)
        counted.now += seconds + delays.pop(0)

    history = History(counted.metrics.counts, list, clock=lambda: counted.now, sleep=sleep)
    with pytest.raises(asyncio.CancelledError):
        await history.run()
    # After the longest delay, the next point is due at once, and the one after it two seconds later.
    assert slept == [2.0, 2.0, 1.5, 0.0, 2.0]
    assert len(await history.points()) == 5
    assert history.seconds == sum(slept) + 30.5


async def test_it_runs_by_the_clock_of_the_loop_until_it_is_cancelled(
    counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "INTERVAL_SECONDS", INTERVAL_SECONDS / 1_000)
    history = History(counted.metrics.counts, list)
    running = asyncio.ensure_future(history.run())
    await until(lambda: history.seconds)
    running.cancel()
    await until(running.cancelled)
    assert await history.points()
