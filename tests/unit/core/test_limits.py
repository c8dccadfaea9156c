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


def waiting_task(permits: ConcurrencyLimiter) -> "asyncio.Task[None]":
    return asyncio.get_running_loop().create_task(permits.acquire())


async def test_permits_are_taken_at_once_up_to_the_capacity() -> None:
    permits = ConcurrencyLimiter(2, 10, "session 's'")
    assert permits.try_acquire()
    await permits.acquire()
    assert not permits.try_acquire()
    assert (permits.used, permits.waiting) == (2, 0)


async def test_a_place_that_is_given_back_is_free_again() -> None:
    permits = ConcurrencyLimiter(1, 10, "session 's'")
    await permits.acquire()
    permits.release()
    assert permits.used == 0
    assert permits.try_acquire()


async def test_waiters_get_their_permits_in_the_order_in_which_they_came() -> None:
    permits, order = ConcurrencyLimiter(1, 10, "session 's'"), []

    async def take(number: int) -> None:
        await permits.acquire()
        order.append(number)

    await permits.acquire()
    tasks = [asyncio.create_task(take(number)) for number in range(3)]
    await turns()
    assert permits.waiting == 3
    for _ in range(3):
        permits.release()
        await turns()
    assert order == [0, 1, 2]
    assert (permits.used, permits.waiting) == (1, 0)
    await asyncio.gather(*tasks)


async def test_nobody_takes_a_place_past_those_who_wait() -> None:
    permits = ConcurrencyLimiter(1, 10, "session 's'")
    await permits.acquire()
    first = waiting_task(permits)
    await turns()
    permits.release()
    assert not permits.try_acquire()
    await first
    assert permits.used == 1


async def test_more_waiters_than_may_wait_are_refused_and_told_when_to_come_back() -> None:
    permits = ConcurrencyLimiter(1, 1, "session 's'")
    await permits.acquire()
    first = waiting_task(permits)
    await turns()
    with pytest.raises(
        ResourceExhaustedError, match=r"session 's' has 1 calls running and 1 waiting.*again later"
    ) as got:
        await permits.acquire()
    assert got.value.retry_after == 1
    assert (permits.used, permits.waiting) == (1, 1)
    permits.release()
    await first


async def test_a_cancelled_waiter_leaves_the_queue() -> None:
    permits = ConcurrencyLimiter(1, 10, "session 's'")
    await permits.acquire()
    first, second = waiting_task(permits), waiting_task(permits)
    await turns()
    first.cancel()
    await turns()
    assert first.cancelled()
    assert permits.waiting == 1
    permits.release()
    await second
    assert permits.used == 1


async def test_a_waiter_cancelled_after_the_hand_over_passes_its_place_on() -> None:
    permits = ConcurrencyLimiter(1, 10, "session 's'")
    await permits.acquire()
    first, second = waiting_task(permits), waiting_task(permits)
    await turns()
    permits.release()
    first.cancel()
    await second
    assert first.cancelled()
    assert permits.used == 1
    permits.release()
    assert permits.used == 0


async def test_a_waiter_cancelled_just_before_a_release_is_cancelled_and_nothing_else() -> None:
    permits = ConcurrencyLimiter(1, 10, "session 's'")
    await permits.acquire()
    first = waiting_task(permits)
    await turns()
    first.cancel()
    permits.release()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert (permits.used, permits.waiting) == (0, 0)


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
    permits = ConcurrencyLimiter(capacity, 1_000, "session 's'")
    tasks: list[asyncio.Task[None]] = []
    order: list[int] = []
    held: list[int] = []

    async def take(number: int) -> None:
        waits = bool(permits.waiting) or permits.used == capacity
        await permits.acquire()
        if waits:
            # Whoever finds a permit free may begin before one that was handed its own a moment ago.
            order.append(number)
        held.append(number)

    for action, index, turn in actions:
        if action == "take":
            tasks.append(asyncio.create_task(take(len(tasks))))
        elif action == "release" and held:
            held.pop()
            permits.release()
        elif action == "cancel":
            pending = [task for task in tasks if not task.done()]
            if pending:
                pending[index % len(pending)].cancel()
        if turn:
            await turns()
        assert len(held) <= permits.used <= capacity
    await turns()
    assert permits.used == len(held)
    assert order == sorted(order)
    # Whoever still waits gets a permit as they become free, and at the end all are free.
    while held:
        held.pop()
        permits.release()
        await turns()
        assert len(held) == permits.used <= capacity
    assert (permits.used, permits.waiting) == (0, 0)
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
