"""Peers that answer what nobody asked, or ask what they may not: whom it concerns is told, all others live on."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import pytest

from failure_modes.links import Connect, RawLink
from failure_modes.workers import Crew, MakeCrew, RawWorker, spec
from grpc_tool_bridge import (
    BridgeServer,
    GRPCToolBridge,
    Question,
    Settings,
    ToolCommunicationError,
    ToolContext,
    ToolExecutionError,
    ToolWorker,
    serialize_value,
)
from grpc_tool_bridge.link import connection
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    Answer,
    Ask,
    Envelope,
    LinkEvent,
    LinkHello,
    LogRecord,
    ToolCallRequest,
    ToolCallResponse,
)
from grpc_tool_bridge.rpc.asks import ASKS_KEY, MAX_OPEN_ASKS
from grpc_tool_bridge.tools.questions import Answer as Answered
from integration.ask_tools import ask, confirm
from support.waiting import soon, until


async def forever() -> None:
    await asyncio.Event().wait()


def request(tool: str, *args: Any) -> ToolCallRequest:
    return ToolCallRequest(session_id="other", tool_id=tool, args=[serialize_value(arg) for arg in args])


def answer(call_id: int, ask_id: str, action: str = "accept", **content: Any) -> Envelope:
    made = Answer(id=ask_id, action=action)
    made.content.update(content)
    return Envelope(id=call_id, event=LinkEvent(answer=made))


@pytest.fixture(params=["hub", "worker"])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[BridgeServer]:
    """A hub whose tools are its own or a worker's, with another link; whatever the test did, both work on."""
    tools = [ask, confirm, forever]
    async with BridgeServer(tools=tools if request.param == "hub" else [], settings=Settings(shutdown_grace=0)) as hub:
        worker = ToolWorker(hub.address, tools=tools)
        if request.param == "worker":
            await worker.start()
        async with GRPCToolBridge(hub.address, on_ask=lambda _: True) as other:
            await other.initialize("other")
            yield hub
            assert await soon(other.tools["confirm"]("alive?")) is True
            assert other.client.is_linked
        await worker.close()
        await until(lambda: not len(hub._server._links))
        assert not hub.hub.admission.active


@pytest.fixture
async def link(server: BridgeServer) -> AsyncIterator[RawLink]:
    """A client that says that it can answer."""
    async with RawLink(server.address, greet=False) as raw:
        await raw.send(Envelope(hello=LinkHello(protocol=1, peer="raw", features=["ask"])))
        yield raw


async def begin(link: RawLink, tool: str, *args: Any, call_id: int = 1) -> Ask:
    """Calls a tool, and returns what it asks."""
    await link.call(call_id, "ExecuteTool", request(tool, *args))
    envelope = await link.receive()
    assert envelope.id == call_id
    return envelope.event.ask


async def response(link: RawLink) -> ToolCallResponse:
    return ToolCallResponse.FromString((await link.receive()).reply)


async def test_a_question_comes_as_the_tool_asks_it(link: RawLink) -> None:
    question = await begin(link, "ask", "How many?")
    assert question.message == "How many?"
    assert '"count"' in question.schema
    await link.send(answer(1, question.id, count=2))
    assert (await response(link)).success


@pytest.mark.parametrize(
    ("action", "content", "text"),
    [
        ("accept", {}, "'count' is missing"),
        ("accept", {"count": 1.5}, "'count' is 1.5, not an integer"),
        ("accept", {"count": None}, "'count' is None, not an integer"),
        ("accept", {"count": [1]}, "'count' is [1.0], not an integer"),
        ("accept", {"count": float("nan")}, "'count' is nan, not an integer"),
        ("accept", {"count": 1, "more": {"a": 1}}, "'more' is not asked for"),
        ("accept", {str(number): 1 for number in range(1_000)}, "'0' is not asked for; '1' is not"),
        ("accept", {"count": 1, "name": "x" * 100_000}, "bytes; the limit is 65,536"),
        ("agree", {"count": 1}, "the answer's action must be 'accept', 'decline' or 'cancel', not 'agree'"),
        ("", {}, "the answer's action must be 'accept', 'decline' or 'cancel', not ''"),
    ],
)
async def test_an_answer_that_does_not_fit_is_an_error_in_the_tool(
    link: RawLink, action: str, content: dict[str, Any], text: str
) -> None:
    question = await begin(link, "ask")
    made = answer(1, question.id, action)
    made.event.answer.content.update(content)
    await link.send(made)
    error = (await response(link)).error
    assert error.type == "ValidationError"
    # The order of a Struct is nobody's.
    assert text in error.message or "is not asked for; " in error.message


