"""The checks of ``doctor``: finds problems between this machine and the hub."""

import asyncio
import contextlib
import importlib.util
import statistics
import sys
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from importlib.metadata import version

from grpc_tool_bridge.cli.connection import ANSWER_SECONDS, make_bridge, refused, unreachable
from grpc_tool_bridge.cli.failures import ArgumentError, one_line
from grpc_tool_bridge.cli.hub_checks import check_hubs
from grpc_tool_bridge.cli.options import HubOptions
from grpc_tool_bridge.cli.reach_checks import Check, Place, check_reach
from grpc_tool_bridge.client.bridge import GRPCToolBridge
from grpc_tool_bridge.errors import AccessError, ToolBridgeError, ToolCommunicationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import HeartbeatRequest, InitializeSessionRequest
from grpc_tool_bridge.rpc.methods import AGENTS_FEATURE
from grpc_tool_bridge.transport.proxies import set_variables

ROUND_TRIPS = 20
# Beyond this many seconds, timestamps of the hub and of this machine cannot be compared.
MAX_SKEW_SECONDS = 2.0

# A memory budget that is this full is about to refuse requests.
FULL_PART = 0.9

# The packages of each extra.
EXTRAS = {
    "data": ("numpy", "pandas", "polars", "pyarrow"),
    "dspy": ("dspy",),
    "langchain": ("langchain_core",),
    "pydantic-ai": ("pydantic_ai",),
    "openai-agents": ("agents",),
    "llama-index": ("llama_index",),
    "google-adk": ("google.adk",),
    "mcp": ("mcp",),
    "mcp-grpc": ("mcp_grpc_transport_proto",),
    "cluster": ("nats",),
    "protos": ("grpc_tools",),
    "http": ("prometheus_client", "starlette", "uvicorn"),
    "examples": ("pandas", "simpleeval"),
    "auth": ("jwt", "cryptography"),
    "secrets": ("cryptography",),
    "otel": ("opentelemetry",),
    "uvloop": ("uvloop",),
}


async def examine(hub: HubOptions) -> AsyncIterator[Check]:
    """Yields each check as it finishes; after a failure, the checks that depend on it are skipped.

    Each of several addresses is checked by itself.
    """
    with contextlib.suppress(ArgumentError):
        # All of them have the same token, which may be read from a pipe.
        hub.token()
    hubs = hub.each()
    for each in hubs:
        async for check in _examine_one(each):
            yield check if len(hubs) == 1 else replace(check, text=f"{each.address}: {check.text}")
    yield versions()
    yield _extras()


async def _examine_one(hub: HubOptions) -> AsyncIterator[Check]:
    proxy = _proxy(hub)
    if proxy is not None:
        yield proxy
    reached = True
    place = Place.of(hub)
    async for check in check_reach(place):
        yield check
        reached = check.status != "fail"
    if reached:
        try:
            bridge = make_bridge(hub)
        except ArgumentError as error:
            yield Check("token", "fail", str(error))
        else:
            async with bridge:
                async for check in _ask(hub, bridge):
                    yield check


def _proxy(hub: HubOptions) -> Check | None:
    proxy = hub.proxied()
    if proxy is not None:
        return Check("proxy", "ok", f"the hub is reached through {proxy}")
    ignored = ", ".join(set_variables())
    if ignored and hub.proxy is None:
        return Check("proxy", "ok", f"{ignored} set, but not used: the hub is reached directly; --proxy env uses it")
    return Check("proxy", "ok", f"{ignored or 'no proxy'} set, but not for this address") if hub.proxy else None


async def _ask(hub: HubOptions, bridge: GRPCToolBridge) -> AsyncIterator[Check]:
    try:
        # A server that accepts the connection but is silent is not a hub.
        async with asyncio.timeout(hub.connect_timeout + ANSWER_SECONDS):
            serving = await bridge.client.health_check()
    except TimeoutError:
        text = f"{bridge.client.where} accepted the connection, but did not answer as a hub does; is it a hub?"
        yield Check("health", "fail", text)
        return
    except AccessError as error:
        yield Check("token", "fail", refused(hub, error))
        return
    except ToolCommunicationError as error:
        yield Check("health", "fail", str(unreachable(hub, error)))
        return
    shown = "no token required" if hub.tls_cert is None else "the client certificate was accepted"
    yield Check("token", "ok", "accepted" if hub.token() is not None else shown)
    if not serving:
        yield Check(
            "health", "fail", "the hub answered, but is not serving; it starts, shuts down, or cannot use its store"
        )
        for check in await _of_a_hub_that_fails(bridge):
            yield check
        return
    yield Check("health", "ok", "the hub serves")
    try:
        # The budgets before the session: once that is stored, the store works again.
        for check in [*await _round_trips(bridge), *await _budgets(bridge), *await check_hubs(bridge.admin)]:
            yield check
        count = len(await bridge.initialize(connect_timeout=hub.connect_timeout))
    except ToolBridgeError as error:
        yield Check("session", "fail", one_line(str(error)))
        return
    yield await _link(hub)
    some = f"{count} tool{'s' if count > 1 else ''}"
    yield Check("tools", "ok" if count else "warn", some if count else "none; offer some with serve --tools …")
    yield await _agents(bridge)


async def _of_a_hub_that_fails(bridge: GRPCToolBridge) -> list[Check]:
    """Returns the checks that say why a hub may not serve."""
    stores = [check for check in await _budgets(bridge) if check.name == "store"]
    return [*stores, *await check_hubs(bridge.admin)]


