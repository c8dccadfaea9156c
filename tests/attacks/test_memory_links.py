"""What the peers of links may make a hub hold."""

import asyncio
from contextlib import AsyncExitStack

import grpc
import pytest

from attacks.raw_http2 import RawPeer
from attacks.test_memory import MARGIN, TOOLS, call_of, shrinks
from attacks.victims import MIB, MakeVictim
from failure_modes.links import RawLink, call_envelope
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.proto.dspex_bridge_pb2 import Envelope, LinkFrame, LinkHello

# They hold over 1 GB: two never run at once.
pytestmark = pytest.mark.xdist_group("memory")

LINK = "/dspex.bridge.SnakepitBridge/Link"
PART = 256 * 1024


async def send_in_parts(link: RawLink, call_id: int, payload: bytes) -> None:
    """Makes a call as a client does: in pieces, each in a frame of its own."""
    for begin in range(0, len(payload) - PART, PART):
        await link.try_write(frame_of(Envelope(id=call_id, part=payload[begin : begin + PART])))
    last = payload[-(len(payload) % PART or PART) :]
    await link.try_write(frame_of(call_envelope(call_id, "ExecuteTool", last)))


def frame_of(*envelopes: Envelope) -> bytes:
    return LinkFrame(envelopes=envelopes).SerializeToString()


async def ends_of(link: RawLink, count: int) -> list[Envelope]:
    """Reads on until so many calls were answered; returns their last envelopes."""
    found: list[Envelope] = []
    while len(found) < count:
        envelope = await link.receive()
        if envelope.WhichOneof("kind") in {"end", "reply"}:
            found.append(envelope)
    return found


async def test_large_calls_that_wait_are_bounded_by_their_link(attacked: MakeVictim) -> None:
    hub = await attacked(TOOLS, max_session_calls=1, call_timeout=600, request_timeout=5)
    before = hub.memory()
    await hub.stub("s")
    await hub.stub("other")
    payload = call_of("s", "hold", bytes(9 * MIB)).SerializeToString()
    async with RawLink(hub.address) as link:
        sending = asyncio.create_task(_all_sent(link, payload, 200))
        ends = await ends_of(link, 180)
        await sending
        assert {end.end.error.type for end in ends} == {"ResourceExhausted"}
        assert all("max_peer_bytes" in end.end.message for end in ends)
        assert all(end.end.error.details["retry_after"] for end in ends)
        await hub.looks_unharmed(max_bytes=before + 128 * MIB + MARGIN)
        # A small call of another session gets through over the full link, and lets the others go.
        await link.call(1_001, "ExecuteTool", call_of("other", "let_go"))
        rest = await ends_of(link, 21)
        assert any(envelope.WhichOneof("kind") == "reply" for envelope in rest)
        await link.call(1_003, "ExecuteTool", call_of("s", "held"))
        assert (await ends_of(link, 1))[0].WhichOneof("kind") == "reply"
    await shrinks(hub, MIB)


async def _all_sent(link: RawLink, payload: bytes, count: int) -> None:
    for number in range(count):
        await send_in_parts(link, 1 + 2 * number, payload)


async def test_large_calls_over_many_links_are_bounded_by_the_hub(attacked: MakeVictim) -> None:
    hub = await attacked(TOOLS, max_hub_bytes=400 * MIB, max_session_calls=1, call_timeout=600, request_timeout=5)
    before = hub.memory()
    stub = await hub.stub("other")
    async with AsyncExitStack() as stack:
        links = [await stack.enter_async_context(RawLink(hub.address)) for _ in range(20)]
        for number, link in enumerate(links):
            await hub.stub(f"s{number}")
            await _all_sent(link, call_of(f"s{number}", "hold", bytes(9 * MIB)).SerializeToString(), 10)
        await hub.looks_unharmed(max_bytes=before + 400 * MIB + MARGIN)
        # Who manages the hub is answered by one that is full.
        assert (await stub.Heartbeat(pb.HeartbeatRequest(session_id="other"))).session_valid
        assert (await stub.ExecuteTool(call_of("other", "let_go"))).success
        ends = [end for link in links for end in await ends_of(link, 10)]
        refused = [end.end for end in ends if end.WhichOneof("kind") == "end"]
        assert {end.code for end in refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]}
        assert any("max_hub_bytes" in end.message for end in refused)
        assert len(refused) < 200
    await shrinks(hub, MIB)


