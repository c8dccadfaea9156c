"""A bridge with its own hub and a store in one process, whose clients print what they ask and what they are told.

Its argument is JSON: the file of the store, that of effects, where it kills itself, the seed of what the clients do,
the first value that they may set, calls to repeat, and the revision after which to watch. If it does not kill itself,
it ends when enough was acknowledged.
"""

import asyncio
import itertools
import json
import os
import random
import sys
from pathlib import Path
from typing import Any

from durability.clients import Client, Watcher
from durability.history import History, Operation, to_dict
from durability.hub_process import SETTINGS, prepare, say
from durability.kills import Kill
from durability.tools import Effects
from grpc_tool_bridge import LocalToolBridge
from grpc_tool_bridge.client.variables import VariableChange
from support.waiting import until

CLIENTS, ENOUGH = 4, 80


class PrintedHistory(History):
    """A history that outlives this process."""

    def begin(self, *args: Any, **asked: Any) -> Operation:
        operation = super().begin(*args, **asked)
        say(began=to_dict(operation))
        return operation

    def end(self, operation: Operation, outcome: str, **answer: Any) -> None:
        super().end(operation, outcome, **answer)
        say(ended=to_dict(operation))


class PrintedWatcher(Watcher):
    """A watch that outlives this process."""

    def take(self, change: VariableChange) -> None:
        super().take(change)
        say(seen=self.seen[-1], epoch=change.epoch)


async def live(asked: dict[str, Any]) -> None:
    """Lets clients use the bridge."""
    durable, killer = prepare(asked["store"], Kill.from_json(asked["kill"]))
    tools = Effects(Path(asked["effects"]))
    history, values = PrintedHistory(), itertools.count(asked["value"])
    bridge = LocalToolBridge(
        [tools.append, tools.append_again], settings=SETTINGS, store=durable, keep_session=True, follow_tools=False
    )
    async with bridge:
        await bridge.initialize("one")
        say(ready=os.getpid())
        watcher = PrintedWatcher("one", after=asked["after"])
        watching = asyncio.create_task(watcher.run(bridge))
        clients = []
        for number in range(CLIENTS):
            rng = random.Random(f"{asked['seed']} {number}")
            clients.append(Client(f"client{number}", bridge, history, rng, values, _never))
        for tool, key in asked["calls"]:
            await clients[0].call_until_answered(tool, key)
        enough = asyncio.Event()
        history.on_acknowledged = lambda: enough.set() if history.acknowledged >= ENOUGH else None
        running = [asyncio.create_task(client.run()) for client in clients]
        await asyncio.wait([*running, asyncio.create_task(enough.wait())], return_when=asyncio.FIRST_COMPLETED)
        for client in clients:
            client.is_over = True
        await asyncio.gather(*running)
        await clients[0].set()
        last = history.operations[-1].answer["revision"]
        await until(lambda: watcher.seen and watcher.seen[-1][3] == last)
        watching.cancel()
        killer.close()


async def _never() -> None:
    raise AssertionError("a hub in this process always answers")


if __name__ == "__main__":
    asyncio.run(live(json.loads(sys.argv[1])))
