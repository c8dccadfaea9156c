"""An earlier state that becomes the present one again."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from grpc_tool_bridge.stores.sqlite import anew
from support.store_files import change, filled, rows, state_of


def begin_anew(path: Path) -> str:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return anew.begin_anew(connection)


def note_backup(path: Path) -> bool:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        assert not anew.is_backup(connection)
        anew.note_backup(connection)
        return anew.is_backup(connection)


async def test_another_epoch_begins_beyond_all_revisions_that_can_have_been_given(tmp_path: Path) -> None:
    path = await filled(tmp_path / "hub.db")
    before = await state_of(path)
    assert note_backup(path)
    change(path, "UPDATE facts SET value = value - 1000 WHERE name = 'backed_up_at'")
    epoch = begin_anew(path)
    after = await state_of(path)
    assert after.epoch == epoch != before.epoch
    assert after.revision - before.revision >= 1000 * anew.MAX_REVISIONS_PER_SECOND
    assert after.sessions == before.sessions


async def test_a_copy_that_does_not_say_when_it_was_made_is_as_old_as_its_last_change(tmp_path: Path) -> None:
    path = await filled(tmp_path / "hub.db")
    (ended,) = rows(path, "SELECT ended_at FROM ended_sessions")[0]
    change(path, f"UPDATE ended_sessions SET ended_at = {ended - 5_000}")
    before = await state_of(path)
    begin_anew(path)
    after = await state_of(path)
    grown = after.revision - before.revision
    assert 5_000 * anew.MAX_REVISIONS_PER_SECOND <= grown < 50_000 * anew.MAX_REVISIONS_PER_SECOND


async def test_a_copy_with_nothing_in_it_is_taken_to_be_old(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    before = await state_of(path)
    begin_anew(path)
    after = await state_of(path)
    assert after.revision - before.revision >= anew.UNKNOWN_AGE_SECONDS * anew.MAX_REVISIONS_PER_SECOND
    assert after.revision < 2**53, "peers read revisions as numbers of JavaScript"


async def test_a_backup_of_the_future_goes_on_a_little_later(tmp_path: Path) -> None:
    path = await filled(tmp_path / "hub.db")
    note_backup(path)
    change(path, f"UPDATE facts SET value = {time.time() + 1e6} WHERE name = 'backed_up_at'")
    before = rows(path, "SELECT value FROM facts WHERE name = 'revision'")
    begin_anew(path)
    assert rows(path, "SELECT value FROM facts WHERE name = 'revision'") > before


async def test_a_hub_that_opens_a_backup_itself_begins_anew_once(tmp_path: Path) -> None:
    path = await filled(tmp_path / "hub.db")
    before = await state_of(path)
    note_backup(path)
    first = await state_of(path)
    assert first.epoch != before.epoch
    assert first.revision > before.revision
    assert (await state_of(path)).epoch == first.epoch
