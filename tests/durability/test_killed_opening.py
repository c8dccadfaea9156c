"""A hub that is killed before each statement, and each change of a file, with which it opens and closes its store."""

import itertools
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals

import pytest

from durability.kills import CLOSING, STATEMENT, Kill
from durability.lives import Lives, lives_of
from durability.logs import digest
from durability.stored import faults
from grpc_tool_bridge import GRPCToolBridge
from support.soak import IS_SOAK

# `make soak` tries each statement, `make test` some of them.
STEP = 1 if IS_SOAK else 4

# What is beside a file, which its hub may have left.
FILES = ("hub.db", "hub.db-wal", "hub.db.lock")


def content(folder: Path, spare: Path) -> str:
    """Returns a digest of all that a killed hub has left in its store, apart from what it notes of itself."""
    spare.mkdir(exist_ok=True)
    copy(folder, spare)
    with closing(sqlite3.connect(spare / "hub.db")) as connection:
        assert list(faults(connection)) == []
        return digest(connection, without="facts")


def copy(source: Path, target: Path) -> None:
    """Copies a store; its files stay the same ones."""
    for name in FILES:
        if (source / name).exists():
            shutil.copyfile(source / name, target / name)
        else:
            (target / name).unlink(missing_ok=True)


async def fill(lives: Lives) -> None:
    """Lets a hub store something of each kind that a client makes, and kills it."""
    assert await lives.begin(Kill()) is None
    async with GRPCToolBridge(lives.address, keep_session=True, follow_tools=False) as bridge:
        await bridge.initialize("one")
        for number in range(9):
            await bridge.session_context.set_variable(f"v{number % 3}", number)
        await bridge.session_context.delete_variable("v1")
        for key in ("a", "b"):
            await bridge.client.tool("append").with_options(idempotency_key=key)(key)
    await end(lives, SIGKILL)


async def end(lives: Lives, signal: Signals) -> None:
    """Ends a life."""
    lives.signal(signal)
    assert await lives.ended() == (-SIGKILL if signal == SIGKILL else 0)


@pytest.mark.seeded
async def test_a_store_that_is_being_made_is_made_by_the_next_hub(tmp_path: Path) -> None:
    async with lives_of(tmp_path / "hub.db", tmp_path / "effects") as lives:
        for number in itertools.count(1, STEP):
            for name in (*FILES, "hub.db-shm"):
                (tmp_path / name).unlink(missing_ok=True)
            if await lives.begin(Kill(STATEMENT, number)) is None:
                break
            assert await lives.begin(Kill()) is None, f"after a kill at {number}"
            await end(lives, SIGKILL)
        # There is more to it than a few statements.
        assert number > 30


@pytest.mark.seeded
@pytest.mark.parametrize("ending", [SIGKILL, SIGTERM])
async def test_a_store_that_is_being_opened_has_all_that_it_had(ending: Signals, tmp_path: Path) -> None:
    kept, spare = tmp_path / "kept", tmp_path / "spare"
    kept.mkdir()
    async with lives_of(tmp_path / "hub.db", tmp_path / "effects") as lives:
        await fill(lives)
        if ending == SIGTERM:
            assert await lives.begin(Kill()) is None
            await end(lives, SIGTERM)
        copy(tmp_path, kept)
        before = content(tmp_path, spare)
        for number in itertools.count(1, STEP):
            copy(kept, tmp_path)
            if await lives.begin(Kill(STATEMENT, number)) is None:
                break
            assert content(tmp_path, spare) == before
            # At times the next one is killed, too, and somewhere else.
            if number % 8 < 4 and await lives.begin(Kill(STATEMENT, 2 + number // 2)) is None:
                await end(lives, SIGKILL)
            assert await lives.begin(Kill()) is None, f"after a kill at {number}"
            await end(lives, SIGKILL)
            assert content(tmp_path, spare) == before
        assert number > 15


async def test_a_store_that_is_being_closed_has_all_that_it_had(tmp_path: Path) -> None:
    spare = tmp_path / "spare"
    async with lives_of(tmp_path / "hub.db", tmp_path / "effects") as lives:
        await fill(lives)
        before = content(tmp_path, spare)
        for number in itertools.count(1):
            assert await lives.begin(Kill(CLOSING, number)) is None
            lives.signal(SIGTERM)
            code = await lives.ended()
            assert content(tmp_path, spare) == before
            if code == 0:
                break
            assert code == -SIGKILL
        assert number > 2
