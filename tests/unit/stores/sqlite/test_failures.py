"""What went wrong in SQLite, as errors of the bridge."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from grpc_tool_bridge.errors import ResourceExhaustedError, StoreError
from grpc_tool_bridge.stores.sqlite.failures import (
    RESTORE,
    at_limit,
    ended_failure,
    name_of,
    primary_code,
    reason,
    write_failure,
)
from unit.stores.sqlite.writing import disk_error

PATH = Path("/data/hub.db")


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (sqlite3.SQLITE_FULL, "the disk of the store /data/hub.db is full; make room"),
        (sqlite3.SQLITE_READONLY, "the store /data/hub.db cannot be written; let this user"),
        (sqlite3.SQLITE_READONLY_DIRECTORY, "the store /data/hub.db cannot be written; let this user"),
        (
            sqlite3.SQLITE_NOTADB,
            "is no SQLite file, or its beginning is damaged; give another path, or bring back a backup",
        ),
        (sqlite3.SQLITE_CORRUPT, "is damaged"),
        (sqlite3.SQLITE_BUSY, "another program has locked the store /data/hub.db; end what has it open"),
        (sqlite3.SQLITE_LOCKED, "another program has locked"),
        (sqlite3.SQLITE_CANTOPEN, "cannot be opened; let this user"),
        (sqlite3.SQLITE_IOERR_FSYNC, "(NAME: disk I/O error); see whether its disk is well"),
        (sqlite3.SQLITE_ERROR, "its tables may not be those of a hub"),
    ],
)
def test_each_error_says_what_to_do(code: int, says: str) -> None:
    assert says in reason(disk_error(code, "NAME"), PATH)
    assert "/data" not in reason(disk_error(code, "NAME"))


@pytest.mark.parametrize("code", [sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT])
def test_a_damaged_backup_is_called_so_and_another_is_asked_for(code: int) -> None:
    text = reason(disk_error(code, "NAME"), PATH, is_backup=True)
    assert text.startswith("the backup /data/hub.db is ")
    assert text.endswith("; take another backup")


def test_callers_are_not_told_where_the_file_is() -> None:
    failure = write_failure(disk_error(sqlite3.SQLITE_CORRUPT, "SQLITE_CORRUPT"))
    assert "stop the hub, and bring back a backup" in failure.text
    assert (failure.is_of_store, failure.mends_itself, failure.is_full) == (True, False, False)
    assert not failure.error().retryable


@pytest.mark.parametrize("code", [sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_NOMEM])
def test_what_may_work_later_can_be_tried_again(code: int) -> None:
    failure = write_failure(disk_error(code, "NAME"))
    assert failure.is_of_store
    error = failure.error()
    assert (type(error), error.retryable) == (StoreError, True)


def test_a_full_disk_and_a_reached_limit_are_told_apart() -> None:
    full = disk_error(sqlite3.SQLITE_FULL, "SQLITE_FULL")
    disk, limit = write_failure(full), write_failure(full, limit=1_000_000)
    assert (disk.is_of_store, limit.is_of_store) == (True, False)
    assert "disk" in disk.text
    assert "1,000,000 bytes (max_store_bytes); end sessions, delete variables, or raise the limit" in limit.text
    assert limit == at_limit(1_000_000)
    for failure in (disk, limit):
        error = failure.error()
        assert isinstance(error, ResourceExhaustedError)
        assert error.details["retry_after"] == "5"


@pytest.mark.parametrize(
    "error", [ValueError("secret"), sqlite3.IntegrityError("secret"), sqlite3.ProgrammingError("secret")]
)
def test_a_change_that_cannot_be_stored_is_not_the_store_s_fault_and_its_text_is_not_told(error: Exception) -> None:
    failure = write_failure(error)
    assert (failure.is_of_store, failure.error().retryable) == (False, False)
    assert "secret" not in failure.error().message
    assert type(error).__name__ in failure.text


def test_what_is_not_known_says_so() -> None:
    error = ended_failure().error()
    assert error.details["outcome"] == "unknown"
    assert "not known" in error.message


def test_codes_and_names_of_errors_that_are_not_of_sqlite() -> None:
    error = sqlite3.ProgrammingError("x")
    assert (primary_code(error), name_of(error)) == (0, "ProgrammingError")
    assert primary_code(disk_error(sqlite3.SQLITE_IOERR_FSYNC, "x")) == sqlite3.SQLITE_IOERR


def test_a_text_that_cannot_be_read_is_not_in_the_error() -> None:
    with closing(sqlite3.connect(":memory:")) as connection, pytest.raises(sqlite3.OperationalError) as caught:
        connection.execute("SELECT CAST(x'68756e74657232ff' AS TEXT) AS value").fetchall()
    assert "hunter2" in str(caught.value)
    assert reason(caught.value) == f"the store is damaged (one of its texts is not UTF-8); stop the hub, and {RESTORE}"
