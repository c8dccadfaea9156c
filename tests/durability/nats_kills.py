"""Where a process with a store in NATS kills itself."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from durability.checks import Stored
from durability.kills import VERBS, Kill, Killer
from grpc_tool_bridge.cluster.bus.bus import Bus
from grpc_tool_bridge.cluster.journal import chain
from grpc_tool_bridge.cluster.journal.replay import image_of
from grpc_tool_bridge.cluster.sessions.store import NatsStore
from grpc_tool_bridge.cluster.sessions.taking import chain_ends, read_chain
from grpc_tool_bridge.cluster.urls import parse
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.writes import Write
from grpc_tool_bridge.errors import ToolBridgeError
from grpc_tool_bridge.values.serialization import deserialize_value

# On the way of a record: "received" before it is sent, "written" once it is sent, "committed" before callers are told,
# "told" after that; and "purged" before the beginning of a chain that was written anew is removed.
POINTS = ("received", "written", "committed", "told", "purged")


class KilledNatsStore(NatsStore):
    """A store whose process is killed on the way of a change; see ``Killer``."""

    killer: Killer

    async def begin_call(self, *args: Any, **options: Any) -> Any:
        self.killer.given("begin_call")
        return await super().begin_call(*args, **options)


def _given(verb: str) -> Any:
    def give(self: KilledNatsStore, *args: Any, **options: Any) -> Any:
        write = getattr(NatsStore, verb)(self, *args, **options)
        self.killer.given(verb)
        return write

    return give


for _verb in VERBS:
    if _verb != "begin_call":
        setattr(KilledNatsStore, _verb, _given(_verb))


def watch_points(at_point: Callable[[str], None]) -> None:
    """Has ``at_point`` called with the name of each point that this process passes, and chains written anew often."""
    append, purge, settle = Bus.append, Bus.purge, chain.settle
    chain.LONG_COUNT = 30

    async def watched(self: Bus, subject: str, *args: Any, **options: Any) -> int:
        if ".h." in subject:
            # The lease is renewed all the time.
            return await append(self, subject, *args, **options)
        at_point("received")
        sending = asyncio.ensure_future(append(self, subject, *args, **options))
        try:
            # It is sent in the next turns, and answered after them.
            for _ in range(4):
                await asyncio.sleep(0)
            at_point("written")
            sequence = await sending
        finally:
            sending.cancel()
        at_point("committed")
        return sequence

    async def purged(self: Bus, subject: str, up_to: int) -> int:
        at_point("purged")
        return await purge(self, subject, up_to)

    def told(change: Write, error: ToolBridgeError | None) -> None:
        settle(change, error)
        at_point("told")

    Bus.append, Bus.purge, chain.settle = watched, purged, told  # type: ignore[method-assign]


def nats_deck(rng: random.Random) -> Iterator[Kill]:
    """Yields where to kill, each way once in a random order, and again."""
    while True:
        ways = [(point, verb) for point in POINTS for verb in VERBS if point != "purged"]
        ways += [(point, "") for point in POINTS] + [("", "")] * 4
        rng.shuffle(ways)
        for point, verb in ways:
            most = 2 if verb == "reserve_revisions" else 3 if verb or point == "purged" else 40
            yield Kill(point, rng.randint(1, most), verb)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Bus]:
    """Opens a cluster that no hub serves."""
    bus = Bus(parse(url), Settings())
    await bus.open()
    async with aclosing(bus):
        yield bus


async def nats_changes(url: str, settings: Settings) -> list[Stored]:
    """Returns all stored changes of variables, in their order."""
    found: list[Stored] = []
    async with opened(url) as bus:
        async for end in chain_ends(bus):
            reader = await read_chain(bus, bus.names.session(end.session_id))
            image = image_of(end.session_id, reader.bodies(), settings)
            found += [
                (
                    end.session_id,
                    change.revision,
                    change.operation,
                    change.name,
                    None if change.value is None else deserialize_value(change.value),
                )
                for change in image.changes_after(0) or ()
            ]
    return sorted(found, key=lambda change: change[1])
