"""Workers that break rules: who called them is told, their link ends where it must, all others live on."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

import grpc.aio
import pytest

from failure_modes.links import RawLink
from failure_modes.workers import Crew, MakeCrew, RawWorker, spec
from grpc_tool_bridge import GRPCToolBridge, ToolExecutionError, serialize_value, tool
from grpc_tool_bridge.core.workers.pool import MAX_WORKER_TOOLS
from grpc_tool_bridge.link.outbox import INITIAL_CREDIT
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    CompleteSignal,
    Envelope,
    ErrorInfo,
    LinkEvent,
    LinkHello,
    LinkStatus,
    LogRecord,
    Progress,
    RegisterToolsRequest,
    RegisterToolsResponse,
    StatusResponse,
    ToolCallRequest,
    ToolCallResponse,
    ToolStreamChunk,
    ToolStreamRequest,
    UnregisterToolsRequest,
)
from grpc_tool_bridge.rpc.methods import METHODS, ORIGIN_KEY
from integration.connections import read
from support.waiting import soon, until

MIB = 1024 * 1024

# A raw worker answers pings only where its test reads.
CALM = {"worker_ping_interval": 60, "worker_suspect_after": 60, "worker_grace_period": 0}


async def echo(value: Any) -> Any:
    return value


@tool(idempotent=True)
async def repeatable() -> str:
    return "healthy"


@pytest.fixture
async def crew(make_crew: MakeCrew) -> AsyncIterator[Crew]:
    """A hub with a worker as it should be; whatever the test did, that one works on and no call is left."""
    crew = await make_crew(**CALM)
    await crew.worker(echo, repeatable, worker_id="healthy")
    yield crew
    assert await soon(crew.call("echo", "alive")) == "alive"
    assert crew.bridge.client.is_linked
    await until(lambda: crew.workers() == ["healthy"])
    await crew.quiet()


@pytest.fixture
async def raw(crew: Crew) -> AsyncIterator[RawWorker]:
    """A worker that offers ``unary`` and ``stream``, and does as the test says."""
    async with RawWorker(crew.server.address) as worker:
        response = await worker.register(spec("unary"), spec("stream", streams=True), worker_id="raw")
        assert response.success, response
        yield worker


def result(value: Any) -> bytes:
    return ToolCallResponse(success=True, result=serialize_value(value)).SerializeToString()


def chunk(sequence: int, value: Any) -> bytes:
    return ToolStreamChunk(sequence=sequence, data=serialize_value(value)).SerializeToString()


def complete(sequence: int) -> bytes:
    return ToolStreamChunk(sequence=sequence, complete=CompleteSignal()).SerializeToString()


class Calling:
    """A call of a raw worker's tool, and the number that it got there."""

    def __init__(self, crew: Crew, raw: RawWorker, coroutine: Any) -> None:
        self.crew = crew
        self.raw = raw
        self.values: list[Any] = []
        self._task = asyncio.create_task(coroutine)
        self.id = 0

    async def begun(self) -> int:
        self.id = (await self.raw.called()).id
        return self.id

    async def answer(self) -> Any:
        return await soon(self._task)

    async def error(self) -> ToolExecutionError:
        with pytest.raises(ToolExecutionError) as caught:
            await soon(self._task)
        return caught.value


async def begin_call(crew: Crew, raw: RawWorker, name: str = "unary") -> Calling:
    calling = Calling(crew, raw, crew.call(name))
    await calling.begun()
    return calling


async def begin_stream(crew: Crew, raw: RawWorker) -> Calling:
    values: list[Any] = []
    stream = crew.bridge.client.tool("stream").with_options(timeout=60.0).stream()
    calling = Calling(crew, raw, read(stream, into=values))
    calling.values = values
    await calling.begun()
    return calling


async def assert_ended(raw: RawWorker, text: str) -> None:
    """Waits until the hub has ended the link for its breach of the protocol."""
    code, details = await raw.ended()
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert text in details


# ------------------------------------------------------------------------------------------ what ends the link


