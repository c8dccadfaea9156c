"""Copies of a store at any moment, with all of its log or a part: each opens to a state that was committed."""

import asyncio
import random
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from signal import SIGCONT, SIGSTOP, SIGTERM

import pytest

from durability import stored
from durability.checks import Stored
from durability.crew import Crew
from durability.history import OK, History
from durability.kills import Kill
from durability.lives import Lives, lives_of
from durability.logs import Copy, copy_of, digest, digest_of
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.stores.sqlite.store import SqliteStore
from support.soak import examples

# Those that nobody ends.
SESSIONS = ("one", "two")


class Copies:
    """Copies of a store while clients use it, and what it had at last.

    Attributes:
        copies: The copies, the earliest first.
        history: What the clients did.
        changes: All changes of variables of the sessions that did not end.
    """

    def __init__(self) -> None:
        self.copies: list[Copy] = []
        self.history = History()
        self.changes: list[Stored] = []

    def acknowledged(self, at: int) -> int:
        """Returns the highest revision that was acknowledged before a moment."""
        writes = (each for each in self.history.of("set") if each.outcome == OK and each.closed < at)
        return max((write.answer["revision"] for write in writes if write.session in SESSIONS), default=0)


async def take(lives: Lives, crew: Crew, store: Path) -> Copy:
    """Copies a store after the clients have done some more."""
    ended = asyncio.create_task(lives.ended())
    try:
        assert await crew.acknowledged(12, ended)
        lives.signal(SIGSTOP)
        return copy_of(store, time.monotonic_ns())
    finally:
        lives.signal(SIGCONT)
        ended.cancel()


@asynccontextmanager
async def copied(folder: Path, rng: random.Random, count: int, pages: int) -> AsyncIterator[Copies]:
    """Copies a store a number of times."""
    store, found = folder / "hub.db", Copies()
    async with lives_of(store, folder / "effects") as lives, AsyncExitStack() as stack:
        crew = Crew([lives.address], rng, stack)
        found.history = crew.history
        assert await lives.begin(Kill(pages=pages)) is None
        await crew.join()
        for _ in range(count):
            found.copies.append(await take(lives, crew, store))
        await crew.leave()
        lives.signal(SIGTERM)
        assert await lives.ended() == 0
    with stored.opened(store) as connection:
        found.changes = kept_in(connection)
    yield found


def kept_in(connection: sqlite3.Connection) -> list[Stored]:
    """Returns the changes of the sessions that nobody ends."""
    return [change for change in stored.changes(connection) if change[0] in SESSIONS]


def check_state(store: Path, copies: Copies) -> tuple[str, int]:
    """Checks that a store has a state that there was; returns its digest and its last revision."""
    with stored.opened(store) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master").fetchone():
            return "empty", 0
        assert list(stored.faults(connection)) == []
        changes = kept_in(connection)
        last = changes[-1][1] if changes else 0
        assert changes == [change for change in copies.changes if change[1] <= last]
        return digest(connection), last


async def check_opens(store: Path, copies: Copies, last: int) -> None:
    """Checks that a hub can have a store, whose changes go up to a revision."""
    durable = SqliteStore(store)
    state = await durable.open(Settings())
    try:
        present: dict[tuple[str, str], int] = {}
        for session, revision, operation, name, _ in copies.changes:
            if revision <= last:
                present[session, name] = revision if operation != "delete" else 0
        found = {
            (session.session_id, variable.name): variable.revision
            for session in state.sessions
            if session.session_id in SESSIONS
            for variable in session.variables
        }
        assert found == {variable: revision for variable, revision in present.items() if revision}
        assert state.revision >= last
    finally:
        await durable.aclose()


@pytest.mark.seeded
@pytest.mark.parametrize("pages", [4, 900])
async def test_a_copy_at_any_moment_has_all_that_was_acknowledged(pages: int, tmp_path: Path) -> None:
    rng = random.Random(f"copies {pages}")
    async with copied(tmp_path, rng, examples(8), pages) as copies:
        target = tmp_path / "copy.db"
        for copy in copies.copies:
            copy.write(target, copy.log)
            _, last = check_state(target, copies)
            assert last >= copies.acknowledged(copy.at)
            copy.write(target, copy.log)
            await check_opens(target, copies, last)


@pytest.mark.seeded
async def test_a_log_that_is_cut_or_damaged_anywhere_opens_to_the_last_commit_before(tmp_path: Path) -> None:
    rng = random.Random("cuts")
    async with copied(tmp_path, rng, 1, 900) as copies:
        (copy,) = copies.copies
        target = tmp_path / "copy.db"
        digests, lasts = {}, []
        for place in sorted({copy.needed, *copy.commits}):
            copy.write(target, copy.log[:place])
            digests[place], last = check_state(target, copies)
            lasts.append(last)
        assert lasts == sorted(lasts)
        assert lasts[-1] >= copies.acknowledged(copy.at)
        assert len(set(digests.values())) > len(copy.commits) // 2
        for log, place in cuts(copy, rng):
            copy.write(target, log)
            assert digest_of(target) == digests[copy.before(place)], f"cut at {place} of {copy.ends}"
        for log, place in rng.choices(list(cuts(copy, rng)), k=examples(10)):
            copy.write(target, log)
            _, last = check_state(target, copies)
            copy.write(target, log)
            await check_opens(target, copies, last)
            assert digests[copy.before(place)]


def cuts(copy: Copy, rng: random.Random) -> list[tuple[bytes, int]]:
    """Returns logs of which something is missing or damaged, each with the place up to which it is whole."""
    log, found = copy.log, []
    ends = [end for end, _ in copy.ends if end >= copy.needed]
    for end in rng.sample(ends, min(len(ends), examples(40))):
        found += [(log[:place], place) for place in (end - 1, end, end + 1) if place >= copy.needed]
    for _ in range(examples(40)):
        place = rng.randint(copy.needed, len(log))
        found += [(log[:place], place), (log[:place] + bytes(len(log) - place), place)]
        if place < len(log):
            flipped = bytes([log[place] ^ (1 << rng.randint(0, 7))])
            found.append((log[:place] + flipped + log[place + 1 :], place))
            found.append((log[:place] + rng.randbytes(len(log) - place), place))
    return found
