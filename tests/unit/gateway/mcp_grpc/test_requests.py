from typing import Any

import pytest
from mcp_grpc_transport_proto import mcp_messages_pb2 as messages

from grpc_tool_bridge.errors import SerializationError, UnimplementedError, ValidationError
from grpc_tool_bridge.gateway.mcp.sessions import SHARED_SESSION
from grpc_tool_bridge.gateway.mcp_grpc.requests import SESSION_KEY, TOOLS_KEY, Envelope, read_call, read_envelope

VERSION = "io.modelcontextprotocol/protocolVersion"


def envelope(*metadata: tuple[str, str], common: Any = None, chosen: str = "") -> Envelope:
    return read_envelope(metadata, messages.RequestFields() if common is None else common, chosen)


def call(name: str = "add", **arguments: Any) -> Any:
    request = messages.CallToolRequest()
    request.request.name = name
    request.request.arguments.update(arguments)
    return request


def test_a_request_without_metadata_is_of_the_shared_session_and_sees_all() -> None:
    found = envelope(("x-other", "1"))
    assert (found.key.session_id, found.key.is_own) == (SHARED_SESSION, False)
    assert found.choice.is_whole
    assert read_envelope(None, messages.RequestFields(), "").key == found.key


def test_metadata_chooses_before_the_setting() -> None:
    found = envelope((SESSION_KEY, "mine"), (TOOLS_KEY, "b.*"), chosen="a")
    assert found.key.session_id == "mine"
    assert found.choice.names == ("b.*",)
    assert envelope(chosen="a").choice.names == ("a",)


@pytest.mark.parametrize("field", ["request_state", "resume_data", "input_responses"])
def test_an_answer_to_a_question_is_refused(field: str) -> None:
    common = messages.RequestFields()
    if field == "request_state":
        common.request_state = ""
    elif field == "resume_data":
        common.resume_data.SetInParent()
    else:
        common.input_responses["a"].SetInParent()
    with pytest.raises(UnimplementedError, match=field):
        envelope(common=common)


def test_two_versions_are_refused() -> None:
    common = messages.RequestFields()
    common.metadata.update({VERSION: "2026-07-28"})
    envelope(common=common)
    envelope(("mcp-protocol-version", "2026-07-28"), common=common)
    with pytest.raises(ValidationError, match="two versions"):
        envelope(("mcp-protocol-version", "2025-11-25"), common=common)
    assert VERSION in common.metadata.fields
    # Nor is anything added to what has none.
    common.Clear()
    envelope(common=common)
    assert not common.HasField("metadata")


async def test_a_call_is_read() -> None:
    name, arguments = await read_call(call(a=1, b=[1.5, "x", None]), envelope())
    assert (name, arguments) == ("add", {"a": 1, "b": [1.5, "x", None]})
    assert type(arguments["a"]) is int
    large = ["x" * 100] * 1_000
    assert await read_call(call(a=large), envelope()) == ("add", {"a": large})


async def test_a_call_whose_metadata_names_another_tool_is_refused() -> None:
    assert await read_call(call("näme"), envelope(("mcp_tool", "n%C3%A4me"))) == ("näme", {})
    with pytest.raises(ValidationError, match="names 'look', the request 'add'"):
        await read_call(call(), envelope(("mcp_tool", "look")))
    with pytest.raises(ValidationError, match=r"set request\.name"):
        await read_call(call(""), envelope())


async def test_an_argument_without_a_kind_is_refused() -> None:
    request = call()
    request.request.arguments.fields["a"].SetInParent()
    with pytest.raises(SerializationError, match="no kind"):
        await read_call(request, envelope())
