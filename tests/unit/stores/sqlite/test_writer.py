"""The writer of an SQLite store: many changes in one commit, in order, and what becomes of them when one fails."""

import asyncio
import logging
import os
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from grpc_tool_bridge.errors import ProtocolError, ResourceExhaustedError, StoreError, ToolBridgeError
from grpc_tool_bridge.stores.sqlite import writer as writer_module
from grpc_tool_bridge.stores.sqlite.statements import TRY
from grpc_tool_bridge.stores.sqlite.writer import Change
from support.patience import PATIENCE
from support.waiting import soon, until
from unit.stores.sqlite.writing import REMOVE, Stage, disk_error

IOERR = disk_error(sqlite3.SQLITE_IOERR_WRITE, "SQLITE_IOERR_WRITE")
UNFLUSHED = disk_error(sqlite3.SQLITE_IOERR_FSYNC, "SQLITE_IOERR_FSYNC")
FULL = disk_error(sqlite3.SQLITE_FULL, "SQLITE_FULL")
DAMAGED = disk_error(sqlite3.SQLITE_CORRUPT, "SQLITE_CORRUPT")
READONLY = disk_error(sqlite3.SQLITE_READONLY, "SQLITE_READONLY")


@pytest.fixture
async def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    monkeypatch.setattr(writer_module, "RETRY_SECONDS", 0.01)
    stage = Stage(tmp_path / "hub.db")
    yield stage
    stage.release()
    await soon(stage.writer.aclose())


def fail_at(stage: Stage, *statements: str, error: Exception = IOERR, times: int = 1_000) -> None:
    """Has statements fail that begin with one of these words."""
    left = [times]

    def fail(sql: str) -> None:
        if left[0] and sql.startswith(statements):
            left[0] -= 1
            raise error

    stage.disk.failing = fail


def mend(stage: Stage) -> None:
    stage.disk.failing = lambda sql: None


async def refused(write: Any) -> ToolBridgeError:
    with pytest.raises(ToolBridgeError) as caught:
        await soon(write)
    return caught.value


async def test_what_comes_during_a_commit_is_in_the_next_one_together(stage: Stage) -> None:
    stage.hold()
    first = stage.add("a")
    await stage.is_held()
    others = [stage.add(name) for name in "bcd"]
    assert stage.writer.waiting == 4
    stage.release()
    for write in (first, *others):
        await soon(write)
    await until(lambda: len(stage.upkeep.noted) == 2)
    assert stage.upkeep.noted == [["a"], ["b", "c", "d"]]
    assert stage.writer.waiting == 0
    assert stage.told == [(name, "") for name in "abcd"]
    assert (stage.metrics.commits, stage.metrics.changes) == (2, 4)
    assert stage.facts() == dict.fromkeys("abcd", 1)


async def test_no_more_than_so_many_changes_are_in_one_commit(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "MAX_BATCH", 3)
    stage.hold()
    stage.add("a")
    await stage.is_held()
    writes = [stage.add(str(number)) for number in range(7)]
    stage.release()
    for write in writes:
        await soon(write)
    await until(lambda: len(stage.upkeep.noted) == 4)
    assert [len(batch) for batch in stage.upkeep.noted] == [1, 3, 3, 1]
    assert [name for batch in stage.upkeep.noted for name in batch] == ["a", *map(str, range(7))]


async def test_changes_of_different_kinds_keep_their_order(stage: Stage) -> None:
    stage.hold()
    stage.add("held")
    await stage.is_held()
    stage.add("a", 1)
    stage.remove("a")
    seen = stage.work(lambda connection: connection.execute("SELECT count(*) FROM facts").fetchone())
    last = stage.add("a", 2)
    stage.release()
    await soon(last)
    assert seen.result == (1,)
    assert stage.facts() == {"held": 1, "a": 2}


