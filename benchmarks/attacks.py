"""Figures of a hub under attack: the 99th percentile of how long another client's health check waits, in ms."""

import asyncio
import contextlib
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from benchmarks.figures import Measure
from benchmarks.processes import running
from benchmarks.timing import Plan, Sample
from benchmarks.victim import INTERVAL_SECONDS, watching
from grpc_tool_bridge import serialize_value
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.proto.dspex_bridge_pb2_grpc import SnakepitBridgeStub
from grpc_tool_bridge.rpc.methods import METHODS

_SESSION = "attacked"
_MB = 1_000_000
_MIB = 1024 * 1024
# The modulus of Python's hash of integers: all of its multiples have the same hash.
_HASH_MODULUS = 2**61 - 1
# An attack is over when the hub has answered; a hub that does not is ended with its process.
_PATIENCE = 60.0

_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
]

# Runs the attack once, with a stub and its channel.
Attack = Callable[[Any, Any], Awaitable[None]]


async def _under(attack: Attack, seconds: float, *, asks_token: bool) -> Sample:
    async with (
        running("guarded" if asks_token else "attacked") as hub,
        watching(hub.address) as watch,
        grpc.aio.insecure_channel(hub.address, options=_OPTIONS) as channel,
    ):
        stub: Any = SnakepitBridgeStub(channel)
        if not asks_token:
            await stub.InitializeSession(pb.InitializeSessionRequest(session_id=_SESSION))
        await watch.begun()
        ends, attacks = time.monotonic() + seconds, 0
        while time.monotonic() < ends:
            # The hub's response does not matter, only how long others wait.
            with contextlib.suppress(grpc.aio.AioRpcError, TimeoutError):
                async with asyncio.timeout(_PATIENCE):
                    await attack(stub, channel)
            attacks += 1
        waits = sorted(1e3 * wait for wait in _as_many_clients(await watch.waits()))
    p99 = statistics.quantiles(waits, n=100, method="inclusive")[-1] if len(waits) > 1 else waits[0]
    return Sample([p99], {"longest, ms": waits[-1], "health checks": float(len(waits)), "attacks": float(attacks)})


def _as_many_clients(waits: list[float]) -> Iterator[float]:
    """Adds the waits of clients that would have asked in the meantime.

    One client asks again only after a response, so a long wait would count only once among many short ones
    (Gil Tene's "coordinated omission", corrected as HdrHistogram does).
    """
    for wait in waits:
        yield wait
        while (wait := wait - INTERVAL_SECONDS) > 0:
            yield wait


def _call(tool: str, *args: Any) -> pb.ToolCallRequest:
    return pb.ToolCallRequest(session_id=_SESSION, tool_id=tool, args=args, timeout_ms=20_000)


def _calling(tool: str, *args: Any) -> Attack:
    request = _call(tool, *args)

    async def attack(stub: Any, _: Any) -> None:
        await stub.ExecuteTool(request)

    return attack


def _dimensions() -> Attack:
    value = serialize_value(None)
    value.Pack(pb.Tensor(dtype="<f8", shape=[2**62] * 300_000, data=bytes(8)))
    return _calling("take", value)


def _hashes() -> Attack:
    value = serialize_value(None)
    numbers = ",".join(str(number * _HASH_MODULUS) for number in range(1, 25_000))
    value.Pack(pb.Json(utf8=f"[{numbers}]".encode()))
    return _calling("unique", value)


def _items() -> Attack:
    value = serialize_value(None)
    value.Pack(pb.RichValue(list=pb.RichList(items=[pb.RichValue(boolean=True)] * 2_500_000)))
    return _calling("take", value)


def _arguments() -> Attack:
    body = _call("take").SerializeToString() + b"\x1a\x00" * 5_000_000

    async def attack(_: Any, channel: Any) -> None:
        await channel.unary_unary(METHODS["ExecuteTool"].path)(body)

    return attack


