"""Lines that were written in the order of time are put in an order that does not depend on it."""

import itertools
import json
import random
from pathlib import Path
from typing import Any

import pytest

from grpc_tool_bridge.testing.recording.lines import OWN_SESSION, encode, header
from grpc_tool_bridge.testing.recording.settling import RecordingError, read_lines, settle

Lines = list[dict[str, Any]]


def call(session: int, number: str, tool: str) -> Lines:
    """Returns the lines of one call."""
    who = {"session": f"session-{session}", "call": f"call-{number}"}
    request = {**who, "method": "ExecuteTool", "request": {"tool_id": tool}}
    return [request, {**who, "answer": {"success": True, "result": f"{tool} of {OWN_SESSION}"}}]


def flat(parts: list[Lines]) -> Lines:
    return [line for part in parts for line in part]


def session_of(number: int, *calls: Lines, tools: tuple[str, ...] = ()) -> list[Lines]:
    """Returns the lines of one session: each list in its order, one list after or among the others."""
    who = {"session": f"session-{number}"}
    return [[{**who, "opened": {}}], [{**who, "tool": {"tool_id": tool, "name": tool}} for tool in tools], *calls]


def written(path: Path, lines: Lines, *, is_open: bool = True) -> Path:
    first = header(is_open=is_open)
    times = [{"at": at * 1_000_000, **line} for at, line in enumerate(lines)] if is_open else lines
    path.write_text("".join(encode(line) + "\n" for line in [first, *times]), encoding="utf-8")
    return path


def merged(chooser: random.Random, *parts: Lines) -> Lines:
    """Merges lists of lines at random, each of which stays in its order."""
    left = [list(part) for part in parts if part]
    lines = []
    while left:
        part = chooser.choice(left)
        lines.append(part.pop(0))
        left = [part for part in left if part]
    return lines


def test_calls_at_the_same_time_give_the_same_bytes_whichever_ends_first(tmp_path: Path) -> None:
    results = set()
    for seed in range(30):
        opened, tools, *calls = session_of(
            1, call(1, "1", "a"), call(1, "2", "b"), call(1, "2.1", "c"), call(1, "3", "d"), tools=("x", "y")
        )
        chooser = random.Random(seed)
        chooser.shuffle(tools)
        path = written(tmp_path / "r.jsonl", opened + merged(chooser, tools, *calls))
        settle(str(path))
        results.add(path.read_bytes())

    (result,) = results
    events = [json.loads(line) for line in result.splitlines()[1:]]
    assert [event.get("call") or event.get("tool", {}).get("name") or "opened" for event in events] == [
        "opened", "x", "y", "call-1", "call-1", "call-2", "call-2", "call-2.1", "call-2.1", "call-3", "call-3",
    ]  # fmt: skip


def test_sessions_at_the_same_time_give_the_same_bytes_whichever_opens_first(tmp_path: Path) -> None:
    results = set()
    for seed, order in enumerate(itertools.permutations((1, 2, 3))):
        parts = [
            flat(session_of(number, call(number, "1", f"tool-{name}")))
            for number, name in zip(order, "abc", strict=True)
        ]
        lines = merged(random.Random(seed), *parts)
        path = written(tmp_path / "r.jsonl", lines)
        settle(str(path))
        results.add(path.read_bytes())

    (result,) = results
    assert [line.count(b"tool-a") for line in result.splitlines() if b'"request"' in line] == [1, 0, 0]
    assert b"tool-a of session-1" in result


def test_sessions_one_after_the_other_stay_in_their_order(tmp_path: Path) -> None:
    lines: Lines = []
    for number, name in enumerate("cab", start=1):
        lines += [*flat(session_of(number, call(number, "1", name))), {"session": f"session-{number}", "ended": {}}]
    path = written(tmp_path / "r.jsonl", lines)

    settle(str(path))

    tools = [json.loads(line)["request"]["tool_id"] for line in path.read_text().splitlines() if '"request"' in line]
    assert tools == ["c", "a", "b"]


def test_times_are_in_a_file_beside_it_line_by_line(tmp_path: Path) -> None:
    path = written(tmp_path / "r.jsonl", flat(session_of(1, call(1, "1", "a"))))

    settle(str(path))

    times = (tmp_path / "r.jsonl.times").read_text().splitlines()
    assert times[1:] == ["0.000000", "1.000000", "2.000000"]
    assert [line.at for line in read_lines(str(path))[1]] == [0, 1_000_000, 2_000_000]
    assert '"at"' not in path.read_text()


def test_a_recording_whose_hub_was_killed_is_read_up_to_its_last_whole_line(tmp_path: Path) -> None:
    path = written(tmp_path / "r.jsonl", flat(session_of(1, call(1, "1", "a"), call(1, "2", "b"))))
    data = path.read_bytes()

    whole = data.rindex(b"\n", 0, -1) + 1
    for end in range(whole, len(data)):
        path.write_bytes(data[:end])
        _, lines = read_lines(str(path))
        assert [line.content.get("call") for line in lines] == [None, "call-1", "call-1", "call-2"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is not a recording: its first line does not say so"),
        ("not json\n", "is not a recording"),
        ("[]\n", "is not a recording"),
        ('{"format": "another"}\n', "is not a recording"),
        ('{"format": "grpc-tool-bridge recording", "version": 2}\n', "is a recording of version 2, and this program"),
        ('{"format": "grpc-tool-bridge recording"}\n', "is a recording of version None"),
        ('{"format": "grpc-tool-bridge recording", "version": 1}\n{"session"\n', "line 2: it is not JSON"),
        ('{"format": "grpc-tool-bridge recording", "version": 1}\n\n', "line 2: it is not JSON"),
        ('{"format": "grpc-tool-bridge recording", "version": 1}\n5\n', "line 2: it must be an object, not int"),
        ('{"format": "grpc-tool-bridge recording", "version": 1}\n' + "[" * 100_000 + "\n", "line 2: it is not JSON"),
        ('{"format": "grpc-tool-bridge recording", "version": 1, "open": true}\n{}\n', "line 2: it names no session"),
        (
            '{"format": "grpc-tool-bridge recording", "version": 1, "open": true}\n{"session": "session-1"}\n',
            "line 2: it names no call",
        ),
    ],
)
def test_what_is_no_recording_is_refused_with_the_line(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(text)

    with pytest.raises(RecordingError, match=why):
        list(read_lines(str(path))[1])


def test_a_line_that_is_too_long_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grpc_tool_bridge.testing.recording.settling.MAX_LINE_BYTES", 1_000)
    path = written(tmp_path / "r.jsonl", call(1, "1", "x" * 2_000), is_open=False)

    with pytest.raises(RecordingError, match="line 2: it is longer than 1,000 bytes"):
        list(read_lines(str(path))[1])


def test_times_that_are_none_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "r.jsonl", call(1, "1", "a"), is_open=False)
    (tmp_path / "r.jsonl.times").write_text("began\nsoon\n")

    with pytest.raises(RecordingError, match="does not hold the times"):
        list(read_lines(str(path))[1])
