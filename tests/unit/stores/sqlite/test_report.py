"""What is in a store."""

import os
from pathlib import Path

import pytest

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.stored import StoredSession
from grpc_tool_bridge.errors import SessionNotFoundError, StoreError
from grpc_tool_bridge.stores.sqlite import holding
from grpc_tool_bridge.stores.sqlite.report import Amounts, report
from grpc_tool_bridge.stores.sqlite.schema import VERSION
from grpc_tool_bridge.stores.sqlite.store import SqliteStore
from support.store_files import SECRET, change, fill, filled, in_thread, state_of


async def test_each_kind_is_counted_by_session_and_no_value_is_told(tmp_path: Path) -> None:
    path = await filled(tmp_path / "hub.db")
    state = await state_of(path)
    found = report(path)
    assert [session.session_id for session in found.sessions] == ["one", "two"]
    first, second = found.sessions
    assert (first.created_at, second.amounts) == (1_000.0, Amounts())
    amounts = first.amounts
    assert (amounts.variables, amounts.changes, amounts.answers, amounts.unfinished_calls) == (2, 3, 1, 1)
    assert (amounts.agents, amounts.runs, amounts.chunks, amounts.chunk_bytes) == (1, 1, 2, 10)
    assert 0 < amounts.variable_bytes < amounts.change_bytes
    assert found.total == amounts
    assert (found.format, found.epoch, found.revision, found.ended_sessions) == (VERSION, state.epoch, 3, 1)
    assert (found.size, found.log_size, found.process) == (path.stat().st_size, 0, None)
    assert SECRET not in repr(found)


async def test_one_session_can_be_asked_for(tmp_path: Path) -> None:
    path = await filled(tmp_path / "hub.db")
    found = report(path, "one")
    assert [session.session_id for session in found.sessions] == ["one"]
    assert found.total == report(path).total
    assert report(path, "two").total == Amounts()
    with pytest.raises(SessionNotFoundError, match="session 'gone' has ended: it was removed"):
        report(path, "gone")
    with pytest.raises(SessionNotFoundError, match="the store has no session 'never'"):
        report(path, "never")


async def test_a_store_that_a_hub_has_is_reported_with_its_log_and_its_process(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    store = SqliteStore(path)
    await store.open(Settings())
    await fill(store)
    found = await in_thread(lambda: report(path))
    await store.create_session(StoredSession("more", 1.0, {}))
    more = await in_thread(lambda: report(path))
    assert found.process == (os.getpid() if holding.LOCKS.exists() else None)
    assert found.log_size > 0
    assert len(more.sessions) == len(found.sessions) + 1
    await store.aclose()


async def test_free_room_in_the_file_is_told(tmp_path: Path) -> None:
    path = await filled(tmp_path / "hub.db")
    assert report(path).free == 0
    change(path, "CREATE TABLE large AS SELECT zeroblob(1000000) AS x", "DROP TABLE large")
    assert report(path).free >= 1_000_000


async def test_rows_of_no_session_are_not_counted(tmp_path: Path) -> None:
    path = await filled(tmp_path / "hub.db")
    change(path, "DELETE FROM sessions WHERE session_id = 'one'")
    assert report(path).total == Amounts()


def test_a_store_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no store"):
        report(tmp_path / "hub.db")
