"""The command line: a real hub process, and commands in this one or in processes of their own."""

import io
import json
import os
import re
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import psutil
import pytest
import trustme

from grpc_tool_bridge.cli import connection, main
from grpc_tool_bridge.cli.checks import EXTRAS
from support.patience import PATIENCE as PATIENCE  # noqa: PLC0414 - the other commands' tests have it from here

TOOLS = str(Path(__file__).parent / "cli_tools.py")
PROGRAM = [sys.executable, "-m", "grpc_tool_bridge.cli"]
TOKEN = "s3cret-t0ken"

# What runs in the background has SIGINT ignored, and hands that on to what it starts; a terminal does not.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

Cli = Callable[..., str]
Start = Callable[..., "subprocess.Popen[str]"]


def popen(*words: str, **options: Any) -> "subprocess.Popen[str]":
    """Starts a command in a process of its own, which the caller ends."""
    pipe = subprocess.PIPE
    return subprocess.Popen([*PROGRAM, *words], **{"stdout": pipe, "stderr": pipe, "text": True, **options})


def read_line(process: "subprocess.Popen[str]", name: str = "stdout") -> str:
    """Reads a line that a working program writes soon; one that does not is ended, which gives an empty line."""
    timer = threading.Timer(PATIENCE, process.kill)
    timer.start()
    try:
        return str(getattr(process, name).readline())
    finally:
        timer.cancel()


@contextmanager
def serving(
    *words: str, ends_with: int = 0, **options: Any
) -> Iterator[tuple[dict[str, Any], "subprocess.Popen[str]"]]:
    """Runs ``serve`` in a process; gives what it announces and the process, and ends it."""
    process = popen("serve", "--address", "127.0.0.1:0", "--json", *words, **options)
    try:
        line = read_line(process)
        assert line, process.stderr.read() if process.stderr else "it ended"
        yield json.loads(line), process
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == ends_with
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts commands in processes of their own, none of which outlives its test."""
    with ExitStack() as stack:

        def start(*words: str, **options: Any) -> "subprocess.Popen[str]":
            process = stack.enter_context(popen(*words, **options))
            stack.callback(process.kill)
            return process

        yield start


@pytest.fixture(scope="module")
def hub() -> Iterator[dict[str, Any]]:
    """A hub for all tests that leave it as it was."""
    with serving("--tools", TOOLS, stderr=subprocess.DEVNULL) as (announced, _):
        yield announced


@pytest.fixture
def cli(hub: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs a command against the hub in this process; gives its stdout, or of one that fails its stderr."""
    monkeypatch.setenv("TOOL_BRIDGE_ADDRESS", hub["address"])
    return runner(capsys)


def runner(capsys: pytest.CaptureFixture[str]) -> Cli:
    def run(*words: str, code: int = 0) -> str:
        assert main(words) == code, capsys.readouterr().err
        captured = capsys.readouterr()
        if not code:
            return captured.out
        assert captured.err.startswith("error: ")
        assert "Traceback" not in captured.err or "--traceback" in words
        if "--traceback" not in words:
            assert captured.err.count("\n") == 1, captured.err
        return captured.err

    return run


# ------------------------------------------------------------------------------------------------------- the program


