"""The log of a process that serves, as text and as JSON."""

import json
import logging
import os
from collections.abc import Iterator

import pytest

from grpc_tool_bridge.cli import grpc_messages
from grpc_tool_bridge.cli.log import JsonFormatter, LineFormatter, LogLevel, log_to_stderr


def record(message: str = "it happened", *args: object, **more: object) -> logging.LogRecord:
    made = logging.LogRecord("grpc_tool_bridge.here", logging.WARNING, "file.py", 1, message, args, None)
    made.created = 1_700_000_000.25
    made.__dict__.update(more)
    return made


def test_a_record_is_one_object_on_one_line() -> None:
    line = JsonFormatter().format(record("%s\nand more \x1b[2J ü", "it happened"))
    assert "\n" not in line
    assert line.isascii()
    assert json.loads(line) == {
        "time": "2023-11-14T22:13:20.250+00:00",
        "level": "warning",
        "logger": "grpc_tool_bridge.here",
        "message": "it happened\nand more \x1b[2J ü",
    }


def test_the_fields_of_a_record_are_apart_from_its_own() -> None:
    fields = {"level": "forged", "message": "forged", "i": 3, "odd": object}
    line = json.loads(JsonFormatter().format(record("did i=3", event="did", fields=fields)))
    assert (line["level"], line["message"]) == ("warning", "did")
    assert line["fields"] == {"level": "forged", "message": "forged", "i": 3, "odd": "<class 'object'>"}


def test_a_traceback_is_a_field_of_its_own() -> None:
    error = ValueError("no")
    made = record(exc_info=(ValueError, error, None))
    line = json.loads(JsonFormatter().format(made))
    assert line["traceback"].endswith("ValueError: no")
    assert json.loads(JsonFormatter().format(record(exc_text="from elsewhere")))["traceback"] == "from elsewhere"


def test_a_line_of_text_stays_one_line() -> None:
    assert "\n" not in LineFormatter("%(message)s").format(record("a\nb"))


@pytest.fixture
def own_logging() -> Iterator[None]:
    """Gives the root logger its handlers back."""
    root, grpc, uvicorn = logging.getLogger(), logging.getLogger("grpc"), logging.getLogger("uvicorn")
    before = root.handlers[:], root.level, grpc.level, uvicorn.level
    yield
    root.handlers[:], root.level = before[0], before[1]
    grpc.setLevel(before[2])
    uvicorn.setLevel(before[3])


@pytest.mark.usefixtures("own_logging")
@pytest.mark.parametrize(("level", "written"), [(LogLevel.INFO, False), (LogLevel.DEBUG, True)])
def test_what_grpc_logs_is_written_only_at_debug(
    capsys: pytest.CaptureFixture[str], level: LogLevel, written: bool
) -> None:
    logging.getLogger("grpc").setLevel(logging.NOTSET)
    log_to_stderr(level, "json")
    logging.getLogger("grpc._cython.cygrpc").error("noise")
    logging.getLogger("grpc_tool_bridge").warning("said")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert ("noise" in [line["message"] for line in lines]) is written
    assert lines[-1]["message"] == "said"


def test_grpc_s_core_is_silent_unless_its_messages_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc_messages, "_own", [])
    monkeypatch.delenv(grpc_messages.VARIABLE, raising=False)
    grpc_messages.silence()
    assert os.environ[grpc_messages.VARIABLE] == "NONE"
    grpc_messages.allow()
    assert os.environ[grpc_messages.VARIABLE] == "INFO"


def test_what_the_user_s_environment_says_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc_messages, "_own", [])
    monkeypatch.setenv(grpc_messages.VARIABLE, "ERROR")
    grpc_messages.silence()
    grpc_messages.allow()
    assert os.environ[grpc_messages.VARIABLE] == "ERROR"