def _tags() -> Attack:
    request = pb.ListVariablesRequest(session_id=_SESSION, tags=["tag"] * 100_000)
    names = [f"v{number}" for number in range(1_000)]

    async def attack(stub: Any, _: Any) -> None:
        for name in names:
            await stub.SetSessionVariable(
                pb.SetVariableRequest(
                    session_id=_SESSION,
                    variable_name=name,
                    value=serialize_value(1),
                    metadata=pb.VariableMetadata(tags={"tag": ""}),
                    create_if_missing=True,
                )
            )
        names.clear()
        await stub.ListSessionVariables(request)

    return attack


def _names() -> Attack:
    body = pb.WatchVariablesRequest(
        session_id=_SESSION, variable_names=[f"{number:05}" for number in range(1_200_000)]
    ).SerializeToString()

    async def attack(_: Any, channel: Any) -> None:
        watch = channel.unary_stream(METHODS["WatchSessionVariables"].path)(body, timeout=2)
        await watch.read()
        watch.cancel()

    return attack


def _specs() -> Attack:
    spec = pb.ToolSpec(name="same", arguments=[pb.ArgumentSpec(name=f"a{number}") for number in range(3)])
    register = pb.RegisterToolsRequest(tools=[spec] * 150_000, worker_id="w", capacity=1).SerializeToString()
    hello = pb.LinkFrame(envelopes=[pb.Envelope(hello=pb.LinkHello(protocol=1, peer="w"))])
    call = pb.Envelope(id=1, call=pb.LinkCall(method="RegisterTools", payload=register))
    frame = pb.LinkFrame(envelopes=[call]).SerializeToString()

    async def attack(_: Any, channel: Any) -> None:
        link = channel.stream_stream(METHODS["Link"].path)()
        await link.write(hello.SerializeToString())
        await link.write(frame)
        for _ in range(2):
            await link.read()
        link.cancel()

    return attack


def _anonymous() -> Attack:
    body = b"\x0a" * (9 * _MIB)

    async def attack(_: Any, channel: Any) -> None:
        calls = [channel.unary_unary(METHODS["ExecuteTool"].path)(body) for _ in range(60)]
        await asyncio.gather(*calls, return_exceptions=True)

    return attack


def _watches() -> Attack:
    async def attack(_: Any, channel: Any) -> None:
        stub = health_pb2_grpc.HealthStub(channel)
        watches = [stub.Watch(health_pb2.HealthCheckRequest(service=f"{n}" * 20_000)) for n in range(500)]
        await asyncio.gather(*(watch.read() for watch in watches), return_exceptions=True)
        for watch in watches:
            watch.cancel()

    return attack


def _waiting() -> Attack:
    request = _call("hold", serialize_value(bytes(9 * _MB)))

    async def attack(stub: Any, _: Any) -> None:
        await asyncio.gather(*(stub.ExecuteTool(request) for _ in range(40)), return_exceptions=True)

    return attack


def _silent() -> Attack:
    async def attack(_: Any, channel: Any) -> None:
        links = [channel.stream_stream(METHODS["Link"].path)() for _ in range(200)]
        await asyncio.gather(*(link.initial_metadata() for link in links), return_exceptions=True)
        for link in links:
            link.cancel()

    return attack


def _figure(name: str, prepare: Callable[[], Attack]) -> Measure:
    async def measure(plan: Plan) -> dict[str, Sample]:
        # Made now, since some hold much memory.
        return {f"health-{name}": await _under(prepare(), plan.amount(5, 2), asks_token=name == "anonymous")}

    return measure


dimensions = _figure("dimensions", _dimensions)
hashes = _figure("hashes", _hashes)
items = _figure("items", _items)
arguments = _figure("arguments", _arguments)
tags = _figure("tags", _tags)
names = _figure("names", _names)
specs = _figure("specs", _specs)
anonymous = _figure("anonymous", _anonymous)
watches = _figure("watches", _watches)
waiting = _figure("waiting", _waiting)
silent = _figure("silent", _silent)
long_text = _figure("long-text", lambda: _calling("raise_long_text"))
chain = _figure("chain", lambda: _calling("raise_chain"))
slow_text = _figure("slow-text", lambda: _calling("raise_slow_text"))
