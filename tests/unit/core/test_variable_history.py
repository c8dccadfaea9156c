"""The last changes of a session's variables."""

from typing import Any

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.variable import Change
from grpc_tool_bridge.core.variable_history import CHANGE_BYTES, VariableHistory


def _history(*, floor: int = 0, lost_delete: int = 0, **settings: Any) -> VariableHistory:
    return VariableHistory(Settings(**settings), floor, lost_delete)


def _change(revision: int, operation: str = "update", name: str = "x", size: int = 0, previous: int = 0) -> Change:
    return Change(operation, name, None, revision, 1.0, size, previous)


def test_it_has_what_came_after_a_revision_the_oldest_first() -> None:
    history = _history(floor=4)
    for revision in (5, 7, 9):
        history.add(_change(revision))
    assert [change.revision for change in history.after(4)] == [5, 7, 9]
    assert [change.revision for change in history.after(6)] == [7, 9]
    assert history.after(9) == []
    assert (history.reaches(4), history.reaches(3)) == (True, False)


def test_the_oldest_beyond_the_limits_are_dropped_and_the_floor_rises() -> None:
    history = _history(watch_history=3)
    for revision in range(1, 6):
        history.add(_change(revision))
    assert [change.revision for change in history.after(0)] == [3, 4, 5]
    assert (history.floor, history.reaches(2), history.reaches(1)) == (2, True, False)


def test_bytes_are_limited_but_the_last_change_stays() -> None:
    history = _history(watch_history_bytes=10)
    history.add(_change(1, size=6))
    history.add(_change(2, size=6))
    assert history.size == 6 + CHANGE_BYTES
    history.add(_change(3, size=100))
    assert [change.revision for change in history.after(0)] == [3]
    assert (history.size, history.floor) == (100 + CHANGE_BYTES, 2)


def test_it_knows_the_last_deletion_that_it_has_dropped() -> None:
    history = _history(lost_delete=1, floor=1, watch_history=1)
    history.add(_change(2, "delete"))
    assert history.lost_delete == 1
    history.add(_change(3))
    history.add(_change(4))
    assert history.lost_delete == 2


def test_the_changes_of_a_variable_that_became_secret_are_marked() -> None:
    history = _history()
    for revision, name in ((1, "x"), (2, "y"), (3, "x")):
        history.add(_change(revision, name=name))
    history.hide("x")
    assert [change.secret for change in history.after(0)] == [True, False, True]


def test_it_knows_what_each_variable_was_before_its_first_change() -> None:
    history = _history(floor=5)
    for revision, name, previous in ((6, "x", 2), (7, "y", 0), (8, "x", 6)):
        history.add(_change(revision, name=name, previous=previous))
    assert history.first_previous() == {"x": 2, "y": 0}
