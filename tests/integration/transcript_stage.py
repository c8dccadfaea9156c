"""Where a scenario plays: a hub, those who reach it, and a wiretap between them."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, Literal

from grpc_tool_bridge import BridgeServer, GRPCToolBridge, Settings, ToolBridgeClient, ToolWorker
from integration.transcript_calls import Call, calls_of, transcript
from integration.wiretap import Wiretap
from support.patience import PATIENCE
from support.waiting import soon

SESSION = "the-session"

Transport = Literal["link", "rpc"]
Scenario = Callable[["Stage"], Awaitable[None]]


class Stage:
    """A hub, those who reach it, and what is recorded of it.

    Args:
        transport: How clients reach the hub; workers always do over a link.
        stack: Ends what was begun here.

    Attributes:
        server: The hub, once it was started.
    """

    server: BridgeServer

    def __init__(self, transport: Transport, stack: AsyncExitStack) -> None:
        self.transport = transport
        self._stack = stack
        self._from = 0
        self._to: int | None = None
        self._tap: Wiretap

    async def hub(self, *tools: Any, **settings: Any) -> BridgeServer:
        """Starts the hub."""
        settings = {"shutdown_grace": 0.0, "worker_grace_period": 0.0, **settings}
        self.server = BridgeServer(tools=tools, settings=Settings(**settings))
        await self._stack.enter_async_context(self.server)
        self._tap = await self._stack.enter_async_context(Wiretap(self.server.address))
        return self.server

    async def client(self, name: str = "client", **options: Any) -> GRPCToolBridge:
        """Makes a client; it opens no session yet."""
        options = {"follow_tools": False, **options}
        bridge = GRPCToolBridge(await self._tap.open(name), transport=self.transport, **options)
        self._stack.push_async_callback(bridge.close)
        return bridge

    async def worker(self, *tools: Any, name: str = "worker", **options: Any) -> ToolWorker:
        """Makes a worker; it offers nothing yet."""
        worker = ToolWorker(await self._tap.open(name), tools=tools, **options)
        self._stack.push_async_callback(worker.close)
        return worker

    async def play(self, *tools: Any, **settings: Any) -> GRPCToolBridge:
        """Starts a hub with tools, opens a session, and records from here on."""
        await self.hub(*tools, **settings)
        bridge = await self.client()
        await bridge.initialize(SESSION)
        self.record()
        return bridge

    def record(self) -> None:
        """Records from here on: what began before does not belong to the scenario."""
        self._from = len(self._tap.notes)

    def take_no_more(self) -> None:
        """Takes no calls into the record that begin from here on; those that run are recorded to their end."""
        self._to = len(self._tap.notes)

    def cut(self, party: str) -> None:
        """Breaks off every RPC of a party, as a network does that fails."""
        self._tap.cut(party)

    async def seen(self, method: str, count: int = 1) -> None:
        """Waits until so many calls of a method have begun that are recorded."""
        await self._tap.until(lambda notes: sum(call.method == method for call in self._recorded(notes)) >= count)

    async def said(self, method: str, label: str) -> None:
        """Waits until it was said in a call of a method that is recorded."""
        await self._tap.until(
            lambda notes: any(
                line.label == label for call in self._recorded(notes) if call.method == method for line in call.lines
            )
        )

    async def active(self, count: int) -> None:
        """Waits until the hub counts so many calls of the session; what is asked for that is not recorded."""
        async with asyncio.timeout(PATIENCE):
            client = ToolBridgeClient(self.server.address)
            client.session_id = SESSION
            # The hub tells no other way that it has a call which waits.
            while (await client.session_info()).active_operations < count:
                pass
            await client.close()

    async def transcript(self) -> str:
        """Waits until all calls are over that are recorded, and writes them down."""
        try:
            await self._tap.until(lambda notes: all(call.is_over for call in self._recorded(notes)))
        except TimeoutError:
            left = [call for call in self._recorded(self._tap.notes) if not call.is_over]
            raise AssertionError(f"these calls are not over:\n\n{transcript(left)}") from None
        return transcript(self._recorded(self._tap.notes))

    def _recorded(self, notes: Any) -> list[Call]:
        end = len(notes) if self._to is None else self._to
        return [call for call in calls_of(notes) if self._from <= call.began < end]


async def record(scenario: Scenario, transport: Transport) -> str:
    """Plays a scenario; returns its transcript."""
    async with AsyncExitStack() as stack:
        stage = Stage(transport, stack)
        await soon(scenario(stage))
        return await stage.transcript()
