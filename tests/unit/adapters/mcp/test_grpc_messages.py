from typing import Any

import pytest
from mcp_grpc_transport_proto import mcp_messages_pb2 as messages

from grpc_tool_bridge.adapters.mcp.grpc_messages import request_of, result_of, tool_of
from grpc_tool_bridge.adapters.mcp.results import Shape, value_of
from grpc_tool_bridge.errors import ExternalToolError, ValidationError
from grpc_tool_bridge.tools.content_check import content_check

PLAIN = Shape("t", "s")
SCHEMA = {"type": "object", "properties": {"result": {"type": "integer"}}, "required": ["result"]}
WRAPPED = Shape("t", "s", content_check(SCHEMA), wrapped=True)


def response(*texts: str, structured: dict[str, Any] | None = None, **more: Any) -> Any:
    found = messages.CallToolResponse(**more)
    for text in texts:
        found.content.add().text.text = text
    if structured is not None:
        found.structured_content.update(structured)
    return found


def test_a_request_is_written() -> None:
    request = messages.CallToolRequest.FromString(request_of("t", {"a": 1, "b": [None, {"c": True}]}))
    assert request.request.name == "t"
    assert request.request.arguments["a"] == 1
    assert request.request.arguments["b"][1]["c"] is True
    assert messages.CallToolRequest.FromString(request_of("t", {})).request.HasField("arguments")


def test_an_argument_that_has_no_form_is_named() -> None:
    with pytest.raises(ValidationError, match=r"t: argument b\.c: the integer") as caught:
        request_of("t", {"a": 1, "b": {"c": 2**60}})
    assert caught.value.details.keys() == {"b"}


def test_a_tool_without_anything_is_read() -> None:
    tool = tool_of(messages.Tool(name="a"))
    assert (tool.name, tool.input_schema, tool.output_schema, tool.annotations, tool.meta) == (
        "a", {"type": "object"}, None, None, None,
    )  # fmt: skip


def test_keys_of_a_schema_have_one_order() -> None:
    names = ["c", "a", "b", *map(str, range(20))]
    message = messages.Tool(name="a")
    message.input_schema.update({"properties": {name: {"title": name, "enum": [1]} for name in names}})
    schema = tool_of(message).input_schema
    assert list(schema["properties"]) == sorted(names)
    assert list(schema["properties"]["a"]) == ["enum", "title"]


def test_hints_of_a_bridge_go_before_those_of_the_message_unless_they_are_none() -> None:
    message = messages.Tool(name="a", annotations=messages.ToolAnnotations(read_only_hint=True))
    message.metadata.update({"grpc-tool-bridge/annotations": {"destructiveHint": False, "title": 5}})
    hints = tool_of(message).annotations
    assert hints is not None
    assert hints.model_dump(exclude_none=True) == {"destructive_hint": False}
    message.metadata.update({"grpc-tool-bridge/annotations": {"destructiveHint": "no"}, "x": 1})
    tool = tool_of(message)
    assert tool.annotations is not None
    assert tool.annotations.model_dump(exclude_none=True) == {"read_only_hint": True}
    assert tool.meta == {"x": 1}


@pytest.mark.parametrize(
    ("given", "shape", "value"),
    [
        (response("3.0", structured={"result": 3}), WRAPPED, 3.0),
        (response("1152921504606846977"), WRAPPED, 2**60 + 1),
        (response("4", structured={"result": 3}), WRAPPED, 3),
        (response('{"b": 1, "a": 2}', structured={"a": 2, "b": 1}), PLAIN, {"b": 1, "a": 2}),
        (response('{"a": 1}'), PLAIN, '{"a": 1}'),
    ],
)
def test_a_text_that_says_the_same_says_it_exactly(given: Any, shape: Shape, value: Any) -> None:
    found = value_of(result_of(given, shape), shape, "")
    assert (found, type(found)) == (value, type(value))


def test_what_is_in_a_text_does_not_become_the_content_of_an_error() -> None:
    with pytest.raises(ExternalToolError, match="5"):
        value_of(result_of(response("5", is_error=True), WRAPPED), WRAPPED)


def test_a_block_that_is_nothing_or_two_things_is_refused() -> None:
    given = response()
    given.content.add()
    with pytest.raises(ExternalToolError, match="nothing that is known"):
        result_of(given, PLAIN)
    given = response("a")
    given.content[0].audio.SetInParent()
    with pytest.raises(ExternalToolError, match="text and audio"):
        result_of(given, PLAIN)


def test_a_question_is_refused() -> None:
    given = response()
    given.common.input_requests["a"].elicit_request.message = "Sure?"
    with pytest.raises(ExternalToolError, match="asks a question"):
        result_of(given, PLAIN)
