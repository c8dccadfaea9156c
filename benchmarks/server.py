"""The process that serves: ``python -m benchmarks.server hub``, a ``worker`` or ``agents`` of a hub, or a peer.

It prints its address (a worker prints its hub's) as a line of JSON, then answers commands that arrive as lines of JSON
on its standard input. It ends when that ends, so it never outlives its parent.
"""

import argparse
import asyncio
import gc
import json
import os
import resource
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import grpc.aio
import psutil
from pydantic import SecretStr

from benchmarks import victim
from benchmarks.peers import KINDS, server_of
from benchmarks.trust_files import settings_of
from benchmarks.work import Gate, add, add_up, adder_names, count_up, make_tools
from grpc_tool_bridge import BridgeServer, Settings, ToolWorker, serialize_value, tool
from grpc_tool_bridge.auth.audit.keys import make_key

Command = Callable[[int], Awaitable[Any]]

# More than any load has at once: a call that waits for a full worker costs the hub several times as much.
_CAPACITY = 1_000
# A session must not expire while it is measured.
_SETTINGS = Settings(max_sessions=100_000, session_idle_timeout=3_600.0)


async def serve(kind: str, options: argparse.Namespace) -> None:
    """Serves until the standard input ends.

    Args:
        kind: "hub", "gateway" (over HTTP), "mcp-in" and "services-in" (a hub that has taken in an MCP server, or the
            gRPC service at ``hub``), "exposed" (over both), "attacked", "guarded" (the same with a token), "worker",
            "agents", "collector" (of spans) or a peer's.
        options: ``tools``: how many tools that add the hub has; 0: no tools at all, so that a worker can offer them.
            ``hub``: the worker's hub. ``local_socket``: whether the hub offers its unix socket. ``store``: the URL of
            the hub's store. ``audit``: an empty folder for its audit trail. ``trust``: a folder with its
            tokens, policy, quotas and audit trail.
            ``name``: of the hub, or of the worker's tool. ``address``: where the hub listens.
    """
    if kind == "hub":
        await _serve_hub(options)
    elif kind == "gateway":
        await _serve_gateway()
    elif kind == "mcp-in":
        await _serve_taken_in()
    elif kind == "services-in":
        await _serve_services(options.hub)
    elif kind == "exposed":
        await _serve_exposed(options.tools)
    elif kind in ("attacked", "guarded"):
        settings = Settings(token=SecretStr(victim.TOKEN) if kind == "guarded" else None)
        async with BridgeServer(tools=victim.TOOLS, settings=settings) as attacked:
            await _answer(attacked.address, {})
    elif kind == "collector":
        await _serve_collector()
    elif kind == "worker":
        await _serve_worker(options.hub, options.name)
    elif kind == "agents":
        await _serve_agents(options.hub)
    else:
        async with server_of(kind)() as peer:
            await _answer(peer.address, {})


async def _serve_hub(options: argparse.Namespace) -> None:
    gate = Gate()
    changes = {"local_socket": options.local_socket, "store": options.store}
    if options.audit:
        key = Path(options.audit) / "key"
        make_key(key)
        changes |= {"audit": f"file:{options.audit}/audit.log", "audit_key_file": key}
    if options.trust:
        changes |= settings_of(Path(options.trust))
    settings = _SETTINGS.model_copy(update=changes | ({"hub_name": options.name} if options.name else {}))
    if options.collector:
        trace_to(options.collector)
    begun = time.perf_counter()
    tools = make_tools(options.tools, gate) if options.tools else []
    async with BridgeServer(options.address, tools, settings=settings) as hub:
        seconds = time.perf_counter() - begun

        async def inside(_: int) -> int:
            return gate.inside

        async def let_out(_: int) -> None:
            gate.let_out()

        async def restoring(_: int) -> float:
            return seconds

        async def variables(_: int) -> int:
            return sum(session.variable_count for session in hub.hub.store.sessions())

        commands: dict[str, Command] = {
            "rss": _rss,
            "peak": _peak,
            "cpu": _cpu,
            "times": _times,
            "open sessions": partial(_open_sessions, hub),
            "set variables": partial(_set_variables, hub),
            "restoring": restoring,
            "variables": variables,
            "inside": inside,
            "let out": let_out,
        }
        await _answer(hub.address, commands)


def trace_to(collector: str) -> Any:
    """Traces 1 % of the calls of this process; returns its Telemetry."""
    os.environ |= {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{collector}",
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "0.01",
    }
    from grpc_tool_bridge.telemetry.telemetry import Telemetry  # noqa: PLC0415 - few figures need it

    return Telemetry()


async def _serve_collector() -> None:
    """Takes spans, and keeps none."""

    async def take(_: bytes, __: Any) -> bytes:
        return b""

    handlers: dict[str, Any] = {"Export": grpc.unary_unary_rpc_method_handler(take)}
    server = grpc.aio.server()
    for service in ("trace.v1.TraceService", "metrics.v1.MetricsService"):
        name = f"opentelemetry.proto.collector.{service}"
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    await _answer(f"127.0.0.1:{port}", {})
    await server.stop(0)


async def _serve_exposed(tools: int) -> None:
    adders = [tool(name=name)(add) for name in adder_names(tools)]
    async with BridgeServer(tools=adders, http_address="127.0.0.1:0", settings=_SETTINGS) as hub:

        async def http_address(_: int) -> str | None:
            return hub.http_address

        opening: Command = partial(_open_sessions, hub)
        await _answer(hub.address, {"http address": http_address, "times": _times, "open sessions": opening})