@pytest.mark.parametrize("point", ["BEGIN", "INSERT", "COMMIT"])
async def test_all_that_waits_fails_with_a_commit_that_fails_the_last_first(stage: Stage, point: str) -> None:
    await soon(stage.add("before"))
    stage.hold()
    fail_at(stage, point, times=2 if point == "COMMIT" else 1)
    stage.add("a") if point != "INSERT" else stage.work(lambda connection: connection.execute("INSERT INTO no"))
    await stage.is_held()
    later = [stage.add(name) for name in "bc"]
    stage.release()
    for write in later:
        error = await refused(write)
        assert isinstance(error, StoreError)
        assert "nothing was changed" in error.message
    assert [name for name, _ in stage.told[1:3]] == ["c", "b"]
    assert stage.facts() == {"before": 1}
    mend(stage)
    await soon(stage.add("after"))
    assert stage.facts() == {"before": 1, "after": 1}
    assert stage.metrics.failures == 1


async def test_what_was_submitted_because_of_a_failure_is_not_lost_with_it(stage: Stage) -> None:
    fail_at(stage, "BEGIN", times=1)
    written: list[Any] = []
    stage.writer.submit(
        writer_module.Change("INSERT INTO facts VALUES (?, ?)", ("a", 1), lambda error: written.append(stage.add("b")))
    )
    await until(lambda: bool(written))
    await soon(written[0])
    assert stage.facts() == {"b": 1}


async def test_what_is_owed_is_tried_again_in_order_and_before_what_comes_later(stage: Stage) -> None:
    await soon(stage.add("x"))
    fail_at(stage, "BEGIN")
    gone = [stage.remove("x"), stage.work(lambda connection: seen.append("second"), owed=True, frees=True)]
    seen: list[str] = []
    for write in gone:
        assert isinstance(await refused(write), StoreError)
    mend(stage)
    await soon(stage.add("x", 2))
    assert stage.facts() == {"x": 2}
    assert seen == ["second"]


async def test_what_is_owed_comes_before_what_was_submitted_because_it_failed(stage: Stage) -> None:
    await soon(stage.add("x"))
    fail_at(stage, "BEGIN", times=1)
    written: list[Any] = []
    stage.writer.submit(
        writer_module.Change(REMOVE, ("x",), lambda error: written.append(stage.add("x", 2)), owed=True, frees=True)
    )
    await until(lambda: bool(written))
    # Otherwise there would be two of its name.
    await soon(written[0])
    assert stage.facts() == {"x": 2}


async def test_what_is_owed_is_tried_again_by_itself(stage: Stage) -> None:
    await soon(stage.add("x"))
    fail_at(stage, "BEGIN")
    await refused(stage.remove("x"))
    await until(lambda: stage.metrics.failures > 2)
    mend(stage)
    await until(lambda: stage.facts() == {})


async def test_a_store_that_fails_is_tried_until_it_works_and_whoever_follows_is_told(stage: Stage) -> None:
    changes: list[bool] = []
    stage.writer.on_failure = lambda: changes.append(stage.writer.is_failing)
    fail_at(stage, "BEGIN")
    await refused(stage.add("a"))
    assert stage.writer.is_failing
    assert "see whether its disk is well" in stage.writer.failure
    await until(lambda: stage.metrics.failures > 2)
    assert changes == [True]
    mend(stage)
    await until(lambda: not stage.writer.is_failing)
    assert (changes, stage.writer.failure) == ([True, False], "")


@pytest.mark.parametrize(
    ("error", "type_", "retryable", "says"),
    [
        (IOERR, StoreError, True, "SQLITE_IOERR_WRITE"),
        (FULL, ResourceExhaustedError, True, "the disk of the store is full"),
        (DAMAGED, StoreError, False, "is damaged"),
        (READONLY, StoreError, False, "cannot be written"),
    ],
)
async def test_callers_are_told_what_is_wrong(
    stage: Stage, error: Exception, type_: type, retryable: bool, says: str
) -> None:
    fail_at(stage, "BEGIN", error=error)
    told = await refused(stage.add("a"))
    assert (type(told), told.retryable) == (type_, retryable)
    assert says in told.message
    assert stage.writer.is_failing
    assert says in stage.writer.failure