async def test_a_second_answer_ends_the_link_and_the_first_one_counts(crew: Crew, raw: RawWorker) -> None:
    call = await begin_call(crew, raw)
    await raw.send(Envelope(id=call.id, reply=result("first")))
    assert await call.answer() == "first"
    await raw.send(Envelope(id=call.id, reply=result("second")))
    await assert_ended(raw, f"a reply came for the call {call.id}, which was answered before")


async def test_a_call_that_is_answered_twice_at_once_is_answered_once(crew: Crew, raw: RawWorker) -> None:
    call = await begin_call(crew, raw)
    await raw.send(*[Envelope(id=call.id, reply=result(n)) for n in range(2)])
    error = await call.error()
    assert error.error_type == "WorkerUnavailable"
    assert "answered before" in str(error)
    await assert_ended(raw, "answered before")


async def test_an_answer_to_an_unknown_number_ends_the_link_and_whoever_waits_is_told(
    crew: Crew, raw: RawWorker
) -> None:
    call = await begin_call(crew, raw)
    await raw.send(Envelope(id=call.id + 2, reply=result("of what?")))
    error = await call.error()
    assert (error.error_type, error.retryable) == ("WorkerUnavailable", True)
    assert "which was never made" in str(error)
    await assert_ended(raw, f"a reply came for the call {call.id + 2}, which was never made")


BREACHES: dict[str, tuple[str, Callable[[int], Sequence[Envelope]], str]] = {
    "a chunk for a unary call": ("unary", lambda n: [Envelope(id=n, chunk=chunk(0, 1))], "is not a stream"),
    "an end without a reply": ("unary", lambda n: [Envelope(id=n, end=LinkStatus())], "without its reply"),
    "a reply to a stream": ("stream", lambda n: [Envelope(id=n, reply=result(1))], "is a stream, but a reply came"),
    "a second end": (
        "stream",
        lambda n: [
            Envelope(id=n, chunk=chunk(0, 1)),
            Envelope(id=n, end=LinkStatus()),
            Envelope(id=n, end=LinkStatus()),
        ],
        "answered before",
    ),
    "a call with the hub's numbers": ("unary", lambda n: [Envelope(id=n + 2, part=b"x")], "which was never made"),
    "a second hello": ("unary", lambda _: [Envelope(hello=LinkHello(protocol=1))], "a second hello"),
}


@pytest.mark.parametrize(("name", "envelopes", "text"), BREACHES.values(), ids=BREACHES)
async def test_a_breach_of_the_protocol_ends_the_link_and_its_calls(
    crew: Crew, raw: RawWorker, name: str, envelopes: Callable[[int], Sequence[Envelope]], text: str
) -> None:
    call = await (begin_stream if name == "stream" else begin_call)(crew, raw)
    await raw.send(*envelopes(call.id))
    error = await call.error()
    assert error.error_type == "WorkerUnavailable"
    assert text in str(error)
    await assert_ended(raw, text)


async def test_100_mb_in_pieces_end_the_link_long_before_they_are_there(crew: Crew, raw: RawWorker) -> None:
    call = await begin_call(crew, raw)
    piece = Envelope(id=call.id, part=bytes(10 * MIB))
    with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError, AssertionError):
        for _ in range(10):
            await raw.send(piece)
    error = await call.error()
    assert error.error_type == "WorkerUnavailable"
    assert "pieces of more than 67,108,864 bytes" in str(error)
    # Its end may overtake the reason, where it still writes.
    assert (await raw.ended())[0] is not grpc.StatusCode.OK


