"""A run as the client reads it: what a hub must not send, and what a lost connection does."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from grpc_tool_bridge.client import agents as agent_runs
from grpc_tool_bridge.client.client import ToolBridgeClient
from grpc_tool_bridge.errors import MessageTooLargeError, ProtocolError, ToolCommunicationError, ValidationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    AgentExecutionChunk,
    CancelAgentRunRequest,
    CreateReActAgentResponse,
    ExecuteAgentRequest,
    ResultChunk,
    StatusResponse,
    ThoughtChunk,
)
from grpc_tool_bridge.transport.status import rpc_error

UNAVAILABLE = rpc_error(grpc.StatusCode.UNAVAILABLE, "the link was lost")


class FakeStub:
    """Answers each ExecuteAgent with the next of the streams; an error in one is raised."""

    def __init__(self, *streams: list[Any]) -> None:
        self._streams = iter(streams)
        self.requests: list[ExecuteAgentRequest] = []
        self.created: list[Any] = []
        self.cancelled: list[str] = []
        self.refusal: BaseException | None = None

    def ExecuteAgent(self, request: ExecuteAgentRequest) -> AsyncIterator[Any]:
        copy = ExecuteAgentRequest()
        copy.CopyFrom(request)
        self.requests.append(copy)
        return self._chunks(next(self._streams))

    async def _chunks(self, items: list[Any]) -> AsyncIterator[Any]:
        for item in items:
            if isinstance(item, BaseException):
                raise item
            yield item

    async def CancelAgentRun(self, request: CancelAgentRunRequest) -> StatusResponse:
        self.cancelled.append(request.run_id)
        if self.refusal is not None:
            raise self.refusal
        return StatusResponse(success=True)

    async def CreateReActAgent(self, request: Any) -> CreateReActAgentResponse:
        self.created.append(request)
        return CreateReActAgentResponse(agent_id="a")


def client_of(stub: FakeStub) -> ToolBridgeClient:
    client = ToolBridgeClient("127.0.0.1:1")
    client.stub = stub
    client.session_id = "s"
    return client


async def run(stub: FakeStub, **asked: Any) -> list[dict[str, Any]]:
    request = {"agent_id": "a", "input": {"q": 1}, **asked}
    return [chunk async for chunk in client_of(stub).execute_agent_streaming(request)]


def thought(sequence: int) -> AgentExecutionChunk:
    return AgentExecutionChunk(sequence=sequence, thought=ThoughtChunk(text="hm"))


def result(sequence: int) -> AgentExecutionChunk:
    return AgentExecutionChunk(sequence=sequence, result=ResultChunk(stop_reason="finished"))


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_runs, "back_off", lambda: iter([0.0] * 100))


async def test_a_lost_stream_goes_on_with_the_same_run_after_the_last_chunk_that_was_seen() -> None:
    stub = FakeStub([UNAVAILABLE], [thought(0), thought(1), UNAVAILABLE], [UNAVAILABLE], [thought(1), result(2)])
    chunks = await run(stub, timeout=5)
    assert [chunk["sequence"] for chunk in chunks] == [0, 1, 2]
    assert [request.from_sequence for request in stub.requests] == [0, 0, 2, 2]
    # One that was lost before the hub had the run leaves it to the next to begin it, with its time.
    assert [request.timeout_ms for request in stub.requests] == [5_000, 5_000, 0, 0]
    assert len({request.run_id for request in stub.requests}) == 1


async def test_without_a_connection_for_long_enough_the_loss_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_runs, "CALL_TIMEOUT", -1.0)
    with pytest.raises(ToolCommunicationError, match="the link was lost"):
        await run(FakeStub([UNAVAILABLE], [UNAVAILABLE]))


async def test_a_chunk_that_comes_gives_the_connection_its_whole_time_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_runs, "CALL_TIMEOUT", -1.0)
    stub = FakeStub([UNAVAILABLE], [thought(0), UNAVAILABLE], [thought(1), UNAVAILABLE], [result(2)])
    assert [chunk["sequence"] for chunk in await run(stub)] == [0, 1, 2]


async def test_a_stream_that_ends_with_its_bridge_is_said_to() -> None:
    with pytest.raises(ToolCommunicationError, match="the bridge was closed"):
        await run(FakeStub([thought(0), asyncio.CancelledError()]))


@pytest.mark.parametrize("refusal", [None, UNAVAILABLE], ids=["taken", "refused"])
async def test_who_stops_reading_cancels_the_run_unless_it_is_over(refusal: BaseException | None) -> None:
    for chunks, cancelled in (([thought(0), result(1)], 1), ([result(0)], 0)):
        stub = FakeStub(chunks)
        stub.refusal = refusal
        reading = client_of(stub).execute_agent_streaming({"agent_id": "a", "input": {}, "run_id": "mine"})
        await anext(reading)
        await reading.aclose()
        assert stub.cancelled == ["mine"] * cancelled


async def test_the_least_time_that_a_run_can_be_given_is_a_millisecond() -> None:
    stub = FakeStub([result(0)])
    await run(stub, timeout=0.0001)
    assert stub.requests[0].timeout_ms == 1


async def test_an_input_beyond_what_a_message_may_hold_is_not_sent() -> None:
    stub = FakeStub()
    with pytest.raises(MessageTooLargeError, match="the input of an agent"):
        await run(stub, input={"q": "x" * 11_000_000})
    assert stub.requests == []


async def test_what_the_hub_refuses_is_not_asked_again() -> None:
    stub = FakeStub([rpc_error(grpc.StatusCode.INTERNAL, "no")])
    with pytest.raises(ToolCommunicationError, match="INTERNAL"):
        await run(stub)
    assert len(stub.requests) == 1


@pytest.mark.parametrize(
    ("chunks", "text"),
    [
        ([thought(1)], "has a gap: chunk 1 came where 0 was due"),
        ([thought(0)], "ended without a result"),
        ([AgentExecutionChunk()], "is empty"),
        (["chunk"], "a chunk of the run"),
    ],
)
async def test_what_a_hub_must_not_send_is_a_protocol_error(chunks: list[Any], text: str) -> None:
    stub = FakeStub(chunks)
    with pytest.raises(ProtocolError, match=text):
        await run(stub, run_id="mine")
    # What is read no further need not go on.
    assert stub.cancelled == ["mine"]


async def test_an_agent_is_asked_for_as_it_is_given() -> None:
    stub = FakeStub()
    agent_id = await client_of(stub).create_react_agent(
        "q -> a", ["one"], 2, {"model": "openai/m", "temperature": 0.5}, return_intermediate_steps=True
    )
    (request,) = stub.created
    assert (agent_id, request.signature, list(request.tool_names), request.max_iters) == ("a", "q -> a", ["one"], 2)
    assert set(request.config.llm_config) == {"model", "temperature"}
    assert request.config.return_intermediate_steps


async def test_who_only_looks_on_leaves_the_run_alone() -> None:
    stub = FakeStub([thought(0), result(1)])
    looking_on = client_of(stub).execute_agent_streaming({"run_id": "mine"})
    await anext(looking_on)
    await looking_on.aclose()
    assert stub.cancelled == []


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"signature": 5}, "signature is 5; it is a text"),
        ({"max_iters": "3"}, "max_iters is '3'; it is a whole number"),
        ({"max_iters": True}, "max_iters is True; it is a whole number"),
        ({"llm_config": "x"}, "llm_config is 'x'; it is a dict"),
        ({"verbose": "yes"}, "verbose is 'yes'; it is True or False"),
    ],
)
async def test_what_an_agent_cannot_be_made_with_is_refused_by_name(given: dict[str, Any], text: str) -> None:
    stub = FakeStub()
    with pytest.raises(ValidationError, match=text):
        await client_of(stub).create_react_agent(**{"signature": "q -> a", **given})
    assert stub.created == []


@pytest.mark.parametrize(
    ("tool_names", "max_iters", "text"), [("one", 5, "list of names"), ([], 5, "is empty"), (None, 0, "max_iters is 0")]
)
async def test_an_agent_that_cannot_be_is_refused_here(tool_names: Any, max_iters: int, text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        await client_of(FakeStub()).create_react_agent("q -> a", tool_names, max_iters)
