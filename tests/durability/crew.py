"""The clients of a hub that is killed now and then, or of several hubs that are one bridge."""

import asyncio
import contextlib
import itertools
import random
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial

from durability.clients import NAMES, Client, Watcher
from durability.history import History
from grpc_tool_bridge import GRPCToolBridge, ToolBridgeError, ToolWorker
from integration.agent_runtime import ObedientAgents
from support.waiting import soon, until, until_answered

# More watches of one session would soon be more than a hub takes.
MAX_WATCHES = 20


class Crew:
    """The clients.

    Args:
        addresses: Where the hubs are, each as clients are given it; they take one in turn.
        rng: Says what they do.
        stack: Ends them.
        name: What the names of its sessions, clients and keys begin with, where several use the same hub.
        first: The first value that is set.
    """

    def __init__(
        self, addresses: Sequence[str], rng: random.Random, stack: AsyncExitStack, *, name: str = "", first: int = 1
    ) -> None:
        self.sessions = f"{name}one", f"{name}two"
        self.history = History()
        self.watchers: list[Watcher] = []
        self.clients: list[Client] = []
        self.epochs: set[str] = set()
        self.renewed: list[str] = []
        self.goes_on = asyncio.Event()
        self.goes_on.set()
        self._addresses = addresses
        self._rng = rng
        self._stack = stack
        self._name = name
        self._values = itertools.count(first)
        self._bridges: list[GRPCToolBridge] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._watching: list[asyncio.Task[None]] = []

    async def join(self) -> None:
        """Begins all of them, with two sessions."""
        one, two = self.sessions
        for number, (session, transport) in enumerate(
            [(one, "link"), (one, "link"), (one, "rpc"), (two, "link"), (two, "rpc")]
        ):
            await self._add(f"{self._name}client{number}", session, transport)
        # Its runs have other chunks than those that the store has only if these were lost.
        for address in self._addresses:
            await self._stack.enter_async_context(ToolWorker(address, agents=ObedientAgents()))
        for session, names in ((one, ()), (one, NAMES[:1]), (two, ())):
            self._watch(Watcher(session, names))
        self._tasks = [asyncio.create_task(client.run()) for client in self.clients]
        self._stack.push_async_callback(self._cancel)

    async def _cancel(self) -> None:
        for task in self.running:
            task.cancel()
        await asyncio.gather(*self.running, return_exceptions=True)

    async def _add(self, name: str, session: str, transport: str) -> None:
        bridge = GRPCToolBridge(
            self._addresses[len(self._bridges) % len(self._addresses)],
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
            await soon(self.until_it_answers(bridge))

        rng = random.Random(self._rng.random())
        self.clients.append(Client(name, bridge, self.history, rng, self._values, again))

    async def until_it_answers(self, bridge: GRPCToolBridge) -> None:
        """Asks until a hub is there."""
        while True:
            try:
                await self.ask(bridge)
            except ToolBridgeError:
                await asyncio.sleep(0.01)
            else:
                return

    async def ask(self, bridge: GRPCToolBridge) -> None:
        """Asks what a hub answers that is there."""
        await bridge.client.get_metrics("hub.epoch")

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
                self._watch(Watcher(self.sessions[0], after=self._rng.choice(seen)[3]))
            if len(self._watching) > MAX_WATCHES:
                # The first ones are those that began before everything.
                self._watching.pop(MAX_WATCHES // 2).cancel()
                next(each for each in self.watchers[MAX_WATCHES // 2 :] if not each.is_stopped).is_stopped = True

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

    async def acknowledged(self, count: int, ended: "asyncio.Task[int]") -> bool:
        """Waits until so much more was acknowledged, which it returns, or a life has ended."""
        reached = asyncio.get_running_loop().create_future()
        history = self.history
        count += history.acknowledged

        def look() -> None:
            if history.acknowledged >= count and not reached.done():
                reached.set_result(None)

        history.on_acknowledged = look
        await soon(asyncio.wait([reached, ended, *self.running], return_when=asyncio.FIRST_COMPLETED))
        self.check_running()
        return reached.done() and not ended.done()

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
        for session in self.sessions:
            bridge = next(each for each in self._bridges if each.session_id == session)
            write = partial(bridge.session_context.set_variable, NAMES[0], next(self._values))
            # The session may just be moving to another hub.
            last = await soon(until_answered(write))
            for watcher in self.watchers:
                if watcher.session == session and not watcher.is_stopped:
                    await until(lambda: watcher.seen and watcher.seen[-1][3] == last, f"for {last}")  # noqa: B023
        self.check_running()
        await self._cancel()