async def test_a_stream_beyond_its_credit_ends_the_link_and_its_reader_is_told(crew: Crew, raw: RawWorker) -> None:
    call = await begin_stream(crew, raw)
    half = bytes(INITIAL_CREDIT // 2)
    # In one frame, so that its reader takes nothing in between, and no write is left when the link ends.
    await raw.send(*(Envelope(id=call.id, chunk=chunk(sequence, half)) for sequence in range(3)))
    error = await call.error()
    assert error.error_type == "WorkerUnavailable"
    assert f"more of the stream {call.id} than it was granted" in str(error)
    assert (await raw.ended())[0] is not grpc.StatusCode.OK


async def test_a_worker_that_hangs_up_in_a_call_costs_only_what_must_not_be_repeated(
    crew: Crew, raw: RawWorker
) -> None:
    # Of the same schema as the healthy worker's, so that the hub may choose either.
    registered = crew.hub.store.tools["repeatable"]
    assert (await raw.register(registered.spec, worker_id="raw")).success
    others = [asyncio.create_task(crew.call("repeatable")) for _ in range(2)]
    await raw.called()
    once = await begin_call(crew, raw)
    await raw.rpc.done_writing()
    error = await once.error()
    assert error.error_type == "WorkerUnavailable"
    assert "whether it took effect is not known" in str(error)
    assert [await soon(call) for call in others] == ["healthy", "healthy"]


async def test_a_worker_that_never_reads_is_out_and_its_callers_are_told(make_crew: MakeCrew) -> None:
    crew = await make_crew(worker_lost_after=0.5, worker_grace_period=0)
    async with RawWorker(crew.server.address) as raw:
        assert (await raw.register(spec("unary"), worker_id="raw", capacity=1_000)).success
        large = bytes(MIB)
        calls = [asyncio.create_task(crew.bridge.client.tool("unary")(large)) for _ in range(30)]
        errors = await soon(asyncio.gather(*calls, return_exceptions=True))
        # On a busy machine, the last calls come when it is out already.
        assert errors[0].error_type == "WorkerUnavailable"
        assert {error.error_type for error in errors} <= {"WorkerUnavailable", "ToolNotFound"}
        assert not crew.workers()
    await crew.quiet()


# ------------------------------------------------------------------------------------- what ends the call alone


async def in_batch(crew: Crew) -> Any:
    (item,) = await crew.bridge.execute_batch([{"tool_id": "unary"}])
    raise item


async def in_process(crew: Crew) -> Any:
    async with crew.server.bridge(keep_session=True) as bridge:
        await bridge.initialize(crew.session_id)
        return await bridge.tools["unary"]()


# How a call of a worker's tool may come to the hub.
WAYS: dict[str, Callable[[Crew], Coroutine[Any, Any, Any]]] = {
    "call": lambda crew: crew.call("unary"),
    "batch": in_batch,
    "in-process": in_process,
}

GARBAGE: dict[str, tuple[bytes, str]] = {
    "no message": (b"\xff\xff\xff\xff", "cannot be read"),
    "a large one that is no message": (b"\xff" * 10_000, "cannot be read"),
    "a large one that is cut": (result("x" * 10_000)[:-1], "cannot be read"),
    "neither result nor error": (b"", "neither a result nor an error"),
    "success without a result": (ToolCallResponse(success=True).SerializeToString(), "has no result"),
    "a failure without its kind": (
        ToolCallResponse(error=ErrorInfo(message="why?")).SerializeToString(),
        "neither a result nor an error",
    ),
    "a large one without a result": (
        ToolCallResponse(success=True, request_id="x" * 10_000).SerializeToString(),
        "has no result",
    ),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("answer", "text"), GARBAGE.values(), ids=GARBAGE)
async def test_an_answer_that_is_none_is_one_clear_error_and_the_worker_lives_on(
    crew: Crew, raw: RawWorker, caplog: pytest.LogCaptureFixture, way: str, answer: bytes, text: str
) -> None:
    call = Calling(crew, raw, WAYS[way](crew))
    await call.begun()
    await raw.send(Envelope(id=call.id, reply=answer))
    error = await call.error()
    assert error.error_type == "ProtocolError"
    assert text in str(error)
    again = await begin_call(crew, raw)
    await raw.send(Envelope(id=again.id, reply=result("well")))
    assert await again.answer() == "well"
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize("way", [*WAYS, "stream"])
async def test_a_value_over_the_message_limit_is_refused_and_the_worker_lives_on(
    crew: Crew, raw: RawWorker, way: str
) -> None:
    large = bytes(20 * MIB)
    if way == "stream":
        call, answer = await begin_stream(crew, raw), chunk(0, large)
        last = Envelope(id=call.id, chunk=answer[20 * MIB :])
    else:
        call, answer = Calling(crew, raw, WAYS[way](crew)), result(large)
        last = Envelope(id=await call.begun(), reply=answer[20 * MIB :])
    await raw.send(Envelope(id=call.id, part=answer[: 10 * MIB]))
    await raw.send(Envelope(id=call.id, part=answer[10 * MIB : 20 * MIB]))
    await raw.send(last)
    error = await call.error()
    assert error.error_type == "MessageTooLarge"
    if way == "stream":
        assert (await raw.receive()).WhichOneof("kind") == "cancel"
        await raw.send(Envelope(id=call.id, end=LinkStatus()))
    again = await begin_call(crew, raw)
    await raw.send(Envelope(id=again.id, reply=result("small")))
    assert await again.answer() == "small"


STREAMS: dict[str, tuple[list[bytes], list[int], str]] = {
    "one that is left out": ([chunk(0, 0), chunk(2, 2)], [0], "chunk 2 came where 1 was due"),
    "a first one that is not the first": ([chunk(1, 1)], [], "chunk 1 came where 0 was due"),
    "one that comes again": ([chunk(0, 0), chunk(0, 0)], [0], "chunk 0 came where 1 was due"),
    "an end with another number": ([chunk(0, 0), complete(5)], [0], "chunk 5 came where 1 was due"),
    "an empty one": ([chunk(0, 0), ToolStreamChunk(sequence=1).SerializeToString()], [0], "is empty"),
    "no message": ([chunk(0, 0), b"\xff\xff"], [0], "cannot be read"),
    "no end": ([chunk(0, 0)], [0], "ended without"),
    "nothing at all": ([], [], "ended without"),
}


@pytest.mark.parametrize(("chunks", "values", "text"), STREAMS.values(), ids=STREAMS)
async def test_a_stream_that_is_none_ends_with_one_clear_error_after_what_was_right(
    crew: Crew, raw: RawWorker, chunks: list[bytes], values: list[int], text: str
) -> None:
    call = await begin_stream(crew, raw)
    ends = Envelope(id=call.id, end=LinkStatus())
    await raw.send(*[Envelope(id=call.id, chunk=data) for data in chunks], ends)
    error = await call.error()
    assert error.error_type == "ProtocolError"
    assert text in str(error)
    assert call.values == values
    again = await begin_call(crew, raw)
    await raw.send(Envelope(id=again.id, reply=result("well")))
    assert await again.answer() == "well"


async def test_what_comes_after_the_end_of_a_stream_is_dropped(crew: Crew, raw: RawWorker) -> None:
    call = await begin_stream(crew, raw)
    sent = [chunk(0, 0), complete(1), chunk(2, 2), complete(3)]
    await raw.send(*[Envelope(id=call.id, chunk=data) for data in sent], Envelope(id=call.id, end=LinkStatus()))
    await call.answer()
    assert call.values == [0]


async def test_a_flood_within_the_credit_takes_fixed_memory_however_slow_its_reader(crew: Crew, raw: RawWorker) -> None:
    size, count = MIB // 4, 64
    sent = 0
    stream = crew.bridge.client.tool("stream").with_options(timeout=60.0).stream()
    first = asyncio.create_task(anext(stream))
    number = (await raw.called()).id

    async def flood() -> None:
        nonlocal sent
        credit = INITIAL_CREDIT
        for sequence in range(count + 1):
            while credit <= 0:
                credit += (await raw.receive()).credit
            data = chunk(sequence, bytes(size)) if sequence < count else complete(count)
            credit -= len(data)
            await raw.send(Envelope(id=number, chunk=data))
            sent = sequence
        await raw.send(Envelope(id=number, end=LinkStatus()))

    flooding = asyncio.create_task(flood())
    assert len(await soon(first)) == size
    for turn in range(100):
        # While nobody reads on, the flood goes as far as it can.
        assert await soon(crew.call("echo", turn)) == turn
    # The windows of both links, and a message more than fits in each place that it goes through.
    assert sent <= 2 * INITIAL_CREDIT // size + 8 < count
    assert [len(value) async for value in stream] == [size] * (count - 1)
    await soon(flooding)


@pytest.mark.parametrize("kind", ["progress", "log"])
async def test_a_flood_of_events_takes_fixed_memory_and_no_place_of_other_calls(
    crew: Crew, raw: RawWorker, kind: str
) -> None:
    text = "x" * 1_000
    event = LinkEvent(progress=Progress(message=text)) if kind == "progress" else LinkEvent(log=LogRecord(message=text))
    told: list[Any] = []
    tool = crew.bridge.client.tool("stream").with_options(on_progress=told.append, on_log=told.append)
    stream = tool.stream()
    first = asyncio.create_task(anext(stream))
    number = (await raw.called()).id
    await raw.send(Envelope(id=number, chunk=chunk(0, "first")))
    assert await soon(first) == "first"
    for turn in range(20):
        # Nobody reads on: each frame is 500 events of a kilobyte.
        await raw.send(*[Envelope(id=number, event=event)] * 500)
        assert await soon(crew.call("echo", turn)) == turn
    assert crew.hub.memory.used < 64 * MIB
    await raw.send(Envelope(id=number, chunk=complete(1)), Envelope(id=number, end=LinkStatus()))
    assert [value async for value in stream] == []
    assert len(told) <= 10_000


async def test_events_of_calls_that_are_over_end_the_link_of_whoever_sends_them(crew: Crew, raw: RawWorker) -> None:
    call = await begin_call(crew, raw)
    await raw.send(Envelope(id=call.id, reply=result("done")))
    assert await call.answer() == "done"
    await raw.send(Envelope(id=call.id, event=LinkEvent(progress=Progress(message="late"))))
    await assert_ended(raw, f"event came for the call {call.id}, which was answered before")


async def test_a_capacity_that_changes_counts_from_then_on(crew: Crew, raw: RawWorker) -> None:
    assert (await raw.register(spec("unary"), worker_id="raw", capacity=1)).success
    first = await begin_call(crew, raw)
    second, third = (Calling(crew, raw, crew.call("unary")) for _ in range(2))
    assert (await raw.register(spec("unary"), worker_id="raw", capacity=2)).success
    await second.begun()
    # Two are open, which is more than one.
    assert (await raw.register(spec("unary"), worker_id="raw", capacity=1)).success
    await raw.send(Envelope(id=first.id, reply=result("first")))
    assert await first.answer() == "first"
    assert crew.known("raw").active == 1
    await raw.send(Envelope(id=second.id, reply=result("second")))
    await raw.send(Envelope(id=await third.begun(), reply=result("third")))
    assert [await second.answer(), await third.answer()] == ["second", "third"]


async def test_a_call_that_is_never_answered_ends_by_its_deadline_and_counts_until_the_worker_ends_it(
    crew: Crew, raw: RawWorker
) -> None:
    assert (await raw.register(spec("unary"), worker_id="raw", capacity=1)).success
    call = Calling(crew, raw, crew.call("unary", timeout=0.2))
    number = await call.begun()
    assert (await call.error()).error_type == "TimeoutError"
    assert (await raw.receive()).WhichOneof("kind") == "cancel"
    assert crew.known("raw").active == 1
    # Its only place is taken still.
    with pytest.raises(ToolExecutionError) as caught:
        await soon(crew.call("unary", timeout=0.1))
    assert caught.value.error_type == "TimeoutError"
    waiting = Calling(crew, raw, crew.call("unary"))
    await raw.send(Envelope(id=number, end=LinkStatus(code=grpc.StatusCode.CANCELLED.value[0])))
    await raw.send(Envelope(id=await waiting.begun(), reply=result("at last")))
    assert await waiting.answer() == "at last"


@pytest.mark.parametrize(
    ("status", "kind", "text"),
    [
        (LinkStatus(code=14, message="not now"), "WorkerUnavailable", "not now"),
        (LinkStatus(code=8, message="too much"), "ResourceExhausted", "too much"),
        (LinkStatus(code=99, message="x" * 9), "ProtocolError", "status 99"),
        (LinkStatus(code=13, error=ErrorInfo(type="Strange", message="odd")), "Strange", "odd"),
    ],
)
async def test_a_call_that_a_worker_refuses_has_its_reason(
    crew: Crew, raw: RawWorker, status: LinkStatus, kind: str, text: str
) -> None:
    call = await begin_call(crew, raw)
    await raw.send(Envelope(id=call.id, end=status))
    error = await call.error()
    assert error.error_type == kind
    assert text in str(error)


# ------------------------------------------------------------------------------------------ what is registered


async def test_ten_thousand_tools_can_be_had_from_one_worker_and_go_with_it(crew: Crew) -> None:
    async with GRPCToolBridge(crew.server.address) as other:
        await other.initialize()
        async with RawWorker(crew.server.address) as raw:
            names = [f"tool_{n}" for n in range(MAX_WORKER_TOOLS)]
            response = await raw.register(*map(spec, names), worker_id="raw")
            assert response.success
            assert len(response.tool_ids) == MAX_WORKER_TOOLS
            await until(lambda: names[-1] in other.tools, "for the tools to be told")
            call = await begin_call(crew, raw, names[-1])
            await raw.send(Envelope(id=call.id, reply=result("one of many")))
            assert await call.answer() == "one of many"

            refused = await raw.register(spec("one_more"), worker_id="raw")
            assert refused.error.type == "ResourceExhausted"
            assert "10,000" in refused.error.message
        await until(lambda: set(other.tools) == {"echo", "repeatable", "enter"}, "for the tools to go")


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "an empty name": ({"tools": [spec("")]}, "ValidationError", "1 to 128 letters"),
    "a name with a blank": ({"tools": [spec("two words")]}, "ValidationError", "1 to 128 letters"),
    "a long name": ({"tools": [spec("x" * 5_000)]}, "ValidationError", "1 to 128 letters"),
    "an id of other characters": ({"tools": [spec("fine", tool_id="ö")]}, "ValidationError", "1 to 128 letters"),
    "the same name twice": ({"tools": [spec("twice"), spec("twice")]}, "AlreadyExists", "twice"),
    "a name of the hub's own": ({"tools": [spec("enter")]}, "AlreadyExists", "a tool of the hub itself"),
    "a name of others, with another schema": (
        {"tools": [spec("echo", input_schema="{}")]},
        "AlreadyExists",
        "with another schema or version",
    ),
    "a good one and a bad one": ({"tools": [spec("fine"), spec("")]}, "ValidationError", "1 to 128 letters"),
    "a worker id of two lines": ({"worker_id": "a\nb"}, "ValidationError", "worker id"),
    "a long worker id": ({"worker_id": "x" * 300}, "ValidationError", "worker_id has at most 256"),
    "a negative capacity": ({"capacity": -1}, "ValidationError", "capacity must be 0 (the default) or more, not -1"),
    "a session that nobody knows": ({"session_id": "nobody's"}, "SessionNotFound", "nobody's"),
    "negative limits": ({"tools": [spec("fine", limits={"timeout_ms": -1})]}, "ValidationError", "limits must be 0"),
}


