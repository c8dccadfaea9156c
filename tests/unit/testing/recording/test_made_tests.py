"""A recording becomes a test module: one statement for each call, or a comparison with real tools."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from grpc_tool_bridge.testing import RecordingError
from grpc_tool_bridge.testing.recording.lines import header
from grpc_tool_bridge.testing.recording.made_tests import write_test


def made_of(tmp_path: Path, method: str, request: Any, *events: Any, tools: list[str] | None = None) -> str:
    who = {"session": "session-1", "call": "call-1"}
    lines = [header(is_open=False), {"session": "session-1", "opened": {"metadata": {"user": "bob"}}}]
    lines += [{**who, "method": method, "request": request}, *({**who, **event} for event in events)]
    (tmp_path / "r.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    target = tmp_path / "tests" / "test_r.py"
    target.parent.mkdir()
    assert write_test(tmp_path / "r.jsonl", target, tools or []) == 1
    text = target.read_text()
    compile(text, str(target), "exec")
    return text


ERROR = {"type": "ValueError", "message": "it is (not) right\nat all"}


@pytest.mark.parametrize(
    ("method", "request_", "events", "statement"),
    [
        (
            "ExecuteTool",
            {"tool_id": "add", "args": [1], "kwargs": {"b": "x"}},
            [{"answer": {"success": True, "result": 3}}],
            "assert bridge.call_tool('add', 1, b='x') == 3",
        ),
        ("ExecuteTool", {"tool_id": "f"}, [{"answer": {"success": True, "result": None}}], "call_tool('f') is None"),
        (
            "ExecuteTool",
            {"tool_id": "f", "args": [{"$type": "Decimal", "value": "1"}], "kwargs": {"not a name": 2}},
            [{"answer": {"success": True, "result": {"$type": "tuple", "value": [1]}}}],
            "bridge.call_tool('f', from_json({'$type': 'Decimal', 'value': '1'}), **{'not a name': 2})) == {'$",
        ),
        (
            "ExecuteTool",
            {"tool_id": "f"},
            [{"answer": {"error": ERROR}}],
            "with pytest.raises(ToolExecutionError, match='it\\\\ is\\\\ \\\\(not\\\\)\\\\ right'):",
        ),
        (
            "StreamTool",
            {"tool_id": "count", "args": [2]},
            [{"chunk": {"data": 0}}, {"chunk": {"data": 1}}, {"chunk": {"complete": {}}}, {"end": "done"}],
            "assert list(bridge.tools['count'].stream(2)) == [0, 1]",
        ),
        ("StreamTool", {"tool_id": "count"}, [{"end": "cancelled"}], "# StreamTool of call-1 (line 3) is not repeated"),
        ("GetSessionVariable", {"variable_name": "x"}, [{"answer": {}}], "get_variable('x', None) is None"),
        ("WatchSessionVariables", {}, [], "# WatchSessionVariables of call-1 (line 3) is not repeated here."),
    ],
)
def test_each_call_is_a_statement(tmp_path: Path, method: str, request_: Any, events: Any, statement: str) -> None:
    text = made_of(tmp_path, method, request_, *events)

    assert statement in text
    assert "RECORDING = Path(__file__).parent / '../r.jsonl'" in text
    assert "bridge.initialize(metadata={'user': 'bob'})" in text


def test_with_tools_it_compares_them(tmp_path: Path) -> None:
    text = made_of(tmp_path, "ExecuteTool", {"tool_id": "f"}, tools=["my_tools.py"])

    assert "return load_tools(['my_tools.py'])" in text
    assert "assert_plays(Recording(RECORDING), bridge_server.address)" in text


def test_nothing_in_a_recording_becomes_code(tmp_path: Path) -> None:
    evil = "x'); import os; os.abort(); ('"
    text = made_of(
        tmp_path,
        "ExecuteTool",
        {"tool_id": evil, "args": [evil], "kwargs": {evil: evil, "class": 1}},
        {"answer": {"error": {"message": evil}}},
    )

    names = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
    assert "os" not in names


@pytest.mark.parametrize(
    ("request_", "event"),
    [({"args": 5}, {"answer": {}}), ({}, {"answer": {"error": "x"}}), ({}, {"chunk": {"data": 1}})],
)
def test_a_damaged_recording_is_refused(tmp_path: Path, request_: Any, event: Any) -> None:
    with pytest.raises(RecordingError, match=r"r\.jsonl: "):
        made_of(tmp_path, "ExecuteTool", request_, event)