async def test_a_value_of_no_kind_is_an_error_in_the_tool(link: RawLink) -> None:
    question = await begin(link, "ask")
    made = answer(1, question.id)
    made.event.answer.content.fields["count"].SetInParent()
    await link.send(made)
    assert "'count' is None, not an integer" in (await response(link)).error.message


async def test_content_that_was_not_asked_for_is_an_error_in_the_tool(link: RawLink) -> None:
    question = await begin(link, "confirm", "Sure?")
    await link.send(answer(1, question.id, more=1))
    assert "'more' is not asked for" in (await response(link)).error.message


async def test_content_of_a_refusal_is_dropped(link: RawLink) -> None:
    question = await begin(link, "ask")
    await link.send(answer(1, question.id, "decline", count=[1, 2]))
    assert (await response(link)).success


async def test_answers_that_nobody_waits_for_are_dropped(link: RawLink) -> None:
    question = await begin(link, "confirm", "Sure?")
    await link.call(3, "ExecuteTool", request("forever"))
    flood = [answer(call_id, ask_id, x="y" * 100) for call_id in (1, 3) for ask_id in ("", "no", "99", question.id * 9)]
    for _ in range(50):
        await link.send(*flood * 10)
    await link.send(answer(1, question.id), answer(1, question.id), answer(1, question.id, "agree"))
    assert (await response(link)).success
    # The call is over.
    await link.send(answer(1, question.id), answer(1, "x"), Envelope(ping=7))
    assert (await link.receive()).pong == 7


async def test_a_client_that_did_not_say_that_it_can_answer_is_not_asked(server: BridgeServer) -> None:
    async with RawLink(server.address) as link:
        await link.call(1, "ExecuteTool", request("confirm", "?"), metadata={ASKS_KEY: "true"})
        error = (await response(link)).error
        assert error.type == "Unimplemented"
        await link.send(answer(1, "1"), Envelope(ping=7))
        assert (await link.receive()).pong == 7


