"""A hub that is killed at every point on the way of a change, again and again, while clients use it.

Each test kills one hub a number of times; together they are 50 in ``make test`` and 1,000 in ``make soak``.
"""

import asyncio
import itertools
import logging
import random
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP, SIGTERM

import pytest

from durability import checks, stored
from durability.clients import NAMES
from durability.crew import Crew
from durability.kills import CLOSING, Kill, deck
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
    """Returns all that was wrong."""
    operations = crew.history.operations
    with stored.opened(store) as connection:
        wrong = list(stored.faults(connection))
        kept = stored.changes(connection)
    wrong += checks.check_variables(operations, NAMES)
    wrong += checks.check_revisions(operations, crew.watchers)
    wrong += checks.check_stored(operations, kept)
    wrong += checks.check_calls(operations, read_effects(effects))
    wrong += checks.check_sessions(operations)
    wrong += checks.check_runs(operations)
    for watcher in crew.watchers:
        wrong += checks.check_watch(watcher, kept)
        crew.epochs |= watcher.epochs
    if len(crew.epochs) != 1:
        wrong.append(f"epochs {crew.epochs}")
    wrong += [f"the session of {name} was renewed" for name in crew.renewed]
    return wrong


@pytest.mark.seeded
@pytest.mark.parametrize("number", range(HUBS))
async def test_nothing_acknowledged_is_lost_however_often_the_hub_is_killed(
    number: int,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    record_property: Callable[[str, object], None],
) -> None:
    rng = random.Random(f"hub {number}")
    # One deck for all hubs: each gets its part of it.
    kills = itertools.islice(deck(random.Random("kills")), number, None, HUBS)
    store, effects = tmp_path / "hub.db", tmp_path / "effects"
    ways: Counter[str] = Counter()
    with caplog.at_level(logging.WARNING, logger="grpc_tool_bridge"):
        async with lives_of(store, effects) as lives, AsyncExitStack() as stack:
            crew = Crew(lives, rng, stack)
            try:
                await kill_again_and_again(lives, crew, itertools.islice(kills, KILLS - 1), rng, ways)
            except BaseException as error:
                error.add_note(str(crew))
                raise
    record_property("lives", dict(ways))
    record_property("acknowledged", crew.history.acknowledged)
    assert found_in(crew, store, effects) == []
    assert "has restarted" not in caplog.text
