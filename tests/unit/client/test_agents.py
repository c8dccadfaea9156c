"""A run as the client reads it: what a hub must not send, and what a lost connection does."""

import asyncio
from typing import Any

import grpc
import pytest

from grpc_tool_bridge import ToolBridgeClient
from grpc_tool_bridge.client import resume
from grpc_tool_bridge.errors import MessageTooLargeError, ProtocolError, ToolCommunicationError, ValidationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    AgentExecutionChunk,
    CreateReActAgentResponse,
    ResultChunk,
    StatusResponse,
    ThoughtChunk,
)
from grpc_tool_bridge.transport.status import rpc_error
from unit.client.fakes import FakeTransport, Streams

UNAVAILABLE = rpc_error(grpc.StatusCode.UNAVAILABLE, "the link was lost")


def hub(*streams: list[Any], refusal: BaseException | None = None) -> FakeTransport:
    """A hub whose ExecuteAgent gives the next of the streams each time."""
    return FakeTransport(
        ExecuteAgent=Streams(*streams),
        CancelAgentRun=refusal or StatusResponse(success=True),
        CreateReActAgent=CreateReActAgentResponse(agent_id="a"),
    )


def cancelled(transport: FakeTransport) -> list[str]:
    return [request.run_id for request in transport.requests["CancelAgentRun"]]


def client_of(transport: FakeTransport) -> ToolBridgeClient:
    client = ToolBridgeClient(transport)
    client.session_id = "s"
    return client


async def run(transport: FakeTransport, **asked: Any) -> list[dict[str, Any]]:
    request = {"agent_id": "a", "input": {"q": 1}, **asked}
    return [chunk async for chunk in client_of(transport).execute_agent_streaming(request)]


def thought(sequence: int) -> AgentExecutionChunk:
    return AgentExecutionChunk(sequence=sequence, thought=ThoughtChunk(text="hm"))


def result(sequence: int) -> AgentExecutionChunk:
    return AgentExecutionChunk(sequence=sequence, result=ResultChunk(stop_reason="finished"))


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume, "back_off", lambda: iter([0.0] * 100))


async def test_a_lost_stream_goes_on_with_the_same_run_after_the_last_chunk_that_was_seen() -> None:
    transport = hub([UNAVAILABLE], [thought(0), thought(1), UNAVAILABLE], [UNAVAILABLE], [thought(1), result(2)])
    chunks = await run(transport, timeout=5)
    assert [chunk["sequence"] for chunk in chunks] == [0, 1, 2]
    assert [request.from_sequence for request in transport.requests["ExecuteAgent"]] == [0, 0, 2, 2]
    # One that was lost before the hub had the run leaves it to the next to begin it, with its time.
    assert [request.timeout_ms for request in transport.requests["ExecuteAgent"]] == [5_000, 5_000, 0, 0]
    assert len({request.run_id for request in transport.requests["ExecuteAgent"]}) == 1


async def test_without_a_connection_for_long_enough_the_loss_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume, "CALL_TIMEOUT", -1.0)
    with pytest.raises(ToolCommunicationError, match="the link was lost"):
        await run(hub([UNAVAILABLE], [UNAVAILABLE]))


async def test_a_chunk_that_comes_gives_the_connection_its_whole_time_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume, "CALL_TIMEOUT", -1.0)
    transport = hub([UNAVAILABLE], [thought(0), UNAVAILABLE], [thought(1), UNAVAILABLE], [result(2)])
    assert [chunk["sequence"] for chunk in await run(transport)] == [0, 1, 2]


async def test_a_stream_that_ends_with_its_bridge_is_said_to() -> None:
    with pytest.raises(ToolCommunicationError, match="the bridge was closed"):
        await run(hub([thought(0), asyncio.CancelledError()]))


@pytest.mark.parametrize("refusal", [None, UNAVAILABLE], ids=["taken", "refused"])
async def test_who_stops_reading_cancels_the_run_unless_it_is_over(refusal: BaseException | None) -> None:
    for chunks, count in (([thought(0), result(1)], 1), ([result(0)], 0)):
        transport = hub(chunks, refusal=refusal)
        reading = client_of(transport).execute_agent_streaming({"agent_id": "a", "input": {}, "run_id": "mine"})
        await anext(reading)
        await reading.aclose()
        assert cancelled(transport) == ["mine"] * count


async def test_the_least_time_that_a_run_can_be_given_is_a_millisecond() -> None:
    transport = hub([result(0)])
    await run(transport, timeout=0.0001)
    assert transport.requests["ExecuteAgent"][0].timeout_ms == 1


async def test_an_input_beyond_what_a_message_may_hold_is_not_sent() -> None:
    transport = hub()
    with pytest.raises(MessageTooLargeError, match="the input of an agent"):
        await run(transport, input={"q": "x" * 11_000_000})
    assert transport.requests["ExecuteAgent"] == []


async def test_what_the_hub_refuses_is_not_asked_again() -> None:
    transport = hub([rpc_error(grpc.StatusCode.INTERNAL, "no")])
    with pytest.raises(ToolCommunicationError, match="INTERNAL"):
        await run(transport)
    assert len(transport.requests["ExecuteAgent"]) == 1


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
    transport = hub(chunks)
    with pytest.raises(ProtocolError, match=text):
        await run(transport, run_id="mine")
    # What is read no further need not go on.
    assert cancelled(transport) == ["mine"]


async def test_an_agent_is_asked_for_as_it_is_given() -> None:
    transport = hub()
    agent_id = await client_of(transport).create_react_agent(
        "q -> a", ["one"], 2, {"model": "openai/m", "temperature": 0.5}, return_intermediate_steps=True
    )
    (request,) = transport.requests["CreateReActAgent"]
    assert (agent_id, request.signature, list(request.tool_names), request.max_iters) == ("a", "q -> a", ["one"], 2)
    assert set(request.config.llm_config) == {"model", "temperature"}
    assert request.config.return_intermediate_steps


async def test_who_only_observes_leaves_the_run_alone() -> None:
    transport = hub([thought(0), result(1)])
    observing = client_of(transport).execute_agent_streaming({"run_id": "mine"})
    await anext(observing)
    await observing.aclose()
    assert cancelled(transport) == []


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"signature": 5}, "signature is 5; it must be a text"),
        ({"max_iters": "3"}, "max_iters is '3'; it must be a whole number"),
        ({"max_iters": True}, "max_iters is True; it must be a whole number"),
        ({"llm_config": "x"}, "llm_config is 'x'; it must be a dict"),
        ({"verbose": "yes"}, "verbose is 'yes'; it must be True or False"),
    ],
)
async def test_what_an_agent_cannot_be_made_with_is_refused_by_name(given: dict[str, Any], text: str) -> None:
    transport = hub()
    with pytest.raises(ValidationError, match=text):
        await client_of(transport).create_react_agent(**{"signature": "q -> a", **given})
    assert transport.requests["CreateReActAgent"] == []


@pytest.mark.parametrize(
    ("tool_names", "max_iters", "text"),
    [("one", 5, "list of names"), ([], 5, "is empty"), (None, 0, "max_iters must be 1 or more")],
)
async def test_an_agent_that_cannot_be_is_refused_here(tool_names: Any, max_iters: int, text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        await client_of(hub()).create_react_agent("q -> a", tool_names, max_iters)
