"""Makes a test of a recording: a pytest module that repeats the recorded calls, to be read, edited and kept."""

import os
import re
from collections.abc import Iterator
from keyword import iskeyword
from pathlib import Path
from typing import Any

from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.methods import METHODS
from grpc_tool_bridge.testing.recording import entries
from grpc_tool_bridge.testing.recording.recording import RecordedCall, RecordedSession, Recording

_HEAD = '''"""The calls of {name}, made again.

Written by `grpc-tool-bridge replay {name} --make-test`; edit it as you like.
"""

from pathlib import Path

import pytest
{imports}

RECORDING = Path(__file__).parent / {path!r}
'''

_AGAINST_TOOLS = """

@pytest.fixture
def bridge_tools():
    return load_tools({tools!r})


def test_the_tools_answer_as_recorded(bridge_server):
    assert_plays(Recording(RECORDING), bridge_server.address)
"""

_SERVER = """

@pytest.fixture
def server():
    with MockBridgeServer.from_recording(RECORDING) as server:
        yield server
    assert server.mismatches == []


@pytest.fixture
def bridge(server):
    with GRPCToolBridge(server.address).sync as bridge:
        yield bridge
"""

# Longer values are not repeated in the test.
_MAX_LITERAL_CHARS = 1_000
_INDENT = "    "


def write_test(path: str | os.PathLike[str], target: Path, tools: list[str]) -> int:
    """Writes a test of a recording.

    Args:
        path: The recording.
        target: The file to write.
        tools: Sources of tools, as for ``serve --tools``: the test makes the calls to a hub with these tools, and
            compares the answers. Empty: it makes them to a server that answers from the recording, one statement for
            each, as a start for a test of the program that made them.

    Returns:
        The number of calls that it makes.

    Raises:
        RecordingError: The recording cannot be read.
        FileExistsError: The file to write is there already.
        OSError: A file cannot be read or written.
    """
    recording = Recording(path)
    relative = os.path.relpath(Path(path).resolve(), target.resolve().parent)
    name = Path(path).name.replace("\\", "").replace('"', "")
    calls = list(recording.calls())
    _check(recording, calls)
    if tools:
        lines = [
            "\nfrom grpc_tool_bridge.cli.tool_sources import load_tools",
            "from grpc_tool_bridge.testing import Recording, assert_plays",
        ]
        text = _HEAD.format(name=name, path=relative, imports="\n".join(lines)) + _AGAINST_TOOLS.format(tools=tools)
    else:
        bodies = "".join(_test_of(session) for session in recording.sessions)
        text = _HEAD.format(name=name, path=relative, imports=_imports(bodies)) + _SERVER + bodies
    with target.open("x", encoding="utf-8") as file:
        file.write(text)
    return len(calls)


def _check(recording: Recording, calls: list[RecordedCall]) -> None:
    """Raises RecordingError unless each request and answer is one of its method."""
    for call in calls:
        method = METHODS[call.method]
        recording.message(method.request, call.request, call.exact)
        for event in call.events:
            if event.kind in {entries.ANSWER, entries.CHUNK}:
                recording.message(method.response, event.content, event.exact)
            elif event.kind == entries.ERROR:
                recording.message(pb.ErrorInfo, event.content, event.exact)


def _imports(bodies: str) -> str:
    names = [name for name in ("ToolBridgeError", "ToolExecutionError") if f"pytest.raises({name}" in bodies]
    lines = [
        "",
        f"from grpc_tool_bridge import {', '.join(['GRPCToolBridge', *names])}",
        "from grpc_tool_bridge.testing import MockBridgeServer",
    ]
    used = [name for name in ("from_json", "to_json") if f"{name}(" in bodies]
    if used:
        lines.append(f"from grpc_tool_bridge.values.tagged_json import {', '.join(used)}")
    return "\n".join(lines)


def _test_of(session: RecordedSession) -> str:
    opened = session.opened
    given = [f"metadata={opened['metadata']!r}"] if opened.get("metadata") else []
    lines = [f"\n\ndef test_session_{session.number}(bridge):", f"{_INDENT}bridge.initialize({', '.join(given)})"]
    for call in session.calls:
        if not call.is_nested:
            lines += [f"{_INDENT}{line}" for line in _statements(call)]
    return "\n".join(lines) + "\n"


def _statements(call: RecordedCall) -> Iterator[str]:
    """Yields the statements that repeat a call."""
    write = _WRITERS.get(call.method)
    end = call.end
    if write is None or end is None or end.content == "cancelled":
        yield f"# {call.method} of {call.name} (line {call.place}) is not repeated here."
        return
    if end.kind == entries.ERROR:
        yield f"with pytest.raises(ToolBridgeError, match={_pattern(end.content)}):"
        yield f"{_INDENT}{write(call)}"
        return
    yield from _checked(call, write(call), end.content)


