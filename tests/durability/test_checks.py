"""The checks of histories: each violation that is planted is found, and nothing where there is none."""

import itertools
import random
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from durability import checks, linearizable
from durability.clients import Watcher
from durability.history import OK, REFUSED, UNKNOWN, History, Operation

_numbers = itertools.count()


def op(kind: str, start: int, end: int | None, outcome: str = OK, /, name: str = "a", **facts: Any) -> Operation:
    """Makes an operation; facts that begin with "asked_" are what it was asked with, the others its answer."""
    asked = {fact.removeprefix("asked_"): value for fact, value in facts.items() if fact.startswith("asked_")}
    answer = {fact: value for fact, value in facts.items() if not fact.startswith("asked_")}
    return Operation("client", kind, "one", name, asked, start, end, outcome, answer, next(_numbers))


def written(value: int, start: int, end: int, revision: int, **facts: Any) -> Operation:
    return op("set", start, end, OK, asked_value=value, revision=revision, **facts)


def lost(value: int, start: int, end: int, **facts: Any) -> Operation:
    return op("set", start, end, UNKNOWN, asked_value=value, **facts)


def read(value: int | None, start: int, end: int, revision: int) -> Operation:
    return op("get", start, end, OK, value=value, revision=revision)


def variables(*operations: Operation) -> list[str]:
    return list(checks.check_variables(operations, ["a", "b"]))


RIGHT_VARIABLES = {
    "one after the other": [written(1, 0, 1, 7), read(1, 2, 3, 7), written(2, 4, 5, 8), read(2, 6, 7, 8)],
    "at once, in either order": [written(1, 0, 9, 7), written(2, 0, 9, 8), read(2, 1, 8, 8), read(1, 10, 11, 7)],
    "nobody knows, and it was": [lost(1, 0, 9), read(1, 2, 3, 7), read(1, 10, 11, 7)],
    "nobody knows, and it was not": [written(1, 0, 1, 7), lost(2, 2, 9), read(1, 10, 11, 7)],
    "compared with what nobody has read": [
        lost(1, 0, 9),
        op("set", 2, 3, REFUSED, asked_value=2, asked_expected=0, revision=7),
        written(3, 4, 5, 8, asked_expected=7),
    ],
    "one of two that compared": [
        written(1, 0, 1, 7),
        written(2, 2, 9, 8, asked_expected=7),
        op("set", 2, 9, REFUSED, asked_value=3, asked_expected=7, revision=8),
    ],
    "deleted and made again": [
        written(1, 0, 1, 7),
        op("delete", 2, 3),
        read(None, 4, 5, 0),
        op("delete", 6, 7, REFUSED, revision=0),
        written(2, 8, 9, 9, asked_expected=0),
        op("list", 10, 11, OK, "", revisions={"a": 9}),
    ],
    "never ended": [op("set", 0, None, "", asked_value=1), read(1, 5, 6, 7)],
}


@pytest.mark.parametrize("operations", RIGHT_VARIABLES.values(), ids=RIGHT_VARIABLES)
def test_variables_that_behave_as_registers_are_right(operations: list[Operation]) -> None:
    assert variables(*operations) == []


