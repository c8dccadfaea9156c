"""Peers that flood, stall and vanish: the hub stays up and small, and others are served meanwhile."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

import pytest
from benchmarks.hostile_peers import CONNECTIONS, HTTP1, HTTP2, KEPT, HostilePeer
from grpc_health.v1 import health_pb2, health_pb2_grpc
from pydantic import SecretStr

from attacks.victims import MIB, MakeVictim, others_go_on
from grpc_tool_bridge import BridgeServer, GRPCToolBridge, Settings, serialize_value
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.transport import channel
from support.certificates import certificate_files
from support.soak import examples
from support.waiting import soon, until

# Frames, requests or connections of each peer, and how many a second at most.
UNITS = examples(1_500)
CONNECTS = examples(400)
RATE = 2_000
# Of the hub, however much is sent: most of it are the streams of one connection, which may have 2,000.
MAX_BYTES = 400 * MIB


async def _attack(kinds: Iterable[str], address: str, units: int) -> list[HostilePeer]:
    """Attacks in every way at the same time, until each peer has sent what it was to send."""
    peers = [HostilePeer(kind, address, RATE) for kind in kinds]
    attacks = [asyncio.create_task(peer.attack()) for peer in peers]
    await until(lambda: all(peer.sent >= units for peer in peers) or any(task.done() for task in attacks), "all sent")
    assert not any(task.done() for task in attacks), [task for task in attacks if task.done()]
    for peer in peers:
        peer.stop()
    await soon(asyncio.gather(*attacks))
    return peers


@pytest.mark.parametrize(
    ("kinds", "units"),
    [(HTTP2, UNITS), (CONNECTIONS, CONNECTS), (KEPT, CONNECTS)],
    ids=["frames", "connections", "silence"],
)
async def test_floods_over_http_2_leave_nothing_behind_and_hold_up_nobody(
    attacked: MakeVictim, kinds: Iterable[str], units: int
) -> None:
    hub = await attacked()
    before = hub.files()
    async with others_go_on(hub):
        peers = await _attack(kinds, hub.address, units)
    # Each peer has been connected all the time, or again each time that the hub threw it out.
    assert all(peer.connected for peer in peers)
    await until(lambda: hub.files() <= before, "for the hub to close what its peers have left")
    await hub.looks_unharmed(max_bytes=MAX_BYTES)


async def test_floods_of_the_gateway_leave_nothing_behind_and_hold_up_nobody(attacked: MakeVictim) -> None:
    hub = await attacked(request_timeout=1.0, hello_timeout=1.0)
    before = hub.files()
    async with others_go_on(hub):
        await _attack((*HTTP1, *CONNECTIONS, *KEPT), hub.http_address, CONNECTS)
    await until(lambda: hub.files() <= before, "for the gateway to close what its peers have left")
    await hub.looks_unharmed(max_bytes=MAX_BYTES)


async def test_streams_that_a_hub_has_not_begun_yet_take_no_place_of_others(attacked: MakeVictim) -> None:
    hub = await attacked("attacks.waiting_tools:TOOLS")
    stub = await hub.stub("s")
    request = pb.ToolCallRequest(session_id="s", tool_id="hold_the_loop", args=[serialize_value(3.0)])
    holding = asyncio.ensure_future(stub.ExecuteTool(request))
    # More than gRPC keeps by itself before it cancels anybody's.
    peers = await _attack(["streams"] * 4, hub.address, 1_500)
    assert len(peers) == 4
    health = health_pb2_grpc.HealthStub(hub.channel())
    answers = await soon(asyncio.gather(*(health.Check(health_pb2.HealthCheckRequest()) for _ in range(20))))
    assert {answer.status for answer in answers} == {health_pb2.HealthCheckResponse.SERVING}
    assert (await soon(holding)).success


async def test_a_hub_has_no_more_connections_than_it_lets_in(attacked: MakeVictim) -> None:
    hub = await attacked(max_connections=50)
    async with others_go_on(hub):
        before = hub.files()
        peer = HostilePeer("idle", hub.address, RATE)
        attack = asyncio.create_task(peer.attack())
        await until(lambda: peer.connected >= 500, "for the connections")
        await until(lambda: hub.files() <= before + 50, "for the hub to close those that are too many")
        peer.stop()
        await soon(attack)


async def test_a_connection_that_nothing_comes_over_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "MAX_IDLE_SECONDS", 0.2)
    async with BridgeServer() as server, GRPCToolBridge(server.address) as bridge:
        await bridge.initialize()
        host, _, port = server.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(KEPT["idle"])
        # The hub says why before it hangs up.
        assert b"connection idle" in await soon(reader.read())
        writer.close()
        # A link is a call that goes on.
        assert bridge.client.is_linked


@pytest.mark.parametrize("kind", ["stalled-tls", "tls-hellos", "tls-rubbish", "silent", "prefaces"])
async def test_handshakes_that_stall_or_are_none_keep_nobody_out(tmp_path: Path, kind: str) -> None:
    files = certificate_files(tmp_path)
    settings = Settings(
        tls_cert=files["cert"], tls_key=files["key"], token=SecretStr("secret"), hello_timeout=0.5, shutdown_grace=0
    )
    async with BridgeServer(tools=[add], settings=settings) as server:
        peer = HostilePeer(kind, server.address, RATE)
        attack = asyncio.create_task(peer.attack())
        await until(lambda: peer.sent >= CONNECTS, "for the handshakes")
        async with GRPCToolBridge(server.address, token="secret", tls_ca=files["ca"]) as bridge:
            assert await soon(bridge.initialize())
            assert await soon(bridge.call_tool("add", 1, 2)) == 3
        peer.stop()
        await soon(attack)


def add(a: int, b: int) -> int:
    return a + b