def test_the_package_is_run_as_the_command_is() -> None:
    for module in ("grpc_tool_bridge", "grpc_tool_bridge.cli"):
        words = [sys.executable, "-m", module, "--version"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert re.fullmatch(r"grpc-tool-bridge \d+\.\d+\.\d+\n", done.stdout), done.stderr


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert re.fullmatch(r"grpc-tool-bridge \d+\.\d+\.\d+\n", capsys.readouterr().out)


@pytest.mark.parametrize("words", [[], ["--help"], ["call", "--help"], ["vars", "-h"]])
def test_help_is_printed_where_it_is_asked_for_or_nothing_is(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 0
    assert "Usage: grpc-tool-bridge" in capsys.readouterr().out


def test_help_imports_no_data_package() -> None:
    code = (
        "import sys; from grpc_tool_bridge.cli import main; main(['--help']);"
        "sys.exit(','.join({'pandas', 'numpy', 'pyarrow', 'polars'} & sys.modules.keys()) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["cal"], "no such command 'cal'. Did you mean 'call', 'calls'? See grpc-tool-bridge --help"),
        (["call"], "missing argument 'TOOL'; see grpc-tool-bridge call --help"),
        (["call", "add", "--bogus"], "no such option: --bogus; see grpc-tool-bridge call --help"),
        (["vars", "list"], "missing option '--session'; see grpc-tool-bridge vars list --help"),
        (["vars"], "missing command; see grpc-tool-bridge vars --help"),
        (["call", "add", "1", "--timeout", "soon"], "invalid value for '--timeout'"),
        (["tools", "--address", "nowhere"], "--address: 'nowhere' is not a valid address; write host:port"),
        (["tools", "--token-file", "/does/not/exist"], "cannot read /does/not/exist: No such file"),
        (["tools", "--tls-ca", "/does/not/exist"], "cannot read /does/not/exist: No such file"),
        (["serve", "--address", "nowhere"], "--address: 'nowhere' is not a valid address"),
        (["serve", "--config", "/does/not/exist"], "cannot read /does/not/exist: No such file"),
        (["serve", "--token-file", "/does/not/exist"], "cannot read /does/not/exist: No such file"),
        (
            ["serve", "--call-timeout", "0"],
            "setting call_timeout: input should be greater than 0 (from its flag, TOOL_",
        ),
        (["serve", "--tls-cert", "a.pem"], "TLS needs both a certificate and its key; tls_key is not set"),
        (["serve", "--tls-cert", "/no/a", "--tls-key", "/no/b"], "cannot read /no/a: No such file"),
        (["serve", "--tls-cert", TOOLS, "--tls-key", "/no/b"], "cannot read /no/b: No such file"),
        (["serve", "--address", "0.0.0.0:0"], "0.0.0.0:0 can be reached from other machines"),
        (["serve", "--http", "nowhere"], "--http: 'nowhere' is not a valid address"),
        (
            ["serve", "--http", "unix:/tmp/hub"],
            "the HTTP gateway listens at host:port, such as 127.0.0.1:8080, not",
        ),
        (["serve", "--address", "127.0.0.1:0", "--http", "0.0.0.0:0"], "0.0.0.0:0 can be reached from other machines"),
        (["serve", "--tools", "no_such_module"], "--tools no_such_module: there is no module no_such_module"),
        (["serve", "--tools", f"{TOOLS}:add", "--tools", f"{__file__}"], "has no tools; mark functions with @tool"),
        (["serve", "--log-level", "loud"], "invalid value for '--log-level'"),
    ],
)
def test_a_wrong_argument_is_one_line_and_exit_2(
    words: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert text in runner(capsys)(*words, code=2)


def test_a_hub_that_is_not_there_is_one_line_and_exit_1(capsys: pytest.CaptureFixture[str]) -> None:
    text = runner(capsys)("tools", "--address", "127.0.0.1:1", "--connect-timeout", "0.2", code=1)
    assert text == (
        "error: no hub answered at 127.0.0.1:1 (Connection refused); is it running? grpc-tool-bridge serve --tools …\n"
    )


def test_something_that_accepts_and_says_nothing_is_told_as_such(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "ANSWER_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        text = runner(capsys)("tools", "--address", address, "--connect-timeout", "0.1", code=1)
    assert text.startswith(f"error: {address} did not answer within 0.2 s; is this the address of the hub?")


# ------------------------------------------------------------------------------------------------------------ tools


def test_tools_are_listed_by_name_with_arguments_and_description(cli: Cli) -> None:
    lines = cli("tools").splitlines()
    assert re.search(r"add +a: int, b: int = 2 +Adds two numbers\.", "\n".join(lines))
    assert [line.split()[0] for line in lines[2:5]] == ["add", "count", "echo"]


def test_a_tool_is_shown_in_full(cli: Cli) -> None:
    text = cli("tools", "add")
    assert text.startswith("add(a: int, b: int = 2) -> int\nAdds two numbers.\n")
    for part in ("The second.", "\nidempotent, version 1.2\n", "timeout_ms 9000", "owner tests", "example: add 1 2"):
        assert part in text
    assert '"properties"' in text


def test_tools_as_json_carry_the_schema(cli: Cli) -> None:
    (spec,) = [item for item in json.loads(cli("tools", "--json")) if item["name"] == "add"]
    assert spec == json.loads(cli("tools", "add", "--json"))
    assert spec["input_schema"]["required"] == ["a"]
    assert spec["limits"]["timeout_ms"] == 9000


def test_an_unknown_tool_is_named_with_those_that_there_are(cli: Cli) -> None:
    assert cli("tools", "ad", code=1).startswith("error: the hub has no tool 'ad'; did you mean add?")
    assert "has no tool 'ad'" in cli("call", "ad", code=1)


def test_tools_are_searched(cli: Cli) -> None:
    lines = cli("tools", "--search", "the sum of numbers: add").splitlines()
    assert lines[2].split()[0] == "add"
    found = json.loads(cli("tools", "--search", "add numbers", "--limit", "1", "--json"))
    assert found == [json.loads(cli("tools", "add", "--json"))]
    assert [item["name"] for item in json.loads(cli("tools", "--search", "", "--limit", "2", "--json"))] == [
        "add",
        "count",
    ]
    for words in (["--search", "add", "--prefix", "ec"], ["--search", "nothing such"], ["--prefix", "zz"]):
        assert cli("tools", *words) == "No tool matches; grpc-tool-bridge tools lists all of them.\n"
    assert [item["name"] for item in json.loads(cli("tools", "--prefix", "ech", "--json"))] == ["echo"]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["add", "--search", "x"], "tools shows one tool by its name, or those of"),
        (["add", "--prefix", "x"], "tools shows one tool by its name, or those of"),
        (["add", "--tag", "x"], "tools shows one tool by its name, or those of"),
        (["--search", "x", "--hidden"], "--search never finds hidden tools"),
        (["--tag", "a b"], "--tag: a tag is 1 to 64 letters"),
        (["--from", "mcp:x", "--tag", "a"], "for the tools of a hub only"),
        (["--limit", "3"], "--limit is the maximum number of tools that --search finds"),
        (["--search", "x", "--limit", "101"], "--limit"),
    ],
)
def test_options_of_a_search_that_do_not_fit_are_refused(cli: Cli, words: list[str], error: str) -> None:
    assert error in cli("tools", *words, code=2)