async def _agents(bridge: GRPCToolBridge) -> Check:
    request = InitializeSessionRequest(session_id=bridge.client.require_session())
    try:
        response = await bridge.client.call("InitializeSession", request)
    except ToolBridgeError as error:
        return Check("agents", "fail", one_line(str(error)))
    there = AGENTS_FEATURE in response.capabilities
    return Check(
        "agents", "ok", "they can be run" if there else "no runtime; start one with worker --agents or serve --agents"
    )


async def _budgets(bridge: GRPCToolBridge) -> list[Check]:
    """Checks how full the hub's memory budgets are, and its store if it has one."""
    try:
        found = await bridge.client.get_metrics("hub.*")
    except ToolBridgeError as error:
        return [Check("memory", "fail", one_line(str(error)))]
    numbers = {name: int(getattr(value, "integer_value", 0)) for name, value in found.items()}
    checks = [_memory(numbers)]
    if "hub.identities" in found:
        checks.append(Check("identity", "ok", f"callers show one of these: {found['hub.identities'].string_value}"))
    if "hub.store_changes" in numbers:
        failing = found["hub.store_failure"].string_value if "hub.store_failure" in found else ""
        checks.append(_store(numbers, failing))
    return checks


def _store(numbers: Mapping[str, int], failing: str) -> Check:
    """Checks whether the hub can store changes, and how full its store is."""
    if failing:
        return Check("store", "fail", f"the hub cannot store changes: {one_line(failing)}")
    size, limit = numbers.get("hub.store_bytes", 0), numbers.get("hub.store_limit_bytes", 0)
    text = f"{numbers['hub.store_changes']:,} changes stored since the hub started"
    # How much NATS has is not the hub's to say.
    if "hub.store_bytes" in numbers:
        text += f"; {_mib(size)}{f' of {_mib(limit)}' if limit else ''} MiB"
    failures = numbers.get("hub.store_failures", 0)
    text += f"; {failures:,} commits failed, but not the last" if failures else ""
    if limit and size > limit * FULL_PART:
        return Check("store", "warn", f"{text}; raise max_store_bytes, or end sessions")
    return Check("store", "ok", text)


def _memory(numbers: Mapping[str, int]) -> Check:
    if "hub.memory_limit_bytes" not in numbers:
        return Check("memory", "ok", "the hub does not report it")
    parts, full = [], False
    for what, prefix, used in (
        ("hub", "hub.memory", "bytes"),
        ("largest session", "hub.session_memory", "most_bytes"),
        ("largest connection", "hub.peer_memory", "most_bytes"),
    ):
        limit = numbers.get(f"{prefix}_limit_bytes", 0)
        if limit:
            held = numbers.get(f"{prefix}_{used}", 0)
            full = full or held > limit * FULL_PART
            refused = numbers.get(f"{prefix}_refused", 0)
            parts.append(f"{what} {_mib(held)} of {_mib(limit)} MiB{f' ({refused:,} refused)' if refused else ''}")
    hint = "; raise max_hub_bytes, max_session_bytes or max_peer_bytes, or send less concurrently" if full else ""
    return Check("memory", "warn" if full else "ok", ", ".join(parts) + hint)


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f}"


async def _link(hub: HubOptions) -> Check:
    """Returns whether a program would get a link: a proxy on the way may pass single calls, but not streams."""
    async with make_bridge(hub, transport="link") as bridge:
        try:
            await bridge.client.connect(hub.connect_timeout)
        except ToolBridgeError as error:
            return Check("link", "fail", one_line(str(error)))
        if bridge.client.is_linked:
            return Check("link", "ok", f"all calls of a bridge share one stream, over {bridge.client.linked_over}")
    return Check("link", "warn", "the hub does not support Link: each call of a bridge is a separate RPC")


async def _round_trips(bridge: GRPCToolBridge) -> list[Check]:
    took, skews = [], []
    for _ in range(ROUND_TRIPS):
        sent, began = time.time(), time.perf_counter()
        answer = await bridge.client.call("Heartbeat", HeartbeatRequest(session_id="doctor"))
        took.append(time.perf_counter() - began)
        # The hub read its clock between request and response; the middle is the best estimate.
        skews.append(answer.server_time.ToNanoseconds() / 1e9 - (sent + took[-1] / 2))
    skew = skews[took.index(min(took))]
    far = abs(skew) > MAX_SKEW_SECONDS
    how = f"the hub's clock is {abs(skew):.3f} s {'ahead' if skew > 0 else 'behind'}"
    low, high = min(took) * 1000, max(took) * 1000
    return [
        Check("clock", "warn" if far else "ok", how + ("; set both by NTP" if far else "")),
        Check(
            "latency",
            "ok",
            f"round trip {statistics.median(took) * 1000:.2f} ms (median of {ROUND_TRIPS}; {low:.2f} to {high:.2f})",
        ),
    ]


def versions() -> Check:
    """Says what is installed."""
    parts = [f"{name} {version(name)}" for name in ("grpc-tool-bridge", "grpcio", "protobuf")]
    python = ".".join(str(part) for part in sys.version_info[:3])
    return Check("version", "ok", f"{', '.join(parts)}, Python {python} (here)")


def _extras() -> Check:
    there, missing = [], []
    for extra, packages in EXTRAS.items():
        lacking = [package for package in packages if importlib.util.find_spec(package) is None]
        if lacking:
            missing.append(f"{extra} ({', '.join(lacking)})")
        else:
            there.append(extra)
    text = f"installed: {', '.join(there) or 'none'}"
    return Check("extras", "ok", text + (f"; not installed: {', '.join(missing)}" if missing else ""))
