"""A hub that is killed at every point on the way of a change, again and again, while clients use it.

Each test kills one hub a number of times; together they are 50 in ``make test`` and 1,000 in ``make soak``.
"""

import asyncio
import contextlib
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
from durability.clients import NAMES, Client, Watcher
from durability.history import History
from durability.kills import CLOSING, Kill, deck
from durability.lives import Lives, lives_of
from durability.tools import read_effects
from grpc_tool_bridge import GRPCToolBridge, ToolBridgeError, ToolWorker
from integration.agent_runtime import ObedientAgents
from support.soak import examples
from support.waiting import soon, until

# Hubs, and how often each is killed.
HUBS, KILLS = 5, examples(10)

# A life in which as much was acknowledged has not come to where it kills itself.
ENOUGH = 60

# How a life ends otherwise.
WAYS = ("killed from outside", "killed while it stood still", "stood still, went on, and was told to end")


class Crew:
    """The clients of a hub.

    Args:
        lives: The hub.
        rng: Says what they do.
        stack: Ends them.
    """

    def __init__(self, lives: Lives, rng: random.Random, stack: AsyncExitStack) -> None:
        self.history = History()
        self.watchers: list[Watcher] = []
        self.clients: list[Client] = []
        self.epochs: set[str] = set()
        self.renewed: list[str] = []
        self.goes_on = asyncio.Event()
        self.goes_on.set()
        self._lives = lives
        self._rng = rng
        self._stack = stack
        self._values = itertools.count(1)
        self._bridges: list[GRPCToolBridge] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._watching: list[asyncio.Task[None]] = []

    async def join(self) -> None:
        """Begins all of them, with two sessions."""
        for number, (session, transport) in enumerate(
            [("one", "link"), ("one", "link"), ("one", "rpc"), ("two", "link"), ("two", "rpc")]
        ):
            await self._add(f"client{number}", session, transport)
        # Its runs have other chunks than those that the store has only if these were lost.
        await self._stack.enter_async_context(ToolWorker(self._lives.address, agents=ObedientAgents()))
        for session, names in (("one", ()), ("one", NAMES[:1]), ("two", ())):
            self._watch(Watcher(session, names))
        self._tasks = [asyncio.create_task(client.run()) for client in self.clients]
        self._stack.push_async_callback(self._cancel)

    async def _cancel(self) -> None:
        for task in self.running:
            task.cancel()
        await asyncio.gather(*self.running, return_exceptions=True)

    async def _add(self, name: str, session: str, transport: str) -> None:
        bridge = GRPCToolBridge(
            self._lives.address,
            transport=transport,  # type: ignore[arg-type] # one of them
            keep_session=True,
            follow_tools=False,
            on_session_renewed=lambda: self.renewed.append(name),
        )
        await self._stack.enter_async_context(bridge)
        await bridge.initialize(session)
        self._bridges.append(bridge)

        async def again() -> None:
            # A hub that was told to end answers some questions, but does nothing any more.
            await soon(self.goes_on.wait())
            await soon(until_it_answers(bridge))

        rng = random.Random(self._rng.random())
        self.clients.append(Client(name, bridge, self.history, rng, self._values, again))

    def _watch(self, watcher: Watcher) -> None:
        bridge = next(
            bridge for bridge in self._bridges if bridge.session_id == watcher.session and bridge.client.resumes
        )
        self.watchers.append(watcher)
        self._watching.append(asyncio.create_task(watcher.run(bridge)))

    async def look(self) -> None:
        """Sees what a new life has: its epoch, and the changes after one long ago."""
        # It may end meanwhile.
        with contextlib.suppress(ToolBridgeError):
            metrics = await self._bridges[0].client.get_metrics("hub.epoch")
            self.epochs.add(metrics["hub.epoch"].string_value)
            seen = [change for change in self.watchers[0].seen if change[0] != "reset"]
            if seen:
                self._watch(Watcher("one", after=self._rng.choice(seen)[3]))

    @property
    def running(self) -> list["asyncio.Task[None]"]:
        """The clients and watches, none of which ends by itself."""
        return [*self._tasks, *self._watching]

    def __str__(self) -> str:
        unanswered = [str(each) for each in self.history.operations if not each.outcome]
        watches = [f"{each.session} after {each.after}: {each.seen[-1:]}" for each in self.watchers]
        linked = [f"{client.name} {client.waiting} {client.bridge.client.is_linked}" for client in self.clients]
        return "\n".join(["unanswered:", *unanswered, "watches:", *watches, "clients:", *linked])

    def check_running(self) -> None:
        """Raises what a client or a watch failed with."""
        for task in self.running:
            if task.done():
                task.result()
                assert self.clients[0].is_over, "a watch has ended"

    async def leave(self) -> None:
        """Lets them end what they are at, and read all."""
        for client in self.clients:
            client.is_over = True
        await soon(asyncio.gather(*self._tasks))
        for client in self.clients:
            for name in NAMES:
                await client.get(name)
            for run in client.runs[-20:]:
                await client.read_run(run)
        for session in {each.session for each in self.history.of("create", "remove")}:
            await self.clients[0].look(session)
        for session in ("one", "two"):
            bridge = next(each for each in self._bridges if each.session_id == session)
            last = await bridge.session_context.set_variable(NAMES[0], next(self._values))
            for watcher in self.watchers:
                if watcher.session == session:
                    await until(lambda: watcher.seen and watcher.seen[-1][3] == last, f"for {last}")  # noqa: B023
        self.check_running()
        await self._cancel()


async def until_it_answers(bridge: GRPCToolBridge) -> None:
    """Asks until a hub is there."""
    while True:
        try:
            await bridge.client.get_metrics("hub.epoch")
        except ToolBridgeError:
            await asyncio.sleep(0.01)
        else:
            return


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
    most = rng.randint(1, ENOUGH) if kill.point in ("", CLOSING) else ENOUGH
    if not await acknowledged(crew, most, ended):
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
        await acknowledged(crew, 5, ended)
        crew.goes_on.clear()
        lives.signal(SIGTERM)
    else:
        lives.signal(SIGKILL)
    return way


async def acknowledged(crew: Crew, count: int, ended: "asyncio.Task[int]") -> bool:
    """Waits until so much more was acknowledged, which it returns, or a life has ended."""
    reached = asyncio.get_running_loop().create_future()
    count += crew.history.acknowledged

    def look() -> None:
        if crew.history.acknowledged >= count and not reached.done():
            reached.set_result(None)

    crew.history.on_acknowledged = look
    look()
    await soon(asyncio.wait([reached, ended, *crew.running], return_when=asyncio.FIRST_COMPLETED))
    crew.check_running()
    return reached.done() and not ended.done()


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
    print(ways, crew.history.acknowledged)
    assert found_in(crew, store, effects) == []
    assert "has restarted" not in caplog.text
