import random
from collections import Counter

import pytest

from grpc_tool_bridge.core.fair_queue import FairQueue


def drained(queue: FairQueue[int]) -> list[int]:
    found = []
    while queue:
        assert queue.first() == next(iter(queue))
        found.append(queue.take())
    return found


def test_one_owner_is_served_in_the_order_in_which_items_came() -> None:
    queue: FairQueue[int] = FairQueue()
    for item in range(5):
        queue.append(item)
    assert len(queue) == 5
    assert drained(queue) == [0, 1, 2, 3, 4]


def test_owners_take_turns_however_much_each_has_waiting() -> None:
    queue: FairQueue[int] = FairQueue()
    for item in range(100):
        queue.append(item, "busy")
    queue.append(100, "quiet")
    queue.append(101, "other")
    queue.append(102, "quiet")
    assert drained(queue)[:6] == [0, 100, 101, 1, 102, 2]


def test_an_item_is_taken_out_wherever_it_is() -> None:
    queue: FairQueue[int] = FairQueue()
    for item in range(4):
        queue.append(item, "ab"[item % 2])
    queue.remove(2)
    queue.remove(2)
    queue.remove(99)
    queue.remove(1)
    assert list(queue) == [0, 3]
    assert drained(queue) == [0, 3]


def test_an_empty_queue_has_nothing_to_give() -> None:
    queue: FairQueue[int] = FairQueue()
    assert not queue
    with pytest.raises(IndexError):
        queue.take()
    with pytest.raises(IndexError):
        queue.first()


def test_whatever_comes_and_goes_nobody_gets_two_turns_while_another_waits() -> None:
    rng = random.Random(7)
    queue: FairQueue[int] = FairQueue()
    owner_of: dict[int, str] = {}
    # How many turns others had since each owner waits, or had its last turn.
    passed: dict[str, Counter[str]] = {owner: Counter() for owner in "abcde"}
    turns = 0
    for item in range(3_000):
        waiting = {owner_of[each] for each in queue}
        for owner in passed.keys() - waiting:
            passed[owner].clear()
        if rng.random() < 0.5 or not queue:
            owner_of[item] = rng.choice("abcde")
            queue.append(item, owner_of[item])
        elif rng.random() < 0.1:
            queue.remove(rng.choice(list(queue)))
        else:
            served = owner_of[queue.take()]
            turns += 1
            passed[served].clear()
            for owner in waiting - {served}:
                passed[owner][served] += 1
                assert passed[owner][served] == 1
    assert turns > 500
