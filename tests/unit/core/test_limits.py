"""ConcurrencyLimiter and rates: never more than there are, in order, none lost."""

import asyncio

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from grpc_tool_bridge.core import limits
from grpc_tool_bridge.core.limits import ConcurrencyLimiter, RateLimit
from grpc_tool_bridge.errors import ResourceExhaustedError
from support.clock import Clock
from support.waiting import turns


def waiting_task(places: ConcurrencyLimiter) -> "asyncio.Task[None]":
    return asyncio.get_running_loop().create_task(places.acquire())


async def test_places_are_taken_at_once_up_to_the_capacity() -> None:
    places = ConcurrencyLimiter(2, 10, "session 's'")
    assert places.try_acquire()
    await places.acquire()
    assert not places.try_acquire()
    assert (places.used, places.waiting) == (2, 0)


async def test_a_place_that_is_given_back_is_free_again() -> None:
    places = ConcurrencyLimiter(1, 10, "session 's'")
    await places.acquire()
    places.release()
    assert places.used == 0
    assert places.try_acquire()


async def test_waiters_get_their_places_in_the_order_in_which_they_came() -> None:
    places, order = ConcurrencyLimiter(1, 10, "session 's'"), []

    async def take(number: int) -> None:
        await places.acquire()
        order.append(number)

    await places.acquire()
    tasks = [asyncio.create_task(take(number)) for number in range(3)]
    await turns()
    assert places.waiting == 3
    for _ in range(3):
        places.release()
        await turns()
    assert order == [0, 1, 2]
    assert (places.used, places.waiting) == (1, 0)
    await asyncio.gather(*tasks)


async def test_nobody_takes_a_place_past_those_who_wait() -> None:
    places = ConcurrencyLimiter(1, 10, "session 's'")
    await places.acquire()
    first = waiting_task(places)
    await turns()
    places.release()
    assert not places.try_acquire()
    await first
    assert places.used == 1


async def test_more_waiters_than_may_wait_are_refused_and_told_when_to_come_back() -> None:
    places = ConcurrencyLimiter(1, 1, "session 's'")
    await places.acquire()
    first = waiting_task(places)
    await turns()
    with pytest.raises(
        ResourceExhaustedError, match=r"session 's' has 1 calls running and 1 waiting.*again later"
    ) as got:
        await places.acquire()
    assert got.value.retry_after == 1
    assert (places.used, places.waiting) == (1, 1)
    places.release()
    await first


async def test_a_cancelled_waiter_leaves_the_queue() -> None:
    places = ConcurrencyLimiter(1, 10, "session 's'")
    await places.acquire()
    first, second = waiting_task(places), waiting_task(places)
    await turns()
    first.cancel()
    await turns()
    assert first.cancelled()
    assert places.waiting == 1
    places.release()
    await second
    assert places.used == 1


async def test_a_waiter_cancelled_after_the_hand_over_passes_its_place_on() -> None:
    places = ConcurrencyLimiter(1, 10, "session 's'")
    await places.acquire()
    first, second = waiting_task(places), waiting_task(places)
    await turns()
    places.release()
    first.cancel()
    await second
    assert first.cancelled()
    assert places.used == 1
    places.release()
    assert places.used == 0


async def test_a_waiter_cancelled_just_before_a_release_is_cancelled_and_nothing_else() -> None:
    places = ConcurrencyLimiter(1, 10, "session 's'")
    await places.acquire()
    first = waiting_task(places)
    await turns()
    first.cancel()
    places.release()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert (places.used, places.waiting) == (0, 0)


# Each step: take, give back, or cancel the waiter at this index; and whether the loop turns after it.
steps = st.lists(
    st.tuples(st.sampled_from(["take", "release", "cancel"]), st.integers(0, 5), st.booleans()), max_size=60
)


@given(capacity=st.integers(1, 3), actions=steps)
@example(
    capacity=2, actions=[*[("take", 0, False)] * 2, ("take", 0, True), ("take", 0, False), *[("release", 0, False)] * 2]
)
def test_no_place_is_lost_or_given_twice_whatever_is_cancelled_when(
    capacity: int, actions: list[tuple[str, int, bool]]
) -> None:
    asyncio.run(places_under(capacity, actions))


async def places_under(capacity: int, actions: list[tuple[str, int, bool]]) -> None:
    places = ConcurrencyLimiter(capacity, 1_000, "session 's'")
    tasks: list[asyncio.Task[None]] = []
    order: list[int] = []
    held: list[int] = []

    async def take(number: int) -> None:
        waits = bool(places.waiting) or places.used == capacity
        await places.acquire()
        if waits:
            # Whoever finds a place free may begin before one that was handed its own a moment ago.
            order.append(number)
        held.append(number)

    for action, index, turn in actions:
        if action == "take":
            tasks.append(asyncio.create_task(take(len(tasks))))
        elif action == "release" and held:
            held.pop()
            places.release()
        elif action == "cancel":
            pending = [task for task in tasks if not task.done()]
            if pending:
                pending[index % len(pending)].cancel()
        if turn:
            await turns()
        assert len(held) <= places.used <= capacity
    await turns()
    assert places.used == len(held)
    assert order == sorted(order)
    # Whoever still waits gets a place as they become free, and at the end all are free.
    while held:
        held.pop()
        places.release()
        await turns()
        assert len(held) == places.used <= capacity
    assert (places.used, places.waiting) == (0, 0)
    assert all(task.done() for task in tasks)


def test_a_minutes_calls_may_come_at_once_and_the_next_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch, limits)
    rate = RateLimit(3)
    for _ in range(3):
        rate.take("add")
    with pytest.raises(
        ResourceExhaustedError, match=r"add may be called 3 times a minute; call again in 20\.0 s"
    ) as got:
        rate.take("add")
    assert got.value.error_type == "RateLimitExceeded"
    assert got.value.retry_after == 20
    assert got.value.retryable


def test_whoever_waits_as_told_is_let_in_and_a_refusal_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, limits)
    rate = RateLimit(3)
    for _ in range(3):
        rate.take("add")
    for _ in range(5):
        with pytest.raises(ResourceExhaustedError):
            rate.take("add")
    clock.now += 20.001
    rate.take("add")


def test_an_idle_hour_saves_up_one_minutes_calls_only(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, limits)
    rate = RateLimit(2)
    clock.now += 3_600
    rate.take("add")
    rate.take("add")
    with pytest.raises(ResourceExhaustedError):
        rate.take("add")
