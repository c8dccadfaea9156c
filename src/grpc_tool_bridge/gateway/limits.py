"""The limits of the hub, and how much of each is used."""

import heapq
from collections.abc import Callable, Iterator
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from grpc_tool_bridge.aio.turns import Turns
from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.core.registered_tool import RegisteredTool
from grpc_tool_bridge.core.session import Session
from grpc_tool_bridge.core.workers.backend import backend_of
from grpc_tool_bridge.gateway.errors import JsonResponse
from grpc_tool_bridge.gateway.metrics import HttpCounts
from grpc_tool_bridge.transport.open_files import connection_limit

# Of the limits of single tools, sessions and workers, so many are told: the fullest.
MAX_SINGLE = 50

BYTES = "bytes"
PER_MINUTE = "per minute"


class Limit(NamedTuple):
    """A limit, and how much of it is used.

    Attributes:
        name: The setting, or the field of a tool's limits, that it is set by.
        title: The same for people.
        used: How much is used.
        limit: How much may be.
        waiting: Calls that wait until less is used.
        unit: "" (a count), "bytes" or "per minute".
        kind: What it is of: "hub", "session", "tool" or "worker".
        of: The id of that session or worker, or the name of that tool.
    """

    name: str
    title: str
    used: int
    limit: int
    waiting: int = 0
    unit: str = ""
    kind: str = "hub"
    of: str = ""

    @property
    def fullness(self) -> tuple[float, int]:
        """The part of it that is used, and the calls that wait."""
        return self.used / self.limit if self.limit else 0.0, self.waiting


class LimitRoutes:
    """The route of the limits.

    Args:
        hub: The hub.
        http: Returns what the HTTP server has open.
        mcp_sessions: Returns how many sessions MCP clients have open.
    """

    def __init__(self, hub: Hub, http: Callable[[], HttpCounts], mcp_sessions: Callable[[], int]) -> None:
        self._hub = hub
        self._http = http
        self._mcp_sessions = mcp_sessions

    async def read(self, request: Request) -> Response:
        """Returns the limits, the fullest first.

        Those of the hub are all there; of those of single sessions, tools and workers, the fullest that are used at
        all. ``name`` is the setting of the hub, or the limit of the tool, that changes it.
        """
        del request
        limits = [*_hub_limits(self._hub), *self._gateway_limits(), *await fullest(self._hub, MAX_SINGLE)]
        limits.sort(key=lambda limit: limit.fullness, reverse=True)
        return JsonResponse({"limits": [limit._asdict() for limit in limits]})

    def _gateway_limits(self) -> Iterator[Limit]:
        settings = self._hub.settings
        yield Limit(
            "max_connections", "HTTP connections", self._http().connections, connection_limit(settings.max_connections)
        )
        yield Limit("max_sessions", "MCP sessions", self._mcp_sessions(), settings.max_sessions)


def _hub_limits(hub: Hub) -> Iterator[Limit]:
    settings, store = hub.settings, hub.store
    yield Limit("max_sessions", "Sessions", len(store), settings.max_sessions)
    yield Limit("max_hub_bytes", "Memory for sessions and connections", hub.memory.used, hub.memory.limit, unit=BYTES)
    yield Limit("max_tools", "Hub tools", store.tools.count, settings.max_tools)
    yield Limit("max_tool_bytes", "Tool specs", store.tool_bytes, settings.max_tool_bytes, unit=BYTES)
    for name, title in (("max_threads", "Threads for tools"), ("max_processes", "Processes for tools")):
        pool = hub.executor.pools[name]
        used, waiting = pool.fullest
        yield Limit(name, title, used, pool.limit, waiting)
    held = hub.agents.held_bytes
    yield Limit("max_agent_run_bytes", "Steps of agent runs", held, settings.max_agent_run_bytes, unit=BYTES)
    yield Limit("max_admin_watches", "Event watches", hub.event_watches(), settings.max_admin_watches)
    if hub.durable is not None:
        counts = hub.durable.counts()
        most = int(counts.get("store_limit_bytes", 0))
        if most:
            yield Limit("max_store_bytes", "File of the store", int(counts.get("store_bytes", 0)), most, unit=BYTES)
    peers = hub.peer_memory
    if peers is not None:
        most = connection_limit(settings.max_connections)
        yield Limit("max_connections", "gRPC connections", len(peers), most)
        yield Limit("max_peer_bytes", "Memory of the largest connection", peers.most_used, peers.limit, unit=BYTES)


