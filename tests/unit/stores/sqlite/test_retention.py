"""What an SQLite store removes, and what it does not."""

import random
import time
from pathlib import Path

import pytest

from grpc_tool_bridge.core.variable import Change
from grpc_tool_bridge.core.variable_history import VariableHistory
from grpc_tool_bridge.stores.sqlite import retention, tallies
from grpc_tool_bridge.stores.sqlite.history import history_after
from grpc_tool_bridge.stores.sqlite.loading import load
from unit.stores.sqlite.rows import Kept

REVISIONS = "SELECT revision FROM changes ORDER BY revision"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hub.db"


@pytest.mark.parametrize("seed", range(6))
def test_a_history_is_what_one_in_memory_would_be_at_any_time_and_after_a_restart(
    path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    monkeypatch.setattr(retention, "MAX_ROWS", chance.choice([2, 1_000]))
    monkeypatch.setattr(tallies, "MAX_SESSIONS", 2)
    limits = {"watch_history": chance.choice([1, 5, 9, 16]), "watch_history_bytes": chance.choice([1, 40, 4_000])}
    kept = Kept(path, **limits)
    histories: dict[str, VariableHistory] = {}
    present: dict[str, dict[str, int]] = {}
    deleted = dict.fromkeys("abcd", 0)
    for session_id in "abcd":
        kept.session(session_id)
        histories[session_id] = VariableHistory(kept.settings, 0, 0)
        present[session_id] = {}
    for revision in range(1, 250):
        session_id, name = chance.choice("aaabcd"), chance.choice("xyz")
        variables, size = present[session_id], chance.choice([0, 1, 20])
        previous = variables.get(name, 0)
        if previous and chance.random() < 0.2:
            kept.delete(session_id, name, revision, previous)
            change = Change("delete", name, None, revision, 0.5, 0, previous)
            del variables[name]
            deleted[session_id] = revision
        else:
            kept.set(session_id, name, revision, previous=previous, size=size)
            change = Change("set", name, None, revision, 0.5, size, previous)
            variables[name] = revision
        histories[session_id].add(change)
        if chance.random() < 0.3:
            kept.retention.step()
        if chance.random() < 0.02:
            kept.tidy()
            kept.connection.close()
            kept = Kept(path, **limits)
        if revision % 25 == 0:
            check(kept, histories, present, deleted)
    kept.tidy()
    check(kept, histories, present, deleted)
    # All that is neither present nor in a history is gone, up to what a session may have more.
    rows = len(kept.all(REVISIONS))
    assert rows <= 4 * (limits["watch_history"] + max(1, limits["watch_history"] // 2) + 3)


def check(
    kept: Kept, histories: dict[str, VariableHistory], present: dict[str, dict[str, int]], deleted: dict[str, int]
) -> None:
    state = {session.session_id: session for session in load(kept.connection, kept.settings).sessions}
    for session_id, history in histories.items():
        for revision in (0, history.floor - 1, history.floor, history.floor + 1, history.floor + 10):
            found = history_after(kept.connection, session_id=session_id, revision=revision, settings=kept.settings)
            expected = [change.revision for change in history.after(revision)] if history.reaches(revision) else None
            assert (found if found is None else [change.revision for change in found]) == expected
        session = state[session_id]
        assert {variable.name: variable.revision for variable in session.variables} == present[session_id]
        assert session.deleted_at == deleted[session_id]
        assert history.lost_delete <= session.deleted_at


def test_a_history_of_one_change_over_the_limit_of_bytes_is_kept_as_in_memory(path: Path) -> None:
    kept = Kept(path, watch_history_bytes=10)
    kept.session("s")
    kept.set("s", "x", 1, size=5)
    kept.set("s", "x", 2, previous=1, size=50)
    kept.tidy()
    assert kept.all(REVISIONS) == [2]
    assert kept.all("SELECT history_floor FROM sessions") == [1]


def test_what_a_variable_is_stays_however_long_ago_it_was_set_and_goes_with_its_next_state(path: Path) -> None:
    kept = Kept(path, watch_history=8)
    kept.session("s")
    kept.set("s", "old", 1)
    for revision in range(2, 40):
        kept.set("s", "x", revision, previous=revision - 1 if revision > 2 else 0)
    kept.tidy()
    assert kept.all(REVISIONS) == [1, *range(32, 40)]
    assert kept.all("SELECT revision FROM present ORDER BY revision") == [1, 39]
    kept.set("s", "old", 40, previous=1)
    # It is history that is no longer kept.
    assert 1 not in kept.all(REVISIONS)


def test_a_slice_is_small_and_callers_can_write_between_two(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "MAX_ROWS", 10)
    kept = Kept(path, watch_history=1_000)
    kept.session("s")
    for revision in range(1, 101):
        kept.set("s", "x", revision, previous=revision - 1)
    kept.connection.close()
    kept = Kept(path, watch_history=50)
    before = 100
    while kept.retention.step() == 0:
        left = len(kept.all(REVISIONS))
        assert 0 <= before - left <= 10
        before = left
    assert before == 50


def test_a_slice_has_few_bytes(path: Path) -> None:
    kept = Kept(path, watch_history=1_000)
    kept.session("s")
    for revision in range(1, 11):
        kept.set("s", "x", revision, previous=revision - 1, size=1_000_000)
    kept.connection.close()
    kept = Kept(path, watch_history=1)
    assert kept.tidy() > 4
    assert kept.all(REVISIONS) == [10]


def test_a_restart_forgets_nothing_of_what_is_to_be_removed(path: Path) -> None:
    kept = Kept(path, watch_history=1_000, max_session_answers=1_000, ended_sessions=100)
    for session_id in "st":
        kept.session(session_id)
        for revision in range(1, 11):
            number = revision + (100 if session_id == "t" else 0)
            kept.set(session_id, "x", number, previous=number - 1 if revision > 1 else 0)
            kept.answer(session_id, f"k{revision}", time.time() + 100 + revision)
    for number in range(20):
        kept.session(f"e{number}")
        kept.end(f"e{number}")
    kept.end("t")
    kept.connection.close()
    kept = Kept(path, watch_history=4, max_session_answers=3, ended_sessions=5)
    kept.tidy()
    assert kept.all(REVISIONS) == [7, 8, 9, 10]
    assert kept.all("SELECT key FROM calls ORDER BY number") == ["k8", "k9", "k10"]
    assert kept.all("SELECT session_id FROM ended_sessions ORDER BY number") == ["e16", "e17", "e18", "e19", "t"]


def test_what_an_ended_session_had_goes_in_slices_and_is_nothing_to_a_new_one_of_its_name(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "MAX_ROWS", 3)
    kept = Kept(path)
    for session_id in ("s", "other"):
        kept.session(session_id)
        for number in range(10):
            kept.set(session_id, f"v{number}", number + (1 if session_id == "s" else 101))
            kept.answer(session_id, f"k{number}", time.time() + 100)
    kept.connection.execute("INSERT INTO agents (session_id, agent_id, definition) VALUES ('s', 'a', x'00')")
    kept.connection.execute(
        "INSERT INTO runs (session_id, run_id, agent_id, digest, started_at) VALUES ('s', 'r', 'a', x'00', 1.0)"
    )
    for number in range(5):
        kept.connection.execute(
            "INSERT INTO chunks (session_id, run_id, sequence, is_last, data) VALUES ('s', 'r', ?, 0, x'00')", (number,)
        )
    kept.end("s")
    assert kept.all("SELECT session_id FROM sessions") == ["other"]
    assert kept.retention.step() == 0
    assert len(kept.all(REVISIONS)) == 17
    # It is not loaded, though a part of it is there.
    assert [session.session_id for session in load(kept.connection, kept.settings).sessions] == ["other"]
    kept.session("s")
    assert kept.all("SELECT count(*) FROM ended_sessions") == [0]
    kept.set("s", "new", 200)
    kept.tidy()
    assert kept.all("SELECT name FROM changes WHERE session_id = 's'") == ["new"]
    assert kept.all("SELECT count(*) FROM calls WHERE session_id = 'other'") == [10]
    for table in ("calls", "agents", "runs", "chunks"):
        assert kept.all(f"SELECT count(*) FROM {table} WHERE session_id = 's'") == [0]
    kept.end("s")
    kept.tidy()
    assert kept.all("SELECT DISTINCT session_id FROM changes") == ["other"]


def test_answers_are_kept_up_to_a_number_and_bytes_the_latest_ones(path: Path) -> None:
    kept = Kept(path, max_session_answers=8, max_session_answer_bytes=40)
    kept.session("s")
    for number in range(30):
        kept.answer("s", f"k{number}", time.time() + 100 + number)
    kept.tidy()
    assert kept.all("SELECT key FROM calls ORDER BY number") == [f"k{number}" for number in range(22, 30)]
    for number in range(4):
        kept.answer("s", f"large{number}", time.time() + 200 + number, size=15)
    kept.tidy()
    assert kept.all("SELECT key FROM calls ORDER BY number") == ["large2", "large3"]


def test_what_has_expired_is_forgotten_and_what_runs_is_not(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "SWEEP_SECONDS", 0.0)
    monkeypatch.setattr(retention, "MAX_ROWS", 2)
    kept = Kept(path)
    kept.session("s")
    for number in range(5):
        kept.answer("s", f"old{number}", time.time() - 1)
    kept.answer("s", "new", time.time() + 1_000)
    kept.connection.execute("INSERT INTO calls (session_id, key, used_for, began_at) VALUES ('s', 'runs', x'00', 1.0)")
    kept.tidy()
    assert kept.all("SELECT key FROM calls ORDER BY number") == ["new", "runs"]
    # It waits until the next one expires.
    wait = kept.retention.step()
    assert wait is not None
    assert 900 < wait <= 1_000


def test_a_call_that_an_earlier_life_left_without_an_answer_is_forgotten_in_the_end(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "SWEEP_SECONDS", 0.0)
    kept = Kept(path, answer_ttl=600.0)
    kept.session("s")
    # It ran for longer than an answer is kept, or there was no hub for so long: who comes back must not run it again.
    kept.connection.execute(
        "INSERT INTO calls (session_id, key, used_for, began_at) VALUES ('s', 'k', x'00', ?)", (time.time() - 7_000,)
    )
    load(kept.connection, kept.settings)
    kept.retention.begin()
    kept.tidy()
    assert kept.all("SELECT key FROM calls") == ["k"]
    wait = kept.retention.step()
    assert wait is not None
    assert 500 < wait <= 600
    # A further restart does not begin its time anew.
    kept.connection.execute("UPDATE calls SET ends_at = 1.0")
    load(kept.connection, kept.settings)
    kept.retention.begin()
    kept.tidy()
    assert kept.all("SELECT key FROM calls") == []


def test_nothing_to_do_is_nothing_to_wait_for(path: Path) -> None:
    kept = Kept(path)
    kept.session("s")
    kept.set("s", "x", 1)
    assert kept.retention.step() is None


def test_ended_sessions_are_remembered_up_to_a_number_and_an_eighth_more(path: Path) -> None:
    kept = Kept(path, ended_sessions=16)
    for number in range(100):
        kept.session(f"s{number}")
        kept.end(f"s{number}")
        kept.tidy()
        assert len(kept.all("SELECT number FROM ended_sessions")) <= 18
    ended = load(kept.connection, kept.settings).ended
    assert list(ended) == [f"s{number}" for number in range(84, 100)]
    assert ended["s99"] == "why s99"


def test_a_session_that_ends_again_is_remembered_once_as_the_last(path: Path) -> None:
    kept = Kept(path, ended_sessions=2)
    for session_id in ("a", "b", "a"):
        kept.session(session_id)
        kept.end(session_id)
    assert list(load(kept.connection, kept.settings).ended) == ["b", "a"]


def test_sessions_that_get_nothing_take_no_memory(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tallies, "MAX_SESSIONS", 10)
    kept = Kept(path)
    for number in range(100):
        kept.session(f"s{number}")
        kept.set(f"s{number}", "x", number + 1)
    kept.tidy()
    assert len(kept.retention._changes) <= 10


def test_while_room_is_short_histories_are_given_up_the_oldest_first_and_no_variable(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "MAX_ROWS", 4)
    kept = Kept(path)
    for session_id in "ab":
        kept.session(session_id)
    for revision in range(1, 21):
        kept.set("a" if revision % 2 else "b", "x", revision, previous=max(0, revision - 2))
    kept.delete("b", "x", 21, 20)
    kept.set("a", "y", 22)
    assert kept.retention.step(give_up=True) == 0
    assert kept.all(REVISIONS) == list(range(5, 23))
    assert kept.tidy(give_up=True) < 20
    assert kept.all(REVISIONS) == [19, 22]
    assert history_after(kept.connection, session_id="a", revision=16, settings=kept.settings) is None
    assert kept.all("SELECT lost_delete FROM sessions ORDER BY session_id") == [0, 21]
    assert [
        change.revision
        for change in history_after(kept.connection, session_id="a", revision=17, settings=kept.settings) or ()
    ] == [19, 22]
    # There is nothing more, and it is not searched for at once again.
    wait = kept.retention.step(give_up=True)
    assert wait is not None
    assert 0 < wait <= retention.GIVE_UP_SECONDS
