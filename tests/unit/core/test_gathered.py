"""What is done a few times a second rather than at once."""

import asyncio
from functools import partial

import pytest

from grpc_tool_bridge.core import gathered as module
from grpc_tool_bridge.core.gathered import Gathered
from support.waiting import turns, until

# More seconds than any machine has been running.
AGES = 1e9


async def test_the_first_is_done_soon_and_what_follows_together() -> None:
    done: list[int] = []
    gathered = Gathered(AGES)
    gathered.add(partial(done.append, 1), 0)
    assert done == []
    await turns()
    assert done == [1]
    gathered.add(partial(done.append, 2), 0)
    gathered.add(partial(done.append, 3), 0)
    await turns()
    assert done == [1]
    gathered.flush()
    assert done == [1, 2, 3]


async def test_it_is_done_by_itself_when_it_is_time() -> None:
    done: list[int] = []
    gathered = Gathered(0.01)
    for number in range(3):
        gathered.add(partial(done.append, number), 0)
        await until(lambda expected=number: expected in done)  # type: ignore[misc]  # a default of the lambda
    assert done == [0, 1, 2]


async def test_what_follows_from_it_is_done_with_it_and_in_order() -> None:
    done: list[str] = []
    gathered = Gathered(AGES)

    def first() -> None:
        gathered.add(partial(done.append, "follows"), 0)

    gathered.add(first, 0)
    gathered.add(partial(done.append, "second"), 0)
    gathered.flush()
    assert done == ["follows", "second"]


@pytest.mark.parametrize("size", [0, module.MAX_BYTES // 10])
async def test_it_holds_no_more_than_so_much(size: int) -> None:
    done: list[int] = []
    gathered = Gathered(AGES)
    gathered.add(partial(done.append, 0), 0)
    await turns()
    most = 10 if size else module.MAX_ENTRIES - 1
    for number in range(1, most + 1):
        gathered.add(partial(done.append, number), size)
    assert done == [0]
    gathered.add(partial(done.append, most + 1), size)
    assert done == list(range(most + 2))


async def test_one_that_fails_leaves_it_usable() -> None:
    done: list[int] = []
    gathered = Gathered(0)

    def fail() -> None:
        raise ValueError("no")

    gathered.add(fail, 0)
    with pytest.raises(ValueError, match="no"):
        gathered.flush()
    gathered.add(partial(done.append, 1), 0)
    assert done == []
    await turns()
    assert done == [1]


async def test_what_is_dropped_is_not_done() -> None:
    done: list[int] = []
    gathered = Gathered(0)
    gathered.add(partial(done.append, 1), 0)
    gathered.clear()
    await asyncio.sleep(0)
    await turns()
    assert done == []