async def fullest(hub: Hub, most: int) -> list[Limit]:
    """Returns the fullest of the limits of single sessions, tools and workers, in any order.

    Args:
        hub: The hub.
        most: How many.
    """
    found: list[Limit] = []
    turns = Turns()
    for limit in _single_limits(hub):
        if limit.used or limit.waiting:
            found.append(limit)
            if len(found) >= 4 * most:
                found = heapq.nlargest(most, found, key=lambda limit: limit.fullness)
        if turns.due:
            await turns.give()
    return heapq.nlargest(most, found, key=lambda limit: limit.fullness)


def _single_limits(hub: Hub) -> Iterator[Limit]:
    agents = hub.agents.counts()
    for session in hub.store.sessions():
        yield from _session_limits(hub, session, *agents.get(session, (0, 0)))
        for tool in list(session.tools.all() if session.tools else ()):
            yield from _tool_limits(hub, tool)
    for tool in list(hub.store.tools.all()):
        yield from _tool_limits(hub, tool)
    for worker in hub.workers.workers():
        yield Limit("capacity", "Calls", worker.active, worker.capacity, kind="worker", of=worker.id)


def _session_limits(hub: Hub, session: Session, agents: int, runs: int) -> Iterator[Limit]:
    settings = hub.settings

    def limit(name: str, title: str, used: int, most: int = 0, waiting: int = 0, unit: str = "") -> Limit:
        return Limit(name, title, used, most or getattr(settings, name), waiting, unit, "session", session.id)

    if session.limiter is not None:
        waiting = session.limiter.waiting
        yield limit("max_session_calls", "Calls", session.limiter.used, session.limiter.capacity, waiting)
        yield limit("max_session_waiting", "Waiting calls", waiting)
    if session.memory is not None:
        yield limit("max_session_bytes", "Memory", session.memory.used, unit=BYTES)
    if session.variables is not None:
        yield limit("max_session_variables", "Variables", len(session.variables))
        yield limit("max_session_variable_bytes", "Memory of variables", session.variables.size, unit=BYTES)
    if session.tools is not None:
        yield limit("max_session_tools", "Own tools", session.tools.count)
        yield limit("max_session_tool_bytes", "Own tool specs", session.tools.size, unit=BYTES)
    yield limit("max_session_watches", "Variable watches", session.watches)
    yield limit("max_session_watches", "Tool watches", session.tool_watches)
    yield limit("max_session_agents", "Agents", agents)
    yield limit("max_session_runs", "Agent runs", runs)


def _tool_limits(hub: Hub, tool: RegisteredTool) -> Iterator[Limit]:
    def limit(name: str, title: str, used: int, most: int, waiting: int = 0, unit: str = "") -> Limit:
        return Limit(name, title, used, most, waiting, unit, "tool", tool.listed_name)

    if tool.limiter is not None:
        name = "max_concurrent_calls" if tool.spec.limits.max_concurrent_calls else "max_tool_calls"
        yield limit(name, "Calls", tool.limiter.used, tool.limiter.capacity, tool.limiter.waiting)
    if tool.rate is not None:
        yield limit("rate_limit_per_minute", "Calls per minute", tool.rate.used, tool.rate.per_minute, unit=PER_MINUTE)
    backend = backend_of(tool)
    if backend is not None:
        waiting = len(backend.waiting)
        yield limit("max_worker_waiting", "Calls that wait for a worker", waiting, hub.settings.max_worker_waiting)
