"""The checks of ``doctor``: finds problems between this machine and the hub."""

import asyncio
import importlib.util
import os
import socket
import ssl
import statistics
import sys
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Literal

from grpc_tool_bridge.cli.connection import ANSWER_SECONDS, make_bridge, refused, unreachable
from grpc_tool_bridge.cli.failures import ArgumentError, one_line
from grpc_tool_bridge.cli.options import HubOptions
from grpc_tool_bridge.client.bridge import GRPCToolBridge
from grpc_tool_bridge.errors import AccessError, ToolBridgeError, ToolCommunicationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import HeartbeatRequest, InitializeSessionRequest
from grpc_tool_bridge.rpc.methods import AGENTS_FEATURE
from grpc_tool_bridge.transport.addresses import host_and_port, join_address, socket_path, split_address
from grpc_tool_bridge.transport.channel import grpc_roots
from grpc_tool_bridge.transport.proxies import Proxy, set_variables, stays_here

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
    "http": ("prometheus_client", "starlette", "uvicorn"),
    "examples": ("pandas", "simpleeval"),
    "uvloop": ("uvloop",),
}

# Characters of a proxy's response in an error text.
_MAX_SHOWN_CHARS = 80


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check."""

    name: str
    status: Literal["ok", "warn", "fail"]
    text: str


async def examine(hub: HubOptions) -> AsyncIterator[Check]:
    """Yields each check as it finishes; after a failure, the checks that depend on it are skipped."""
    reached = True
    for step in (_proxy, _resolve, _connect, _tls):
        check = await step(hub)
        if check is not None:
            yield check
            reached = reached and check.status != "fail"
        if not reached:
            break
    if reached:
        try:
            bridge = make_bridge(hub)
        except ArgumentError as error:
            yield Check("token", "fail", str(error))
        else:
            async with bridge:
                async for check in _ask(hub, bridge):
                    yield check
    yield _versions()
    yield _extras()


async def _proxy(hub: HubOptions) -> Check | None:
    proxy = hub.proxied()
    if proxy is not None:
        return Check("proxy", "ok", f"the hub is reached through {proxy}")
    ignored = ", ".join(set_variables())
    if ignored and hub.proxy is None:
        return Check("proxy", "ok", f"{ignored} set, but not used: the hub is reached directly; --proxy env uses it")
    return Check("proxy", "ok", f"{ignored or 'no proxy'} set, but not for this address") if hub.proxy else None


async def _resolve(hub: HubOptions) -> Check | None:
    # A proxy resolves the hub's name itself.
    proxy = hub.proxied()
    place = host_and_port(hub.address) if proxy is None else split_address(proxy.address)
    if place is None:
        return None
    host, port = place
    try:
        async with asyncio.timeout(hub.connect_timeout or None):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except TimeoutError:
        return Check("address", "fail", f"no name server resolved {host} within {hub.connect_timeout:g} s")
    except OSError as error:
        return Check("address", "fail", f"{host} has no address: {error.strerror}; is the host name correct?")
    return Check("address", "ok", f"{host} is {', '.join(dict.fromkeys(str(item[4][0]) for item in found))}")


async def _connect(hub: HubOptions) -> Check | None:
    if not can_dial(hub.address):
        return None
    began = time.perf_counter()
    proxy = hub.proxied()
    way = hub.address if proxy is None else f"{hub.address} through the proxy {proxy}"
    try:
        async with asyncio.timeout(hub.connect_timeout or None):
            writer = await open_socket(hub, None)
    except ProxyRefusedError as error:
        return Check("connect", "fail", f"the proxy {proxy} does not connect to {hub.address}: {error}")
    except (OSError, TimeoutError) as error:
        # asyncio puts a text of its own into strerror.
        why = os.strerror(error.errno) if error.errno else "no answer"
        running = "is the hub running there?" if proxy is None else "is this the right proxy, and is the hub running?"
        return Check("connect", "fail", f"cannot connect to {way}: {why}; {running}")
    await close(writer)
    return Check("connect", "ok", f"{way} took {(time.perf_counter() - began) * 1000:.1f} ms")


async def _tls(hub: HubOptions) -> Check | None:
    if not hub.uses_tls:
        if stays_here(hub.address, hub.proxied()):
            return Check("tls", "ok", "not used")
        return Check("tls", "warn", "not used: the connection is not encrypted")
    if not can_dial(hub.address):
        return None
    roots = hub.tls_ca or grpc_roots()
    try:
        context = ssl.create_default_context(cafile=roots)
    except (ssl.SSLError, OSError) as error:
        why = getattr(error, "reason", None) or error.strerror
        return Check("tls", "fail", f"{roots} has no certificates in PEM form: {why}")
    context.set_alpn_protocols(["h2"])
    try:
        async with asyncio.timeout(hub.connect_timeout or None):
            writer = await open_socket(hub, context)
    except ssl.SSLCertVerificationError as error:
        text = f"the hub's certificate is not trusted: {error.verify_message}; --tls-ca FILE names its authority"
        return Check("tls", "fail", text)
    except (OSError, TimeoutError, ProxyRefusedError) as error:
        return Check("tls", "fail", f"no handshake: {error}; does the hub use TLS?")
    socket_info = writer.get_extra_info("ssl_object")
    text = f"{socket_info.version()}, certificate good until {socket_info.getpeercert()['notAfter']}"
    await close(writer)
    return Check("tls", "ok", text)


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
    yield Check("token", "ok", "accepted" if hub.token() is not None else "no token required")
    if not serving:
        yield Check("health", "fail", "the hub answered, but is not serving; is it shutting down?")
        for check in await _budgets(bridge):
            if check.name == "store":
                yield check
        return
    yield Check("health", "ok", "the hub serves")
    try:
        # The budgets before the session: once that is stored, the store works again.
        for check in [*await _round_trips(bridge), *await _budgets(bridge)]:
            yield check
        count = len(await bridge.initialize(connect_timeout=hub.connect_timeout))
    except ToolBridgeError as error:
        yield Check("session", "fail", one_line(str(error)))
        return
    yield await _link(hub)
    some = f"{count} tool{'s' if count > 1 else ''}"
    yield Check("tools", "ok" if count else "warn", some if count else "none; offer some with serve --tools …")
    yield await _agents(bridge)


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
    if "hub.store_changes" in numbers:
        failing = found["hub.store_failure"].string_value if "hub.store_failure" in found else ""
        checks.append(_store(numbers, failing))
    return checks


def _store(numbers: Mapping[str, int], failing: str) -> Check:
    """Checks whether the hub can store changes, and how full its store is."""
    if failing:
        return Check("store", "fail", f"the hub cannot store changes: {one_line(failing)}")
    size, limit = numbers.get("hub.store_bytes", 0), numbers.get("hub.store_limit_bytes", 0)
    text = f"{numbers['hub.store_changes']:,} changes stored since the hub started; {_mib(size)}"
    text += f" of {_mib(limit)} MiB" if limit else " MiB"
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


def _versions() -> Check:
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


# ----------------------------------------------------------------------------------------------------- bare connections


class ProxyRefusedError(Exception):
    """The proxy does not connect to the hub; the text is its response."""


async def open_socket(hub: HubOptions, context: ssl.SSLContext | None) -> asyncio.StreamWriter:
    """Connects to the hub, through its proxy if there is one, and with TLS if a context is given.

    Raises:
        OSError: Nothing accepts the connection.
        ProxyRefusedError: The proxy accepts it, but does not connect to the hub.
    """
    path = socket_path(hub.address)
    if path is not None:
        name = "localhost" if context else None
        return (await asyncio.open_unix_connection(path, ssl=context, server_hostname=name))[1]
    place = host_and_port(hub.address)
    assert place is not None  # noqa: S101 - can_dial says so
    proxy = hub.proxied()
    if proxy is None:
        return (await asyncio.open_connection(*place, ssl=context))[1]
    reader, writer = await asyncio.open_connection(*split_address(proxy.address))
    try:
        await _ask_proxy(reader, writer, join_address(*place), proxy)
        if context is not None:
            await writer.start_tls(context, server_hostname=place[0])
    except BaseException:
        writer.close()
        raise
    return writer


def can_dial(address: str) -> bool:
    """Whether the address can be dialed here; only gRPC can resolve the others."""
    return socket_path(address) is not None or host_and_port(address) is not None


async def close(writer: asyncio.StreamWriter) -> None:
    """Closes the connection."""
    writer.close()
    try:
        await writer.wait_closed()
    except OSError:
        return  # the hub closed first, since nothing was sent to it


async def _ask_proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, hub: str, proxy: Proxy) -> None:
    headers = "".join(f"{name}: {value}\r\n" for name, value in proxy.headers.items())
    writer.write(f"CONNECT {hub} HTTP/1.1\r\nHost: {hub}\r\n{headers}\r\n".encode())
    try:
        answer = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        raise ProxyRefusedError("it closed the connection") from error
    except asyncio.LimitOverrunError as error:
        raise ProxyRefusedError("its response has no end") from error
    status = answer.split(b"\r\n", 1)[0].decode("latin-1")
    if not status.startswith("HTTP/1.") or status.split()[1:2] != ["200"]:
        raise ProxyRefusedError(one_line(status)[:_MAX_SHOWN_CHARS])
