"""The numbers of a hub's changes, over its lives."""

from typing import Any

from grpc_tool_bridge.core.revisions import RESERVED, Revisions
from grpc_tool_bridge.core.writes import STORED, Write


class Reservations:
    """What was reserved, and what was given meanwhile."""

    def __init__(self) -> None:
        self.up_to: list[int] = []

    def __call__(self, up_to: int) -> Write:
        self.up_to.append(up_to)
        return Write()


def test_a_hub_without_a_store_begins_with_one_and_an_epoch_of_its_own() -> None:
    first, second = Revisions(), Revisions()
    assert [first.next() for _ in range(3)] == [1, 2, 3]
    assert first.epoch != second.epoch
    assert first.reservation.is_settled
    first.release()


def test_a_hub_with_a_store_goes_on_after_the_revision_that_it_has_kept() -> None:
    reserve = Reservations()
    revisions = Revisions()
    revisions.resume("kept", 41, reserve)
    assert reserve.up_to == [41 + RESERVED]
    assert not revisions.reservation.is_settled
    assert [revisions.next() for _ in range(2)] == [42, 43]
    assert revisions.epoch == "kept"


def test_none_is_given_that_is_not_reserved_and_more_are_reserved_long_before() -> None:
    reserve = Reservations()
    revisions = Revisions()
    revisions.resume("kept", 0, reserve)
    given = 0
    for _ in range(3 * RESERVED):
        given = revisions.next()
        assert given <= reserve.up_to[-1] - RESERVED // 2 + 1 or given <= reserve.up_to[-2]
    assert given == 3 * RESERVED
    assert reserve.up_to == [RESERVED * count for count in range(1, len(reserve.up_to) + 1)]
    assert len(reserve.up_to) == 4


def test_what_was_not_given_is_given_back() -> None:
    reserve = Reservations()
    revisions = Revisions()
    revisions.resume("kept", 10, reserve)
    last = [revisions.next() for _ in range(5)][-1]
    revisions.release()
    assert reserve.up_to[-1] in {last, last + 1}
    again: Any = Revisions()
    again.resume("kept", reserve.up_to[-1], reserve)
    assert again.next() > last


def test_no_revision_up_to_one_of_another_hub_is_given() -> None:
    revisions = Revisions()
    assert revisions.next() == 1
    revisions.advance(100)
    assert revisions.next() == 101
    revisions.advance(50)
    assert revisions.next() > 101


def test_revisions_above_those_of_another_hub_are_reserved() -> None:
    reserved: list[int] = []

    def reserve(up_to: int) -> Write:
        reserved.append(up_to)
        return STORED

    revisions = Revisions()
    revisions.resume("epoch", 10, reserve)
    revisions.advance(10_000_000)
    assert revisions.next() == 10_000_001
    assert reserved[-1] > 10_000_001