WRONG_VARIABLES = {
    "an acknowledged change is lost": [written(1, 0, 1, 7), read(None, 2, 3, 0)],
    "an earlier value comes back": [written(1, 0, 1, 7), written(2, 2, 3, 8), read(1, 4, 5, 7)],
    "a read shows what a crash takes back": [
        written(1, 0, 1, 7),
        lost(2, 2, 9),
        read(2, 3, 4, 8),
        read(1, 5, 6, 7),
    ],
    "it takes effect after its hub has ended": [
        written(1, 0, 1, 7),
        lost(2, 2, 5),
        read(1, 6, 7, 7),
        read(2, 8, 9, 8),
    ],
    "two that compared with the same": [
        written(1, 0, 1, 7),
        written(2, 2, 9, 8, asked_expected=7),
        written(3, 2, 9, 9, asked_expected=7),
    ],
    "created twice": [written(1, 0, 1, 7, asked_expected=0), written(2, 2, 3, 8, asked_expected=0)],
    "refused, but it was right": [
        written(1, 0, 1, 7),
        op("set", 2, 3, REFUSED, asked_value=2, asked_expected=7, revision=7),
    ],
    "refused for a state that was not": [
        written(1, 0, 1, 7),
        op("set", 2, 3, REFUSED, asked_value=2, asked_expected=5, revision=6),
        read(1, 4, 5, 7),
    ],
    "a deletion is lost": [written(1, 0, 1, 7), op("delete", 2, 3), read(1, 4, 5, 7)],
    "a deletion of nothing": [op("delete", 2, 3)],
    "a list without an acknowledged change": [written(1, 0, 1, 7), op("list", 2, 3, OK, "", revisions={})],
    "a list with an earlier state": [
        written(1, 0, 1, 7),
        written(2, 2, 3, 8),
        op("list", 4, 5, OK, "", revisions={"a": 7}),
    ],
    "nobody wrote it": [read(5, 0, 1, 7)],
}


@pytest.mark.parametrize("operations", WRONG_VARIABLES.values(), ids=WRONG_VARIABLES)
def test_variables_that_no_order_explains_are_found(operations: list[Operation]) -> None:
    (found,) = variables(*operations)
    assert found.startswith("variable a of one is not linearizable")


def test_a_change_that_nobody_knows_of_and_that_is_not_stored_has_had_no_effect() -> None:
    operations = [written(1, 0, 1, 7), lost(2, 2, 9), *(lost(value, 2, 1_000) for value in range(10, 60))]
    stored: list[checks.Stored] = [("one", 7, "set", "a", 1), ("one", 8, "update", "a", 2)]

    def found(*more: Operation) -> list[str]:
        return list(checks.check_variables([*operations, *more], ["a", "b"], stored))

    assert found(read(1, 3, 4, 7), read(2, 5, 6, 8)) == []
    assert found(op("set", 3, 4, REFUSED, asked_value=3, asked_expected=7, revision=8)) == []
    (wrong,) = found(op("set", 3, 4, REFUSED, asked_value=3, asked_expected=7, revision=9))
    assert "is not linearizable" in wrong
    (wrong,) = found(read(10, 3, 4, 9))
    assert "is not linearizable" in wrong


def test_a_search_that_takes_too_many_states_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linearizable, "MAX_CONFIGURATIONS", 50)
    with pytest.raises(linearizable.UndecidedError):
        variables(*(lost(value, 0, 9) for value in range(10)))


@pytest.mark.seeded
def test_a_register_that_loses_one_acknowledged_change_of_many_is_found() -> None:
    for seed in range(100):
        rng = random.Random(seed)
        assert variables(*simulated(rng, loses=False)) == []
        assert variables(*simulated(rng, loses=True))


def test_a_session_whose_creation_was_asked_for_again_and_again_without_an_answer_is_decided() -> None:
    asked = [op("create", number, 1_000, UNKNOWN) for number in range(100)]
    assert list(checks.check_sessions([*asked, op("look", 500, 501, created_at=1)])) == []
    (wrong,) = checks.check_sessions([*asked, op("remove", 2_000, 2_001), op("look", 3_000, 3_001, created_at=1)])
    assert "cannot be" in wrong


def simulated(rng: random.Random, *, loses: bool) -> list[Operation]:
    """Makes the history of clients of a register that may forget its last change once, with calls that overlap."""
    state: tuple[int | None, int] = (None, 0)
    done, found = 0, []
    for number in range(40):
        done += 10
        start, end = done - rng.randint(0, 15), done + rng.randint(1, 15)
        if rng.random() < 0.5:
            state = (number, 100 + number)
            found.append(written(number, start, end, state[1]))
        else:
            found.append(read(state[0], start, end, state[1]))
    if loses:
        before = state
        found += [written(1_000, done + 100, done + 101, 1_000), read(before[0], done + 102, done + 103, before[1])]
    return found