@pytest.mark.parametrize(("request_fields", "kind", "text"), REFUSED.values(), ids=REFUSED)
async def test_what_cannot_be_registered_is_refused_whole_and_the_link_lives_on(
    crew: Crew, request_fields: dict[str, Any], kind: str, text: str
) -> None:
    before = {item.spec.name for item in crew.hub.registry.visible(None)}
    async with RawWorker(crew.server.address) as raw:
        await raw.request("RegisterTools", RegisterToolsRequest(**request_fields))
        response = RegisterToolsResponse.FromString(await raw.answer())
        assert not response.success
        assert response.error.type == kind
        assert text in response.error.message
        assert {item.spec.name for item in crew.hub.registry.visible(None)} == before
        assert crew.workers() == ["healthy"]
        assert (await raw.register(spec("good"))).success


async def test_a_worker_that_changes_a_tool_of_its_own_replaces_it_and_leaves_nothing_of_it(
    crew: Crew, raw: RawWorker
) -> None:
    assert (await raw.register(spec("changing"), worker_id="raw", capacity=1)).success
    running = await begin_call(crew, raw, "changing")
    waiting = asyncio.create_task(crew.call("changing"))
    await until(lambda: crew.hub.workers.dispatcher.has_waiting)
    for change in range(5):
        assert (await raw.register(spec("changing", description=f"{change}"), worker_id="raw")).success
    # It was checked by the old one's rules.
    with pytest.raises(ToolExecutionError) as caught:
        await soon(waiting)
    assert caught.value.error_type == "WorkerUnavailable"
    await raw.send(Envelope(id=running.id, reply=result("the old one")))
    assert await running.answer() == "the old one"
    assert [item.spec.description for item in crew.known("raw").tools if item.name == "changing"] == ["4"]
    call = await begin_call(crew, raw, "changing")
    await raw.send(Envelope(id=call.id, reply=result("the new one")))
    assert await call.answer() == "the new one"