async def _open_sessions(hub: BridgeServer, number: int) -> int:
    await _for_each(number, lambda index: hub.hub.store.create_session(session_name(index)))
    return len(hub.hub.store)


async def _set_variables(hub: BridgeServer, number: int) -> None:
    """Sets so many variables, spread over all sessions."""
    store, sessions = hub.hub.store, len(hub.hub.store)

    async def set_one(index: int) -> None:
        value = serialize_value(index)
        await store.set_encoded(session_name(index % sessions), f"variable-{index // sessions}", value)

    await _for_each(number, set_one)


async def _for_each(number: int, do: Callable[[int], Awaitable[object]]) -> None:
    """Does something for each number below ``number``, 100 at once."""
    indices = iter(range(number))

    async def one_after_another() -> None:
        for index in indices:
            await do(index)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(100):
            tasks.create_task(one_after_another())


async def _serve_gateway() -> None:
    settings = _SETTINGS.model_copy(update={"max_connections": 100_000})
    tools = [tool(add), tool(name="count")(count_up)]
    async with BridgeServer(tools=tools, http_address="127.0.0.1:0", settings=settings) as hub:
        await hub.hub.store.create_session("s")
        await _answer(str(hub.http_address), {"rss": _rss, "times": _times})


async def _serve_taken_in() -> None:
    from grpc_tool_bridge.adapters.mcp import import_mcp  # noqa: PLC0415 - the SDK takes half a second to import

    sdk = import_mcp([sys.executable, "-m", "benchmarks.peers.mcp_sdk"], name="sdk", env=_python_path())
    async with BridgeServer(sources=[sdk], settings=_SETTINGS) as hub:
        await _answer(hub.address, {})


async def _serve_services(address: str) -> None:
    from grpc_tool_bridge.adapters.grpc import import_grpc  # noqa: PLC0415 - only this kind needs it

    async with BridgeServer(sources=[import_grpc(address, name="adder")], settings=_SETTINGS) as hub:
        await _answer(hub.address, {})


def _python_path() -> dict[str, str]:
    """Returns what the process of a server needs to find this package."""
    return {"PYTHONPATH": os.environ["PYTHONPATH"]} if "PYTHONPATH" in os.environ else {}


async def _serve_worker(hub: str, name: str) -> None:
    tools = [tool(name=name)(add)] if name else make_tools(1, Gate())
    # One process, so that two workers have twice as many as one.
    settings = Settings(max_processes=1)
    async with ToolWorker(hub, tools=tools, settings=settings, capacity=_CAPACITY) as worker:
        await _answer(worker.address, {"cpu": _cpu})


async def _serve_agents(hub: str) -> None:
    from grpc_tool_bridge.testing import ScriptedLM  # noqa: PLC0415 - DSPy takes seconds to import

    tools = [tool(name="calculate")(add_up)]
    async with ToolWorker(hub, tools=tools, agents={"lm": ScriptedLM()}) as worker:
        await _answer(worker.address, {})


def session_name(index: int) -> str:
    """Returns the name of a session that the hub opens itself."""
    return f"session-{index:06}"


def resident_bytes() -> int:
    """Collects garbage and returns the memory that this process holds, in bytes."""
    gc.collect()
    return int(psutil.Process().memory_info().rss)


def peak_bytes() -> int:
    """Returns the most memory that this process ever held, in bytes."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in KiB, macOS in bytes.
    return most if sys.platform == "darwin" else most * 1024


async def _rss(_: int) -> int:
    return resident_bytes()


async def _peak(_: int) -> int:
    return peak_bytes()


async def _cpu(_: int) -> float:
    return time.process_time()


async def _times(_: int) -> Sequence[float]:
    """Returns the time, the processor time of this process and of its event loop, and how long the loop waited.

    All are in seconds; the loop waits for a processor that others use.
    """
    return time.perf_counter(), time.process_time(), time.thread_time(), _waited()


def _waited() -> float:
    """Returns how long this thread was ready to run while others had the processors; 0 where only Linux knows it."""
    told = Path("/proc/thread-self/schedstat")
    return int(told.read_text(encoding="ascii").split()[1]) / 1e9 if told.exists() else 0.0


async def _answer(address: str, commands: Mapping[str, Command]) -> None:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    _say(address)
    while line := await reader.readline():
        name, argument = json.loads(line)
        _say(await commands[name](argument))
    transport.close()


def _say(what: Any) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Serve for the benchmarks until the standard input ends.")
    parser.add_argument(
        "kind",
        choices=[
            "hub",
            "collector",
            "gateway",
            "mcp-in",
            "services-in",
            "exposed",
            "attacked",
            "guarded",
            "worker",
            "agents",
            *KINDS,
        ],
    )
    parser.add_argument("--tools", type=int, default=1)
    parser.add_argument("--hub", default="", metavar="ADDRESS")
    parser.add_argument("--no-local-socket", dest="local_socket", action="store_false")
    parser.add_argument("--store", default="memory:", metavar="URL")
    parser.add_argument("--audit", default="", metavar="FOLDER")
    parser.add_argument("--trust", default="", metavar="FOLDER")
    parser.add_argument("--name", default="")
    parser.add_argument("--address", default="127.0.0.1:0")
    parser.add_argument("--collector", default="", metavar="ADDRESS")
    options = parser.parse_args()
    asyncio.run(serve(options.kind, options))
