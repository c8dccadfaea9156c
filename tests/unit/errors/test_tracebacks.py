"""Tracebacks of a bounded length."""

import os
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from grpc_tool_bridge.errors import tracebacks
from grpc_tool_bridge.errors.tracebacks import (
    MAX_CHAIN,
    MAX_FRAMES,
    format_error,
    has_common_traceback,
    is_at_hand,
    tools_part,
)


def raised(function: Callable[[], Any]) -> BaseException:
    """What a function raises, with its traceback."""
    try:
        function()
    except BaseException as error:
        return error
    raise AssertionError("it raised nothing")


def _plain() -> None:
    raise ValueError("said")


def _caused() -> None:
    try:
        _plain()
    except ValueError as error:
        raise KeyError("k") from error


def _handling() -> None:
    try:
        _plain()
    except ValueError:
        raise KeyError("k")  # noqa: B904 - as people write it


def _noted() -> None:
    error = ValueError("said")
    error.add_note("a note")
    raise error


def _unread() -> None:
    compile("a b c", "f.py", "exec")


def _deep(levels: int) -> None:
    if levels:
        _deep(levels - 1)
    _plain()


def _chain(length: int) -> BaseException:
    error = ValueError("the first")
    for number in range(length):
        error, error.__cause__ = ValueError(f"number {number}"), error
    last, before = ValueError("the last"), error
    last.__cause__ = before
    return last


@pytest.mark.parametrize("function", [_plain, _caused, _handling, _noted, _unread, lambda: 1 / 0])
def test_a_common_exception_is_written_as_python_writes_it(function: Callable[[], Any]) -> None:
    error = raised(function)
    assert format_error(error) == "".join(traceback.format_exception(error))


def test_a_group_shows_its_members() -> None:
    text = format_error(BaseExceptionGroup("both", [ValueError("v"), raised(_plain)]))
    assert "ExceptionGroup: both (2 sub-exceptions)" in text
    assert "  | ValueError: v\n" in text
    assert "  | Traceback (most recent call last):\n" in text


def test_of_a_long_chain_the_last_exceptions_are_written() -> None:
    text = format_error(_chain(100_000))
    assert text.count("ValueError: ") == MAX_CHAIN
    assert text.endswith("ValueError: the last\n")


def test_a_cycle_ends() -> None:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    assert format_error(one).count("ValueError: ") == 2


def test_of_many_frames_the_first_and_the_last_are_written() -> None:
    text = format_error(raised(lambda: _deep(MAX_FRAMES + 50)))
    assert "frames between)" in text
    assert 'raise ValueError("said")' in text
    assert "in raised" in text
    assert text.count("\n") < 60


@pytest.mark.parametrize("name", ["x" * 1_000_000, "/dev/zero", "fifo"])
def test_the_source_of_an_odd_file_is_not_read(name: str, tmp_path: Path) -> None:
    if name == "fifo":
        name = str(tmp_path / "fifo")
        os.mkfifo(name)
    code = compile("raise ValueError('said')", name, "exec")
    text = format_error(raised(lambda: exec(code, {"__loader__": None})))
    assert text.endswith("ValueError: said\n")
    assert len(text) < 10_000


def test_a_line_without_end_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "long.py"
    file.write_text(f"raise ValueError('said')  # {'x' * 500_000}")
    code = compile(file.read_text(), str(file), "exec")
    text = format_error(raised(lambda: exec(code, {})))
    assert f'File "{file}", line 1, in <module>' in text
    assert len(text) < 10_000


def test_what_cannot_be_written_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise SystemExit

    monkeypatch.setattr(tracebacks, "_chained", broken)
    assert format_error(ValueError("v")) == "ValueError: <no traceback: SystemExit was raised>\n"


def test_the_tools_part_begins_below_the_bridge() -> None:
    module: dict[str, Any] = {"__name__": "grpc_tool_bridge.running.x", "tool": _plain}
    exec("def call(): tool()", module)
    error = raised(module["call"])
    assert error.__traceback__ is not None
    error.__traceback__ = error.__traceback__.tb_next
    part = tools_part(error)
    assert part is not None
    assert part.tb_frame.f_code is _plain.__code__


def test_a_traceback_is_at_hand_once_its_sources_have_been_read() -> None:
    error = raised(_plain)
    format_error(error)
    assert is_at_hand(error)
    assert not is_at_hand(raised(lambda: _deep(50)))
    assert not is_at_hand(BaseExceptionGroup("g", [error]))
    code = compile("raise ValueError", "never.py", "exec")
    assert not is_at_hand(raised(lambda: exec(code, {})))


def test_a_traceback_of_many_frames_is_not_common() -> None:
    assert has_common_traceback(ValueError())
    assert has_common_traceback(raised(_plain))
    assert not has_common_traceback(raised(lambda: _deep(MAX_FRAMES)))


def test_frames_without_end_are_not_walked_through() -> None:
    error = raised(_plain)
    trace = error.__traceback__
    assert trace is not None
    for _ in range(150_000):
        trace = TracebackType(trace, trace.tb_frame, trace.tb_lasti, trace.tb_lineno)
    text = format_error(error.with_traceback(trace))
    assert f"({100_000 - MAX_FRAMES:,} frames between)" in text
