"""A hub, of the test's own or elsewhere, and networks between it and its callers that fail by toxics."""

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import psutil

from failure_modes.invariants import GRPC_ADDR, is_typed
from failure_modes.tools import make_tools
from grpc_tool_bridge import (
    BridgeServer,
    GRPCToolBridge,
    Settings,
    ToolBridge,
    ToolBridgeClient,
    ToolBridgeError,
    ToolWorker,
)
from grpc_tool_bridge.testing.toxiproxy.effects import EFFECTS
from grpc_tool_bridge.testing.toxiproxy.proxy import Proxy
from grpc_tool_bridge.testing.toxiproxy.toxics import Direction, Toxic
from integration.agent_runtime import ObedientAgents
from support.http_transport import HttpTransport
from support.patience import PATIENCE, TEST_LIMIT
from support.waiting import until

T = TypeVar("T")

# A hub elsewhere, and its gateway; see docs/how-to/test-failures.md.
HTTP_ADDR = os.environ.get("HTTP_ADDR")


@dataclass(frozen=True)
class Trouble:
    """A toxic as the suite uses it.

    Attributes:
        type: Its type; "down" is a proxy that is disabled.
        attributes: Its attributes.
        toxicity: The share of connections that it takes part in.
    """

    type: str
    attributes: dict[str, int] = field(default_factory=dict)
    toxicity: float = 1.0


TROUBLES = {
    "latency": Trouble("latency", {"latency": 30, "jitter": 20}),
    "late": Trouble("latency", {"latency": 60_000}),
    "bandwidth": Trouble("bandwidth", {"rate": 100}),
    "stall": Trouble("bandwidth", {"rate": 0}),
    "slow_close": Trouble("slow_close", {"delay": 300}),
    "timeout": Trouble("timeout", {"timeout": 100}),
    "silence": Trouble("timeout", {"timeout": 0}),
    "reset_peer": Trouble("reset_peer", {"timeout": 20}),
    "flaky": Trouble("reset_peer", {"timeout": 50}, toxicity=0.5),
    "slicer": Trouble("slicer", {"average_size": 200, "size_variation": 100, "delay": 10}),
    "limit_data": Trouble("limit_data", {"bytes": 3_000}),
    "down": Trouble("down"),
}


class Network:
    """A proxy between a caller and the hub.

    Args:
        target: The hub.
        name: Of the proxy, on which its chances depend.
    """

    def __init__(self, target: str, name: str) -> None:
        self._proxy = Proxy(name, "127.0.0.1:0", target, seed=0)
        self._toxic: Toxic | None = None

    @property
    def address(self) -> str:
        return self._proxy.listen

    async def start(self) -> None:
        await self._proxy.start()

    async def stop(self) -> None:
        await self._proxy.stop()

    async def fail(self, trouble: Trouble, direction: Direction) -> None:
        """Lets the network fail, for connections that are open, too."""
        if trouble.type == "down":
            await self._proxy.stop()
            return
        effect: Any = EFFECTS[trouble.type]
        self._toxic = Toxic(
            name="trouble",
            type=trouble.type,
            stream=direction,
            toxicity=trouble.toxicity,
            effect=effect(**trouble.attributes),
        )
        self._proxy.add_toxic(self._toxic)

    async def mend(self) -> None:
        """Lets it pass everything again."""
        await self._proxy.start()
        self._proxy.remove_toxics()