# ------------------------------------------------------------------------------------------------------- revisions

WRONG_REVISIONS = {
    "two changes with one": [written(1, 0, 1, 7), written(2, 2, 3, 7)],
    "a later change with a lower one": [written(1, 0, 1, 7), written(2, 2, 3, 6)],
    "a value at two": [written(1, 0, 1, 7), read(1, 2, 3, 8), read(2, 2, 3, 8)],
}


@pytest.mark.parametrize("operations", WRONG_REVISIONS.values(), ids=WRONG_REVISIONS)
def test_revisions_that_come_twice_or_go_back_are_found(operations: list[Operation]) -> None:
    assert list(checks.check_revisions(operations, []))


def test_a_revision_that_a_watch_saw_for_another_change_is_found() -> None:
    operations = [written(1, 0, 1, 7), written(2, 0, 1, 8)]
    watcher = Watcher("one", seen=[("set", "a", 1, 7), ("update", "a", 2, 8)])
    assert list(checks.check_revisions(operations, [watcher])) == []
    watcher.seen[1] = ("delete", "a", None, 8)
    assert list(checks.check_revisions(operations, [watcher]))


# ---------------------------------------------------------------------------------------- what is stored, and watches

STORED: list[checks.Stored] = [
    ("one", 1, "set", "a", 10),
    ("two", 2, "set", "a", 20),
    ("one", 3, "set", "b", 11),
    ("one", 4, "update", "a", 12),
    ("one", 5, "delete", "b", None),
    ("one", 6, "set", "b", 13),
]


def test_an_acknowledged_change_that_is_not_stored_is_found() -> None:
    kept = [written(12, 0, 1, 4), op("delete", 2, 3, OK, "b")]
    assert list(checks.check_stored(kept, STORED)) == []
    assert list(checks.check_stored([*kept, written(99, 2, 3, 5)], STORED))
    assert list(checks.check_stored([*kept, written(13, 2, 3, 9, name="b")], STORED))
    assert list(checks.check_stored([*kept, op("delete", 4, 5)], STORED))
    assert list(checks.check_stored([], STORED)), "a deletion that nobody made"


SEEN = [(operation, name, value, revision) for session, revision, operation, name, value in STORED if session == "one"]


def test_a_watch_that_has_all_changes_is_right_whenever_it_began() -> None:
    for watcher in (
        Watcher("one", seen=[*SEEN]),
        Watcher("one", ["b"], seen=[SEEN[1], *SEEN[3:]]),
        Watcher("one", after=3, seen=SEEN[2:]),
        # With the values that were there after revision 4.
        Watcher("one", seen=[SEEN[1], ("set", "a", 12, 4), *SEEN[3:]]),
    ):
        assert list(checks.check_watch(watcher, STORED)) == []


def changed(change: Callable[[list[Any]], object]) -> list[Any]:
    seen = [*SEEN]
    change(seen)
    return seen


WRONG_WATCHES = {
    "a gap": changed(lambda seen: seen.pop(2)),
    "the last is missed": changed(lambda seen: seen.pop()),
    "repeated": changed(lambda seen: seen.insert(3, seen[2])),
    "in another order": changed(lambda seen: seen.insert(0, seen.pop())),
    "another value": changed(lambda seen: seen.__setitem__(2, ("update", "a", 99, 4))),
    "a reset": changed(lambda seen: seen.insert(2, ("reset", "", None, 3))),
    "what was taken back": changed(lambda seen: seen.append(("update", "a", 14, 7))),
}