async def test_of_two_links_with_one_worker_id_the_later_one_stands(crew: Crew, raw: RawWorker) -> None:
    lost = await begin_call(crew, raw)
    async with RawWorker(crew.server.address) as other:
        assert (await other.register(spec("unary"), worker_id="raw")).success
        assert (await lost.error()).error_type == "WorkerUnavailable"
        assert (await raw.ended())[0] is grpc.StatusCode.OK
        call = await begin_call(crew, other)
        await other.send(Envelope(id=call.id, reply=result("the other")))
        assert await call.answer() == "the other"
        assert crew.workers() == ["healthy", "raw"]


async def test_a_link_is_one_worker(crew: Crew, raw: RawWorker) -> None:
    response = await raw.register(spec("unary"), worker_id="another")
    assert response.error.type == "ValidationError"
    assert crew.workers() == ["healthy", "raw"]


async def test_no_worker_takes_back_the_tools_of_another(crew: Crew, raw: RawWorker) -> None:
    await raw.request("UnregisterTools", UnregisterToolsRequest(tool_ids=["echo"], worker_id="healthy"))
    response = StatusResponse.FromString(await raw.answer())
    assert response.error.type == "ToolNotFound"


async def test_a_worker_takes_no_more_calls_at_once_than_a_link_carries(crew: Crew, raw: RawWorker) -> None:
    assert (await raw.register(spec("unary"), worker_id="raw", capacity=2**31 - 1)).success
    assert crew.known("raw").capacity == crew.hub.settings.max_link_calls