class Hub:
    """The hub, with a worker and an agent runtime that reach it through a network of their own."""

    def __init__(self) -> None:
        self.address = GRPC_ADDR or ""
        self.http_address = HTTP_ADDR or ""
        self.server: BridgeServer | None = None
        self._stack = AsyncExitStack()
        self._before = (set(asyncio.all_tasks()), _sockets(), set(threading.enumerate()))

    async def start(self) -> None:
        """Starts the hub, unless it is elsewhere, its worker and its runtime."""
        if not GRPC_ADDR:
            # A worker that is silent is suspect sooner than usual, and its tools outlive the test.
            settings = Settings(
                shutdown_grace=0.0, worker_ping_interval=0.1, worker_suspect_after=1.0, worker_grace_period=TEST_LIMIT
            )
            self.server = BridgeServer(tools=make_tools(), settings=settings, http_address="127.0.0.1:0")
            await self._stack.enter_async_context(self.server)
            self.address, self.http_address = self.server.address, self.server.http_address or ""
        self.workers = await self.network("workers")
        settings = Settings(shutdown_grace=0.0)
        for worker in (
            ToolWorker(self.workers.address, make_tools("worker_"), settings=settings),
            ToolWorker(self.workers.address, agents=ObedientAgents(), settings=settings),
        ):
            await self._stack.enter_async_context(worker)

    async def network(self, name: str) -> Network:
        """Makes a network before the hub."""
        return await self._network(self.address, name)

    async def bridges(self, transport: str, name: str) -> tuple[Network, ToolBridge, ToolBridge]:
        """Opens a session over a network of its own, and once more without one; the second sees the same session."""
        target = self.http_address if transport == "http" else self.address
        network = await self._network(target, name)
        bridge: ToolBridge
        if transport == "http":
            bridge = ToolBridge(ToolBridgeClient(HttpTransport(network.address)), follow_tools=False)
        else:
            bridge = GRPCToolBridge(network.address, transport=_TRANSPORTS[transport], follow_tools=False)
        self._stack.push_async_callback(bridge.close)
        await persist(bridge.initialize)
        direct = GRPCToolBridge(self.address, keep_session=True, follow_tools=False)
        self._stack.push_async_callback(direct.close)
        await persist(partial(direct.initialize, bridge.session_id))
        return network, bridge, direct

    async def stop(self) -> None:
        """Ends everything; nothing may be left of it, here or in the hub."""
        if self.server is not None:
            await until(lambda: not _counted(self.server), "for the end of all calls in the hub")
        await self._stack.aclose()
        tasks, sockets, threads = self._before
        await until(lambda: not _others(tasks), f"for the end of {_others(tasks)}")
        await until(lambda: _sockets() <= sockets, f"for the end of all sockets but {sockets} of {_sockets()}")
        await until(lambda: not _new_threads(threads), f"for the end of {_new_threads(threads)}")

    async def _network(self, target: str, name: str) -> Network:
        network = Network(target, name)
        await network.start()
        self._stack.push_async_callback(network.stop)
        return network


_TRANSPORTS: dict[str, Any] = {"grpc": "rpc", "link": "link"}


async def persist(call: Callable[[], Awaitable[T]]) -> T:
    """Makes a call until it succeeds: the network before a hub elsewhere may fail by itself."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await call()
            except ToolBridgeError as error:
                if not is_typed(error):
                    raise
                await asyncio.sleep(0.02)


async def are_idle(bridges: Iterable[ToolBridge]) -> None:
    """Waits until the hub counts no call, stream or watch of these sessions any more."""
    async with asyncio.timeout(PATIENCE):
        for bridge in bridges:
            while (await persist(bridge.client.session_info)).active_operations:  # noqa: ASYNC110 - the hub is asked
                await asyncio.sleep(0.01)


def _counted(server: Any) -> bool:
    hub = server.hub
    return bool(hub.admission.active or any(session.active or session.calls for session in hub.store.sessions()))


def _others(before: "set[asyncio.Task[Any]]") -> "list[asyncio.Task[Any]]":
    return [task for task in asyncio.all_tasks() - before if task is not asyncio.current_task()]


def _new_threads(before: set[threading.Thread]) -> list[str]:
    # Daemons and those of the event loop's own pool wait for the next call.
    new = set(threading.enumerate()) - before
    return [thread.name for thread in new if not thread.daemon and not thread.name.startswith("asyncio_")]


def _sockets() -> int:
    return len(psutil.Process().net_connections())
