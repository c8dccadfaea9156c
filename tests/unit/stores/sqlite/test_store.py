"""The durable store in an SQLite file: what comes back as it was given, and what a failure leaves."""

import asyncio
import math
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.stored import StoredSession, StoredState
from grpc_tool_bridge.core.variable import Change, Variable
from grpc_tool_bridge.errors import ResourceExhaustedError, StoreError, ToolBridgeError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import SessionConfig, ToolCallResponse
from grpc_tool_bridge.stores.sqlite.store import SqliteStore
from support.patience import PATIENCE
from support.store_files import names_in, rows
from support.waiting import soon, turns, until
from unit.stores.sqlite.writing import disk_error


class Lives:
    """A store through its lives."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.store = SqliteStore(path)
        self.failing = ""

    async def begin(self, **settings: Any) -> StoredState:
        """Ends this life, and begins another one."""
        await self.store.aclose()
        self.store = SqliteStore(self.path, at_point=self.at)
        return await self.store.open(Settings(**settings))

    def at(self, point: str) -> None:
        if point == self.failing:
            raise disk_error(sqlite3.SQLITE_IOERR_WRITE, "SQLITE_IOERR_WRITE")

    async def session(self, session_id: str = "s", **given: Any) -> None:
        await self.store.create_session(StoredSession(session_id, 1.0, **{"metadata": {}, **given}))

    async def set(self, revision: int = 1, *, previous: int = 0, hides: bool = False, **given: Any) -> None:
        """Sets the variable "x" of the session "s"."""
        fields: dict[str, Any] = {
            "name": "x", "value": AnyMessage(type_url="t", value=b"v"), "type": "int", "size": 1, "created_at": 1.0,
            "updated_at": 2.0, "held": 1, "created_by": "", "secret": False, "tags": {},
        } | given  # fmt: skip
        told: list[ToolBridgeError | None] = []
        await self.store.set_variable(
            "s", Variable(revision=revision, **fields), previous=previous, hides=hides, settled=told.append
        )


async def once(attempt: Callable[[], Awaitable[object]], until_not: type[ToolBridgeError]) -> None:
    """Tries something until it no longer fails with an error."""
    async with asyncio.timeout(PATIENCE):
        while isinstance((await asyncio.gather(attempt(), return_exceptions=True))[0], until_not):
            await turns()


@pytest.fixture
async def lives(tmp_path: Path) -> AsyncIterator[Lives]:
    lives = Lives(tmp_path / "hub.db")
    await lives.begin()
    yield lives
    await lives.store.aclose()


@pytest.mark.parametrize(
    "given",
    [
        {"value": AnyMessage()},
        {"value": AnyMessage(type_url="t", value=b""), "size": 0, "held": 0},
        {"value": AnyMessage(type_url="t", value=bytes(range(256)) * 40_000), "size": 10_240_000},
        {"value": AnyMessage(type_url="t" * 100_000, value=b"\0")},
        {"name": "ü" * 256, "created_by": "a\0b", "type": "c\0d"},
        {"name": "x'; DROP TABLE changes; --", "created_by": "%s ? :1 ?1"},
        {"name": "\U0001f600\u0301", "type": "\U0010ffff"},
        {"tags": {"": "", "k": "\0", "ü\u2028": '"\\'}},
        {"tags": {f"tag {number}": "t" * 1_000 for number in range(1_000)}},
        {"created_at": 0.1 + 0.2, "updated_at": math.nextafter(1.8e9, 2e9)},
        {"created_at": 0.0, "updated_at": 253_402_300_799.0},
        {"created_at": 1.0, "updated_at": 5e-324},
        {"revision": 2**62 - 1, "previous": 0},
        {"size": 2**62 - 1, "held": 2**62 - 1},
        {"secret": True},
    ],
    ids=",".join,
)
async def test_a_variable_comes_back_as_it_was_given(lives: Lives, given: dict[str, Any]) -> None:
    await lives.session()
    await lives.set(**given)
    state = await lives.begin()
    (variable,) = state.sessions[0].variables
    expected: dict[str, Any] = {"created_by": "", "tags": {}, "secret": False} | given
    expected.pop("previous", None)
    for name, value in expected.items():
        found = getattr(variable, name)
        assert found == value, name
        assert type(found) is type(value), name
    assert state.revision >= variable.revision
    changes = await lives.store.changes_after("s", 0)
    assert changes is not None
    assert (changes[0].value, changes[0].timestamp) == (variable.value, variable.updated_at)


async def test_a_session_comes_back_as_it_was_given(lives: Lives) -> None:
    metadata = {"": "", "k\0": "ü" * 100_000, "secret": "\u2028"}
    config = SessionConfig(max_concurrent_tools=3, default_timeout_ms=7, enable_caching=True)
    await lives.session("ü" * 256, metadata=metadata, config=config)
    await lives.session("plain")
    first, second = (await lives.begin()).sessions
    by_id = {session.session_id: session for session in (first, second)}
    assert (by_id["ü" * 256].metadata, by_id["ü" * 256].config) == (metadata, config)
    assert (by_id["plain"].metadata, by_id["plain"].config) == ({}, None)


async def test_what_sqlite_cannot_take_fails_and_nothing_else_with_it(lives: Lives) -> None:
    await lives.session()
    for given in ({"name": "\ud800"}, {"revision": 2**63}, {"created_by": "\udfff"}, {"tags": {"k": object()}}):
        with pytest.raises((StoreError, TypeError)):
            await soon(lives.set(**given))
    await soon(lives.set())
    assert [variable.name for variable in (await lives.begin()).sessions[0].variables] == ["x"]


async def test_a_variable_that_becomes_secret_hides_what_it_was(lives: Lives) -> None:
    await lives.session()
    await lives.set(1)
    await lives.set(2, previous=1, hides=True, secret=True)
    changes = await lives.store.changes_after("s", 0)
    assert [change.secret for change in changes or ()] == [True, True]


async def test_a_variable_that_a_full_store_refuses_to_make_secret_hides_nothing(lives: Lives) -> None:
    await lives.begin(max_store_bytes=1_000_000)
    await lives.session()
    await lives.set(1)
    # There is room for it once, and not twice.
    value = AnyMessage(type_url="t", value=bytes(600_000))
    await lives.set(2, previous=1, hides=True, secret=True, value=value, size=600_000)
    assert rows(lives.path, "SELECT revision, secret FROM changes ORDER BY revision") == [(1, 1), (2, 1)]
    with pytest.raises(ResourceExhaustedError):
        await lives.set(3, name="y", value=value, size=600_000)


@pytest.mark.parametrize("damage", ["answer = x'ffffff'", "answer = 'text'", "answer = 5, ends_at = 'text'"])
async def test_an_answer_that_cannot_be_read_is_one_that_nobody_knows(lives: Lives, damage: str) -> None:
    await lives.session()
    await lives.store.begin_call("s", "k", b"d", again=False)
    await lives.store.keep_answer("s", "k", ToolCallResponse(request_id="r"))
    await lives.store.aclose()
    with sqlite3.connect(lives.path) as connection:
        connection.execute(f"UPDATE calls SET {damage}")
    connection.close()
    await lives.begin()
    other = asyncio.ensure_future(lives.session("t"))
    found = await lives.store.begin_call("s", "k", b"d", again=False)
    assert found is not None
    assert (found.answer, found.used_for) == (None, b"d")
    await soon(other)


async def test_a_time_beyond_all_times_in_a_row_does_not_stop_the_store(lives: Lives) -> None:
    await lives.session()
    await lives.store.begin_call("s", "k", b"d", again=False)
    await lives.store.keep_answer("s", "k", ToolCallResponse(request_id="r"))
    await lives.store.aclose()
    with sqlite3.connect(lives.path) as connection:
        connection.execute("UPDATE calls SET ends_at = 9e999")
    connection.close()
    await lives.begin()
    for number in range(3):
        await soon(lives.session(f"s{number}"))


async def test_answers_are_given_until_they_expire_and_then_the_key_is_free(
    lives: Lives, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lives.session()
    assert await lives.store.begin_call("s", "k", b"d", again=False) is None
    await lives.store.keep_answer("s", "k", ToolCallResponse(request_id="r"))
    for _ in range(2):
        found = await lives.store.begin_call("s", "k", b"d", again=False)
        assert found is not None
        assert found.answer == ToolCallResponse(request_id="r")
        await lives.begin()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 601)
    assert await lives.store.begin_call("s", "k", b"other", again=False) is None


async def test_a_call_without_an_answer_is_in_doubt_after_a_restart_as_long_as_its_answer_would_be_kept(
    lives: Lives, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lives.session()
    await lives.store.begin_call("s", "k", b"d", again=False)
    await lives.begin()
    found = await lives.store.begin_call("s", "k", b"d", again=False)
    assert found is not None
    assert (found.answer, found.used_for) == (None, b"d")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 601)
    assert await lives.store.begin_call("s", "k", b"d", again=False) is None


async def test_an_answer_that_cannot_be_kept_leaves_its_call_in_doubt_and_then_forgotten(lives: Lives) -> None:
    await lives.session()
    await lives.store.begin_call("s", "k", b"d", again=False)
    lives.failing = "begun"
    told: list[ToolBridgeError | None] = []
    with pytest.raises(StoreError):
        await lives.store.keep_answer("s", "k", ToolCallResponse(), told.append)
    assert isinstance(told[0], StoreError)
    lives.failing = ""
    await until(lambda: rows(lives.path, "SELECT ends_at IS NOT NULL, answer FROM calls") == [(1, None)])


async def test_what_fails_is_told_to_who_follows_it_whenever_they_began(lives: Lives) -> None:
    told: list[bool] = []
    lives.store.watch_failure(lambda: told.append(lives.store.is_failing))
    lives.failing = "begun"
    with pytest.raises(StoreError):
        await lives.session()
    assert (told, lives.store.is_failing, lives.store.failure != "") == ([True], True, True)
    lives.failing = ""
    await until(lambda: told == [True, False])
    assert lives.store.failure == ""
    # One that is followed before it is opened.
    await lives.store.aclose()
    again = SqliteStore(lives.path, at_point=lives.at)
    again.watch_failure(lambda: told.append(again.is_failing))
    await again.open(Settings())
    lives.store, lives.failing = again, "begun"
    with pytest.raises(StoreError):
        await lives.session()
    assert told == [True, False, True]
    lives.failing = ""


async def test_a_store_that_is_not_open_says_so(lives: Lives) -> None:
    await lives.store.aclose()
    assert (lives.store.failure, lives.store.is_failing) == ("", False)
    with pytest.raises(StoreError, match="is not open"):
        await lives.session()
    with pytest.raises(StoreError, match="is not open"):
        await lives.store.changes_after("s", 0)
    lives.store.abandon()
    assert names_in(lives.path.parent) == ["hub.db", "hub.db.lock"]


async def test_closing_while_a_history_is_read_carries_the_log_over(lives: Lives) -> None:
    await lives.session()
    await lives.set()
    await lives.store.changes_after("s", 0)
    await lives.store.aclose()
    assert names_in(lives.path.parent) == ["hub.db", "hub.db.lock"]


async def test_opening_that_is_cancelled_gives_the_store_back(lives: Lives) -> None:
    await lives.store.aclose()
    opening = asyncio.create_task(lives.store.open(Settings()))
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    again = SqliteStore(lives.path)

    await once(lambda: again.open(Settings()), StoreError)
    await again.aclose()


async def test_a_row_that_is_not_what_was_written_is_damage(lives: Lives) -> None:
    await lives.session()
    await lives.store.aclose()
    with sqlite3.connect(lives.path) as connection:
        connection.execute("UPDATE sessions SET request = x'ffffffff'")
    connection.close()
    for _ in range(2):
        with pytest.raises(StoreError, match=r"is damaged \(DecodeError\); bring back a backup"):
            await SqliteStore(lives.path).open(Settings())


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        ("UPDATE facts SET value = 'x' WHERE name = 'log'", r"damaged \(the number of its log is none\)"),
        ("UPDATE facts SET value = NULL WHERE name = 'log'", r"damaged \(the number of its log is none\)"),
        (
            "UPDATE facts SET value = 9223372036854775807 WHERE name = 'log'",
            r"damaged \(the number of its log is none\)",
        ),
        ("UPDATE facts SET value = NULL WHERE name = 'epoch'", r"damaged \(a row of its table 'facts' is not"),
        # Without it, what is set would not be there after a restart.
        ("DROP TRIGGER change_added", r"damaged \(it has no trigger change_added\)"),
        ("DROP TABLE chunks", r"damaged \(it has no .*, no table chunks\)"),
    ],
)
async def test_what_no_hub_has_written_is_damage(lives: Lives, damage: str, what: str) -> None:
    await lives.session()
    await lives.set()
    await lives.store.aclose()
    with sqlite3.connect(lives.path) as connection:
        connection.execute(damage)
    connection.close()
    for _ in range(2):
        with pytest.raises(StoreError, match=what):
            await SqliteStore(lives.path).open(Settings())


async def test_a_store_at_its_limit_keeps_what_it_has_and_takes_what_frees_room(lives: Lives) -> None:
    limit = 2_000_000
    await lives.begin(max_store_bytes=limit)
    await lives.session()
    value = AnyMessage(type_url="t", value=bytes(50_000))
    revision = 0

    async def fill() -> None:
        nonlocal revision
        for revision in range(1, 100):
            await soon(lives.set(revision, name=f"v{revision}", value=value, size=50_000))

    with pytest.raises(ResourceExhaustedError, match=r"limit of 2,000,000 bytes \(max_store_bytes\)"):
        await fill()
    assert 25 < revision < 45
    assert lives.path.stat().st_size <= limit
    # What was there is there, and is read.
    changes = await lives.store.changes_after("s", revision - 3)
    assert changes is None or [change.revision for change in changes] == [revision - 2, revision - 1]

    def told(error: ToolBridgeError | None) -> None:
        assert error is None

    for number in range(1, 11):
        change = Change("delete", f"v{number}", None, 1_000 + number, 1.0, 0, number)
        await soon(lives.store.delete_variable("s", change, settled=told))
    await once(lambda: lives.set(2_000, name="new", value=value, size=50_000), ResourceExhaustedError)
    assert lives.path.stat().st_size <= limit
    await soon(lives.store.end_session("s", "over"))
    await lives.session("t")
    state = await lives.begin(max_store_bytes=limit)
    assert [session.session_id for session in state.sessions] == ["t"]


async def test_many_that_write_to_a_full_store_are_told_at_once_and_those_that_delete_are_not_held_up(
    lives: Lives,
) -> None:
    await lives.begin(max_store_bytes=1_000_000)
    await lives.session()
    value = AnyMessage(type_url="t", value=bytes(20_000))
    results = await soon(
        asyncio.gather(
            *(lives.set(number, name=f"v{number}", value=value, size=20_000) for number in range(1, 200)),
            return_exceptions=True,
        )
    )
    stored = [number for number, result in enumerate(results, 1) if result is None]
    assert 20 < len(stored) < 50
    assert all(isinstance(result, ResourceExhaustedError) for result in results if result is not None)
    writes = [
        lives.store.delete_variable(
            "s", Change("delete", f"v{number}", None, 1_000 + number, 1.0, 0, number), settled=lambda error: None
        )
        for number in stored
    ]
    for write in writes:
        await soon(write)
    assert (await lives.begin()).sessions[0].variables == []


async def test_many_calls_that_begin_at_once_in_a_full_store_are_told_of_its_limit_and_not_of_its_disk(
    lives: Lives,
) -> None:
    await lives.begin(max_store_bytes=1_000_000)
    session_id = "s" * 256
    await lives.session(session_id)
    texts: set[str] = set()
    for turn in range(3):
        keys = [f"{turn} {number} ".ljust(256, "k") for number in range(2_000)]
        results = await soon(
            asyncio.gather(
                *(lives.store.begin_call(session_id, key, bytes(32), again=False) for key in keys),
                return_exceptions=True,
            )
        )
        texts = {result.message for result in results if isinstance(result, ResourceExhaustedError)}
        assert all("limit of 1,000,000 bytes" in text for text in texts)
        # A store that is merely full is no reason for the hub not to be ready.
        assert not lives.store.is_failing
    assert texts


async def test_counts_have_sizes_and_commits(lives: Lives) -> None:
    await lives.session()
    counts = lives.store.counts()
    assert (counts["store_commits"], counts["store_failures"], counts["store_waiting"]) == (1, 0, 0)
    assert counts["store_bytes"]
    assert counts["store_log_bytes"]
    assert lives.store.commit_times().within[-1][1] == 1
