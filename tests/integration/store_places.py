"""A hub with a store, reached by one way in, which a test can restart."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from grpc_tool_bridge import (
    BridgeServer,
    GRPCToolBridge,
    LocalToolBridge,
    SessionConfig,
    Settings,
    ToolBridge,
    ToolBridgeClient,
)
from grpc_tool_bridge.client.local import LocalTransport
from grpc_tool_bridge.core.hub import Hub
from support.stores import STORES


class _OwnHub:
    """The hub of a LocalToolBridge, as a server of one."""

    def __init__(self, tools: list[Any], settings: Settings, store: str) -> None:
        self._bridge = LocalToolBridge(tools, settings=settings, store=store, keep_session=True)
        self.hub = self._bridge.hub

    async def start(self) -> None:
        await self._bridge.__aenter__()

    async def stop(self) -> None:
        await self._bridge.close()


def _own_hub(tools: list[Any], settings: Settings, store: str) -> Any:
    return _OwnHub(tools, settings, store)


def _server(tools: list[Any], settings: Settings, store: str, **options: Any) -> Any:
    return BridgeServer(tools=tools, settings=settings, store=store, **options)


def _to_own_hub(server: Any) -> ToolBridge:
    return ToolBridge(ToolBridgeClient(LocalTransport(server.hub)), keep_session=True)


# Of each way in, how the hub is made, and a bridge to it.
WAYS: Mapping[str, tuple[Callable[..., Any], Callable[[Any], ToolBridge]]] = {
    "own hub": (_own_hub, _to_own_hub),
    "in process": (_server, lambda server: server.bridge(keep_session=True)),
    "rpc": (_server, lambda server: GRPCToolBridge(server.address, transport="rpc", keep_session=True)),
    "link": (_server, lambda server: GRPCToolBridge(server.address, keep_session=True)),
}

# Every store by every way in; a copy of the store that is taken while it is written, by one of them.
PLACES = [f"{store}, {way}" for store in STORES for way in WAYS]
PLACES += [f"{name}, in process, copied" for name, store in STORES.items() if store.copied is not None]


class Place:
    """A hub with a store, and bridges to it.

    Args:
        name: One of ``PLACES``.
        directory: For the store.
        stack: Ends what is left.

    Attributes:
        hub: The hub that runs.
        bridge: The first bridge, with a session.
    """

    hub: Hub
    bridge: ToolBridge

    def __init__(self, name: str, directory: Path, stack: AsyncExitStack) -> None:
        kind, way, *rest = name.split(", ")
        self._kind = STORES[kind]
        self.is_durable = self._kind.is_durable
        # Whether the hub is lost without a chance to write anything more.
        self.is_copied = bool(rest)
        self._make_hub, self._make_bridge = WAYS[way]
        self._directory = directory
        self._lives = 0
        self._stack = stack
        self._bridges: list[ToolBridge] = []
        self._server: Any = None
        self._tools: list[Any] = []
        self._settings: dict[str, Any] = {}
        self._options: dict[str, Any] = {}

    async def start(
        self,
        *tools: Any,
        config: SessionConfig | None = None,
        metadata: Mapping[str, str] | None = None,
        agents: Any = None,
        **settings: Any,
    ) -> ToolBridge:
        """Starts the hub, and opens a session; ``agents`` is for a hub that is a server."""
        self._tools = list(tools)
        self._options = {} if agents is None else {"agents": agents}
        self._settings = {"shutdown_grace": 0.0, **settings}
        await self._start(self._kind.url(self._directory))
        self._stack.push_async_callback(self.stop)
        self.bridge = await self.attach(config=config, metadata=metadata)
        return self.bridge

    async def _start(self, url: str) -> None:
        self._server = self._make_hub(self._tools, Settings(**self._settings), url, **self._options)
        await self._server.start()
        self.hub = self._server.hub

    async def attach(self, session_id: str | None = None, **options: Any) -> ToolBridge:
        """Opens a session by a further bridge, or attaches to one."""
        bridge = self._make_bridge(self._server)
        self._bridges.append(bridge)
        await bridge.initialize(session_id, **options)
        return bridge

    async def restart(self, *, resume: bool = True, **settings: Any) -> None:
        """Ends the hub, and starts another one with what its store has kept; does nothing where it keeps nothing.

        Args:
            resume: Whether ``bridge`` is in its session again.
            settings: Further settings of the new hub.
        """
        if not self.is_durable:
            return
        session_id = self.bridge.session_id
        if self.is_copied:
            assert self._kind.copied is not None
            self._lives += 1
            copy = self._directory / str(self._lives)
            copy.mkdir()
            url = self._kind.copied(self._directory, copy)
            await self.stop()
            self._directory = copy
        else:
            await self.stop()
            url = self._kind.url(self._directory)
        self._settings |= settings
        await self._start(url)
        if resume:
            self.bridge = await self.attach(session_id)

    async def stop(self) -> None:
        """Ends the bridges, whose sessions stay, and the hub."""
        for bridge in self._bridges:
            await bridge.close()
        self._bridges.clear()
        await self._server.stop()

    @property
    def variables(self) -> Any:
        """The variables of the first bridge's session."""
        return self.bridge.session_context

    @property
    def session_id(self) -> str:
        """The id of the first bridge's session."""
        return self.bridge.client.require_session()

    @property
    def session(self) -> Any:
        """The first bridge's session at the hub."""
        return self.hub.store.peek(self.session_id)


async def outcomes(calls: list[Awaitable[Any]]) -> list[Any]:
    """Awaits calls at once; what one raised is in its place."""
    return await asyncio.gather(*calls, return_exceptions=True)
