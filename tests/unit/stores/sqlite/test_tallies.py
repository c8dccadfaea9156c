"""Which sessions are looked at, by what they got."""

import pytest

from grpc_tool_bridge.stores.sqlite import tallies
from grpc_tool_bridge.stores.sqlite.tallies import Tally


def test_a_session_is_looked_at_after_half_of_what_it_may_keep() -> None:
    tally = Tally(20, 1_000)
    for _ in range(9):
        tally.add("s", 1)
    assert not tally.is_due
    tally.add("s", 1)
    assert (tally.take(), tally.take(), len(tally)) == ("s", None, 0)


def test_a_session_is_looked_at_after_an_eighth_of_the_bytes() -> None:
    tally = Tally(1_000, 800)
    tally.add("s", 100)
    assert not tally.is_due
    tally.add("s", 1)
    assert tally.take() == "s"


def test_where_hardly_anything_is_kept_each_thing_counts() -> None:
    tally = Tally(1, 1)
    tally.add("s", 0)
    assert tally.take() == "s"


def test_a_session_that_falls_out_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tallies, "MAX_SESSIONS", 2)
    tally = Tally(1_000, 1_000)
    for session_id in "abac":
        tally.add(session_id, 1)
    assert (tally.take(), tally.take()) == ("a", None)


def test_a_session_that_is_to_be_looked_at_is_not_counted() -> None:
    tally = Tally(2, 800)
    for _ in range(5):
        tally.add("s", 1)
    assert (len(tally), tally.take(), tally.take()) == (1, "s", None)


def test_who_is_looked_at_by_name_comes_first() -> None:
    tally = Tally(2, 800)
    tally.add("a", 1)
    tally.look_at("b")
    assert (tally.take(), tally.take()) == ("b", "a")