@pytest.mark.parametrize(
    ("envelope", "text"),
    [
        (answer(9, "1"), "a answer came for the call 9, which the peer never made"),
        (answer(2, "1"), "a answer came for the call 2"),
        (answer(0, "1"), "a answer came for the call 0"),
        (Envelope(id=1, event=LinkEvent(ask=Ask(id="1"))), "a event came for the call 1, which was never made"),
        (Envelope(id=1, event=LinkEvent(log=LogRecord())), "a event came for the call 1, which was never made"),
    ],
)
async def test_an_event_that_its_side_may_not_send_ends_the_link(
    link: RawLink, envelope: Envelope, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    await begin(link, "confirm", "Sure?")
    await link.send(envelope)
    code, details = await link.ended()
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert text in details
    assert not [record for record in caplog.records if record.levelno > logging.WARNING]


async def test_a_struct_that_is_none_ends_the_link(link: RawLink) -> None:
    await begin(link, "confirm", "Sure?")
    # An event of the call 1 with an answer, whose content has a field that is cut off.
    inner = b"\x1a\x03" + b"\x0a\x05x"
    event = b"\x22" + bytes([len(inner)]) + inner
    envelope = b"\x08\x01\x6a" + bytes([len(event)]) + event
    await link.write(b"\x0a" + bytes([len(envelope)]) + envelope)
    code, details = await link.ended()
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "cannot be read" in details


async def test_a_client_that_leaves_cancels_what_asks_it(server: BridgeServer, link: RawLink) -> None:
    await begin(link, "confirm", "Sure?")
    await link.rpc.done_writing()
    await link.ended()
    await until(lambda: not server.hub.admission.active)


# --------------------------------------------------------------------------------------------- links that are lost


async def test_a_lost_link_ends_the_call_and_its_on_ask_and_the_next_call_is_answered(over_link: Connect) -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def on_ask(question: Question) -> bool:
        if question.message == "first":
            began.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()
        return True

    world = await over_link(confirm, options={"on_ask": on_ask})
    call = asyncio.create_task(world.bridge.tools["confirm"]("first"))
    await soon(began.wait())
    await world.lost()
    with pytest.raises(ToolCommunicationError) as caught:
        await soon(call)
    assert caught.value.code_name == "UNAVAILABLE"
    await soon(ended.wait())
    world.proxy.restore()
    assert await soon(world.bridge.tools["confirm"]("second")) is True
    await world.quiet()


async def test_a_peer_that_does_not_read_is_asked_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask_twice(ctx: ToolContext) -> str:
        # Both ask before the link sends.
        monkeypatch.setattr(connection, "MAX_ASK_BACKLOG", 0)
        first, second = await asyncio.gather(ctx.ask("x"), ctx.ask("y"), return_exceptions=True)
        assert isinstance(first, Answered)
        return type(second).__name__

    async with (
        BridgeServer(tools=[ask_twice]) as server,
        GRPCToolBridge(server.address, on_ask=lambda _: True) as bridge,
    ):
        await bridge.initialize()
        assert await soon(bridge.tools["ask_twice"]()) == "ResourceExhaustedError"


# ------------------------------------------------------------------------------------------------- hostile workers


@pytest.fixture
async def crew(make_crew: MakeCrew) -> AsyncIterator[Crew]:
    """A hub, and a worker as it should be."""
    crew = await make_crew(worker_ping_interval=60, worker_suspect_after=60, worker_grace_period=0)
    await crew.worker(confirm, worker_id="healthy")
    yield crew
    await until(lambda: crew.workers() == ["healthy"])
    await crew.quiet()


@pytest.fixture
async def raw(crew: Crew) -> AsyncIterator[RawWorker]:
    """A worker that does as the test says."""
    async with RawWorker(crew.server.address) as worker:
        registered = await worker.register(spec("unary"), worker_id="raw")
        assert registered.success, registered
        yield worker


def question(call_id: int, ask_id: str = "1", **fields: Any) -> Envelope:
    return Envelope(id=call_id, event=LinkEvent(ask=Ask(id=ask_id, **fields)))


async def test_a_worker_that_asks_whoever_cannot_answer_loses_its_link(crew: Crew, raw: RawWorker) -> None:
    call = asyncio.create_task(crew.call("unary"))
    called = await raw.called()
    assert ASKS_KEY not in called.call.metadata
    await raw.send(question(called.id))
    code, details = await raw.ended()
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "whose caller cannot answer" in details
    with pytest.raises(ToolExecutionError):
        await soon(call)


async def test_a_worker_that_answers_what_it_was_not_asked_loses_its_link(crew: Crew, raw: RawWorker) -> None:
    call = asyncio.create_task(crew.call("unary"))
    called = await raw.called()
    await raw.send(answer(called.id, "1"))
    _, details = await raw.ended()
    assert f"a answer came for the call {called.id}" in details
    with pytest.raises(ToolExecutionError):
        await soon(call)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"message": "x" * 5_000}, "the message of a question has 5,000 characters; the limit is 4,096"),
        ({"schema": "x" * 20_000}, "the schema of a question has 20,000 characters; the limit is 16,384"),
        ({"ask_id": "x" * 100}, "the id of a question has 100 characters; the limit is 64"),
    ],
)
async def test_a_question_over_its_bounds_ends_its_call_alone(
    crew: Crew, raw: RawWorker, fields: dict[str, Any], text: str
) -> None:
    async with GRPCToolBridge(crew.server.address, on_ask=lambda _: True) as bridge:
        await bridge.initialize()
        call = asyncio.create_task(bridge.client.call_tool("unary"))
        called = await raw.called()
        assert ASKS_KEY in called.call.metadata
        await raw.send(question(called.id, **fields))
        with pytest.raises(ToolExecutionError) as caught:
            await soon(call)
        assert text in caught.value.message
        assert (await raw.receive()).WhichOneof("kind") == "cancel"


async def test_a_question_by_a_schema_that_is_none_fails_at_the_client(crew: Crew, raw: RawWorker) -> None:
    async with GRPCToolBridge(crew.server.address, on_ask=lambda _: True) as bridge:
        await bridge.initialize()
        call = asyncio.create_task(bridge.client.call_tool("unary"))
        called = await raw.called()
        await raw.send(question(called.id, message="?", schema="[" * 10_000))
        with pytest.raises(
            Exception, match="the hub asked an invalid question: the schema of the question is not valid JSON"
        ):
            await soon(call)


async def test_a_flood_of_questions_is_cancelled_beyond_what_a_call_may_have_open(crew: Crew, raw: RawWorker) -> None:
    asked: list[Question] = []

    async def on_ask(given: Question) -> None:
        asked.append(given)
        await asyncio.Event().wait()

    async with GRPCToolBridge(crew.server.address, on_ask=on_ask) as bridge:
        await bridge.initialize()
        call = asyncio.create_task(bridge.client.call_tool("unary"))
        called = await raw.called()
        await raw.send(*[question(called.id, str(number), message="?") for number in range(MAX_OPEN_ASKS + 50)])
        answers = [(await raw.receive()).event.answer for _ in range(50)]
        assert {each.action for each in answers} == {"cancel"}
        await until(lambda: len(asked) == MAX_OPEN_ASKS)
        call.cancel()
        assert (await raw.receive()).WhichOneof("kind") == "cancel"
