"""What a link may take of a hub and of a client, whatever its peer does.

At the hub a link holds at most: requests of ``max_link_bytes`` (256 MiB), pieces of requests of ``REASSEMBLY_BYTES``
(64 MiB), answers of ``max_link_bytes`` besides small ones (16 KiB) of ``max_link_calls`` (20,000), of each stream
``LANE_BYTES`` (256 KiB) and a message, and control of ``MAX_CONTROL_BYTES`` (16 MiB). Past ``HIGH_WATER_BYTES`` (1 MiB)
of answers it begins no further call, so that only those that ran already can add to them. A client holds of each
stream at most what it granted (1 MiB) and a message, and of requests on their way ``HIGH_WATER_BYTES`` and a message.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import grpc
import psutil
import pytest

from failure_modes.links import Connect, Gate, OverLink, RawLink, call_envelope, echo
from grpc_tool_bridge import ToolExecutionError, serialize_value
from grpc_tool_bridge.link.outbox import INITIAL_CREDIT, LANE_BYTES
from grpc_tool_bridge.link.protocol import HIGH_WATER_BYTES
from grpc_tool_bridge.proto.dspex_bridge_pb2 import Envelope, ToolCallRequest, ToolStreamRequest
from integration.connections import read
from support.waiting import soon, until

MB = 1024 * 1024
# What wraps a value into a message of a stream, or a result into an answer.
WRAPPING = 1_000


async def make_bytes(size: int) -> bytes:
    return b"x" * size


class Blocks:
    """A stream that counts what it gave."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.given = 0

    async def blocks(self, count: int) -> AsyncIterator[bytes]:
        for _ in range(count):
            self.given += 1
            yield b"x" * self.size


def call_of(world: OverLink, tool: str, *args: Any) -> bytes:
    arguments = [serialize_value(arg) for arg in args]
    return ToolCallRequest(session_id=world.session_id, tool_id=tool, args=arguments).SerializeToString()


def stream_of(world: OverLink, tool: str, *args: Any) -> bytes:
    arguments = [serialize_value(arg) for arg in args]
    return ToolStreamRequest(session_id=world.session_id, tool_id=tool, args=arguments).SerializeToString()


async def end_of(world: OverLink, peer: str = "raw") -> Any:
    """The hub's end of a link, once there is one."""
    await until(lambda: any(link.peer == peer for link in world.links()))
    return next(link for link in world.links() if link.peer == peer)


# --------------------------------------------------------------------------------------- peers that do not read


async def test_a_peer_that_never_reads_holds_little_and_nobody_up(over_link: Connect) -> None:
    limit = 20 * MB
    world = await over_link(make_bytes, echo, max_link_calls=1_000, max_link_bytes=limit)
    before = psutil.Process(os.getpid()).memory_info().rss
    async with RawLink(world.server.address) as link:
        end = await end_of(world)
        payload = call_of(world, "make_bytes", MB)
        for part in range(30):
            await link.send(
                *[call_envelope(1 + 2 * (100 * part + number), "ExecuteTool", payload) for number in range(100)]
            )
            assert await soon(world.bridge.tools["echo"](part)) == part
            assert end._link.waiting_bytes <= limit
        # A thousand wait for their answers; the others were refused.
        await until(lambda: len(end._link.incoming) == 1_000)
        assert end._link._outbox.control_size < 2_000 * WRAPPING
        assert psutil.Process(os.getpid()).memory_info().rss - before < 100 * MB
    await until(lambda: len(world.links()) == 1)
    await world.quiet()


async def test_a_peer_that_reads_at_last_gets_each_answer_once(over_link: Connect) -> None:
    world = await over_link(make_bytes, max_link_calls=50)
    async with RawLink(world.server.address) as link:
        end = await end_of(world)
        payload = call_of(world, "make_bytes", 100_000)
        await link.send(*[call_envelope(1 + 2 * number, "ExecuteTool", payload) for number in range(100)])
        answers: dict[int, str] = {}
        while len(answers) < 100:
            envelope = await link.receive()
            kind = str(envelope.WhichOneof("kind"))
            if kind != "part":
                assert envelope.id not in answers
                answers[envelope.id] = kind
            if kind == "end":
                assert envelope.end.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
                assert envelope.end.message == "the link takes 50 concurrent calls; call again when some were answered"
                assert envelope.end.error.retryable
                assert envelope.end.error.details["retry_after"] == "0.1"
        assert sorted(answers) == list(range(1, 200, 2))
        assert list(answers.values()).count("reply") == 50
        assert not end._link.incoming
    await until(lambda: len(world.links()) == 1)