# ------------------------------------------------------------------------------------------------------------- call


@pytest.mark.parametrize(
    ("words", "printed"),
    [
        (["add", "1"], "3\n"),
        (["add", "5", "-3"], "2\n"),
        (["add", "--kwarg", "b=-1", "--kwarg", "a=1", "--timeout", "5"], "0\n"),
        (["echo", "5"], "5\n"),
        (["echo", "--", "--json"], "--json\n"),
        (["kind", "5"], "int\n"),
        (["kind", "five"], "str\n"),
        (["kind", '{"$type": "UUID", "value": "12345678-1234-5678-1234-567812345678"}'], "UUID\n"),
        (["moment", "--json"], '{"$type": "datetime", "value": "2026-01-02T03:04:00+00:00"}\n'),
        (["echo", "two words", "--json"], '"two words"\n'),
        (["count", "2"], "[0, 1]\n"),
    ],
)
def test_a_call_prints_its_result(cli: Cli, words: list[str], printed: str) -> None:
    assert cli("call", *words) == printed


def test_lists_of_dicts_and_frames_are_tables(cli: Cli) -> None:
    lines = [line.split() for line in cli("call", "rows").splitlines()]
    assert (lines[0], lines[2], lines[3]) == (["name", "size", "more"], ["one", "1"], ["two", "2000", "yes"])
    assert cli("call", "frame").splitlines()[2].split() == ["1", "a"]


def test_what_one_command_prints_as_json_another_reads_from_stdin(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(cli("call", "frame", "--json")))
    assert cli("call", "kind", "-") == "DataFrame\n"


def test_bytes_go_into_a_pipe_as_they_are(cli: Cli, hub: dict[str, Any]) -> None:
    done = subprocess.run(
        [*PROGRAM, "call", "picture", "--address", hub["address"]], capture_output=True, timeout=PATIENCE, check=False
    )
    assert done.stdout == b"\x89PNG"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["add", "x"], "argument a takes an integer, not 'x'"),
        (["add", "--kwarg", "a"], "--kwarg 'a' is not valid; write --kwarg name=value"),
        (["add", "--kwarg", "a=1", "--kwarg", "a=2"], "argument a is given twice"),
        (["add", "1", "--timeout", "0"], "--timeout: "),
        (["kind", '{"$type": "Frog", "value": 1}', "--kwarg", "="], "--kwarg '='"),
    ],
)
def test_a_wrong_argument_of_a_tool_is_found_before_the_call(cli: Cli, words: list[str], text: str) -> None:
    assert text in cli("call", *words, code=2)


