"""What a message is written as is what its schema says."""

from typing import Any

import jsonschema
import pytest
from google.protobuf.json_format import ParseDict

from grpc_tool_bridge.gateway.message_json import error_json, message_json
from grpc_tool_bridge.gateway.message_schemas import MessageSchemas
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.values.serialization import serialize_value


def is_valid(schemas: MessageSchemas, schema: dict[str, Any], value: Any) -> bool:
    whole = {**schema, "components": {"schemas": {"Value": {}, **schemas.components}}}
    return bool(jsonschema.Draft202012Validator(whole).is_valid(value))


@pytest.mark.parametrize(
    "message",
    [
        pb.ToolSpec(name="a", arguments=[pb.ArgumentSpec(default_value=serialize_value(1))], type=pb.STREAMING),
        pb.ToolSpec(),
        pb.SessionInfo(metadata={"a": "b"}),
        pb.ExecutionMetrics(custom_metrics={"a": 0.5}, duration_ms=2**40),
        pb.ListCallsResponse(calls=[pb.CallInfo()]),
        pb.AdminEvent(worker=pb.WorkerInfo(tools=["a"])),
        pb.ActionChunk(tool_name="a"),
    ],
)
def test_what_a_message_is_written_as_is_valid_by_its_schema(message: Any) -> None:
    schemas = MessageSchemas()
    schema = schemas.answered(type(message))
    written = message_json(message)
    assert is_valid(schemas, schema, written)
    for name in written:
        assert not is_valid(schemas, schema, {**written, name: ...})


def test_an_error_need_not_have_a_traceback() -> None:
    schemas = MessageSchemas()
    assert is_valid(schemas, schemas.answered(pb.ErrorInfo), error_json(pb.ErrorInfo(type="A")))


def test_a_message_of_a_request_need_have_nothing_and_takes_nothing_else() -> None:
    schemas = MessageSchemas()
    schema = schemas.accepted(pb.SessionConfig)
    for given in ({}, {"max_concurrent_tools": 3}, {"enable_caching": None}):
        assert is_valid(schemas, schema, given)
        ParseDict(given, pb.SessionConfig())
    assert not is_valid(schemas, schema, {"nothing": 1})
