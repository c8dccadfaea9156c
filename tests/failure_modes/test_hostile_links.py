"""Peers that break the protocol of the link: their link ends and says why, the hub and all other links live on."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any

import grpc.aio
import pytest

from failure_modes.links import RawLink, call_envelope, echo
from grpc_tool_bridge import BridgeServer, GRPCToolBridge, Settings, ToolCommunicationError, serialize_value
from grpc_tool_bridge.link.outbox import FRAGMENT_BYTES, INITIAL_CREDIT, REASSEMBLY_BYTES
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    Envelope,
    GetSessionInfoRequest,
    InitializeSessionRequest,
    InitializeSessionResponse,
    LinkCall,
    LinkCancel,
    LinkDrain,
    LinkEvent,
    LinkFrame,
    LinkHello,
    LinkStatus,
    LogRecord,
    SessionInfo,
    ToolCallRequest,
    ToolCallResponse,
    ToolSpec,
    ToolStreamChunk,
    ToolStreamRequest,
)
from grpc_tool_bridge.transport.servicer import service_handler
from integration.connections import read
from support.hubs import SomeHub
from support.waiting import soon, until

HELLO = Envelope(hello=LinkHello(protocol=1))
CALL = call_envelope(1, "Heartbeat", b"")
MAX_TEXT = 1_000


async def blocks(count: int, size: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b"x" * size


async def forever() -> None:
    await asyncio.Event().wait()


@pytest.fixture
async def server() -> AsyncIterator[BridgeServer]:
    """A hub with another link; whatever the test did, both work on and the test's own calls have left nothing."""
    settings = Settings(shutdown_grace=0)
    async with BridgeServer(tools=[echo, blocks, forever], settings=settings) as server:
        async with GRPCToolBridge(server.address) as other:
            await other.initialize("other")
            yield server
            assert await soon(other.tools["echo"]("alive")) == "alive"
            assert other.client.is_linked
        await until(lambda: not len(server._server._links))
        assert not server.hub.admission.active


def request(tool: str, *args: Any) -> ToolCallRequest:
    return ToolCallRequest(session_id="other", tool_id=tool, args=[serialize_value(arg) for arg in args])


def stream_request(tool: str, *args: Any) -> ToolStreamRequest:
    return ToolStreamRequest(session_id="other", tool_id=tool, args=[serialize_value(arg) for arg in args])


# ------------------------------------------------------------------------------------------- what ends the link


def frame(*envelopes: Envelope) -> bytes:
    return LinkFrame(envelopes=envelopes).SerializeToString()


# Of a field that this version does not know.
UNKNOWN = b"\x0a\x05" + b"\x08\x01" + b"\x7a\x01x"