def test_stdin_that_is_no_json_is_a_wrong_argument(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("{"))
    assert "argument value is read from stdin, which is not valid JSON" in cli("call", "kind", "-", code=2)


def test_what_the_hub_refuses_is_one_line(cli: Cli) -> None:
    assert "takes at most 2 arguments by position, got 3" in cli("call", "add", "1", "2", "3", code=1)


def test_a_tools_error_is_one_line_that_no_text_of_the_tool_can_break(cli: Cli) -> None:
    assert cli("call", "fail", "two\nlines \x1b[31m", code=1) == "error: fail: RuntimeError: two lines \\x1b[31m\n"


def test_a_tools_traceback_is_printed_where_it_is_asked_for(cli: Cli) -> None:
    for command in ("call", "stream"):
        first, *rest = cli(command, "fail", "boom", "--traceback", code=1).splitlines()
        assert first == "error: fail: RuntimeError: boom"
        assert any("cli_tools.py" in line for line in rest)


# ----------------------------------------------------------------------------------------------------------- stream


def test_a_stream_prints_values_on_stdout_and_the_log_on_stderr(cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stream", "count", "3", "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "0\n1\n2\n"
    assert captured.err.splitlines()[0] == "info count: counted number=0"
    assert "counting" not in captured.err


def test_progress_is_drawn_where_stderr_is_a_terminal(start: Start, hub: dict[str, Any]) -> None:
    reader, writer = os.openpty()
    process = start(
        "stream", "count", "3", "--address", hub["address"], stderr=writer, env={**os.environ, "TERM": "xterm"}
    )
    os.close(writer)
    out, _ = process.communicate(timeout=PATIENCE)
    drawn = b""
    while select.select([reader], [], [], 0)[0]:
        try:
            drawn += os.read(reader, 65536)
        except OSError:  # the other end is closed, and everything read
            break
    os.close(reader)
    assert (process.returncode, out) == (0, "0\n1\n2\n")
    assert b"counting" in drawn


def test_ctrl_c_cancels_the_stream_at_the_hub_and_exits_130(start: Start, cli: Cli, hub: dict[str, Any]) -> None:
    process = start("stream", "endless", "--address", hub["address"])
    assert read_line(process) == "0\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (130, "error: interrupted\n")
    assert cli("call", "wait_for_the_end_of_endless") == "it has ended\n"


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_closed_pipe_ends_the_stream_quietly(start: Start, cli: Cli, hub: dict[str, Any], more: list[str]) -> None:
    process = start("stream", "endless", "--address", hub["address"], *more)
    assert process.stdout is not None
    assert read_line(process) == "0\n"
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(PATIENCE) == 141
    assert cli("call", "wait_for_the_end_of_endless") == "it has ended\n"


# ------------------------------------------------------------------------------------------------------------- vars


def test_a_variable_is_set_read_listed_and_deleted(cli: Cli) -> None:
    session = ["--session", "cli-vars"]
    assert cli("vars", "set", "limit", "0.5", *session, "--tag", "unit=percent").startswith("limit is at revision ")
    assert cli("vars", "get", "limit", *session) == "0.5\n"
    assert cli("vars", "get", "limit", *session, "--json") == "0.5\n"
    revision = json.loads(cli("vars", "set", "limit", "-1", *session, "--json"))["revision"]
    (facts,) = json.loads(cli("vars", "list", *session, "--json"))
    assert facts | {"created_at": "", "updated_at": ""} == {
        "name": "limit",
        "type": "int",
        "size_bytes": facts["size_bytes"],
        "revision": revision,
        "created_at": "",
        "updated_at": "",
        "created_by": "grpc-tool-bridge vars set",
        "tags": {"unit": "percent"},
        "secret": False,
    }
    assert "unit=percent" in cli("vars", "list", "lim", *session, "--tag", "unit")
    assert "does not exist" in cli("vars", "set", "other", "1", *session, "--revision", "7", code=1)
    assert cli("vars", "delete", "limit", *session) == "limit was deleted\n"
    assert cli("vars", "list", *session) == "Session 'cli-vars' has no such variables\n"
    assert "has no variable 'limit'" in cli("vars", "get", "limit", *session, code=1)
    assert "--tag '=x' has no name" in cli("vars", "set", "a", "1", *session, "--tag", "=x", code=2)


def test_text_is_taken_as_it_is_where_that_is_asked_for(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    session = ["--session", "cli-text"]
    cli("vars", "set", "note", "5", "--text", *session)
    assert cli("vars", "get", "note", "--json", *session) == '"5"\n'
    monkeypatch.setattr("sys.stdin", io.StringIO("a\nb"))
    cli("vars", "set", "note", "-", "--text", *session)
    assert cli("vars", "get", "note", *session) == "a\nb\n"


def test_a_secret_is_masked_and_stays_secret_when_it_is_set_again(cli: Cli) -> None:
    session = ["--session", "cli-secret"]
    cli("vars", "set", "key", "first-word", "--secret", *session)
    cli("vars", "set", "key", "second-word", *session)
    for words in (["get", "key"], ["get", "key", "--json"], ["watch", "--count", "1"], ["list"]):
        shown = cli("vars", *words, *session)
        assert "word" not in shown
        assert "secret" in shown or "****" in shown
    assert cli("vars", "get", "key", *session, "--show-secrets") == "second-word\n"
    assert '"value": "second-word"' in cli("vars", "watch", "--count", "1", "--json", "--show-secrets", *session)


def test_a_watch_prints_the_present_values_and_each_change(start: Start, cli: Cli, hub: dict[str, Any]) -> None:
    session = ["--session", "cli-watch"]
    cli("vars", "set", "a", "1", *session)
    process = start("vars", "watch", "--json", "--count", "4", *session, "--address", hub["address"])
    seen = [json.loads(read_line(process))]
    cli("vars", "set", "a", '[{"x": 1}]', *session)
    cli("vars", "set", "b", "2", *session)
    cli("vars", "delete", "a", *session)
    out, err = process.communicate(timeout=PATIENCE)
    seen += [json.loads(line) for line in out.splitlines()]
    assert (process.returncode, err) == (0, "")
    assert [item["operation"] for item in seen] == ["set", "update", "set", "delete"]
    assert seen[2]["value"] == 2


def test_a_watch_for_people_has_a_line_for_each_value(cli: Cli) -> None:
    session = ["--session", "cli-watch-people"]
    cli("vars", "set", "a", "1", *session)
    cli("vars", "set", "t", '[{"x": 1}]', *session)
    lines = cli("vars", "watch", "--count", "2", *session).splitlines()
    assert re.fullmatch(r"\d\d:\d\d:\d\d set +a = 1", lines[0])
    assert lines[1].endswith(" t =")
    assert lines[-1].strip() == "1"


def test_a_session_that_is_named_is_kept_and_one_that_is_not_is_removed(cli: Cli) -> None:
    cli("call", "add", "1", "--session", "cli-kept")
    cli("vars", "set", "x", "1", "--session", "cli-kept")
    assert cli("vars", "get", "x", "--session", "cli-kept") == "1\n"
    assert "there is no session 'cli-other'" in cli("vars", "list", "--session", "cli-other", code=1)


# ------------------------------------------------------------------------------------------------------------ serve


def test_serve_says_where_it_listens_and_what_it_offers(hub: dict[str, Any]) -> None:
    assert re.fullmatch(r"127\.0\.0\.1:\d+", hub["address"])
    assert hub["tools"][:2] == ["add", "count"]
    assert (hub["tls"], hub["token"]) == (False, False)


def test_serve_says_where_it_serves_over_http_and_nothing_of_it_where_it_does_not(hub: dict[str, Any]) -> None:
    assert "http_address" not in hub
    with serving("--http", "127.0.0.1:0") as (announced, _):
        with urlopen(f"http://{announced['http_address']}/healthz", timeout=PATIENCE) as response:
            assert response.status == 200
        assert announced["http_address"] != announced["address"]


def test_serve_tells_people_where_it_serves_over_http(start: Start) -> None:
    process = start("serve", "--address", "127.0.0.1:0", "--http", "127.0.0.1:0")
    line = read_line(process)
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=PATIENCE)
    assert "uvicorn" not in log, "the hub speaks for its server"
    assert re.fullmatch(r"The hub listens on 127\.0\.0\.1:\d+ and, over HTTP, at http://127\.0\.0\.1:\d+\n", line)


@pytest.mark.skipif(not hasattr(psutil.Process, "rlimit"), reason="only Linux tells the limits of another process")
def test_serve_may_open_the_files_that_its_connections_need(start: Start) -> None:
    before = soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 500), hard))
    try:
        process = start("serve", "--address", "127.0.0.1:0")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    read_line(process)
    # 10,000 connections are 3/8 of them.
    assert psutil.Process(process.pid).rlimit(psutil.RLIMIT_NOFILE)[0] == min(hard, 26_667)