async def test_calls_that_stay_in_pieces_are_bounded(attacked: MakeVictim) -> None:
    hub = await attacked(TOOLS, max_hub_bytes=256 * MIB)
    before = hub.memory()
    async with AsyncExitStack() as stack:
        links = [await stack.enter_async_context(RawLink(hub.address)) for _ in range(20)]
        for link in links:
            for number in range(120):
                await link.try_write(frame_of(Envelope(id=1 + 2 * (number // 4), part=bytes(512 * 1024))))
        stub = await hub.stub("s")
        assert (await stub.ExecuteTool(call_of("s", "blob", 10))).success
        await hub.looks_unharmed(max_bytes=before + 256 * MIB + MARGIN)
    await shrinks(hub, MIB)


async def test_links_that_never_greet_are_bounded_and_end(attacked: MakeVictim) -> None:
    hub = await attacked(TOOLS, hello_timeout=3)
    before = hub.memory()
    async with AsyncExitStack() as stack:
        links = [await stack.enter_async_context(RawLink(hub.address, greet=False)) for _ in range(300)]
        # One that greets while they wait is served.
        async with RawLink(hub.address) as good:
            await hub.stub("s")
            await good.call(1, "ExecuteTool", call_of("s", "blob", 10))
            assert (await ends_of(good, 1))[0].WhichOneof("kind") == "reply"
        ended = await asyncio.gather(*(link.ended() for link in links))
    # Some waited for their time, some were pushed out by later ones, and some had no room for what they might send.
    texts = ("its peer said no hello within 3 s (hello_timeout)", "(max_pending_links)", "(max_hub_bytes)")
    for code, details in ended:
        assert code in {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert any(text in details for text in texts), details
    assert any(text in details for text in texts[:1] for _, details in ended)
    await hub.looks_unharmed(max_bytes=before + 150 * MIB)
    await shrinks(hub, MIB)


async def test_a_hello_that_is_large_or_does_not_arrive_ends_its_link(attacked: MakeVictim) -> None:
    hub = await attacked(TOOLS, hello_timeout=3)
    before = hub.memory()
    async with RawLink(hub.address, greet=False) as link:
        await link.try_write(frame_of(Envelope(hello=LinkHello(protocol=1, peer="x" * 2 * MIB))))
        code, details = await link.ended()
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert "the first frame has" in details
    async with RawPeer(hub.address) as peer:
        streams = [peer.begin(LINK) for _ in range(20)]
        sending = [asyncio.create_task(peer.send(stream, bytes(8 * MIB), stated=9 * MIB)) for stream in streams]
        await peer.until_ended(20)
        await asyncio.wait(sending)
    await hub.looks_unharmed(max_bytes=before + 150 * MIB + MARGIN)
    await shrinks(hub, MIB)


async def test_answers_that_nobody_reads_are_bounded_over_links(attacked: MakeVictim) -> None:
    hub = await attacked(TOOLS)
    before = hub.memory()
    await hub.stub("s")
    request = call_of("s", "blob", 9 * MIB).SerializeToString()
    hello = frame_of(Envelope(hello=LinkHello(protocol=1, peer="raw")))
    peers: list[RawPeer] = []
    async with AsyncExitStack() as stack:
        for _ in range(3):
            peers.append(await stack.enter_async_context(RawPeer(hub.address)))
            for _ in range(5):
                stream = peers[-1].begin(LINK)
                await peers[-1].send(stream, hello, stated=len(hello))
                for number in range(20):
                    frame = frame_of(call_envelope(1 + 2 * number, "ExecuteTool", request))
                    await peers[-1].send(stream, frame, stated=len(frame))
        await hub.serves_others()
        await hub.looks_unharmed(max_bytes=before + 3 * 128 * MIB + MARGIN)
    await shrinks(hub, MIB)


async def test_half_sent_frames_of_many_links_hold_little(attacked: MakeVictim) -> None:
    hub = await attacked(TOOLS)
    before = hub.memory()
    hello = frame_of(Envelope(hello=LinkHello(protocol=1, peer="raw")))
    async with AsyncExitStack() as stack:
        for _ in range(4):
            peer = await stack.enter_async_context(RawPeer(hub.address))
            sending = []
            # All but 16 are refused.
            for _ in range(100):
                stream = peer.begin(LINK)
                await peer.send(stream, hello, stated=len(hello))
                sending.append(asyncio.create_task(peer.send(stream, bytes(8 * MIB), stated=9 * MIB)))
            await asyncio.wait(sending)
        await hub.serves_others()
        # Of 3.5 GB that were offered.
        await hub.looks_unharmed(max_bytes=before + 4 * 16 * 9 * MIB + MARGIN)
    await shrinks(hub, MIB)
