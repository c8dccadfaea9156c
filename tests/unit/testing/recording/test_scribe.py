"""Entries become lines with stable ids and without secrets."""

from typing import Any

import pytest

from grpc_tool_bridge import serialize_value
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.testing.recording import entries
from grpc_tool_bridge.testing.recording.entries import CallLog, Entry, SessionLog
from grpc_tool_bridge.testing.recording.lines import OWN_SESSION
from grpc_tool_bridge.testing.recording.scribe import Scribe
from grpc_tool_bridge.values.redaction import Redactor

RANDOM = "0123456789abcdef0123456789abcdef"
OTHER = "fedcba98-7654-3210-fedc-ba9876543210"


class Writer:
    """Writes the lines of one session."""

    def __init__(self, session_id: str = RANDOM) -> None:
        self.session = SessionLog(1, session_id)
        self.files: dict[str, bytes] = {}
        self.scribe = Scribe(Redactor(), self.files.__setitem__)

    def line(self, kind: str, message: Any, method: str = "", number: tuple[int, ...] = (1,), **more: Any) -> Any:
        call = CallLog(self.session, number, method) if method else None
        data = message.SerializeToString()
        line = self.scribe.line(Entry(0, kind, self.session, call, type(message), data, **more))
        return line["request" if kind == entries.CALL else kind]


@pytest.mark.parametrize(
    ("text", "written"),
    [
        (f"session '{RANDOM}' has ended", f"session '{OWN_SESSION}' has ended"),
        (f"request {OTHER}, again", "request call-3, again"),
        (f"worker {RANDOM[::-1]} is lost", "worker worker-1 is lost"),
        ("0123456789ab is not known", "0123456789ab is not known"),
        ("<object at 0x7f00deadbeef>", "<object at 0x…>"),
    ],
)
def test_random_ids_in_texts_are_replaced_by_stable_ones(text: str, written: str) -> None:
    writer = Writer()
    writer.scribe.add_worker(RANDOM[::-1])
    writer.line(entries.CALL, pb.ToolCallRequest(request_id=OTHER), "ExecuteTool", (3,))

    told = writer.line(entries.ANSWER, pb.ToolCallResponse(error=pb.ErrorInfo(message=text)), "ExecuteTool", (4,))

    assert told == {"error": {"message": written}}


def test_keys_and_traces_that_are_made_for_each_call_are_stable_or_left_out() -> None:
    request = pb.ToolCallRequest(tool_id="t", idempotency_key=RANDOM, context={"traceparent": OTHER, "user": "bob"})

    written = Writer("demo").line(entries.CALL, request, "ExecuteTool", (7,))

    assert written == {"tool_id": "t", "context": {"user": "bob"}, "idempotency_key": "call-7"}


def test_ids_that_people_choose_stay() -> None:
    writer = Writer("demo")
    answer = pb.ToolCallResponse(success=True, result=serialize_value("the demo"))

    assert writer.line(entries.ANSWER, answer, "ExecuteTool")["result"] == "the demo"


def test_an_agent_is_named_after_the_call_that_created_it_and_a_fault_after_its_call() -> None:
    writer = Writer()
    created = pb.CreateReActAgentResponse(agent_id=f"agent-{RANDOM[:16]}")
    assert writer.line(entries.ANSWER, created, "CreateReActAgent", (2,))["agent_id"] == "agent-2"

    asked = pb.ExecuteAgentRequest(agent_id=f"agent-{RANDOM[:16]}", run_id=OTHER)
    assert writer.line(entries.CALL, asked, "ExecuteAgent", (3,)) == {"agent_id": "agent-2"}
    cancelled = pb.CancelAgentRunRequest(run_id=OTHER)
    assert writer.line(entries.CALL, cancelled, "CancelAgentRun", (4,)) == {"run_id": "call-3"}
    fault = pb.ErrorInfo(message=f"see {RANDOM[:12]}", details={"error_id": RANDOM[:12]})
    told = writer.line(entries.ANSWER, pb.ToolCallResponse(error=fault), "ExecuteTool", (5,))
    assert told["error"] == {"message": "see error-5", "details": {"error_id": "error-5"}}


def test_revisions_are_counted_as_they_are_seen() -> None:
    writer = Writer()
    done = writer.line(entries.ANSWER, pb.StatusResponse(success=True, message="71"), "SetSessionVariable")
    update = writer.line(entries.CHUNK, pb.VariableUpdate(name="x", revision=71), "WatchSessionVariables")
    later = writer.line(entries.CHUNK, pb.VariableUpdate(name="x", revision=90), "WatchSessionVariables")

    assert (done["message"], update["revision"], later["revision"]) == ("1", 1, 2)


def test_a_secret_that_is_named_after_a_text_with_it_is_removed_from_that_text_too() -> None:
    request = pb.ToolCallRequest(kwargs={"a": serialize_value("use hunter22"), "password": serialize_value("hunter22")})

    written = Writer().line(entries.CALL, request, "ExecuteTool")

    assert written["kwargs"] == {"a": "use [redacted]", "password": "[redacted]"}


def test_a_secret_in_a_large_value_is_in_no_file() -> None:
    writer = Writer()
    long = {"note": "hunter22 " * 5_000, "password": "hunter22"}
    writer.line(entries.CALL, pb.ToolCallRequest(args=[serialize_value(long)]), "ExecuteTool")

    (data,) = writer.files.values()
    assert b"hunter22" not in data


SECRET = serialize_value("hunter22")
SPEC = pb.ToolSpec(arguments=[pb.ArgumentSpec(name="token", default_value=SECRET)], input_schema='"hunter22"')


def variable(name: str, *, secret: bool = False) -> pb.SetVariableRequest:
    return pb.SetVariableRequest(variable_name=name, value=SECRET, metadata=pb.VariableMetadata(secret=secret))


@pytest.mark.parametrize(
    ("kind", "message", "method", "more"),
    [
        (entries.CALL, pb.ToolCallRequest(args=[SECRET]), "ExecuteTool", {"names": {"args[0]": "token"}}),
        (entries.CALL, pb.ToolCallRequest(context={"api_key": "hunter22"}), "ExecuteTool", {}),
        (entries.CALL, variable("api_key"), "SetSessionVariable", {}),
        (entries.CALL, variable("x", secret=True), "SetSessionVariable", {}),
        (entries.CHUNK, pb.VariableUpdate(name="x", value=SECRET), "WatchSessionVariables", {"secret": True}),
        (entries.OPENED, pb.InitializeSessionRequest(metadata={"password": "hunter22"}), "", {}),
        (entries.LOG, pb.LogRecord(message="x", fields={"token": "hunter22"}), "ExecuteTool", {}),
        (entries.TOOL, SPEC, "", {"names": {"arguments[0].default_value": "token"}}),
    ],
)
def test_a_secret_is_found_wherever_a_message_has_it(kind: str, message: Any, method: str, more: Any) -> None:
    written = Writer().line(kind, message, method, **more)

    assert "hunter22" not in str(written)
    assert "[redacted]" in str(written)


def test_a_variable_that_was_secret_once_is_secret_in_its_session() -> None:
    writer = Writer()
    metadata = pb.VariableMetadata(secret=True)
    secret = pb.SetVariableRequest(variable_name="x", value=serialize_value("ab"), metadata=metadata)
    writer.line(entries.CALL, secret, "SetSessionVariable")

    again = pb.SetVariableRequest(variable_name="x", value=serialize_value("cd"))
    assert writer.line(entries.CALL, again, "SetSessionVariable")["value"] == "[redacted]"
