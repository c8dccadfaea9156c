"""Messages as JSON."""

import json
import math
from datetime import UTC, date
from typing import Any

import pytest
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp

from grpc_tool_bridge.gateway.message_json import call_json, error_json, message_json
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.values.serialization import serialize_value

message_class: Any = GetMessageClass


def test_names_are_the_protos_and_defaults_are_there() -> None:
    info = pb.SessionInfo(session_id="s", tool_count=2, metadata={"a": "b"})
    info.created_at.FromJsonString("2024-02-28T01:02:03Z")
    assert message_json(info) == {
        "session_id": "s",
        "created_at": "2024-02-28T01:02:03+00:00",
        "tool_count": 2,
        "variable_count": 0,
        "active_operations": 0,
        "metadata": {"a": "b"},
        "hub": "",
    }


def test_numbers_of_64_bits_are_numbers_and_values_are_tagged() -> None:
    update = pb.VariableUpdate(name="x", value=serialize_value(date(2024, 2, 28)), revision=2**60)
    written = message_json(update)
    assert written["revision"] == 2**60
    assert written["value"] == {"$type": "date", "value": "2024-02-28"}


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_json_has_no_form_for_is_null(number: float) -> None:
    event = pb.AdminEvent(call=pb.CallInfo(progress=pb.Progress(current=number, total=1e308)))
    written = message_json(event)["call"]["progress"]
    assert written == {"current": None, "total": 1e308, "message": ""}
    asked = pb.ExecuteAgentRequest()
    asked.input.update({"a": [number, {"b": number}], "c": 1})
    assert message_json(asked)["input"] == {"a": [None, {"b": None}], "c": 1}


def test_what_is_optional_is_left_out_where_it_is_not_set() -> None:
    rules = pb.ValidationRules(max_length=0)
    assert message_json(rules) == {"pattern": "", "max_length": 0, "custom_rules": []}


def test_a_struct_is_an_object() -> None:
    chunk = pb.ActionChunk(tool_name="t")
    chunk.tool_input.update({"a": [1, None, {"b": True}]})
    assert message_json(chunk)["tool_input"] == {"a": [1, None, {"b": True}]}


def test_an_error_has_its_traceback_only_where_it_is_shown() -> None:
    assert "stacktrace" not in error_json(pb.ErrorInfo(type="T", message="m"))
    assert error_json(pb.ErrorInfo(type="T", stacktrace="at"))["stacktrace"] == "at"


async def test_the_answer_to_a_call_has_the_same_names_whatever_has_come_of_it() -> None:
    done = await call_json(pb.ToolCallResponse(success=True, result=serialize_value(None)))
    failed = await call_json(pb.ToolCallResponse(error=pb.ErrorInfo(type="T")))
    assert list(done) == list(failed) == ["success", "result", "error", "metrics", "request_id"]
    assert (done["result"], done["error"], failed["result"], failed["error"]["type"]) == (None, None, None, "T")


def test_every_message_can_be_written() -> None:
    def filled(kind: Any, depth: int = 0) -> Any:
        message = kind()
        for field in kind.DESCRIPTOR.fields:
            if field.message_type is not None and field.message_type.full_name.startswith("dspex.") and depth < 3:
                value = filled(message_class(field.message_type), depth + 1)
                if not field.is_repeated:
                    getattr(message, field.name).CopyFrom(value)
                elif not field.message_type.GetOptions().map_entry:
                    getattr(message, field.name).add().CopyFrom(value)
        return message

    for descriptor in pb.DESCRIPTOR.message_types_by_name.values():
        assert json.loads(json.dumps(message_json(filled(message_class(descriptor))))) is not None


@pytest.mark.parametrize(
    ("seconds", "nanos", "text"),
    [
        (0, 0, "1970-01-01T00:00:00+00:00"),
        (1_709_082_123, 123_456_789, "2024-02-28T01:02:03.123456+00:00"),
        (253_402_300_799, 999_999_999, "9999-12-31T23:59:59.999999+00:00"),
        (-1, 500_000_000, "1969-12-31T23:59:59.500000+00:00"),
        (-62_135_596_800, 0, "0001-01-01T00:00:00+00:00"),
    ],
)
def test_a_moment_is_written_as_protobuf_reads_it(seconds: int, nanos: int, text: str) -> None:
    line = pb.LogRecord(timestamp=Timestamp(seconds=seconds, nanos=nanos))
    assert message_json(line)["timestamp"] == text == line.timestamp.ToDatetime(UTC).isoformat()
