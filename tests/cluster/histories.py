"""The history of clients of a cluster to which something happens again and again, and what was wrong with it."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

from cluster.faults import Fault
from durability import checks
from durability.checks import Stored
from durability.clients import NAMES, Watcher
from durability.crew import Crew
from durability.history import UNKNOWN
from durability.linearizable import UndecidedError
from durability.tools import read_effects
from grpc_tool_bridge import GRPCToolBridge, ToolCommunicationError, UnavailableError
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from support.clusters import Cluster, wired_cluster
from support.waiting import soon, until

TOOLS = Path(__file__).with_name("hub_tools.py")

# Nothing is forgotten that a check has to see.
SETTINGS = {
    "TOOL_BRIDGE_MAX_SESSIONS": "100000",
    "TOOL_BRIDGE_SESSION_IDLE_TIMEOUT": "86400",
    "TOOL_BRIDGE_WATCH_HISTORY": "1000000",
    "TOOL_BRIDGE_WATCH_HISTORY_BYTES": str(1 << 30),
    "TOOL_BRIDGE_MAX_SESSION_ANSWERS": "100000",
    # Longer than any clock jumps: until when an answer is kept is a date.
    "TOOL_BRIDGE_ANSWER_TTL": "86400",
    "TOOL_BRIDGE_AGENT_RUN_TTL": "86400",
    "TOOL_BRIDGE_MAX_SESSION_RUNS": "100000",
    "TOOL_BRIDGE_MAX_SESSION_AGENTS": "100000",
    "TOOL_BRIDGE_SHUTDOWN_GRACE": "0.2",
}

# How many of the faults are undone only when they have been noticed.
NOTICED = 0.7
# A variable of each that is set before all others; changes after it are read at the end.
_FIRST = "first"


class ClusterCrew(Crew):
    """The clients of a cluster, which begin at different hubs.

    Args:
        cluster: The cluster.
        rng: Says what they do.
        stack: Ends them.
        number: Unlike that of any other crew of the cluster.
    """

    def __init__(self, cluster: Cluster, rng: random.Random, stack: AsyncExitStack, number: int = 0) -> None:
        addresses = [cluster.addresses(first) for first in range(len(cluster.hubs))]
        super().__init__(addresses, rng, stack, name=f"{number}-", first=number * 1_000_000 + 1)
        self._cluster = cluster
        self._never: asyncio.Task[int] = asyncio.create_task(_never())
        stack.callback(self._never.cancel)
        self.first: dict[str, int] = {}

    async def join(self) -> None:
        """Begins all of them, once each session has its first change."""
        for session in self.sessions:
            async with GRPCToolBridge(self._cluster.addresses(), keep_session=True, follow_tools=False) as bridge:
                await bridge.initialize(session)
                self.first[session] = await bridge.session_context.set_variable(_FIRST, 0)
        await super().join()

    async def progress(self, count: int) -> None:
        """Waits until so much more was acknowledged."""
        assert await self.acknowledged(count, self._never)

    async def ask(self, bridge: GRPCToolBridge) -> None:
        """Asks for the session: a hub without it answers other questions."""
        await bridge.client.call("GetSessionInfo", pb.GetSessionInfoRequest(session_id=bridge.session_id or ""))

    async def settle(self) -> None:
        """Waits until what got no answer so far has taken effect, or never will; nothing fails meanwhile.

        What a hub was asked over a connection that is gone it has given up, and what it had begun to store comes before
        a change that it stores now.
        """
        unknown = self.history.unknown()
        await self.progress(20)
        for hub in self._cluster.hubs:
            for session in self.sessions:
                await soon(self._set_at(hub.address, session))
        self.history.close(unknown)

    async def _set_at(self, address: str, session: str) -> None:
        async with GRPCToolBridge(address, keep_session=True, follow_tools=False) as bridge:
            while True:
                try:
                    await bridge.initialize(session)
                    await bridge.session_context.set_variable(_FIRST, 1)
                except (ToolCommunicationError, UnavailableError):
                    await asyncio.sleep(0.05)
                else:
                    return

    async def stored(self, address: str) -> list[Stored]:
        """Returns all changes of the sessions, as a hub tells them to a watch that begins now."""
        found: list[Stored] = []
        for session in self.sessions:
            async with GRPCToolBridge(address, keep_session=True, follow_tools=False) as bridge:
                await bridge.initialize(session)
                last = await bridge.session_context.set_variable(_FIRST, 1)
                watcher = Watcher(session, after=self.first[session])
                watching = asyncio.create_task(watcher.run(bridge))
                await until(lambda: watcher.seen and watcher.seen[-1][3] == last, f"for {last}")  # noqa: B023
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
            found += [
                (session, revision, operation, name, value)
                for operation, name, value, revision in watcher.seen
                if name != _FIRST
            ]
        return found


async def _never() -> int:
    await asyncio.get_running_loop().create_future()
    return 0


@asynccontextmanager
async def running_cluster(folder: Path, env: Mapping[str, str] | None = None) -> AsyncIterator[Cluster]:
    """Runs a cluster, all of whose connections can fail, with the tools that clients need."""
    given = {**SETTINGS, "TEST_EFFECTS": str(folder / "effects"), **(env or {})}
    with wired_cluster(folder, options=["--tools", str(TOOLS)], env=given) as cluster:
        await cluster.start()
        try:
            yield cluster
        except BaseException as error:
            error.add_note(str(cluster))
            raise


@asynccontextmanager
async def using(cluster: Cluster, rng: random.Random, number: int = 0) -> AsyncIterator[ClusterCrew]:
    """Lets clients use a cluster during the block."""
    async with AsyncExitStack() as stack:
        crew = ClusterCrew(cluster, rng, stack, number)
        try:
            await crew.join()
            await crew.progress(20)
            yield crew
        except BaseException as error:
            error.add_note(str(crew))
            raise


async def use(cluster: Cluster, faults: Iterable[Fault], rng: random.Random, effects: Path) -> ClusterCrew:
    """Lets clients use a cluster to which one thing after the other happens, and finds nothing wrong; returns them."""
    async with using(cluster, rng) as crew:
        for fault in faults:
            noticed = await fault(cluster, rng)
            # Sometimes it is undone before anybody has noticed.
            if noticed is not None and rng.random() < NOTICED:
                await until(noticed, f"for {fault.__name__} to be noticed")
            await crew.progress(rng.randint(5, 40))
            await cluster.heal()
            await crew.look()
            await crew.settle()
        if wrong := await found_wrong(cluster, crew, effects):
            raise AssertionError("\n".join(wrong))
    return crew


async def found_wrong(cluster: Cluster, crew: ClusterCrew, effects: Path) -> list[str]:
    """Lets clients end; returns all that was wrong with what they were told."""
    await crew.leave()
    told = [await crew.stored(cluster.addresses(number)) for number in range(len(cluster.hubs))]
    differ = [] if told[1:] == told[:-1] else ["hubs tell different changes"]
    wrong = found_in(crew, told[0], effects)
    if wrong:
        # What took effect later than it should is no lie.
        for operation in crew.history.of("set", "delete", "create", "remove"):
            if operation.outcome == UNKNOWN:
                operation.end = None
        try:
            wrong = found_in(crew, told[0], effects)
        except UndecidedError as error:
            wrong.append(f"whether that is so if what was lost took effect later cannot be decided: {error}")
    return [*differ, *wrong]


def found_in(crew: ClusterCrew, stored: Sequence[Stored], effects: Path) -> list[str]:
    """Returns all that was wrong."""
    operations = crew.history.operations
    watchers = [_without_first(watcher) for watcher in crew.watchers]
    wrong = list(checks.check_variables(operations, NAMES, stored))
    # Each session has an owner, which gives revisions; they rise in a session, not beyond it.
    for session in {each.session for each in operations}:
        own = [each for each in operations if each.session == session]
        wrong += checks.check_revisions(own, [each for each in watchers if each.session == session])
    wrong += checks.check_calls(operations, read_effects(effects))
    wrong += checks.check_runs(operations)
    wrong += checks.check_sessions(operations)
    wrong += checks.check_stored(operations, stored)
    for watcher in watchers:
        wrong += checks.check_watch(watcher, stored)
    epochs = crew.epochs.union(*(watcher.epochs for watcher in watchers))
    if len(epochs) != 1:
        wrong.append(f"epochs {epochs}")
    wrong += [f"the session of {name} was renewed" for name in crew.renewed]
    return wrong


def _without_first(watcher: Watcher) -> Watcher:
    return replace(watcher, seen=[change for change in watcher.seen if change[1] != _FIRST])
