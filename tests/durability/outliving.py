"""Lets clients use a hub that is killed again and again."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP, SIGTERM

from durability.crew import Crew
from durability.kills import CLOSING, Kill
from durability.lives import Lives, lives_of
from support.waiting import until

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


async def use(
    store: Path | str,
    folder: Path,
    kills: Iterable[Kill],
    rng: random.Random,
    record_property: Callable[[str, object], None],
) -> Crew:
    """Lets clients use a hub that is killed again and again; returns them."""
    ways: Counter[str] = Counter()
    async with lives_of(store, folder / "effects") as lives, AsyncExitStack() as stack:
        crew = Crew([lives.address], rng, stack)
        try:
            await kill_again_and_again(lives, crew, kills, rng, ways)
        except BaseException as error:
            error.add_note(str(crew))
            raise
    record_property("lives", dict(ways))
    record_property("acknowledged", crew.history.acknowledged)
    return crew