@pytest.mark.parametrize("seen", WRONG_WATCHES.values(), ids=WRONG_WATCHES)
@pytest.mark.parametrize("after", [None, 0])
def test_a_watch_that_misses_repeats_or_makes_up_a_change_is_found(seen: list[Any], after: int | None) -> None:
    assert list(checks.check_watch(Watcher("one", after=after, seen=seen), STORED))


# -------------------------------------------------------------------------------------------------- calls, sessions


def call(start: int, end: int, outcome: str = OK, /, tool: str = "append", **answer: Any) -> Operation:
    return op("call", start, end, outcome, "key", asked_tool=tool, **answer)


DOUBT = call(4, 5, REFUSED, in_doubt=True)

RIGHT_CALLS: dict[str, tuple[list[Operation], list[str]]] = {
    "answered": ([call(0, 1, effect="x")], ["x"]),
    "answered again": ([call(0, 1, UNKNOWN), call(2, 3, effect="x"), call(4, 5, effect="x")], ["x"]),
    "in doubt, and it was": ([call(0, 1, UNKNOWN), DOUBT], ["x"]),
    "in doubt, and it was not": ([call(0, 1, UNKNOWN), DOUBT], []),
    "it may run again": ([call(0, 1, UNKNOWN), call(2, 3, tool="append_again", effect="y")], ["x", "y"]),
}


@pytest.mark.parametrize(("calls", "effects"), RIGHT_CALLS.values(), ids=RIGHT_CALLS)
def test_a_key_with_one_effect_and_one_answer_is_right(calls: list[Operation], effects: list[str]) -> None:
    assert list(checks.check_calls(calls, {"key": effects})) == []


WRONG_CALLS: dict[str, tuple[list[Operation], list[str]]] = {
    "two effects": ([call(0, 1, UNKNOWN), call(2, 3, effect="y")], ["x", "y"]),
    "two effects, in doubt": ([call(0, 1, UNKNOWN), DOUBT], ["x", "y"]),
    "no effect": ([call(0, 1, effect="x")], []),
    "another answer": ([call(0, 1, effect="x"), call(2, 3, effect="y")], ["x"]),
    "another answer than the effect": ([call(0, 1, effect="z")], ["x"]),
    "in doubt after an answer": ([call(0, 1, effect="x"), DOUBT], ["x"]),
    "in doubt without a reason": ([DOUBT], []),
    "used otherwise": ([call(0, 1, UNKNOWN), call(2, 3, REFUSED, in_doubt=False)], []),
    "in doubt, though it may run again": ([call(0, 1, UNKNOWN, tool="append_again"), DOUBT], ["x"]),
}


@pytest.mark.parametrize(("calls", "effects"), WRONG_CALLS.values(), ids=WRONG_CALLS)
def test_a_key_with_more_than_one_effect_or_answer_is_found(calls: list[Operation], effects: list[str]) -> None:
    assert list(checks.check_calls(calls, {"key": effects}))


def session(kind: str, start: int, end: int, outcome: str = OK, /, **answer: Any) -> Operation:
    return op(kind, start, end, outcome, "", **answer)


CREATED = session("create", 0, 1, resumed=False)
REMOVED = session("remove", 2, 3)

RIGHT_SESSIONS = {
    "created and removed": [
        CREATED,
        session("look", 1, 2, created_at=5),
        REMOVED,
        session("look", 4, 5, REFUSED, ended=True),
    ],
    "nobody knows, and it was created": [session("create", 0, 3, UNKNOWN), session("create", 4, 5, resumed=True)],
    "nobody knows, and it was not": [session("create", 0, 3, UNKNOWN), session("look", 4, 5, REFUSED, session=False)],
    "while it is being removed": [CREATED, session("look", 2, 3, REFUSED, ended=False), session("look", 4, 5)],
}
for _right in RIGHT_SESSIONS["while it is being removed"][2:]:
    _right.answer["created_at"] = 5