async def test_a_store_at_its_limit_takes_what_frees_room_and_does_not_fail(stage: Stage) -> None:
    await soon(stage.add("x"))
    stage.upkeep.limit, stage.upkeep.full, stage.upkeep.is_short = 1_000_000, True, True
    told: list[Any] = []
    change = writer_module.Change("INSERT INTO facts VALUES (?, ?)", ("a", 1), told.append)
    stage.writer.submit(change)
    # At once, before anything could be built on it.
    assert isinstance(told[0], ResourceExhaustedError)
    assert "its limit of 1,000,000 bytes (max_store_bytes)" in told[0].message
    assert told[0].details["retry_after"] == "5"
    assert (stage.writer.is_failing, stage.writer.waiting) == (False, 0)
    await soon(stage.remove("x"))
    assert stage.facts() == {}
    assert "its limit" in stage.writer.failure
    stage.upkeep.full = stage.upkeep.is_short = False
    await soon(stage.add("a"))
    assert stage.writer.failure == ""


async def test_a_commit_that_goes_over_the_limit_says_so(stage: Stage) -> None:
    stage.upkeep.limit, stage.upkeep.over_limit = 1_000_000, True
    fail_at(stage, "COMMIT", error=FULL, times=1)
    error = await refused(stage.add("a"))
    assert "max_store_bytes" in error.message
    assert not stage.writer.is_failing


async def test_what_a_commit_left_unflushed_in_the_log_is_written_over(stage: Stage) -> None:
    fail_at(stage, "COMMIT", error=UNFLUSHED, times=1)
    ran: list[str] = []
    before = stage.disk.failing

    def note(sql: str) -> None:
        ran.append(sql)
        before(sql)

    stage.disk.failing = note
    assert "nothing was changed" in (await refused(stage.add("a"))).message
    assert ran[ran.index("COMMIT") + 1 :][:2] == ["ROLLBACK", TRY]


async def test_where_that_cannot_be_written_over_callers_are_told_that_the_outcome_is_not_known(stage: Stage) -> None:
    fail_at(stage, "COMMIT", TRY, error=UNFLUSHED)
    error = await refused(stage.add("a"))
    assert isinstance(error, StoreError)
    assert error.details["outcome"] == "unknown"
    assert "nothing was changed" not in error.message
    mend(stage)
    await until(lambda: not stage.writer.is_failing)
    assert stage.facts() == {}


@pytest.mark.parametrize(
    "parameters", [("secret-name\ud800", 1), ("a", 2**63), ("a", object()), ("only one",), ("x", 1)]
)
async def test_a_change_that_sqlite_does_not_take_fails_and_the_thread_goes_on(
    stage: Stage, parameters: Any, caplog: pytest.LogCaptureFixture
) -> None:
    await soon(stage.add("x"))
    error = await refused(stage.writer.submit(writer_module.Change("INSERT INTO facts VALUES (?, ?)", parameters)))
    assert (type(error), error.retryable) == (StoreError, False)
    assert not stage.writer.is_failing
    await soon(stage.add("b"))
    assert stage.facts() == {"x": 1, "b": 1}
    assert "secret-name" not in caplog.text + error.message


