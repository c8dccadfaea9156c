"""``serve --record`` and ``replay``, each in a process of its own."""

import json
import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from grpc_tool_bridge import GRPCToolBridge
from grpc_tool_bridge.cli import main
from grpc_tool_bridge.testing import Recording
from integration.test_cli import PATIENCE, Cli, Start, read_line, runner, serving
from integration.test_cli import start as start  # noqa: PLC0414 - a fixture
from support.pytests import PYTEST
from support.waiting import until

TOOLS = """
from grpc_tool_bridge import tool


@tool
def add(a: int, b: int) -> int:
    return a + b


@tool
def echo(text: str) -> str:
    return text
"""


@pytest.fixture
def tools(tmp_path: Path) -> str:
    """A file with tools that is imported quickly."""
    path = tmp_path / "my_tools.py"
    path.write_text(TOOLS)
    return str(path)


EMPTY = '{"format": "grpc-tool-bridge recording", "version": 1}\n'


def methods(path: Path) -> list[str]:
    return [call.method for call in Recording(path).calls()]


def answered(path: Path) -> int:
    return sum(call.end is not None for call in Recording(path).calls()) if path.exists() else 0


def announced(process: "subprocess.Popen[str]") -> dict[str, Any]:
    line = read_line(process)
    assert line, process.stderr.read() if process.stderr else "it ended"
    told: dict[str, Any] = json.loads(line)
    return told


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    return runner(capsys)


@pytest.fixture
def recording(cli: Cli, tools: str, tmp_path: Path) -> Path:
    """A recording of two commands."""
    path = tmp_path / "run.jsonl"
    with serving("--tools", tools, "--record", str(path), "--redact", "text", "--redact-pattern", "card-[0-9]+") as (
        hub,
        _,
    ):
        assert cli("call", "add", "1", "2", "--address", hub["address"]) == "3\n"
        assert cli("call", "echo", "a card-1234", "--address", hub["address"]) == "a card-1234\n"
    return path


def test_a_hub_records_and_its_recording_is_served_without_tools(cli: Cli, start: Start, recording: Path) -> None:
    text = recording.read_text()
    assert (methods(recording), "card-1234" in text, "[redacted]" in text) == (["ExecuteTool"] * 2, False, True)

    served = start("replay", str(recording), "--address", "127.0.0.1:0", "--json")
    told = announced(served)
    address = told["address"]
    assert (told["recording"], told["pid"]) == (str(recording), served.pid)
    assert cli("call", "echo", "anything", "--address", address) == "[redacted]\n"
    assert cli("call", "add", "1", "2", "--address", address) == "3\n"
    assert "b: recorded 2, called with 3" in cli("call", "add", "1", "3", "--address", address, code=1)
    served.send_signal(signal.SIGTERM)
    out, error = served.communicate(timeout=PATIENCE)
    assert (served.returncode, out) == (0, "")
    assert "warning: ExecuteTool of add was called differently" in error


async def test_a_hub_that_is_killed_leaves_what_was_finished(start: Start, tools: str, tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    hub = start("serve", "--address", "127.0.0.1:0", "--json", "--tools", tools, "--record", str(path))
    told = announced(hub)
    address = told["address"]
    assert told["recording"] == str(path)

    async with GRPCToolBridge(address, keep_session=True) as bridge:
        await bridge.initialize()
        for number in range(3):
            await bridge.call_tool("add", number, 1)
    await until(lambda: answered(path) == 3)
    hub.kill()
    hub.wait(PATIENCE)

    assert [call.end.content["result"] for call in Recording(path).calls() if call.end] == [1, 2, 3]


def test_a_port_in_use_is_an_error_that_names_it(cli: Cli, tmp_path: Path) -> None:
    recording = tmp_path / "run.jsonl"
    recording.write_text(EMPTY)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        text = cli("replay", str(recording), "--address", address, code=1)
    assert text.startswith(f"error: cannot listen at {address}: it is in use or not this machine's; choose another ")


def test_a_test_is_not_made_where_json_is_asked_for(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    recording, made = tmp_path / "run.jsonl", tmp_path / "test_run.py"
    recording.write_text(EMPTY)
    assert main(["replay", str(recording), "--make-test", str(made), "--json"]) == 2
    assert "--json: not with --make-test" in json.loads(capsys.readouterr().err)["error"]["message"]
    assert not made.exists()


@pytest.mark.slow
@pytest.mark.parametrize("with_tools", [False, True])
def test_a_recording_becomes_a_test_that_passes(
    cli: Cli, recording: Path, tools: str, tmp_path: Path, with_tools: bool
) -> None:
    given = ["--tools", tools] if with_tools else []
    made = tmp_path / "tests" / "test_run.py"
    made.parent.mkdir()

    assert cli("replay", str(recording), "--make-test", str(made), *given) == (
        f"{made} makes 2 recorded calls; run it with pytest {made}\n"
    )
    again = cli("replay", str(recording), "--make-test", str(made), code=2)
    assert "is there already; name another file" in again
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("COV_", "PYTEST_"))}
    ran = subprocess.run(
        [*PYTEST, "-q", str(made)],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=2 * PATIENCE,
    )  # fmt: skip

    assert ran.returncode == 0, ran.stdout
    assert " passed" in ran.stdout


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["serve", "--redact", "x"], "--redact and --redact-pattern: for recordings only; give --record FILE, too"),
        (["serve", "--record", "{tmp}/none/r.jsonl"], "No such file or directory"),
        (["serve", "--record", "{tmp}/notes.txt"], "the file is there and is not a recording"),
        (["serve", "--record", "{tmp}/r.jsonl", "--redact-pattern", "("], "is not a regular expression"),
        (["replay", "{tmp}/none.jsonl"], "cannot read {tmp}/none.jsonl: No such file or directory"),
        (["replay", "{tmp}/notes.txt"], "{tmp}/notes.txt is not a recording"),
        (["replay", "{tmp}/notes.txt", "--address", "0.0.0.0:1"], "0.0.0.0:1 is not a loopback address"),
        (["replay", "{tmp}/notes.txt", "--address", "unix:/tmp/x"], "not at a unix socket"),
        (["replay", "{tmp}/notes.txt", "--speed", "2"], "--speed: with --in-time only"),
        (["replay", "{tmp}/notes.txt", "--tools", "x"], "--tools: with --make-test only"),
        (["replay", "{tmp}/notes.txt", "--make-test", "{tmp}/x.py"], "{tmp}/notes.txt is not a recording"),
        (["replay", "{tmp}/run.jsonl", "--make-test", "{tmp}/x.py", "--tools", "{tmp}/x.py"], "x.py does not exist"),
        (["replay", "{tmp}/run.jsonl", "--make-test", "{tmp}/none/x.py"], "cannot write {tmp}/none/x.py: No such file"),
    ],
)
def test_wrong_arguments_are_one_line(cli: Cli, tmp_path: Path, words: list[str], why: str) -> None:
    (tmp_path / "notes.txt").write_text("my notes\n")
    (tmp_path / "run.jsonl").write_text(EMPTY)

    given = [word.replace("{tmp}", str(tmp_path)) for word in words]
    assert why.replace("{tmp}", str(tmp_path)) in cli(*given, code=2)
    assert (tmp_path / "notes.txt").read_text() == "my notes\n"
