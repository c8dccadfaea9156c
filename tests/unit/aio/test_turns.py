"""Long work gives way to others."""

import asyncio

import pytest

from grpc_tool_bridge.aio import turns as module
from grpc_tool_bridge.aio.turns import SharedTurns, Turns, in_slices


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which goes on when a test says so."""
    now = [0.0]
    monkeypatch.setattr(module, "perf_counter", lambda: now[0])
    return now


async def test_a_slice_is_over_after_its_time_and_the_next_one_begins_after_others_had_their_turn(
    clock: list[float],
) -> None:
    turns = Turns(2.0)
    others: list[str] = []
    assert not turns.due
    clock[0] = 2.0
    assert turns.due
    asyncio.get_running_loop().call_soon(others.append, "somebody else")
    await turns.give()
    assert others == ["somebody else"]
    assert not turns.due
    clock[0] = 4.0
    assert turns.due


async def test_many_items_are_gone_through_in_order_with_turns_between(clock: list[float]) -> None:
    seen: list[str] = []

    def take(number: int) -> None:
        seen.append(f"item {number}")
        clock[0] += 1.0

    in_slices(take, range(3))
    seen.append("the caller")
    asyncio.get_running_loop().call_soon(seen.append, "somebody else")
    for _ in range(3):
        await asyncio.sleep(0)
    assert seen == ["item 0", "the caller", "item 1", "somebody else", "item 2"]


async def test_few_items_are_gone_through_at_once(clock: list[float]) -> None:
    seen: list[int] = []
    in_slices(seen.append, range(100))
    assert seen == list(range(100))
    assert clock == [0.0]


async def test_an_item_that_fails_keeps_nothing_from_the_others() -> None:
    seen: list[int] = []

    def take(number: int) -> None:
        if number == 1:
            raise LookupError("one")
        seen.append(number)

    with pytest.raises(LookupError):
        in_slices(take, range(4))
    await asyncio.sleep(0)
    assert seen == [0, 2, 3]


async def test_all_who_share_their_turns_have_one_slice_together_in_each_turn_of_the_loop(clock: list[float]) -> None:
    turns = SharedTurns(2.0)
    done: list[int] = []

    async def work(number: int) -> None:
        for _ in range(3):
            clock[0] += 1.0
            done.append(number)
            if turns.due:
                await turns.give()

    await asyncio.gather(*map(work, range(3)))
    # The first has all of a turn's slice, and each of the others does one thing in that turn.
    assert done == [0, 0, 0, 1, 2, 1, 1, 2, 2]
