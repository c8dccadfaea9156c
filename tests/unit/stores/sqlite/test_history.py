"""The history of variables in an SQLite store."""

from pathlib import Path

import pytest

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.stores.sqlite.history import first_dropped, floor_of, forget, history_after
from unit.stores.sqlite.rows import Kept


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    kept = Kept(tmp_path / "hub.db")
    kept.session("s")
    return kept


def test_a_change_is_read_as_it_was_written(kept: Kept) -> None:
    kept.set("s", "x", 1, size=0)
    kept.delete("s", "x", 2, 1)
    found = history_after(kept.connection, session_id="s", revision=0, settings=kept.settings)
    assert found is not None
    first, last = found
    assert (first.operation, first.name, first.revision, first.previous, first.size) == ("set", "x", 1, 0, 0)
    assert (first.value.type_url, first.value.value) == ("t", b"")
    assert (last.operation, last.value, last.previous, last.timestamp) == ("delete", None, 1, 0.5)


def test_a_session_that_is_not_there_has_no_history(kept: Kept) -> None:
    assert floor_of(kept.connection, "t", kept.settings) is None
    assert history_after(kept.connection, session_id="t", revision=0, settings=kept.settings) is None
    forget(kept.connection, "t", 5)


def test_a_reader_sees_one_moment(kept: Kept) -> None:
    """What is forgotten between two of its statements must not look as if it had never been."""
    kept.set("s", "x", 1)
    kept.set("s", "x", 2, previous=1)
    statements: list[str] = []
    kept.connection.set_trace_callback(statements.append)
    history_after(kept.connection, session_id="s", revision=0, settings=kept.settings)
    assert (statements[0], statements[-1]) == ("BEGIN", "COMMIT")
    assert not kept.connection.in_transaction


def test_what_the_settings_no_longer_keep_is_not_returned_though_it_is_there(kept: Kept) -> None:
    for revision in range(1, 11):
        kept.set("s", "x", revision, previous=revision - 1)
    few = Settings(watch_history=3)
    assert history_after(kept.connection, session_id="s", revision=6, settings=few) is None
    found = history_after(kept.connection, session_id="s", revision=7, settings=few)
    assert [change.revision for change in found or ()] == [8, 9, 10]


@pytest.mark.parametrize(
    ("sizes", "most", "most_bytes", "dropped"),
    [
        ([1, 1, 1], 3, 3, 0),
        ([1, 1, 1], 2, 3, 1),
        ([1, 1, 1], 3, 2, 1),
        ([9], 3, 2, 0),
        ([1, 9], 3, 2, 1),
        ([None, None, 5], 3, 5, 0),
        ([], 1, 1, 0),
    ],
)
def test_the_last_changes_are_kept_and_always_one(
    sizes: list[int | None], most: int, most_bytes: int, dropped: int
) -> None:
    rows = list(enumerate(sizes, start=1))
    settings = Settings(watch_history=most, watch_history_bytes=most_bytes)
    assert first_dropped(reversed(rows), settings) == dropped


def test_forgetting_raises_what_is_known_of_the_past_and_never_lowers_it(kept: Kept) -> None:
    kept.set("s", "x", 1)
    kept.delete("s", "x", 2, 1)
    kept.set("s", "y", 3)
    forget(kept.connection, "s", 3)
    forget(kept.connection, "s", 1)
    assert kept.connection.execute("SELECT history_floor, lost_delete FROM sessions").fetchone() == (3, 2)
    assert kept.all("SELECT revision FROM changes") == [3]
