"""What a failure looks like: one line, and an exit code."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
import typer

from grpc_tool_bridge import ToolBridgeError, ToolSpec, tool
from grpc_tool_bridge.cli import app, connection, typer_app
from grpc_tool_bridge.cli.exit_codes import BAD_ARGUMENT, PIPE_CLOSED
from grpc_tool_bridge.cli.failures import ArgumentError, CommandError, one_line, report, wants_json
from grpc_tool_bridge.cli.options import HubOptions
from grpc_tool_bridge.cli.settings import read_settings
from grpc_tool_bridge.cli.spec_text import signature_text
from grpc_tool_bridge.cli.streams import PipeClosedError
from grpc_tool_bridge.cli.tool_text import tool_facts
from grpc_tool_bridge.errors import ToolCommunicationError


class Code:
    """Stands for a gRPC status code."""

    def __init__(self, name: str) -> None:
        self.name = name


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (CommandError("it failed"), 1, "error: it failed"),
        (ArgumentError("a\nb"), 2, "error: a b"),
        (ToolBridgeError("the hub says no"), 1, "error: the hub says no"),
        (KeyError("x"), 1, "error: KeyError: 'x'; this is a bug in the command line, please report it"),
    ],
)
def test_an_error_is_one_line_and_a_code(
    error: Exception, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report(error) == code
    assert capsys.readouterr().err == f"{line}\n"


def test_a_traceback_follows_the_line_where_it_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    report(CommandError("it failed", traceback="Traceback:\n  there\n"))
    assert capsys.readouterr().err == "error: it failed\nTraceback:\n  there\n"


def test_a_closed_pipe_is_quiet_and_what_is_left_to_print_goes_nowhere(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with (tmp_path / "out").open("w") as out:
        monkeypatch.setattr("sys.stdout", out)
        assert report(PipeClosedError()) == PIPE_CLOSED
        out.write("lost")
    monkeypatch.setattr("sys.stdout", io.StringIO())
    assert report(BrokenPipeError()) == PIPE_CLOSED
    assert capfd.readouterr().err == ""
    assert (tmp_path / "out").read_text() == ""


def test_an_unforeseen_error_of_a_command_is_one_line_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> typer.Typer:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(typer_app, "make_app", broken)
    assert app.main(["--help"]) == 1
    assert capsys.readouterr().err.startswith("error: ZeroDivisionError: oops;")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a\r\n\tb", "a b"),
        ("\x1b[2Jé", "\\x1b[2Jé"),
        ("a\u200bb\u202ec\ufeffd\xade", r"a\u200bb\u202ec\ufeffd\xade"),
        ("\u2066x\U000e0041y\u3164z\u061c", r"\u2066x\U000e0041y\u3164z\u061c"),
        ("\udcff", r"\xff"),
        ("日本 ❤\ufe0f", "日本 ❤\ufe0f"),
        ("", ""),
    ],
)
def test_a_line_has_nothing_that_a_terminal_would_obey(text: str, line: str) -> None:
    assert one_line(text) == line


@pytest.mark.parametrize(
    ("details", "reason"),
    [
        ("ipv4:127.0.0.1:1: Failed to connect to remote host: Connection refused", "Connection refused"),
        ("Failed to connect to remote host: connect: Connection refused (111)", "Connection refused"),
        ("connect failed: addr: unix:/tmp/x error: No such file or directory", "No such file or directory"),
        ("address lookup failed for nohost.invalid:1: Domain name not found]", "Domain name not found"),
        ("WRONG_VERSION_NUMBER: Invalid certificate verification context: OK", "WRONG_VERSION_NUMBER"),
        ("Socket closed", "Socket closed"),
    ],
)
def test_the_reason_is_taken_from_what_grpc_says(details: str, reason: str) -> None:
    assert connection.reason_of(details) == reason


def test_an_answer_of_something_else_than_a_hub_is_told_as_such() -> None:
    error = ToolCommunicationError("InitializeSession", Code("UNIMPLEMENTED"), "unknown service")
    text = str(connection.unreachable(HubOptions(), error))
    assert text == "127.0.0.1:50051 answered, but not as a hub does: UNIMPLEMENTED: unknown service"


@pytest.mark.parametrize(
    ("file", "content", "text"),
    [
        ("token", "two words", "is empty or has characters other than printable ASCII"),
        ("hub.toml", "call_timeout = [", "is not valid TOML"),
        ("hub.toml", "call_timeuot = 1", "no setting is called call_timeuot"),
    ],
)
def test_a_file_of_settings_that_cannot_be_says_why(tmp_path: Path, file: str, content: str, text: str) -> None:
    path = tmp_path / file
    path.write_text(content)
    with pytest.raises(ArgumentError) as caught:
        read_settings({"token_file": path} if file == "token" else {}, None if file == "token" else path)
    assert text in str(caught.value)
    assert "two words" not in str(caught.value)


def test_a_secret_of_a_cluster_that_is_too_short_is_refused_before_the_hub_starts(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("short")
    file.chmod(0o600)
    with pytest.raises(ArgumentError, match="shorter than 16 characters; openssl rand -hex 32 makes one"):
        read_settings({"cluster_secret_file": file}, None)
    file.write_text("0123456789abcdef\n")
    settings = read_settings({"cluster_secret_file": file}, None)
    assert (settings.secret_of_cluster(), settings.cluster_secret_file) == ("0123456789abcdef", None)


@pytest.mark.parametrize("name", ["", " ", "north\nsouth", "n" * 101])
def test_a_name_of_a_hub_can_be_read(name: str) -> None:
    with pytest.raises(ArgumentError, match="hub_name has 1 to 100 visible characters"):
        read_settings({"hub_name": name}, None)


def test_a_token_file_that_is_named_rules_over_the_environments_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOOL_BRIDGE_TOKEN", "of-the-environment")
    (tmp_path / "token").write_text("of-the-file\n")
    settings = read_settings({"token_file": tmp_path / "token"}, None)
    assert settings.bearer_token() == "of-the-file"


def test_a_signature_is_written_as_python_does() -> None:
    @tool
    def odd(a: Any, b: int = 1, *rest: str, c: bool = True, **more: float) -> Any: ...

    assert signature_text(odd.spec) == "odd(a: Any, b: int = 1, *rest: str, c: bool = True, **more: float) -> Any"
    bare = ToolSpec(name="bare")
    bare.arguments.add(name="x")
    bare.arguments[0].default_value.type_url = "type.googleapis.com/no.Such"
    assert signature_text(bare) == "bare(x = …)"


def test_a_schema_of_a_peer_that_is_no_json_is_shown_as_it_is() -> None:
    assert tool_facts(ToolSpec(name="t", input_schema="{"))["input_schema"] == "{"


def test_an_error_in_json_has_no_half_of_a_surrogate_pair(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(ArgumentError("no file \udcff \ud800 \u00e9"), as_json=True) == BAD_ARGUMENT
    printed = capsys.readouterr().err
    assert printed.isascii()
    assert json.loads(printed)["error"]["message"] == "no file \\xff \\ud800 \u00e9"


@pytest.mark.parametrize(("words", "expected"), [(["--json=1"], True), (["--", "--json"], False), (["--jsonx"], False)])
def test_a_command_line_asks_for_json_however_wrong_it_is(words: list[str], expected: bool) -> None:
    assert wants_json(words) is expected


def test_the_old_name_of_a_setting_is_one_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("worker_grace = 3\n")
    assert read_settings({}, file).worker_grace_period == 3
    assert capsys.readouterr().err == "warning: worker_grace is deprecated; use worker_grace_period\n"