BROKEN: dict[str, tuple[Sequence[bytes], str]] = {
    "no frame": ([b"\xff\xff\xff\xff"], "a frame of 4 bytes cannot be read"),
    "half an envelope": ([frame(CALL)[:-1]], "cannot be read"),
    "a kind that nobody knows": ([UNKNOWN], "has nothing in it that is known here"),
    "an empty envelope": ([b"\x0a\x00"], "has nothing in it that is known here"),
    "a second hello": ([frame(HELLO)], "a second hello"),
    "an even number": ([frame(call_envelope(2, "Heartbeat", b""))], "a call came with the number 2"),
    "the number 0": ([frame(call_envelope(0, "Heartbeat", b""))], "a call came with the number 0"),
    "a number again": ([frame(CALL), frame(CALL)], "a call came with the number 1; the peer's last one was 1"),
    "numbers that fall": (
        [frame(call_envelope(7, "Heartbeat", b""), call_envelope(5, "Heartbeat", b""))],
        "a call came with the number 5; the peer's last one was 7",
    ),
    "a piece with an old number": (
        [frame(call_envelope(7, "Heartbeat", b"")), frame(Envelope(id=7, part=b"x"))],
        "a call came with the number 7",
    ),
    "a reply to nothing": ([frame(Envelope(id=2, reply=b""))], "a reply came for the call 2, which was never made"),
    "a reply to its own call": ([frame(CALL, Envelope(id=1, reply=b""))], "a reply came for the call 1"),
    "a chunk of nothing": ([frame(Envelope(id=2, chunk=b""))], "a chunk came for the call 2"),
    "an end of nothing": ([frame(Envelope(id=2, end=LinkStatus()))], "a end came for the call 2"),
    "an event of nothing": ([frame(Envelope(id=2, event=LinkEvent(log=LogRecord())))], "a event came for the call 2"),
    "a piece of an answer to nothing": ([frame(Envelope(id=2, part=b"x"))], "a part came for the call 2"),
    "a cancel of nothing": ([frame(Envelope(id=1, cancel=LinkCancel()))], "a cancel came for the call 1"),
    "credit for nothing": ([frame(Envelope(id=9, credit=1))], "a credit came for the call 9"),
    "credit for a call of the hub": ([frame(Envelope(id=2, credit=1))], "a credit came for the call 2"),
}
PIECE = b"x" * (REASSEMBLY_BYTES // 4)
# Made when they are needed: they are large.
TOO_MUCH: dict[str, Callable[[int], Envelope]] = {
    "more pieces than there is room for": lambda number: Envelope(id=1 + 2 * number, part=PIECE),
    "one piece after the other": lambda _: Envelope(id=1, part=PIECE),
}


@pytest.mark.parametrize(("frames", "text"), BROKEN.values(), ids=BROKEN)
async def test_what_breaks_the_protocol_ends_the_link_and_says_what_it_was(
    server: BridgeServer, caplog: pytest.LogCaptureFixture, frames: Sequence[bytes], text: str
) -> None:
    await ends(server, caplog, frames, text)


@pytest.mark.parametrize("piece", TOO_MUCH.values(), ids=TOO_MUCH)
async def test_more_in_pieces_than_there_is_room_for_ends_the_link(
    server: BridgeServer, caplog: pytest.LogCaptureFixture, piece: Callable[[int], Envelope]
) -> None:
    await ends(server, caplog, map(frame, map(piece, range(5))), "pieces of more than 67,108,864 bytes")


async def ends(server: BridgeServer, caplog: pytest.LogCaptureFixture, frames: Iterable[bytes], text: str) -> None:
    """Sends the frames over a link of their own, which ends with the text."""
    async with RawLink(server.address) as link:
        for sent in frames:
            await link.try_write(sent)
        code, details = await link.ended()
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert details.startswith("the link was ended: ")
    assert text in details
    assert len(details) < MAX_TEXT
    (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "the link of raw was ended" in warning.getMessage()
    assert not [record for record in caplog.records if record.levelno > logging.WARNING]


@pytest.mark.parametrize(
    ("first", "text"),
    [
        (CALL, "the first envelope is 'call'; it must be the peer's hello"),
        (Envelope(ping=1), "the first envelope is 'ping'"),
        (Envelope(hello=LinkHello(protocol=2)), "the peer speaks version 2 of the link's protocol; this is 1"),
        (Envelope(hello=LinkHello()), "the peer speaks version 0"),
    ],
)
async def test_a_peer_that_does_not_greet_as_it_should_is_told(
    server: BridgeServer, first: Envelope, text: str
) -> None:
    async with RawLink(server.address, greet=False) as link:
        await link.send(first)
        code, details = await link.ended()
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert text in details


async def test_what_a_broken_link_was_doing_is_cancelled(server: BridgeServer) -> None:
    async with RawLink(server.address) as link:
        await link.call(1, "ExecuteTool", request("forever"))
        await until(lambda: server.hub.admission.active == 1)
        await link.send(CALL)
        code, _ = await link.ended()
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        await until(lambda: not server.hub.admission.active)


async def test_a_peer_with_a_name_of_megabytes_is_not_in_the_log(
    server: BridgeServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with RawLink(server.address, greet=False) as link:
        await link.send(Envelope(hello=LinkHello(protocol=1, peer="x" * 5_000_000)), HELLO)
        await link.ended()
    assert len(caplog.text) < MAX_TEXT


async def test_a_frame_over_grpc_s_limit_ends_its_link(server: BridgeServer) -> None:
    async with RawLink(server.address) as link:
        await link.try_write(frame(Envelope(id=1, part=b"x" * 45_000_000)))
        code, details = await link.ended()
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than max" in details


async def test_a_peer_that_only_hangs_up_leaves_nothing(server: BridgeServer, caplog: pytest.LogCaptureFixture) -> None:
    for greet in (False, True):
        async with RawLink(server.address, greet=greet) as link:
            await until(lambda: len(server._server._links) == 2)
            await link.rpc.done_writing()
            assert (await link.ended())[0] is grpc.StatusCode.OK
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


# ---------------------------------------------------------------------------------------- what ends the call alone


@pytest.mark.parametrize(
    ("method", "payload", "code", "text"),
    [
        ("Nothing", b"", grpc.StatusCode.UNIMPLEMENTED, "does not offer Nothing"),
        ("", b"", grpc.StatusCode.UNIMPLEMENTED, "does not offer"),
        ("x" * 1_000_000, b"", grpc.StatusCode.UNIMPLEMENTED, "does not offer xxx"),
        ("Link", b"", grpc.StatusCode.UNIMPLEMENTED, "does not offer Link"),
        ("__init__", b"", grpc.StatusCode.UNIMPLEMENTED, "does not offer __init__"),
        ("aclose", b"", grpc.StatusCode.UNIMPLEMENTED, "does not offer aclose"),
        ("ExecuteTool", b"\xff\xff", grpc.StatusCode.INVALID_ARGUMENT, "the request of ExecuteTool cannot be read"),
        ("StreamTool", b"\xff\xff", grpc.StatusCode.INVALID_ARGUMENT, "the request of StreamTool cannot be read"),
        ("GetSessionInfo", b"", grpc.StatusCode.NOT_FOUND, "session"),
    ],
)
async def test_a_call_that_cannot_be_served_fails_alone(
    server: BridgeServer, method: str, payload: bytes, code: grpc.StatusCode, text: str
) -> None:
    async with RawLink(server.address) as link:
        await link.call(1, method, payload)
        answer = await link.receive()
        assert (answer.id, answer.end.code) == (1, code.value[0])
        assert text in answer.end.message
        assert answer.ByteSize() < 4 * MAX_TEXT
        await link.call(3, "GetSessionInfo", GetSessionInfoRequest(session_id="other"))
        assert SessionInfo.FromString((await link.receive()).reply).session_id == "other"


async def test_numbers_may_leap(server: BridgeServer) -> None:
    async with RawLink(server.address) as link:
        for call_id in (5, 2**62 + 1, 2**64 - 1):
            await link.call(call_id, "ExecuteTool", request("echo", call_id))
            assert (await link.receive()).id == call_id


async def test_a_payload_in_the_smallest_pieces_is_read(server: BridgeServer) -> None:
    payload = request("echo", "in pieces").SerializeToString()
    async with RawLink(server.address) as link:
        pieces = [Envelope(id=1, part=bytes([byte])) for byte in payload[:-1]]
        await link.send(*pieces, call_envelope(1, "ExecuteTool", payload[-1:]))
        assert ToolCallResponse.FromString((await link.receive()).reply).success


async def test_pieces_that_are_cancelled_are_forgotten(server: BridgeServer) -> None:
    async with RawLink(server.address) as link:
        for number in range(10):
            call_id = 1 + 2 * number
            await link.send(Envelope(id=call_id, part=b"x" * (REASSEMBLY_BYTES // 4)))
            await link.send(Envelope(id=call_id, cancel=LinkCancel()))
            answer = await link.receive()
            assert (answer.id, answer.end.code) == (call_id, grpc.StatusCode.CANCELLED.value[0])
        (mine,) = [held for held in server._server._links._links if held.peer == "raw"]
        assert not mine._link._inbox.assembled


# ------------------------------------------------------------------------------------------------ credit


async def test_a_hub_sends_no_more_than_it_was_granted(server: BridgeServer) -> None:
    async with RawLink(server.address) as link:
        await link.call(1, "StreamTool", stream_request("blocks", 10, 1_000), initial_credit=1)
        for sequence in range(5):
            chunk = (await link.receive()).chunk
            assert ToolStreamChunk.FromString(chunk).sequence == sequence
            # Nothing but the answer to a ping comes without credit.
            await link.send(Envelope(ping=7))
            assert (await link.receive()).pong == 7
            # What it sent beyond its credit it owes: this makes it 1 again.
            await link.send(Envelope(id=1, credit=len(chunk)))
        await link.send(Envelope(id=1, cancel=LinkCancel()))
        while (last := await link.receive()).WhichOneof("kind") != "end":
            pass
        assert last.end.code == grpc.StatusCode.CANCELLED.value[0]


async def test_credit_without_end_is_no_harm(server: BridgeServer) -> None:
    async with RawLink(server.address) as link:
        await link.call(1, "StreamTool", stream_request("blocks", 50, 100_000), initial_credit=2**32 - 1)
        await link.send(*[Envelope(id=1, credit=2**32 - 1) for _ in range(1_000)])
        chunks = 0
        pieces: list[bytes] = []
        while (envelope := await link.receive()).WhichOneof("kind") != "end":
            pieces.append(envelope.part or envelope.chunk)
            if envelope.WhichOneof("kind") == "chunk":
                chunks += 1
        assert (chunks, envelope.end.code) == (51, 0)
        # A chunk that is late, for a call that is over.
        await link.send(Envelope(id=1, credit=1), Envelope(id=1, cancel=LinkCancel()), Envelope(ping=1))
        assert (await link.receive()).pong == 1


# ------------------------------------------------------------------------------------------------ floods


async def test_a_flood_of_pings_that_are_read_is_answered(server: BridgeServer) -> None:
    async with RawLink(server.address) as link:
        for part in range(10):
            await link.send(*[Envelope(ping=part * 1_000 + number) for number in range(1_000)])
        assert [(await link.receive()).pong for _ in range(10_000)] == list(range(10_000))


@pytest.mark.parametrize(
    "make",
    [
        lambda number: Envelope(ping=2**60 + number),
        lambda number: call_envelope(3 + 2 * number, "Nothing", b""),
        lambda number: call_envelope(3 + 2 * number, "Heartbeat", b"\xff"),
    ],
    ids=["pings", "unknown methods", "unreadable requests"],
)
async def test_a_flood_whose_answers_nobody_reads_ends_its_link(
    server: BridgeServer, monkeypatch: pytest.MonkeyPatch, make: Callable[[int], Envelope]
) -> None:
    monkeypatch.setattr("grpc_tool_bridge.link.protocol.MAX_CONTROL_BYTES", 1_000_000)
    async with RawLink(server.address) as link:

        async def flood() -> None:
            sent = 0
            while len(server._server._links) == 2:
                await link.try_write(frame(*[make(sent + more) for more in range(1_000)]))
                sent += 1_000

        await until(lambda: len(server._server._links) == 2)
        flooding = asyncio.create_task(flood())
        await until(lambda: len(server._server._links) == 1)
        # The last frame may be held up until this end reads.
        code, details = await link.ended()
        await soon(flooding)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "keeps sending without reading the answers" in details


async def test_a_flood_of_calls_that_are_cancelled_at_once_leaves_nothing(server: BridgeServer) -> None:
    async with RawLink(server.address) as link:
        payload = request("forever").SerializeToString()
        for part in range(20):
            envelopes = []
            for number in range(100):
                call_id = 1 + 2 * (100 * part + number)
                envelopes += [call_envelope(call_id, "ExecuteTool", payload), Envelope(id=call_id, cancel=LinkCancel())]
            await link.send(*envelopes)
        ended: set[int] = set()
        while len(ended) < 2_000:
            answer = await link.receive()
            assert answer.WhichOneof("kind") in {"end", "reply"}
            assert answer.id not in ended
            ended.add(answer.id)
        await until(lambda: not server.hub.admission.active)
        (mine,) = [held for held in server._server._links._links if held.peer == "raw"]
        assert not mine._link.incoming
        assert not len(mine._server._tasks)


async def test_a_flood_of_cancels_of_one_call_is_one_cancel(server: BridgeServer) -> None:
    async with RawLink(server.address) as link:
        await link.call(1, "ExecuteTool", request("forever"))
        await until(lambda: server.hub.admission.active == 1)
        await link.send(*[Envelope(id=1, cancel=LinkCancel(reason="x" * 100)) for _ in range(10_000)], Envelope(ping=1))
        kinds = {(await link.receive()).WhichOneof("kind") for _ in range(2)}
        assert kinds <= {"end", "reply", "pong"}
        await until(lambda: not server.hub.admission.active)


async def test_a_flood_of_drains_and_pongs_changes_nothing(server: BridgeServer) -> None:
    async with RawLink(server.address) as link:
        await link.send(*[Envelope(drain=LinkDrain(grace_ms=1)), Envelope(pong=1)] * 5_000)
        await link.call(1, "ExecuteTool", request("echo", 1))
        assert ToolCallResponse.FromString((await link.receive()).reply).success


# ------------------------------------------------------------------------------------------------ a hub that means harm


class HostileHub:
    """Greets and opens sessions as a hub does, and answers everything else as the test says.

    Args:
        answer: Gives the envelopes that answer a call.
    """

    def __init__(self, answer: Callable[[Envelope], list[Envelope]]) -> None:
        self._answer = answer
        self.links = 0

    async def serve(self, _: Any, context: Any) -> None:
        self.links += 1
        await context.write(frame(HELLO))
        while (data := await context.read()) is not grpc.aio.EOF:
            for envelope in LinkFrame.FromString(data).envelopes:
                for answer in self._answers(envelope) if envelope.WhichOneof("kind") == "call" else ():
                    await context.write(frame(answer))

    def _answers(self, envelope: Envelope) -> list[Envelope]:
        call: LinkCall = envelope.call
        if call.method == "InitializeSession":
            opened = InitializeSessionResponse(
                success=True, session_id=InitializeSessionRequest.FromString(call.payload).session_id, resumed=True
            )
            opened.tools.add().CopyFrom(ToolSpec(name="tool"))
            return [Envelope(id=envelope.id, reply=opened.SerializeToString())]
        if call.method in {"ExecuteTool", "StreamTool"} and self.links == 1:
            return self._answer(envelope)
        if call.method == "ExecuteTool":
            good = ToolCallResponse(success=True, result=serialize_value("good"))
            return [Envelope(id=envelope.id, reply=good.SerializeToString())]
        return [Envelope(id=envelope.id, reply=b"")]


class SilentHub(HostileHub):
    """Takes links, and says nothing over them."""

    async def serve(self, _: Any, context: Any) -> None:
        await asyncio.Event().wait()


HARM: dict[str, tuple[Callable[[int], list[Envelope]], str]] = {
    "two answers": (lambda i: [Envelope(id=i, reply=b"")] * 2, "which was answered before"),
    "an answer to another": (lambda i: [Envelope(id=i + 100, reply=b"")], "which was never made"),
    "an answer to a call of its own": (lambda i: [Envelope(id=i + 1, reply=b"")], "which was never made"),
    "a chunk for no stream": (lambda i: [Envelope(id=i, chunk=b"")], "is not a stream, but a chunk came"),
    "an end that is well": (lambda i: [Envelope(id=i, end=LinkStatus())], "ended successfully, but without its reply"),
    "a second hello": (lambda _: [HELLO], "a second hello"),
    "pieces without end": (
        lambda i: [Envelope(id=i, part=b"x" * (REASSEMBLY_BYTES // 4))] * 5,
        "pieces of more than 67,108,864 bytes",
    ),
}


@pytest.fixture
async def hostile() -> AsyncIterator[Callable[..., Any]]:
    servers: list[grpc.aio.Server] = []

    async def start(
        answer: Callable[[Envelope], list[Envelope]], kind: type[HostileHub] = HostileHub
    ) -> tuple[HostileHub, str]:
        hub = kind(answer)
        server = grpc.aio.server(options=[("grpc.max_send_message_length", -1)])
        server.add_generic_rpc_handlers((service_handler(SomeHub(), link=hub.serve),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        servers.append(server)
        return hub, f"127.0.0.1:{port}"

    yield start
    for server in servers:
        await server.stop(0)


@pytest.mark.parametrize(("answer", "text"), HARM.values(), ids=HARM)
async def test_a_hub_that_breaks_the_protocol_fails_the_call_and_is_linked_to_anew(
    hostile: Any, answer: Callable[[int], list[Envelope]], text: str
) -> None:
    hub, address = await hostile(lambda envelope: answer(envelope.id))
    async with GRPCToolBridge(address, keep_session=True, follow_tools=False) as bridge:
        await bridge.initialize()
        calls = [asyncio.create_task(bridge.call_tool("tool", number)) for number in range(3)]
        ended = await soon(asyncio.gather(*calls, return_exceptions=True))
        told = [error for error in ended if isinstance(error, ToolCommunicationError)]
        assert told
        for error in told:
            assert error.code.name == "UNAVAILABLE"
            assert text in str(error)
        assert await soon(bridge.call_tool("tool")) == "good"
        assert hub.links == 2


async def test_a_hub_that_never_greets_leaves_nobody_waiting(hostile: Any) -> None:
    _, address = await hostile(lambda _: [], SilentHub)
    async with GRPCToolBridge(address) as bridge:
        with pytest.raises(ToolCommunicationError, match=r"no link within|hello") as caught:
            await soon(bridge.initialize(connect_timeout=0.5))
        assert caught.value.code.name == "UNAVAILABLE"


FLOODS: dict[str, list[Envelope]] = {
    "pings": [Envelope(ping=7)],
    "pongs": [Envelope(pong=7)],
    "drains": [Envelope(drain=LinkDrain(grace_ms=2**32 - 1))],
    "empty frames": [],
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
async def test_a_client_answers_and_closes_whatever_its_hub_floods_it_with(hostile: Any, flood: list[Envelope]) -> None:
    def answer(envelope: Envelope) -> list[Envelope]:
        good = ToolCallResponse(success=True, result=serialize_value("good"))
        return [*flood * 5_000, Envelope(id=envelope.id, reply=good.SerializeToString())]

    _, address = await hostile(answer)
    async with GRPCToolBridge(address, keep_session=True, follow_tools=False) as bridge:
        await bridge.initialize()
        assert await soon(bridge.call_tool("tool")) == "good"


async def test_a_hub_that_sends_more_than_it_was_granted_is_cut_off(hostile: Any) -> None:
    value = serialize_value(b"x" * 100_000)
    count = INITIAL_CREDIT // 100_000 + 3

    def answer(envelope: Envelope) -> list[Envelope]:
        chunks = [ToolStreamChunk(sequence=number, data=value) for number in range(count)]
        return [Envelope(id=envelope.id, chunk=chunk.SerializeToString()) for chunk in chunks]

    hub, address = await hostile(answer)
    async with GRPCToolBridge(address, keep_session=True, follow_tools=False) as bridge:
        await bridge.initialize()
        stream = bridge.tools["tool"].stream()
        values = [await soon(anext(stream))]
        await until(lambda: hub.links == 2)
        with pytest.raises(ToolCommunicationError, match="than it was granted"):
            await soon(read(stream, values))
        assert len(values) == count - 2
        assert await soon(bridge.call_tool("tool")) == "good"


async def test_an_answer_that_is_none_fails_its_call_alone(hostile: Any) -> None:
    hub, address = await hostile(lambda envelope: [Envelope(id=envelope.id, reply=b"\xff\xff")])
    async with GRPCToolBridge(address, keep_session=True, follow_tools=False) as bridge:
        await bridge.initialize()
        with pytest.raises(ToolCommunicationError, match="the response cannot be read") as caught:
            await soon(bridge.call_tool("tool"))
        assert caught.value.code.name == "INTERNAL"
        assert bridge.client.is_linked
        assert hub.links == 1


async def test_a_hub_s_calls_to_a_client_are_refused(hostile: Any) -> None:
    asked: list[Envelope] = []

    def answer(envelope: Envelope) -> list[Envelope]:
        asked.append(envelope)
        good = ToolCallResponse(success=True, result=serialize_value("good"))
        return [
            *[call_envelope(2 * (number + 1), "ExecuteTool", b"\xff" * FRAGMENT_BYTES) for number in range(3)],
            Envelope(id=envelope.id, reply=good.SerializeToString()),
        ]

    hub, address = await hostile(answer)
    async with GRPCToolBridge(address, keep_session=True, follow_tools=False) as bridge:
        await bridge.initialize()
        assert await soon(bridge.call_tool("tool")) == "good"
        assert bridge.client.is_linked
        assert (hub.links, len(asked)) == (1, 1)