def test_an_http_address_in_use_is_one_line_and_exit_1(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        text = runner(capsys)("serve", "--address", "127.0.0.1:0", "--http", address, code=1)
    assert re.fullmatch(rf"error: cannot listen at {re.escape(address)}: the address is in use.*\n", text)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
@pytest.mark.parametrize("as_json", [True, False])
def test_serve_ends_at_a_signal(
    number: signal.Signals, code: int, as_json: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class SignalOnceUp(io.StringIO):
        def write(self, text: str) -> int:
            if "listens on" in text or "address" in text:
                signal.raise_signal(number)
            return super().write(text)

    config = tmp_path / "hub.toml"
    config.write_text("max_sessions = 5\n")
    out = SignalOnceUp()
    handler = signal.getsignal(signal.SIGINT)
    words = ["serve", "--address", f"unix:{tmp_path}/hub.sock", "--config", str(config), *["--json"] * as_json]
    with redirect_stdout(out):
        assert main([*words, *(["--tools", TOOLS] if as_json else [])]) == code
    assert str(tmp_path) in out.getvalue()
    assert signal.getsignal(signal.SIGINT) is handler


def test_serve_tells_people_what_it_offers_and_that_a_token_is_needed(start: Start, tmp_path: Path) -> None:
    token_file = tmp_path / "token"
    token_file.write_text(TOKEN)
    process = start("serve", "--address", "127.0.0.1:0", "--tools", f"{TOOLS}:add", "--token-file", str(token_file))
    lines = [read_line(process)]
    while lines[-1] not in ("Press Ctrl-C to stop\n", ""):
        lines.append(read_line(process))
    process.send_signal(signal.SIGTERM)
    rest = process.communicate(timeout=PATIENCE)
    assert lines[0].endswith(" (a token needed)\n")
    assert lines[2] == "  add(a: int, b: int = 2) -> int\n"
    assert TOKEN not in f"{lines}{rest}"


def test_what_tools_print_does_not_stand_among_what_a_program_reads(start: Start, tmp_path: Path) -> None:
    chatty = tmp_path / "chatty.py"
    chatty.write_text(f"print('imported')\n{Path(TOOLS).read_text()}")
    with serving("--tools", str(chatty)) as (announced, hub):
        call = start("call", "add", "1", "--address", announced["address"])
        assert call.communicate(timeout=PATIENCE)[0] == "3\n"
        hub.send_signal(signal.SIGTERM)
        out, err = hub.communicate(timeout=PATIENCE)
    assert out == ""
    assert "imported" in err
    assert "printed by a tool" in err


def test_a_process_says_no_more_than_that_one_line(hub: dict[str, Any]) -> None:
    process = popen("serve", "--address", hub["address"])
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert out == ""
    address = re.escape(hub["address"])
    assert re.fullmatch(rf"error: cannot listen at {address}: the address is in use.*\n", err), (
        "and nothing of gRPC's log"
    )


def test_two_tools_of_one_name_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other_tools.py"
    other.write_text("def add(a: int) -> int:\n    return a\n")
    assert "add" in runner(capsys)("serve", "--tools", f"{TOOLS}:add", "--tools", f"{other}:add", code=2)


def test_flag_then_environment_then_file_set_the_hub(start: Start, tmp_path: Path) -> None:
    config = tmp_path / "hub.toml"
    config.write_text("call_timeout = 1.0\nmax_batch_items = 7\nshow_tracebacks = false\n")
    environment = {**os.environ, "TOOL_BRIDGE_MAX_BATCH_ITEMS": "8", "TOOL_BRIDGE_MAX_SESSIONS": "0"}
    words = ["serve", "--config", str(config)]
    refused = subprocess.run(
        [*PROGRAM, *words], env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: setting max_sessions: input should be greater than or equal to 1")
    environment["TOOL_BRIDGE_MAX_SESSIONS"] = "1"
    with serving(*words[1:], "--tools", TOOLS, env=environment) as (announced, _):
        address = announced["address"]
        failed = start("call", "fail", "boom", "--traceback", "--address", address)
        assert failed.communicate(timeout=PATIENCE)[1] == "error: fail: RuntimeError: boom\n"


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


def wait_for_log(process: "subprocess.Popen[str]", text: str) -> str:
    """Returns the lines up to the one that has the text."""
    seen = ""
    while text not in (line := read_line(process, "stderr")):
        assert line, f"the hub ended without {text!r}"
        seen += line
    return seen + line


def test_ctrl_c_lets_a_call_in_flight_finish(start: Start, pipe: Path) -> None:
    with serving("--tools", TOOLS, ends_with=130) as (announced, hub):
        call = start("call", "read_pipe", str(pipe), "--address", announced["address"])
        with pipe.open("w") as writer:  # waits until the tool reads
            hub.send_signal(signal.SIGINT)
            wait_for_log(hub, "SIGINT")
            writer.write("what it waited for")
        assert call.communicate(timeout=PATIENCE) == ("what it waited for\n", "")
        assert hub.wait(PATIENCE) == 130


def test_a_second_ctrl_c_ends_the_call_in_flight(start: Start, pipe: Path) -> None:
    with serving("--tools", TOOLS, "--shutdown-grace", "1000", ends_with=130) as (announced, hub):
        call = start("call", "read_pipe", str(pipe), "--address", announced["address"])
        with pipe.open("w"):
            hub.send_signal(signal.SIGINT)
            wait_for_log(hub, "SIGINT")
            hub.send_signal(signal.SIGINT)
            assert hub.wait(PATIENCE) == 130
            _, err = call.communicate(timeout=PATIENCE)
        assert call.returncode == 1
        assert err.startswith("error: read_pipe: ")


# --------------------------------------------------------------------------------------------- who may connect, doctor


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A hub that asks for TLS and a token."""
    folder = tmp_path_factory.mktemp("guarded")
    authority, stranger = trustme.CA(), trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    paths = {name: folder / name for name in ("ca", "stranger", "cert", "key", "token")}
    authority.cert_pem.write_to_path(paths["ca"])
    stranger.cert_pem.write_to_path(paths["stranger"])
    issued.cert_chain_pems[0].write_to_path(paths["cert"])
    issued.private_key_pem.write_to_path(paths["key"])
    paths["token"].write_text(f"{TOKEN}\n")
    words = ["--tls-cert", paths["cert"], "--tls-key", paths["key"], "--token-file", paths["token"], "--tools", TOOLS]
    with serving(*map(str, words), stderr=subprocess.DEVNULL) as (announced, _):
        assert (announced["tls"], announced["token"]) == (True, True)
        assert TOKEN not in str(announced)
        yield {name: str(path) for name, path in paths.items()} | {"address": announced["address"]}


def test_a_token_opens_a_guarded_hub(
    guarded: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = runner(capsys)
    words = ["call", "add", "1", "--address", guarded["address"], "--tls-ca", guarded["ca"]]
    assert run(*words, "--token-file", guarded["token"]) == "3\n"
    monkeypatch.setenv("TOOL_BRIDGE_TOKEN", TOKEN)
    assert run(*words) == "3\n"
    monkeypatch.setenv("TOOL_BRIDGE_TOKEN_FILE", guarded["token"])
    assert "TOOL_BRIDGE_TOKEN and TOOL_BRIDGE_TOKEN_FILE are both set" in run(*words, code=2)
    assert run(*words, "--token-file", guarded["token"]) == "3\n"
    monkeypatch.delenv("TOOL_BRIDGE_TOKEN_FILE")
    monkeypatch.setenv("TOOL_BRIDGE_TOKEN", "two words")
    assert "two words" not in run(*words, code=2)


def test_without_the_token_the_hub_refuses_in_one_line(
    guarded: dict[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["tools", "--address", guarded["address"], "--tls-ca", guarded["ca"]]
    assert "requires a token" in runner(capsys)(*words, code=1)
    wrong = tmp_path / "wrong"
    wrong.write_text("wrong-word")
    text = runner(capsys)(*words, "--token-file", str(wrong), code=1)
    assert "the token is wrong" in text
    assert "wrong-word" not in text


@pytest.mark.parametrize(
    ("hub_name", "flags", "advice"),
    [
        ("guarded", ["--tls"], "give the authority that signed it with --tls-ca FILE"),
        ("guarded", [], "if it requires TLS, add --tls"),
        ("hub", ["--tls"], "it does not use TLS; remove --tls and --tls-ca"),
    ],
)
def test_a_mistake_about_tls_says_what_to_do(
    request: pytest.FixtureRequest, hub_name: str, flags: list[str], advice: str, capsys: pytest.CaptureFixture[str]
) -> None:
    address = request.getfixturevalue(hub_name)["address"]
    words = ["tools", "--address", address, "--connect-timeout", "0.2", *flags]
    assert advice in runner(capsys)(*words, code=1)


def doctor(capsys: pytest.CaptureFixture[str], *words: str, code: int) -> dict[str, tuple[str, str]]:
    """Runs ``doctor``; gives status and text of each check by name."""
    assert main(["doctor", "--json", "--connect-timeout", "2", *words]) == code
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] is (code == 0)
    return {check["name"]: (check["status"], check["text"]) for check in answer["checks"]}


def test_doctor_finds_nothing_wrong_with_a_good_hub(
    hub: dict[str, Any], guarded: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    checks = doctor(capsys, "--address", hub["address"], code=0)
    names = ["address", "connect", "tls", "token", "health", "clock", "latency", "memory", "link", "tools"]
    assert list(checks) == [*names, "agents", "version", "extras"]
    assert {status for status, _ in checks.values()} == {"ok"}
    assert f"{len(hub['tools'])} tools" in checks["tools"][1]
    assert checks["memory"][1] == ("hub 0 of 1,024 MiB, largest session 0 of 256 MiB, largest connection 0 of 128 MiB")
    assert checks["agents"][1].startswith("no runtime; start one with worker --agents")
    words = ["--address", guarded["address"], "--tls-ca", guarded["ca"], "--token-file", guarded["token"]]
    checks = doctor(capsys, *words, code=0)
    assert "certificate good until" in checks["tls"][1]
    assert checks["token"] == ("ok", "accepted")


def test_doctor_knows_every_extra() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert EXTRAS.keys() == project["optional-dependencies"].keys()


def test_every_extra_is_used() -> None:
    root = Path(__file__).parents[2]
    for extra, packages in EXTRAS.items():
        folder = root / ("examples" if extra == "examples" else "src")
        text = "".join(path.read_text(encoding="utf-8") for path in folder.rglob("*.py") if path.name != "checks.py")
        for package in packages:
            assert re.search(rf"\b{package}\b", text), f"nothing imports {package} of the extra {extra}"


def test_doctor_for_people_has_a_line_for_each_check(hub: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--address", hub["address"]]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["ok"] * 13


def test_doctor_reaches_a_hub_at_a_unix_socket(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    address = f"unix:{tmp_path}/hub.sock"
    with serving("--address", address, stderr=subprocess.DEVNULL):
        checks = doctor(capsys, "--address", address, code=0)
    assert "address" not in checks
    assert checks["tools"][0] == "warn"


@pytest.mark.parametrize(
    ("hub_name", "words", "failed", "text"),
    [
        ("", ["--address", "127.0.0.1:1"], "connect", "is the hub running there?"),
        ("", ["--address", "nohost.invalid:1"], "address", "is the host name correct?"),
        ("hub", ["--tls"], "tls", "does the hub use TLS?"),
        ("guarded", ["--tls-ca", "stranger"], "tls", "certificate is not trusted"),
        ("guarded", ["--tls-ca", "token"], "tls", "has no certificates in PEM form"),
        ("guarded", ["--tls-ca", "ca"], "token", "requires a token"),
        ("guarded", [], "health", "if it requires TLS"),
    ],
)
def test_doctor_names_what_is_wrong_and_exits_1(
    request: pytest.FixtureRequest,
    hub_name: str,
    words: list[str],
    failed: str,
    text: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    facts = request.getfixturevalue(hub_name) if hub_name else {}
    words = [facts.get(word, word) for word in words]
    checks = doctor(capsys, *words, *(["--address", facts["address"]] if facts else []), code=1)
    assert checks[failed][0] == "fail"
    assert text in checks[failed][1]
    assert {"version", "extras"} <= checks.keys()
