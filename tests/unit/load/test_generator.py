"""Closed and open loops, with calls that are as slow as a test wants."""

import asyncio
from collections.abc import Callable

import pytest

from grpc_tool_bridge.errors import ToolExecutionError
from grpc_tool_bridge.load.exchanges import Exchange
from grpc_tool_bridge.load.generator import LoadGenerator, Plan
from support.waiting import soon, until

SENT = Exchange(1, 1)


class Service:
    """Answers when it is told to.

    Attributes:
        running, most: Calls that run, and the most that did at once.
        started: How many calls were made.
        go: Lets calls end.
    """

    def __init__(self) -> None:
        self.running = self.most = self.started = 0
        self.go = asyncio.Event()

    async def __call__(self) -> Exchange:
        self.started += 1
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.go.wait()
            await asyncio.sleep(0.001)
        finally:
            self.running -= 1
        return SENT


async def test_a_closed_loop_makes_as_many_calls_at_once_as_it_is_told_and_never_more() -> None:
    service = Service()
    service.go.set()
    generator = LoadGenerator(Plan(duration=0.2, concurrency=3), [service, service])
    await soon(generator.run())
    assert service.most == 6
    assert generator.results.calls == service.started
    assert generator.in_flight == 0


async def test_a_closed_loop_makes_no_call_while_none_is_answered() -> None:
    service = Service()
    generator = LoadGenerator(Plan(duration=0.1), [service])
    running = asyncio.create_task(generator.run())
    await until(lambda: generator.progress >= 0.1)
    assert service.started == 1
    service.go.set()
    await soon(running)
    assert generator.results.calls == 1


async def test_an_open_loop_makes_its_calls_whether_or_not_others_are_answered() -> None:
    service = Service()
    generator = LoadGenerator(Plan(duration=0.2, rate=100), [service])
    running = asyncio.create_task(generator.run())
    await until(lambda: service.started == 20)
    assert service.running == 20
    service.go.set()
    await soon(running)
    assert generator.results.calls == 20


async def test_a_stall_counts_for_every_call_that_was_due_in_it() -> None:
    # All answers come after the end of the duration: the first call was due a whole duration earlier than the last.
    service = Service()
    generator = LoadGenerator(Plan(duration=0.5, rate=100), [service])
    running = asyncio.create_task(generator.run())
    await until(lambda: generator.progress >= 0.5)
    service.go.set()
    await soon(running)
    latency = generator.results.latency
    assert latency.count == 50
    assert latency.most - latency.least >= 0.48
    assert latency.most >= 0.5
    assert generator.results.rate == 0


async def test_latency_counts_from_when_a_call_was_due_even_if_the_generator_itself_was_held_up() -> None:
    async def answer() -> Exchange:
        return SENT

    generator = LoadGenerator(Plan(duration=0.5, rate=100), [answer])
    running = asyncio.create_task(generator.run())
    await until(lambda: generator.results.calls)
    asyncio.get_running_loop().call_soon(hold_up, 0.2)
    await soon(running)
    assert generator.results.latency.most >= 0.18
    assert generator.results.lag.most >= 0.18
    assert generator.results.latency.count == 50


def hold_up(seconds: float) -> None:
    """Keeps the event loop from anything else."""
    clock = asyncio.get_running_loop().time
    end = clock() + seconds
    while clock() < end:
        pass


async def test_calls_of_an_open_loop_beyond_what_may_be_in_flight_are_dropped_and_counted() -> None:
    service = Service()
    generator = LoadGenerator(Plan(duration=0.2, rate=100, max_in_flight=5), [service])
    running = asyncio.create_task(generator.run())
    await until(lambda: generator.results.dropped == 15)
    service.go.set()
    await soon(running)
    assert (service.started, generator.results.dropped) == (5, 15)


async def test_a_generator_that_is_late_has_no_more_in_flight_than_may_be() -> None:
    service = Service()
    generator = LoadGenerator(Plan(duration=0.01, rate=100_000, max_in_flight=5), [service])
    running = asyncio.create_task(generator.run())
    await until(lambda: generator.results.dropped == 995)
    service.go.set()
    await soon(running)
    assert service.started == 5


async def test_calls_of_the_warm_up_are_made_and_not_counted() -> None:
    service = Service()
    service.go.set()
    # Sums of eighths are exact, whatever the clock stands at.
    generator = LoadGenerator(Plan(duration=0.125, warmup=0.125, rate=64), [service])
    await soon(generator.run())
    assert service.started == 16
    assert generator.results.calls == 8


async def test_clients_take_turns_in_an_open_loop() -> None:
    first, second = Service(), Service()
    first.go.set()
    second.go.set()
    await soon(LoadGenerator(Plan(duration=0.1, rate=100), [first, second]).run())
    assert (first.started, second.started) == (5, 5)


@pytest.mark.parametrize("rate", [None, 1_000.0])
async def test_a_call_that_fails_at_once_is_counted_and_the_loop_still_ends(rate: float | None) -> None:
    async def fail() -> Exchange:
        raise ToolExecutionError("add", "LookupError", "no")

    generator = LoadGenerator(Plan(duration=0.05, rate=rate), [fail])
    await soon(generator.run())
    assert generator.results.failed == generator.results.calls > 1
    assert generator.results.success_rate == 0 < generator.results.rate


async def test_an_interrupted_measurement_keeps_its_results_and_counts_what_was_in_flight() -> None:
    fast, stuck = Service(), Service()
    fast.go.set()
    generator = LoadGenerator(Plan(duration=600), [fast, stuck])
    running = asyncio.create_task(generator.run())
    await until(lambda: generator.results.calls > 3)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(running)
    results = generator.results
    assert results.calls > 3
    assert results.rate > 0
    assert results.seconds < 600
    assert results.unfinished is not None
    assert results.unfinished.calls >= 1
    assert results.unfinished.oldest > 0
    assert stuck.running == fast.running == 0


async def test_progress_is_negative_while_it_warms_up_and_ends_at_the_duration() -> None:
    service = Service()
    generator = LoadGenerator(Plan(duration=0.05, warmup=0.05), [service])
    seen: list[float] = [generator.progress]
    running = asyncio.create_task(generator.run())
    service.go.set()
    await until(_keeps(seen, lambda: generator.progress, 0.05))
    await soon(running)
    assert seen[0] == -0.05
    assert seen == sorted(seen)
    assert generator.progress == 0.05


def _keeps(seen: list[float], look: Callable[[], float], last: float) -> Callable[[], bool]:
    def look_again() -> bool:
        seen.append(look())
        return seen[-1] >= last

    return look_again
