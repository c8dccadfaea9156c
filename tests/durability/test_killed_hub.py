"""A hub that is killed at every point on the way of a change, again and again, while clients use it.

Each test kills one hub a number of times; together they are 50 in ``make test`` and 1,000 in ``make soak``.
"""

import asyncio
import itertools
import logging
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP, SIGTERM

import pytest

from durability import checks, stored
from durability.clients import NAMES
from durability.crew import Crew
from durability.history import OK
from durability.kills import CLOSING, STATEMENT, Kill, deck
from durability.lives import Lives, lives_of
from durability.tools import read_effects
from support.soak import examples
from support.waiting import until

# Hubs, and how often each is killed.
HUBS, KILLS = 5, examples(10)

# A life in which as much was acknowledged has not come to where it kills itself.
ENOUGH = 60

# How a life ends otherwise.
WAYS = ("killed from outside", "killed while it stood still", "stood still, went on, and was told to end")


async def outlive(lives: Lives, crew: Crew, kill: Kill, rng: random.Random) -> str:
    """Lets one life serve the clients until it ends; returns how it did."""
    code = None if lives.is_serving else await lives.begin(kill)
    if code is None:
        code, how = await serve(lives, crew, kill, rng)
    else:
        how = "as it began"
    crew.history.life_ended()
    crew.check_running()
    assert code in (0, -SIGKILL), f"a life ended with {code}"
    return how


async def serve(lives: Lives, crew: Crew, kill: Kill, rng: random.Random) -> tuple[int, str]:
    """Waits until a life ends, by itself or when enough was acknowledged; returns its code, and how it ended."""
    ended, looking = asyncio.create_task(lives.ended()), asyncio.create_task(crew.look())
    try:
        how = await end(lives, crew, kill, rng, ended)
        return await ended, how
    finally:
        crew.goes_on.set()
        ended.cancel()
        looking.cancel()


async def end(lives: Lives, crew: Crew, kill: Kill, rng: random.Random, ended: "asyncio.Task[int]") -> str:
    """Ends a life once enough was acknowledged, unless it ends by itself; returns how it does."""
    # Some verbs come seldom.
    most = rng.randint(1, ENOUGH) if kill.point in ("", CLOSING) else 3 * ENOUGH if kill.verb else ENOUGH
    if not await crew.acknowledged(most, ended):
        return str(kill)
    if kill.point == CLOSING:
        crew.goes_on.clear()
        lives.signal(SIGTERM)
        return "told to end"
    way = rng.choice(WAYS) if not kill.point else WAYS[0]
    if way != WAYS[0]:
        lives.signal(SIGSTOP)
        await until(lambda: ended.done() or all(client.waiting for client in crew.clients), "for all to wait")
    if way == WAYS[2]:
        lives.signal(SIGCONT)
        await crew.acknowledged(5, ended)
        crew.goes_on.clear()
        lives.signal(SIGTERM)
    else:
        lives.signal(SIGKILL)
    return way


async def kill_again_and_again(
    lives: Lives, crew: Crew, kills: Iterable[Kill], rng: random.Random, ways: Counter[str]
) -> None:
    """Lets clients use a hub in one life after the other, and at last in one that ends in peace."""
    assert await lives.begin(Kill()) is None
    await crew.join()
    for kill in (Kill(), *kills):
        ways[await outlive(lives, crew, kill, rng)] += 1
    assert await lives.begin(Kill()) is None
    await crew.leave()
    lives.signal(SIGTERM)
    assert await lives.ended() == 0


def found_in(crew: Crew, store: Path, effects: Path) -> list[str]:
    """Returns all that was wrong, apart from what depends on how much is kept."""
    operations = crew.history.operations
    with stored.opened(store) as connection:
        wrong = list(stored.faults(connection))
    wrong += checks.check_variables(operations, NAMES)
    wrong += checks.check_revisions(operations, crew.watchers)
    wrong += checks.check_calls(operations, read_effects(effects))
    wrong += checks.check_runs(operations)
    epochs = crew.epochs.union(*(watcher.epochs for watcher in crew.watchers))
    if len(epochs) != 1:
        wrong.append(f"epochs {epochs}")
    wrong += [f"the session of {name} was renewed" for name in crew.renewed]
    return wrong


def found_in_all(crew: Crew, store: Path) -> list[str]:
    """Returns what was wrong with a store that keeps all."""
    with stored.opened(store) as connection:
        kept = stored.changes(connection)
    wrong = [*checks.check_stored(crew.history.operations, kept), *checks.check_sessions(crew.history.operations)]
    for watcher in crew.watchers:
        wrong += checks.check_watch(watcher, kept)
    return wrong


async def use(
    folder: Path, kills: Iterable[Kill], rng: random.Random, record_property: Callable[[str, object], None]
) -> Crew:
    """Lets clients use a hub that is killed again and again; returns them."""
    ways: Counter[str] = Counter()
    async with lives_of(folder / "hub.db", folder / "effects") as lives, AsyncExitStack() as stack:
        crew = Crew([lives.address], rng, stack)
        try:
            await kill_again_and_again(lives, crew, kills, rng, ways)
        except BaseException as error:
            error.add_note(str(crew))
            raise
    record_property("lives", dict(ways))
    record_property("acknowledged", crew.history.acknowledged)
    return crew


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """What clients and workers warn of; none may say that the hub had forgotten anything."""
    with caplog.at_level(logging.WARNING, logger="grpc_tool_bridge"):
        yield caplog
    assert "has restarted" not in caplog.text


@pytest.mark.seeded
@pytest.mark.usefixtures("log")
@pytest.mark.parametrize("number", range(HUBS))
async def test_nothing_acknowledged_is_lost_however_often_the_hub_is_killed(
    number: int, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    # One deck for all hubs: each gets its part of it.
    kills = itertools.islice(deck(random.Random("kills")), number, None, HUBS)
    rng = random.Random(f"hub {number}")
    crew = await use(tmp_path, itertools.islice(kills, KILLS - 1), rng, record_property)
    assert found_in(crew, tmp_path / "hub.db", tmp_path / "effects") == []
    assert found_in_all(crew, tmp_path / "hub.db") == []


@pytest.mark.seeded
@pytest.mark.usefixtures("log")
async def test_nothing_that_is_kept_is_lost_if_the_hub_is_killed_while_it_removes_what_is_over(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    rng = random.Random("keeps little")
    points = (STATEMENT, STATEMENT, "tidied", CLOSING)
    kills = (Kill(rng.choice(points), rng.randint(1, 300), pages=9, keeps_little=True) for _ in range(KILLS))
    crew = await use(tmp_path, kills, rng, record_property)
    assert found_in(crew, tmp_path / "hub.db", tmp_path / "effects") == []
    with stored.opened(tmp_path / "hub.db") as connection:
        (changes,) = connection.execute("SELECT count(*) FROM changes").fetchone()
    # Some of them were removed.
    made = [each for each in crew.history.of("set") if each.outcome == OK]
    assert changes < len(made)
