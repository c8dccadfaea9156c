"""What ``admin`` prints: rows and lines for people, facts for programs."""

from datetime import UTC, datetime
from typing import Any

import pytest

from grpc_tool_bridge import CallStatus, HubEvent
from grpc_tool_bridge.cli import admin_text
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb

TIME = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def call(**fields: Any) -> CallStatus:
    given: dict[str, Any] = {
        "call_id": "7",
        "session_id": "s",
        "tool_id": "add",
        "request_id": "",
        "parent_id": "",
        "worker_id": "",
        "state": "running",
        "started_at": TIME,
        "time_left": 1.25,
        "progress": None,
        "args": (),
        "kwargs": {},
        "duration": None,
        "error": None,
    }
    return CallStatus(**{**given, **fields})


def event(subject: Any, kind: str = "call", operation: str = "started", **fields: Any) -> HubEvent:
    given: dict[str, Any] = {"timestamp": TIME, "sequence": 1, "dropped": 0, "result": None}
    return HubEvent(kind=kind, operation=operation, subject=subject, **{**given, **fields})


@pytest.mark.parametrize(
    ("subject", "text"),
    [
        (call(), "7 add of s: running"),
        (call(worker_id="w", progress=pb.Progress(current=1, total=4, message="go")), "running on w, 1 of 4 go"),
        (call(progress=pb.Progress(current=1.5)), "running, 1.5"),
        (call(args=(1, "x"), kwargs={"b": [2]}), 'running (1, "x", b=[2])'),
        (call(state="done", duration=0.5, time_left=0), "done after 0.500 s"),
        (call(state="failed", duration=0.5, error=pb.ErrorInfo(type="E")), "failed after 0.500 s, E"),
        (call(state="failed", duration=0.5, error=pb.ErrorInfo(type="E", message="no")), "s, E: no"),
        (pb.WorkerInfo(worker_id="w", tool_count=7, tools=[*"abcdefg"]), "w: 7 tools (a, b, c, d, e, …)"),
        (pb.WorkerInfo(worker_id="w", tool_count=1, tools=["a"]), "w: 1 tool (a)"),
        (pb.SessionInfo(session_id="s", metadata={"b": "2", "a": "1"}), "s a=1 b=2"),
        (pb.LogRecord(level="info", logger="add", message="hello", fields={"n": "1"}), "info add: hello n=1"),
    ],
)
def test_an_event_is_one_line(subject: Any, text: str) -> None:
    assert admin_text.event_text(event(subject)).endswith(text)


def test_a_result_stands_at_the_end_and_is_cut_where_it_is_long() -> None:
    done = call(state="done", duration=0.5)
    assert admin_text.event_text(event(done, result=[1])).endswith("after 0.500 s = [1]")
    long = admin_text.event_text(event(done, result="x" * 10_000))
    assert long.endswith("x…")
    assert len(long) < 300


def test_programs_get_the_facts_of_a_call_and_its_arguments_only_if_they_ask() -> None:
    told = call(args=(1,), kwargs={"b": 2}, progress=pb.Progress(current=1, total=4, message="go"))
    facts = admin_text.call_facts(told, with_arguments=False)
    assert "args" not in facts
    assert "duration" not in facts
    assert (facts["call_id"], facts["started_at"], facts["time_left"]) == ("7", "2026-01-02T03:04:05+00:00", 1.25)
    assert facts["progress"] == {"current": 1.0, "total": 4.0, "message": "go"}
    facts = admin_text.call_facts(told, with_arguments=True)
    assert (facts["args"], facts["kwargs"]) == ([1], {"b": 2})
    failed = call(state="failed", duration=0.5, error=pb.ErrorInfo(type="E"))
    facts = admin_text.call_facts(failed, with_arguments=False)
    assert (facts["duration"], facts["error"]) == (0.5, {"type": "E", "message": ""})


@pytest.mark.parametrize(
    ("kind", "subject", "name"),
    [
        ("call", call(), "call_id"),
        ("worker", pb.WorkerInfo(worker_id="w"), "worker_id"),
        ("session", pb.SessionInfo(session_id="s"), "session_id"),
        ("log", pb.LogRecord(message="m"), "message"),
    ],
)
def test_programs_get_an_event_with_its_subject_under_its_kind(kind: str, subject: Any, name: str) -> None:
    facts = admin_text.event_facts(event(subject, kind), with_arguments=False)
    assert facts["kind"] == kind
    assert name in facts[kind]
    assert "result" not in facts
    assert admin_text.event_facts(event(subject, kind, result=3), with_arguments=False)["result"] == 3


@pytest.mark.parametrize(
    ("columns", "row"),
    [
        (admin_text.SESSION_COLUMNS, admin_text.session_row(pb.SessionInfo())),
        (admin_text.WORKER_COLUMNS, admin_text.worker_row(pb.WorkerInfo())),
        (admin_text.CALL_COLUMNS, admin_text.call_row(call())),
        (admin_text.RUN_COLUMNS, admin_text.run_row(pb.RunInfo())),
    ],
)
def test_a_row_has_a_cell_for_each_column(columns: Any, row: Any) -> None:
    assert len(columns) == len(row)


def test_programs_get_every_field_of_sessions_workers_and_runs() -> None:
    session, worker, run = pb.SessionInfo(), pb.WorkerInfo(), pb.RunInfo()
    assert set(admin_text.session_facts(session)) == set(session.DESCRIPTOR.fields_by_name)
    assert set(admin_text.worker_facts(worker)) == set(worker.DESCRIPTOR.fields_by_name)
    assert set(admin_text.run_facts(run)) == set(run.DESCRIPTOR.fields_by_name)


def test_calls_that_were_left_out_are_a_line_before_the_event(capsys: pytest.CaptureFixture[str]) -> None:
    for omitted in (1, 1_234):
        admin_text.print_event(event(call(), omitted_calls=omitted), with_arguments=False, as_json=False)
    first, _, third, _ = capsys.readouterr().out.splitlines()
    assert (first, third) == ("… 1 call left out", "… 1,234 calls left out")