async def test_tools_are_registered_over_links_only(crew: Crew) -> None:
    async with grpc.aio.insecure_channel(crew.server.address) as channel:
        call = channel.unary_unary(
            METHODS["RegisterTools"].path,
            request_serializer=RegisterToolsRequest.SerializeToString,
            response_deserializer=RegisterToolsResponse.FromString,
        )
        response = await soon(call(RegisterToolsRequest(tools=[spec("plain")], worker_id="plain")))
    assert not response.success
    assert response.error.type == "ValidationError"
    assert "RegisterTools works over a link" in response.error.message


# ------------------------------------------------------------------------------------------- what it calls itself

ORIGINS = ["0", "2", "-2", "two", "", "9" * 5_000, "٢"]


@pytest.mark.parametrize("method", ["ExecuteTool", "StreamTool"])
@pytest.mark.parametrize("origin", ORIGINS, ids=[f"{origin[:9]!a}" for origin in ORIGINS])
async def test_a_call_for_a_call_that_is_not_there_is_refused_and_the_link_lives_on(
    crew: Crew, origin: str, method: str
) -> None:
    kinds: dict[str, Callable[..., Any]] = {"ExecuteTool": ToolCallRequest, "StreamTool": ToolStreamRequest}
    request = kinds[method](session_id=crew.session_id, tool_id="echo", args=[serialize_value(1)])
    async with RawLink(crew.server.address) as link:
        await link.call(1, method, request, metadata={ORIGIN_KEY: origin})
        end = (await link.receive()).end
        assert end.code == grpc.StatusCode.CANCELLED.value[0]
        assert "is over" in end.message
        await link.call(3, "ExecuteTool", ToolCallRequest(session_id=crew.session_id, tool_id="echo"))
        assert (await link.receive()).WhichOneof("kind") == "reply"


async def test_a_tool_calls_nothing_more_for_a_call_that_it_has_answered(crew: Crew, raw: RawWorker) -> None:
    call = await begin_call(crew, raw)
    await raw.send(Envelope(id=call.id, reply=result("done")))
    assert await call.answer() == "done"
    request = ToolCallRequest(session_id=crew.session_id, tool_id="echo", args=[serialize_value(1)])
    await raw.call(101, "ExecuteTool", request, metadata={ORIGIN_KEY: str(call.id)})
    assert "is over" in (await raw.receive()).end.message