def _checked(call: RecordedCall, made: str, answer: Any) -> Iterator[str]:
    """Yields a call with what it must give."""
    method = call.method
    if method in {"StreamTool", "ExecuteAgent"}:
        yield from _checked_stream(call, made)
        return
    error = answer.get("error")
    if error is not None:
        kind = "ToolExecutionError" if method == "ExecuteTool" else "ToolBridgeError"
        yield f"with pytest.raises({kind}, match={_pattern(error)}):"
        yield f"{_INDENT}{made}"
    elif method == "ExecuteTool" and "result" not in call.events[-1].exact:
        yield _equal(made, answer.get("result"))
    elif method == "GetSessionVariable" and "value" not in call.events[-1].exact:
        yield _equal(made, answer.get("value"))
    elif method == "CreateReActAgent":
        yield f"assert {made} == {answer.get('agent_id')!r}"
    else:
        yield made


def _checked_stream(call: RecordedCall, made: str) -> Iterator[str]:
    chunks = [event for event in call.events if event.kind == entries.CHUNK]
    failed = next((event.content["error"] for event in chunks if "error" in event.content), None)
    if failed is not None:
        yield f"with pytest.raises(ToolBridgeError, match={_pattern(failed)}):"
        yield f"{_INDENT}list({made})"
    elif call.method == "ExecuteAgent":
        results = [event.content["result"] for event in chunks if "result" in event.content]
        result = results[-1] if results else {}
        yield f"assert list({made})[-1]['final_answer'] == {_literal(result.get('final_answer', {}))}"
    elif any(event.exact for event in chunks):
        yield f"list({made})"
    else:
        yield _equal(f"list({made})", [event.content["data"] for event in chunks if "data" in event.content])


def _pattern(error: Any) -> str:
    """Writes a regular expression for an error: its type, and the beginning of its message."""
    message = str(error.get("message", "")).splitlines()
    return repr(re.escape((message or [""])[0].partition("[redacted]")[0][:60]))


def _equal(made: str, value: Any) -> str:
    text = repr(value)
    if len(text) > _MAX_LITERAL_CHARS:
        return f"{made}  # its value is long, see the recording"
    if "$type" in text:
        return f"assert to_json({made}) == {text}"
    return f"assert {made} is {text}" if value is None or isinstance(value, bool) else f"assert {made} == {text}"


def _literal(value: Any) -> str:
    return f"from_json({value!r})" if "$type" in repr(value) else repr(value)


# ------------------------------------------------------------------------------------------------------ the calls


def _arguments(request: Any) -> str:
    given = [repr(request.get("tool_id", ""))]
    given += [_literal(value) for value in request.get("args", [])]
    named = request.get("kwargs", {})
    plain = {name: value for name, value in named.items() if name.isidentifier() and not iskeyword(name)}
    given += [f"{name}={_literal(value)}" for name, value in plain.items()]
    if len(plain) < len(named):
        given.append(f"**{_literal({name: value for name, value in named.items() if name not in plain})}")
    return ", ".join(given)


def _execute(call: RecordedCall) -> str:
    return f"bridge.call_tool({_arguments(call.request)})"


def _stream(call: RecordedCall) -> str:
    tool, _, rest = _arguments(call.request).partition(", ")
    return f"bridge.tools[{tool}].stream({rest})"


def _batch(call: RecordedCall) -> str:
    items = [
        f"{{'tool_id': {item.get('tool_id', '')!r}, 'args': {_literal(item.get('args', []))}, "
        f"'kwargs': {_literal(item.get('kwargs', {}))}}}"
        for item in call.request.get("items", [])
    ]
    return f"bridge.execute_batch([{', '.join(items)}])"


def _get(call: RecordedCall) -> str:
    name = repr(call.request.get("variable_name", ""))
    default = "" if call.end is not None and call.end.content.get("exists") else ", None"
    return f"bridge.session_context.get_variable({name}{default})"


def _set(call: RecordedCall) -> str:
    request = call.request
    return (
        f"bridge.session_context.set_variable({request.get('variable_name', '')!r}, {_literal(request.get('value'))})"
    )


def _delete(call: RecordedCall) -> str:
    return f"bridge.session_context.delete_variable({call.request.get('variable_name', '')!r})"


def _list(call: RecordedCall) -> str:
    given = ", ".join(f"{name}={call.request[name]!r}" for name in ("prefix", "tags", "limit") if name in call.request)
    return f"bridge.session_context.list_variables({given})"


def _create_agent(call: RecordedCall) -> str:
    request = call.request
    return (
        f"bridge.create_react_agent({request.get('signature', '')!r}, "
        f"tool_names={request.get('tool_names', [])!r}, max_iters={request.get('max_iters', 5)!r})"
    )


def _run_agent(call: RecordedCall) -> str:
    request = call.request
    asked = f"{{'agent_id': {request.get('agent_id', '')!r}, 'input': {_literal(request.get('input', {}))}}}"
    return f"bridge.execute_agent_streaming({asked})"


_WRITERS = {
    "ExecuteTool": _execute,
    "StreamTool": _stream,
    "BatchExecuteTools": _batch,
    "GetSessionVariable": _get,
    "SetSessionVariable": _set,
    "DeleteSessionVariable": _delete,
    "ListSessionVariables": _list,
    "CreateReActAgent": _create_agent,
    "ExecuteAgent": _run_agent,
}