async def test_work_that_raises_anything_fails_alone_and_its_text_is_not_told(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    value = f"secret-{os.getpid()}"

    def work(connection: sqlite3.Connection) -> None:
        raise RuntimeError(value)

    error = await refused(stage.work(work))
    assert "RuntimeError" in error.message
    await soon(stage.add("a"))
    assert value not in caplog.text + error.message
    assert "test_writer.py" in caplog.text


async def test_what_is_owed_and_never_taken_does_not_fail_everything_for_ever(stage: Stage) -> None:
    await soon(stage.add("x"))

    def work(connection: sqlite3.Connection) -> None:
        raise LookupError("no")

    stage.hold()
    stage.add("held")
    await stage.is_held()
    never = stage.work(work, owed=True, frees=True)
    again = stage.remove("x")
    stage.release()
    await refused(never)
    await refused(again)
    await until(lambda: "x" not in stage.facts())
    await soon(stage.add("b"))


async def test_a_fault_of_who_is_told_keeps_nobody_else_from_being_told(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    def fault(error: Any) -> None:
        raise ValueError("a fault")

    stage.hold()
    stage.add("held")
    await stage.is_held()
    stage.writer.submit(writer_module.Change("INSERT INTO facts VALUES (?, ?)", ("a", 1), fault))
    last = stage.add("b")
    stage.release()
    await soon(last)
    fail_at(stage, "BEGIN", times=1)
    stage.writer.submit(writer_module.Change("INSERT INTO facts VALUES (?, ?)", ("c", 1), fault))
    await refused(stage.add("d"))
    await soon(stage.add("e"))
    assert "a fault" in caplog.text


async def test_who_no_longer_waits_does_not_change_what_becomes_of_it(stage: Stage) -> None:
    stage.hold()
    write = stage.add("a")
    await stage.is_held()

    async def wait() -> None:
        await write

    waiters = [asyncio.create_task(wait()) for _ in range(2)]
    await asyncio.sleep(0)
    waiters[0].cancel()
    with suppress(asyncio.CancelledError):
        await waiters[0]
    stage.release()
    await soon(waiters[1])
    assert stage.facts() == {"a": 1}


async def test_closing_stores_what_waits_and_refuses_what_comes_later(stage: Stage) -> None:
    stage.hold()
    first = stage.add("a")
    await stage.is_held()
    second = stage.add("b")
    closing = asyncio.create_task(stage.writer.aclose())
    await asyncio.sleep(0)
    late = stage.add("c")
    assert "the store is closed" in (await refused(late)).message
    assert not closing.done()
    stage.release()
    await soon(closing)
    await soon(first)
    await soon(second)
    assert stage.facts() == {"a": 1, "b": 1}
    assert not stage.writer._thread.is_alive()


async def test_closing_tries_what_is_owed_once_more(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "RETRY_SECONDS", 1_000.0)
    await soon(stage.add("x"))
    fail_at(stage, "BEGIN", times=1)
    await refused(stage.remove("x"))
    await soon(stage.writer.aclose())
    assert stage.facts() == {}


async def test_closing_ends_while_everything_fails(stage: Stage) -> None:
    fail_at(stage, "BEGIN")
    stage.remove("x")
    stage.add("a")
    await soon(stage.writer.aclose())
    assert not stage.writer._thread.is_alive()


async def test_closing_that_is_cancelled_leaves_no_thread_that_writes(stage: Stage) -> None:
    stage.hold()
    stage.add("a")
    await stage.is_held()
    closing = asyncio.create_task(stage.writer.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    stage.release()
    with pytest.raises(asyncio.CancelledError):
        await soon(closing)
    assert not stage.writer._thread.is_alive()
    assert stage.facts() == {"a": 1}


def test_abandoned_with_its_loop_it_stores_what_waits_and_ends(tmp_path: Path) -> None:
    async def begin() -> Stage:
        stage = Stage(tmp_path / "hub.db")
        stage.hold()
        stage.add("a")
        await stage.is_held()
        stage.add("b")
        return stage

    stage = asyncio.run(begin())
    stage.release()
    stage.writer.abandon()
    assert not stage.writer._thread.is_alive()
    assert stage.facts() == {"a": 1, "b": 1}


@pytest.mark.parametrize("fails", [False, True])
def test_a_loop_that_does_not_run_for_a_while_is_told_when_it_runs_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    with asyncio.Runner() as runner:

        async def begin() -> tuple[Stage, Change]:
            stage = Stage(tmp_path / "hub.db")
            stage.hold()
            if fails:
                fail_at(stage, "COMMIT", times=1)
            write = stage.add("a")
            await stage.is_held()
            return stage, write

        async def go_on() -> None:
            if fails:
                await refused(write)
            else:
                await soon(write)
            await soon(stage.add("b"))
            await soon(stage.writer.aclose())

        stage, write = runner.run(begin())
        told, tell = threading.Event(), stage.writer._tell

        def told_of(*args: Any) -> bool:
            try:
                return tell(*args)
            finally:
                told.set()

        monkeypatch.setattr(stage.writer, "_tell", told_of)
        # The commit ends while the loop does not run.
        stage.release()
        assert told.wait(PATIENCE)
        runner.run(go_on())
    assert set(stage.facts()) == ({"b"} if fails else {"a", "b"})


def test_abandoned_while_it_fails_it_ends(tmp_path: Path) -> None:
    async def begin() -> Stage:
        stage = Stage(tmp_path / "hub.db")
        stage.hold("begun")
        stage.add("a")
        await stage.is_held()
        fail_at(stage, "COMMIT")
        return stage

    stage = asyncio.run(begin())
    stage.release()
    stage.writer.abandon()
    assert not stage.writer._thread.is_alive()
    assert stage.facts() == {}


class Ending(BaseException):
    """Ends a thread."""


@pytest.mark.parametrize("point", ["received", "begun", "written", "committed"])
async def test_the_end_of_the_thread_by_a_fault_is_noticed_by_everybody(stage: Stage, point: str) -> None:
    stage.hold(point)
    held = stage.add("a")
    await stage.is_held()
    waits = stage.add("b")

    def end(passed: str) -> None:
        raise Ending

    # The thread goes on to the next point, or to the next commit.
    stage.at = end
    stage.release()
    told = [await refused(waits)]
    if point != "committed":
        told.append(await refused(held))
    told.append(await refused(stage.add("c")))
    assert all("restart the hub" in error.message for error in told)
    assert stage.writer.is_failing
    assert stage.writer.waiting == 0
    await soon(stage.writer.aclose())


async def test_tidying_goes_on_between_commits_and_while_nothing_comes(stage: Stage) -> None:
    stage.upkeep.steps = [0.0, 0.001, 0.0, None]
    await soon(stage.add("a"))
    await until(lambda: not stage.upkeep.steps)


@pytest.mark.parametrize("seconds", [1e12, float("inf")])
async def test_tidying_may_be_due_at_any_time(stage: Stage, seconds: float) -> None:
    stage.upkeep.steps = [seconds, seconds]
    # After so many changes it is tidied even if they come without a pause.
    for number in range(2 * writer_module.UNTIDY_CHANGES):
        await soon(stage.add(str(number)))
        if not stage.upkeep.steps:
            break
    assert not stage.upkeep.steps


async def test_what_comes_soon_is_committed_before_the_file_is_tidied(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "IDLE_SECONDS", PATIENCE)
    monkeypatch.setattr(writer_module, "UNTIDY_CHANGES", 40)
    for name in "abcdefg":
        await soon(stage.add(name))
    await until(lambda: len(stage.upkeep.noted) == 7)
    # A commit of one change counts as 17. The first look is before any.
    assert [noted for noted in stage.upkeep.stepped if noted < 7] == [0, 3, 6]


async def test_the_file_is_tidied_before_it_is_closed(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "IDLE_SECONDS", PATIENCE)
    await soon(stage.add("a"))
    await soon(stage.add("b"))
    await soon(stage.writer.aclose())
    assert stage.upkeep.stepped[-1] == 2


@pytest.mark.parametrize("error", [IOERR, OSError(28, "No space left on device"), ZeroDivisionError()])
async def test_tidying_that_fails_is_tried_later_and_keeps_nobody_waiting(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    monkeypatch.setattr(writer_module, "TIDY_AGAIN_SECONDS", 0.01)
    stage.upkeep.steps = [error, None]
    await soon(stage.add("a"))
    await soon(stage.add("b"))
    await until(lambda: not stage.upkeep.steps)
    await soon(stage.add("c"))
    assert "could not be tidied" in caplog.text
    assert not stage.writer.is_failing


async def test_failures_are_logged_a_few_times_only(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    fail_at(stage, "BEGIN")
    for number in range(40):
        await refused(stage.add(str(number)))
    lines = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert 0 < len(lines) < 15
    assert lines[0].getMessage().startswith("a change could not be stored in ")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
async def test_a_forked_process_has_no_writer_and_is_told(stage: Stage) -> None:
    await soon(stage.add("a"))
    read, write = os.pipe()
    child = os.fork()
    if not child:
        refused_with = stage.add("b").error
        os.write(write, type(refused_with).__name__.encode())
        os._exit(0)
    assert (await asyncio.to_thread(os.read, read, 100)).decode() == ProtocolError.__name__
    await asyncio.to_thread(os.waitpid, child, 0)
    os.close(read)
    os.close(write)
    await soon(stage.add("c"))
    assert stage.facts() == {"a": 1, "c": 1}
