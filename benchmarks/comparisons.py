"""Calls of the bridge against what people use instead, and against the floor."""

import itertools
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from benchmarks.callers import Crowds, in_microseconds, p50s, per_second, rates
from benchmarks.peers import client_of
from benchmarks.processes import link_bridge, running, worker_bridge
from benchmarks.programs import NATS_SERVER, where
from benchmarks.timing import NotInstalledError, Plan, Sample, ratios
from grpc_tool_bridge import BridgeServer, ToolBridge
from grpc_tool_bridge.adapters.mcp import import_mcp


async def echo(plan: Plan) -> dict[str, Sample]:
    """An echo of 100 bytes over TCP, one at a time."""
    async with running("echo") as peer:
        one = await _one(plan, "echo", client_of("echo")(peer.address), calls=800)
    return {"echo-one": _times_as_long(one, "echo")}


async def nats(plan: Plan) -> dict[str, Sample]:
    """NATS request and reply, one at a time and 100 at once.

    A responder has the broker in between, as a worker has the hub: so it is compared with a worker too.
    """
    if where(NATS_SERVER) is None:
        raise NotInstalledError(f"{NATS_SERVER} is not installed; make install installs it")
    async with running("nats") as peer:
        one = await _one(plan, "NATS", client_of("nats")(peer.address), calls=800)
        return {
            "nats-one": _times_as_long(one, "NATS"),
            "nats-100": await _hundred(plan, "NATS", client_of("nats")(peer.address), calls=3_000),
            "worker-nats": await _worker_hundred(plan, "NATS", client_of("nats")(peer.address), calls=3_000),
        }


async def mcp_http(plan: Plan) -> dict[str, Sample]:
    """The MCP SDK over streamable HTTP, one at a time and 100 at once."""
    async with running("mcp") as peer:
        one = await _one(plan, "MCP", client_of("mcp")(peer.address), calls=120)
        return {
            "mcp-http-one": _times_as_fast(one, "MCP"),
            "link-mcp": await _hundred(plan, "MCP", client_of("mcp")(peer.address), calls=400),
        }


async def mcp_stdio(plan: Plan) -> dict[str, Sample]:
    """The MCP SDK over stdio, one at a time and 100 at once."""
    one = await _one(plan, "MCP", client_of("mcp")(), calls=200)
    return {
        "mcp-stdio-one": _times_as_fast(one, "MCP"),
        "mcp-stdio-100": await _hundred(plan, "MCP", client_of("mcp")(), calls=300),
    }


async def mcp_imported(plan: Plan) -> dict[str, Sample]:
    """A tool of an MCP server over stdio, one at a time: of a hub in this process, and by the SDK itself."""
    source = import_mcp([sys.executable, "-m", "benchmarks.peers.mcp_sdk"], name="sdk", cwd=Path.cwd(), env=_path())
    async with BridgeServer(sources=[source]) as hub, hub.bridge() as bridge, client_of("mcp")() as peer:
        await bridge.initialize()
        imported = bridge.tools["sdk.add"]

        async def add(a: int, b: int) -> Any:
            return await imported(a=a, b=b)

        amount = plan.amount(200, 50)
        taken = await p50s(plan, {"imported": (add, amount), "MCP": (peer.add, amount)})
        return {"mcp-imported": Sample(ratios(taken["imported"], taken["MCP"]), in_microseconds(taken))}


def _path() -> dict[str, str]:
    """Lets a process that is started with few variables find the same modules."""
    return {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


async def _one(
    plan: Plan, name: str, client: AbstractAsyncContextManager[Any], *, calls: int
) -> dict[str, list[float]]:
    async with running("hub") as hub, link_bridge(hub.address) as bridge, client as peer:
        ways = {"link": (bridge.tools["add"], plan.amount(800, 200)), name: (peer.add, plan.amount(calls, calls // 4))}
        return await p50s(plan, ways)


def _times_as_long(taken: Mapping[str, Sequence[float]], name: str) -> Sample:
    return Sample(ratios(taken["link"], taken[name]), in_microseconds(taken))


def _times_as_fast(taken: Mapping[str, Sequence[float]], name: str) -> Sample:
    return Sample(ratios(taken[name], taken["link"]), in_microseconds(taken))


async def _hundred(plan: Plan, name: str, client: AbstractAsyncContextManager[Any], *, calls: int) -> Sample:
    async with running("hub") as hub, link_bridge(hub.address) as bridge:
        return await _bridge_hundred(plan, "link", bridge, name, client, calls=calls)


async def _worker_hundred(plan: Plan, name: str, client: AbstractAsyncContextManager[Any], *, calls: int) -> Sample:
    async with worker_bridge() as bridge:
        return await _bridge_hundred(plan, "worker", bridge, name, client, calls=calls)


async def _bridge_hundred(
    plan: Plan, ours: str, bridge: ToolBridge, name: str, client: AbstractAsyncContextManager[Any], *, calls: int
) -> Sample:
    async with client as peer:
        ways: Crowds = {
            ours: (itertools.repeat(bridge.tools["add"]), plan.amount(3_000, 1_500)),
            name: (itertools.repeat(peer.add), plan.amount(calls, calls // 2)),
        }
        taken = await rates(plan, ways, width=100)
    return Sample(ratios(taken[ours], taken[name]), per_second(taken))
