"""A recording is read whole, or refused with the line that is wrong and the reason."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grpc_tool_bridge import ToolBridgeError
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.testing import Recording, RecordingError
from grpc_tool_bridge.testing.recording.lines import header
from grpc_tool_bridge.testing.recording.replay import Replay

CALL = {"session": "session-1", "call": "call-1", "method": "ExecuteTool", "request": {"tool_id": "add", "args": [1]}}
ANSWER = {"session": "session-1", "call": "call-1", "answer": {"success": True, "result": 2}}
SPEC = {"session": "session-1", "tool": {"tool_id": "add", "name": "add", "arguments": [{"name": "a"}]}}
MODEL = {"session": "session-1", "call": "call-1", "model": {"messages": [], "answers": ["first", "second"]}}
WHOLE = [{"session": "session-1", "opened": {"metadata": {"user": "bob"}}}, SPEC, CALL, MODEL, ANSWER]


def file_of(tmp_path: Path, *lines: Any) -> Path:
    path = tmp_path / "r.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in [header(is_open=False), *lines]))
    return path


def test_sessions_tools_calls_and_events_are_there(tmp_path: Path) -> None:
    recording = Recording(file_of(tmp_path, *WHOLE))

    (session,) = recording.sessions
    (call,) = recording.calls()
    assert (session.opened, list(session.tools)) == ({"metadata": {"user": "bob"}}, ["add"])
    assert str(call) == "call-1 of session-1 (line 4)"
    assert [event.kind for event in call.events] == ["model", "answer"]
    assert recording.model_answers() == ["first", "second"]


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ([{"call": "call-1"}], "line 2: it names no session, but None"),
        ([{"session": "session-0"}], "line 2: it names no session, but 'session-0'"),
        ([{"session": "session-1", "news": 1}], "line 2: it holds no event that this version knows, but news"),
        ([{"session": "session-1", "opened": 5}], "line 2: opened must be an object, not int"),
        ([{**CALL, "call": "call-01"}], "line 2: 'call-01' is not the id of a call"),
        ([{**CALL, "method": "Nothing"}], "line 2: there is no method 'Nothing'"),
        ([{**CALL, "method": ["x"]}], "line 2: there is no method"),
        ([{**CALL, "request": []}], "line 2: request must be an object, not list"),
        ([CALL, CALL], "line 3: call-1 begins twice"),
        ([ANSWER], "line 2: call-1 has no line before that says what was called"),
        ([CALL, ANSWER, ANSWER], "line 4: call-1 goes on after its end"),
        ([CALL, {"session": "session-1", "call": "call-1"}], "line 3: it holds no event .* but nothing"),
        ([CALL, {"session": "session-1", "call": "call-1", "end": "soon"}], "a call ends with cancelled or done"),
        ([CALL, {**ANSWER, "exact": 5}], "line 3: exact must be an object"),
    ],
)
def test_a_damaged_recording_is_refused_with_the_line_and_the_reason(tmp_path: Path, lines: Any, why: str) -> None:
    with pytest.raises(RecordingError, match=why):
        Recording(file_of(tmp_path, *lines))


def test_a_value_whose_file_is_gone_is_named_when_it_is_needed(tmp_path: Path) -> None:
    name = "0" * 32
    answer = {**ANSWER, "answer": {"success": True, "result": None}, "exact": {"result": {"file": name, "bytes": 5}}}
    recording = Recording(file_of(tmp_path, CALL, answer))
    (call,) = recording.calls()

    with pytest.raises(RecordingError, match=f"{name}.json cannot be read: No such file or directory; keep that dir"):
        Replay(recording).answer(call, pb.ToolCallRequest())


def test_no_file_outside_is_read_whatever_a_recording_says(tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text("{}")
    answer = {**ANSWER, "exact": {"result": {"file": "../secret", "bytes": 2}}}
    recording = Recording(file_of(tmp_path, CALL, answer))
    (call,) = recording.calls()

    with pytest.raises(RecordingError, match=r"names no file of a value: '\.\./secret'"):
        Replay(recording).answer(call, pb.ToolCallRequest())


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=6,
)
KEYS = (
    "session", "call", "within", "method", "request", "answer", "chunk", "error", "end", "exact", "tool", "opened",
    "model", "at",
)  # fmt: skip
PLAUSIBLE = st.sampled_from(
    ["session-1", "call-1", "call-1.1", "ExecuteTool", "StreamTool", "ExecuteAgent", "done", *WHOLE]
)
some_lines = st.lists(
    st.sampled_from(WHOLE) | st.dictionaries(st.sampled_from(KEYS), PLAUSIBLE | json_values, max_size=6), max_size=6
)


@given(lines=some_lines, is_open=st.booleans(), cut=st.integers(0, 40))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_recording_of_anything_is_read_and_played_or_refused_and_nothing_else(
    tmp_path: Path, lines: list[Any], is_open: bool, cut: int
) -> None:
    path = tmp_path / "r.jsonl"
    text = "".join(json.dumps(line) + "\n" for line in [header(is_open=is_open), *lines])
    path.write_text(text[: len(text) - cut] if cut < len(text) else text)
    with contextlib.suppress(RecordingError, ToolBridgeError):
        play_all(Recording(path))


def play_all(recording: Recording) -> None:
    replay = Replay(recording)
    opened = replay.open(pb.InitializeSessionRequest())
    with contextlib.suppress(ToolBridgeError):
        replay.find("ExecuteTool", pb.ToolCallRequest(session_id=opened.session_id, tool_id="add"))
    for call in recording.calls():
        if call.method == "StreamTool":
            list(replay.chunks(call, pb.ToolStreamRequest()))
        elif call.method != "ExecuteAgent":
            replay.answer(call, pb.ToolCallRequest())