@pytest.mark.parametrize("operations", RIGHT_SESSIONS.values(), ids=RIGHT_SESSIONS)
def test_sessions_that_begin_and_end_once_are_right(operations: list[Operation]) -> None:
    assert list(checks.check_sessions(operations)) == []


WRONG_SESSIONS = {
    "a created one is lost": [CREATED, session("look", 4, 5, REFUSED, session=False)],
    "a created one has ended": [CREATED, session("look", 4, 5, REFUSED, ended=True)],
    "a created one is created again": [CREATED, session("create", 4, 5, resumed=False)],
    "a removed one comes back": [CREATED, REMOVED, session("look", 4, 5, created_at=5)],
    "a removed one is not known": [CREATED, REMOVED, session("look", 4, 5, REFUSED, session=False)],
    "an end that a crash takes back": [
        CREATED,
        session("remove", 2, 9, UNKNOWN),
        session("look", 3, 4, REFUSED, ended=True),
        session("look", 10, 11, created_at=5),
    ],
    "it began at another time": [
        CREATED,
        session("look", 2, 3, created_at=5),
        session("look", 4, 5, created_at=6),
    ],
}


@pytest.mark.parametrize("operations", WRONG_SESSIONS.values(), ids=WRONG_SESSIONS)
def test_sessions_that_are_lost_or_come_back_are_found(operations: list[Operation]) -> None:
    assert list(checks.check_sessions(operations))


# ------------------------------------------------------------------------------------------------------------ runs


def reading(start: int, outcome: str, chunks: Iterable[tuple[int, str]], **answer: Any) -> Operation:
    return op("run", start, start + 1, outcome, "run", chunks=list(chunks), **answer)


CHUNKS = [(0, "x"), (1, "y"), (2, "end")]

RIGHT_RUNS = {
    "read once": [reading(0, OK, CHUNKS, end="result")],
    "read again after a loss": [reading(0, UNKNOWN, CHUNKS[:1]), reading(2, OK, CHUNKS, end="result")],
}


@pytest.mark.parametrize("operations", RIGHT_RUNS.values(), ids=RIGHT_RUNS)
def test_runs_whose_readers_have_the_same_chunks_are_right(operations: list[Operation]) -> None:
    assert list(checks.check_runs(operations)) == []


WRONG_RUNS = {
    "a gap": [reading(0, OK, [CHUNKS[0], CHUNKS[2]], end="result")],
    "a repetition": [reading(0, OK, [*CHUNKS[:2], *CHUNKS[1:]], end="result")],
    "a chunk that a crash took back": [reading(0, UNKNOWN, CHUNKS), reading(2, OK, CHUNKS[:2], end="error")],
    "another chunk": [reading(0, UNKNOWN, CHUNKS[:2]), reading(2, OK, [CHUNKS[0], (1, "z")], end="error")],
    "two ends": [reading(0, OK, CHUNKS, end="result"), reading(2, OK, CHUNKS, end="error")],
    "it is lost": [reading(0, OK, CHUNKS, end="result"), reading(2, REFUSED, [], agent=False)],
}


@pytest.mark.parametrize("operations", WRONG_RUNS.values(), ids=WRONG_RUNS)
def test_runs_with_chunks_that_are_lost_or_change_are_found(operations: list[Operation]) -> None:
    assert list(checks.check_runs(operations))


# --------------------------------------------------------------------------------------------------------- history


def test_what_nobody_knows_of_is_over_when_the_life_of_its_hub_is() -> None:
    history = History()
    known, unknown, waiting = (history.begin("client", "set", "one", name) for name in "abc")
    history.end(known, OK, revision=1)
    history.end(unknown, UNKNOWN)
    assert (known.start < known.closed, unknown.end, history.acknowledged) == (True, None, 1)
    history.life_ended()
    assert unknown.end is not None
    assert unknown.start < unknown.end
    assert (waiting.outcome, waiting.end) == ("", None)
