"""Bounds of the texts, lists and maps of requests."""

from typing import Any

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage

from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.bounds import MAX_SHOWN_CHARS, PAGE_NODES, check_request, shown, spec_nodes, spec_pages

EMPTY = AnyMessage()


@pytest.mark.parametrize(
    "request_",
    [
        pb.ToolCallRequest(session_id="x" * 256, request_id="ä" * 256, args=[EMPTY] * 10_000),
        pb.SetVariableRequest(metadata=pb.VariableMetadata(tags={str(number): "x" * 600 for number in range(100)})),
        pb.WatchVariablesRequest(variable_names=["x" * 256] * 1_000),
        pb.ListVariablesRequest(tags=[f"{'k' * 256}={'v' * 65_536}"] * 32),
        pb.InitializeSessionRequest(callback_address="x" * 2_048, metadata={"k": "x" * 65_535}),
        pb.RegisterToolsRequest(tools=[pb.ToolSpec(name="x" * 1_000)]),
        pb.CreateReActAgentRequest(signature="x" * 262_144, tool_names=["t"] * 1_000),
        pb.BatchToolCallRequest(items=[pb.ToolCallItem()] * 20_000),
        pb.HeartbeatRequest(),
    ],
    ids=lambda request: request.DESCRIPTOR.name,
)
def test_what_is_within_its_bounds_passes(request_: Any) -> None:
    check_request(request_)


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (pb.ToolCallRequest(request_id="x" * 257), "request_id has at most 256 characters; this one has 257: 'xxx"),
        (pb.ToolCallRequest(args=[EMPTY] * 10_001), "args has at most 10,000 entries; this one has 10,001: send fewer"),
        (pb.ToolCallRequest(context={"k" * 257: ""}), "a name in context has at most 256 characters"),
        (pb.ToolCallRequest(context={"k": "x" * 65_536}), "context has at most 65,536 characters in all"),
        (pb.ToolCallRequest(context={str(n): "" for n in range(1_001)}), "context has at most 1,000 entries"),
        (pb.SetVariableRequest(metadata=pb.VariableMetadata(type="x" * 257)), "type has at most 256 characters"),
        (pb.SetVariableRequest(metadata=pb.VariableMetadata(tags={str(n): "" for n in range(101)})), "tags has at"),
        (pb.ListVariablesRequest(tags=[""] * 33), "tags has at most 32 entries"),
        (pb.WatchVariablesRequest(variable_names=["x" * 257]), "one of variable_names has at most 256 characters"),
        (pb.BatchToolCallRequest(batch_id="x" * 257), "batch_id has at most 256 characters"),
        (pb.CreateReActAgentRequest(config=pb.AgentConfig(llm_config={"x" * 257: EMPTY})), "a name in llm_config has"),
        (pb.GetSessionToolsRequest(page_token="x" * 257), "page_token has at most 256 characters"),
    ],
)
def test_what_is_over_a_bound_is_refused_by_its_field_and_the_bound(request_: Any, text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        check_request(request_)
    with pytest.raises(ValidationError) as known_size:
        check_request(request_, request_.ByteSize())
    assert caught.value.message == known_size.value.message
    assert caught.value.message.startswith(text)
    assert len(caught.value.message) < 400


@pytest.mark.parametrize(
    "request_",
    [
        pb.SetVariableRequest(metadata=pb.VariableMetadata(tags={"": "", **{chr(n): "" for n in range(33, 133)}})),
        pb.ListVariablesRequest(tags=[""] * 33),
        pb.HeartbeatRequest(session_id="x" * 257),
    ],
    ids=lambda request: request.DESCRIPTOR.name,
)
def test_a_message_over_a_bound_is_not_taken_for_a_small_one_however_few_bytes_it_has(request_: Any) -> None:
    with pytest.raises(ValidationError):
        check_request(request_, request_.ByteSize())


def test_a_small_message_is_not_looked_at() -> None:
    looked_at: list[str] = []

    class Small:
        DESCRIPTOR = pb.HeartbeatRequest.DESCRIPTOR

        def __getattr__(self, name: str) -> str:
            looked_at.append(name)
            return ""

    small: Any = Small()
    check_request(small, 256)
    assert not looked_at
    check_request(small, 257)
    assert looked_at


@pytest.mark.parametrize("text", ["", "short", "ä" * 200, "x" * 10_000, "\U000e0001" * 10_000, "\x00" * 200])
def test_a_text_that_came_from_outside_is_shown_in_few_characters(text: str) -> None:
    said = shown(text)
    assert len(said) <= MAX_SHOWN_CHARS + 3
    assert said.isprintable()
    assert (said == repr(text)) == (len(repr(text)) <= MAX_SHOWN_CHARS + 2 and len(text) <= MAX_SHOWN_CHARS)


def test_specs_are_split_into_pages_that_fit() -> None:
    specs = [pb.ToolSpec(name=str(number), description="x" * 900) for number in range(10)]
    pages = list(spec_pages(specs, 4_096))
    assert [spec.name for page in pages for spec in page] == [str(number) for number in range(10)]
    assert {sum(spec.ByteSize() for spec in page) <= 2_048 for page in pages} == {True}
    # What fits in no page has one of its own.
    assert [len(page) for page in spec_pages(specs[:3], 10)] == [1, 1, 1]
    assert [list(page) for page in spec_pages([], 4_096)] == [[]]


def test_a_page_of_specs_has_no_more_nodes_than_a_message_may_have() -> None:
    spec = pb.ToolSpec(name="a", examples=["x"] * (PAGE_NODES // 3))
    assert [len(page) for page in spec_pages([spec] * 4, 2**40)] == [PAGE_NODES // spec_nodes(spec)] * 2
