"""Figures of the bridge as an MCP server, and as a client of one."""

import itertools
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.callers import Crowds, at_once, in_microseconds, p50s, per_second, rates
from benchmarks.peers import client_of
from benchmarks.peers.raw_mcp import HANDSHAKE, LATEST, RawHttpClient, RawStdioClient
from benchmarks.processes import link_bridge, running
from benchmarks.timing import Plan, Sample, ratios
from benchmarks.work import pairs

_WIDTH = 50
# A file with the tool that the SDK's server has as well.
_TOOLS = f"{Path(__file__).parent / 'mcp_tools.py'}:add"
_OURS = (sys.executable, "-m", "grpc_tool_bridge.cli", "mcp", "--log-level", "warning")
_SDKS = (sys.executable, "-m", "benchmarks.peers.mcp_sdk")


async def over_http(plan: Plan) -> dict[str, Sample]:
    """Calls over streamable HTTP, 50 at once, against the SDK's own server; both versions of the protocol."""
    samples = {}
    async with running("gateway") as hub, running("mcp") as peer:
        for name, version in (("mcp-http", LATEST), ("mcp-http-2025", HANDSHAKE)):
            async with (
                RawHttpClient(f"http://{hub.address}/mcp", version) as ours,
                RawHttpClient(peer.address, version) as theirs,
            ):
                samples[name] = await _sample(plan, ours, theirs, number=1_600)
    return samples


async def over_stdio(plan: Plan) -> dict[str, Sample]:
    """Calls over stdio, 50 at once, against the SDK's own server; both versions of the protocol."""
    samples = {}
    # The event loop is asyncio's own on both sides.
    command = (*_OURS, "--tools", _TOOLS, "--loop", "asyncio")
    for name, version in (("mcp-stdio", LATEST), ("mcp-stdio-2025", HANDSHAKE)):
        async with (
            RawStdioClient(*command, version=version) as ours,
            RawStdioClient(*_SDKS, version=version) as theirs,
        ):
            samples[name] = await _sample(plan, ours, theirs, number=2_400)
    return samples


async def taken_in(plan: Plan) -> dict[str, Sample]:
    """A tool of a server over stdio, called through a hub that has taken it in, and by the SDK's own client."""
    async with running("mcp-in") as hub, link_bridge(hub.address) as bridge, client_of("mcp")() as direct:
        tool = bridge.tools["sdk.add"]
        ways = {
            "bridge": (lambda a, b: tool(a=a, b=b), plan.amount(400, 120)),
            "SDK": (direct.add, plan.amount(400, 120)),
        }
        taken = await p50s(plan, ways)
    return {"mcp-in": Sample(ratios(taken["bridge"], taken["SDK"]), in_microseconds(taken))}


async def _sample(plan: Plan, ours: Any, theirs: Any, *, number: int) -> Sample:
    """Measures the same load on both; its own share of the time shows that it is not what limits them."""
    ways: Crowds = {
        "bridge": (itertools.repeat(ours.add), plan.amount(number, number // 4)),
        "SDK": (itertools.repeat(theirs.add), plan.amount(number // 2, number // 8)),
    }
    taken = await rates(plan, ways, width=_WIDTH)
    load = await _load_of(ours, plan.amount(number, number // 4))
    return Sample(ratios(taken["bridge"], taken["SDK"]), {**per_second(taken), "load busy, %": load})


async def _load_of(client: Any, number: int) -> float:
    """Returns for which part of the time this process is busy while it calls the faster server."""
    began, busy = time.perf_counter(), time.process_time()
    await at_once(itertools.repeat(client.add), pairs(), number, width=_WIDTH)
    return 100 * (time.process_time() - busy) / (time.perf_counter() - began)