async def test_answers_over_what_a_link_holds_are_refused_and_the_others_arrive(over_link: Connect) -> None:
    gate = Gate()

    async def make(size: int) -> bytes:
        return b"x" * await gate.work(size)

    world = await over_link(make, echo, max_link_bytes=10 * MB)
    calls = [asyncio.create_task(world.bridge.tools["make"](MB)) for _ in range(50)]
    await gate.running(50)
    world.proxy.stall("to_client")
    gate.go_on.set()
    await until(lambda: not world.hub.admission.active)
    (end,) = world.links()
    assert end._link.waiting_bytes <= 10 * MB
    world.proxy.resume()
    answers = await soon(asyncio.gather(*calls, return_exceptions=True))
    refused = [answer for answer in answers if isinstance(answer, ToolExecutionError)]
    assert {error.error_type for error in refused} == {"ResourceExhausted"}
    assert all("the answers that wait for their reader" in error.message for error in refused)
    assert sum(answer == b"x" * MB for answer in answers) == 50 - len(refused) > 5
    await world.quiet()


async def test_a_stream_that_nobody_reads_holds_its_tool_up_and_ends(over_link: Connect) -> None:
    source = Blocks(64 * 1024)
    world = await over_link(source.blocks, echo, stream_timeout=0.5)
    async with RawLink(world.server.address) as link:
        end = await end_of(world)
        await link.call(1, "StreamTool", stream_of(world, "blocks", 100_000))
        await until(lambda: source.given > LANE_BYTES // source.size)
        # What waits for credit counts in its lane; what has credit, in the outbox.
        lane = next(iter(end._link.incoming.values()))._lane
        while world.hub.admission.active:
            assert lane.size < LANE_BYTES + source.size + WRAPPING
            assert await soon(world.bridge.tools["echo"](1)) == 1
        # Besides its credit, which gRPC may have taken, a buffer of values.
        assert source.given * source.size < INITIAL_CREDIT + LANE_BYTES + 20 * source.size
        while (envelope := await link.receive()).WhichOneof("kind") != "chunk":
            pass
        chunks = 1
        while (envelope := await link.receive()).WhichOneof("kind") != "end":
            chunks += envelope.WhichOneof("kind") == "chunk"
            # Credit for what waits before the end.
            await link.send(Envelope(id=1, credit=source.size + WRAPPING))
        assert envelope.end.code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
        assert "its reader took nothing for 0.5 s" in envelope.end.message
        assert chunks <= source.given
    await until(lambda: len(world.links()) == 1)
    await world.quiet()


async def test_a_stream_that_its_reader_leaves_lying_holds_up_no_other(over_link: Connect) -> None:
    source, other = Blocks(100_000), Blocks(100_000)

    async def others(count: int) -> AsyncIterator[bytes]:
        async for block in other.blocks(count):
            yield block

    world = await over_link(source.blocks, others, echo)
    lying = world.bridge.tools["blocks"].stream(1_000)
    assert len(await soon(anext(lying))) == 100_000
    values: list[bytes] = []
    await soon(read(world.bridge.tools["others"].stream(100), values))
    assert len(values) == 100
    assert await soon(world.bridge.tools["echo"]("x")) == "x"
    # No more than its credit, a lane, and the buffer of values before it.
    assert source.given * source.size < INITIAL_CREDIT + LANE_BYTES + 20 * source.size
    (call,) = world.bridge.client._transport._current._link.calls.values()  # type: ignore[attr-defined]  # a link's
    assert sum(map(len, call._messages)) < INITIAL_CREDIT + source.size + WRAPPING
    await lying.aclose()
    await world.quiet()


async def test_a_client_whose_network_stalls_keeps_its_requests_bounded(over_link: Connect) -> None:
    world = await over_link(make_bytes, echo)
    world.proxy.stall("to_hub")
    calls = [asyncio.create_task(world.bridge.tools["echo"](b"x" * 100_000)) for _ in range(500)]
    await asyncio.wait(calls, timeout=0.05)
    link = world.bridge.client._transport._current._link  # type: ignore[attr-defined]  # a link's
    assert link.waiting_bytes < HIGH_WATER_BYTES + 100_000 + WRAPPING
    world.proxy.resume()
    assert [len(answer) for answer in await soon(asyncio.gather(*calls))] == [100_000] * 500
    await world.quiet()


# ------------------------------------------------------------------------------------------------ many at once


async def test_ten_thousand_calls_at_once_are_all_answered(over_link: Connect) -> None:
    gate = Gate()
    world = await over_link(gate.work)
    process = psutil.Process(os.getpid())
    before = process.memory_info().rss
    calls = [asyncio.create_task(world.bridge.tools["work"](number)) for number in range(10_000)]
    (end,) = world.links()
    await until(lambda: len(end._link.incoming) == 10_000)
    # As many run as a session may; the others wait at the hub.
    await gate.running(100)
    assert world.hub.admission.active >= 100
    # Client and hub together, 15 KB for each call: two tasks, their stacks, and the messages.
    assert process.memory_info().rss - before < 150 * MB
    gate.go_on.set()
    assert await soon(asyncio.gather(*calls)) == list(range(10_000))
    assert gate.started == 10_000
    await world.quiet()


async def test_ten_thousand_calls_in_flight_all_fail_when_the_link_is_lost(over_link: Connect) -> None:
    gate = Gate()
    world = await over_link(gate.work)
    calls = [asyncio.create_task(world.bridge.tools["work"](number)) for number in range(10_000)]
    (end,) = world.links()
    await until(lambda: len(end._link.incoming) == 10_000)
    world.proxy.cut()
    errors = await soon(asyncio.gather(*calls, return_exceptions=True))
    assert {getattr(error, "code_name", error) for error in errors} == {"UNAVAILABLE"}
    await world.quiet()
    assert gate.cancelled == gate.started
    gate.go_on.set()
    assert await soon(world.bridge.tools["work"](1)) == 1


async def test_a_client_makes_no_more_calls_at_once_than_the_hub_takes(over_link: Connect) -> None:
    gate = Gate()
    world = await over_link(gate.work, max_link_calls=10, max_session_calls=1_000)
    calls = [asyncio.create_task(world.bridge.tools["work"](number)) for number in range(200)]
    await gate.running(10)
    (end,) = world.links()
    assert len(end._link.incoming) == 10
    gate.go_on.set()
    assert await soon(asyncio.gather(*calls)) == list(range(200))
    await world.quiet()


async def test_requests_over_what_a_link_takes_are_refused_and_succeed_later(
    over_link: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grpc_tool_bridge.aio.backoff.RETRY_FIRST_SECONDS", 0.0)
    gate = Gate()

    async def take(data: bytes) -> int:
        return await gate.work(len(data))

    world = await over_link(take, max_link_bytes=MB)
    data = b"x" * 300_000
    first = [asyncio.create_task(world.bridge.tools["take"](data)) for _ in range(3)]
    await gate.running(3)
    with pytest.raises(ToolExecutionError) as caught:
        await soon(world.bridge.tools["take"](data))
    assert caught.value.error_type == "ResourceExhausted"
    assert caught.value.retryable
    assert "1,048,576 bytes of requests at once" in caught.value.message
    later = [asyncio.create_task(world.bridge.execute_with_retry("take", data, max_retries=100)) for _ in range(9)]
    gate.go_on.set()
    assert await soon(asyncio.gather(*first, *later)) == [300_000] * 12
    await world.quiet()


async def test_more_large_payloads_at_once_than_a_link_puts_together_all_arrive(over_link: Connect) -> None:
    world = await over_link(echo)
    large = [bytes([number]) * (9 * MB) for number in range(10)]
    assert await soon(asyncio.gather(*map(world.bridge.tools["echo"], large))) == large
    await world.quiet()
