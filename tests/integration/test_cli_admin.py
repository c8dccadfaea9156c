"""The command ``admin``: what goes on in a hub."""

import json
import select
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from integration.test_cli import Cli, Start, popen, read_line, runner, serving
from integration.test_cli import start as start  # noqa: PLC0414 - a fixture
from support.patience import PATIENCE

SOURCE = """
import asyncio

from grpc_tool_bridge import ToolContext

async def add(a: int, b: int) -> int:
    return a + b

async def hang(ctx: ToolContext, word: str) -> None:
    ctx.progress(1, 4, "begun")
    await asyncio.Event().wait()
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    source = tmp_path_factory.mktemp("tools") / "admin_tools.py"
    source.write_text(SOURCE)
    with serving("--tools", f"{source}:add", "--tools", f"{source}:hang", stderr=subprocess.DEVNULL) as (announced, _):
        yield announced


@pytest.fixture
def cli(hub: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    monkeypatch.setenv("TOOL_BRIDGE_ADDRESS", hub["address"])
    return runner(capsys)


@pytest.fixture
def hanging(cli: Cli, tmp_path: Path) -> Iterator[tuple["subprocess.Popen[str]", dict[str, Any]]]:
    """A call that hangs: the command that waits for it, and what the hub tells of it."""
    process = popen("call", "hang", "loose", "--session", "mine")
    try:
        calls: list[dict[str, Any]] = []
        while not calls:
            calls = json.loads(cli("admin", "calls", "--json"))
        yield process, calls[0]
    finally:
        process.kill()
        process.communicate()


def test_sessions_are_listed_and_none_is_made_for_it(cli: Cli) -> None:
    before = json.loads(cli("admin", "sessions", "--json"))
    cli("vars", "set", "x", "1", "--session", "kept")
    (*others, kept) = json.loads(cli("admin", "sessions", "--json"))
    assert len(others) == len([item for item in before if item["session_id"] != "kept"])
    assert (kept["session_id"], kept["variable_count"], kept["tool_count"]) == ("kept", 1, 2)
    table = cli("admin", "sessions")
    assert "last used" in table
    assert "kept" in table


def test_a_hub_without_workers_and_runs_says_so(cli: Cli) -> None:
    assert cli("admin", "workers").startswith("No workers are connected")
    assert cli("admin", "runs") == "There are no runs of agents\n"
    assert json.loads(cli("admin", "workers", "--json")) == json.loads(cli("admin", "runs", "--json")) == []


def test_a_worker_is_listed_with_its_tools(cli: Cli, start: Start, hub: dict[str, Any], tmp_path: Path) -> None:
    source = tmp_path / "more.py"
    source.write_text("async def far() -> int:\n    return 1\n")
    process = start("worker", f"{source}:far", "--worker-id", "w1", "--address", hub["address"], "--json")
    assert read_line(process)
    (worker,) = json.loads(cli("admin", "workers", "--json"))
    assert (worker["worker_id"], worker["state"], worker["tools"]) == ("w1", "connected", ["far"])
    assert "1: far" in cli("admin", "workers")


def test_a_call_is_listed_and_cancelled(cli: Cli, hanging: Any) -> None:
    process, call = hanging
    assert (call["tool_id"], call["state"], call["session_id"]) == ("hang", "running", "mine")
    assert call["progress"] == {"current": 1.0, "total": 4.0, "message": "begun"}
    assert "args" not in call
    table = cli("admin", "calls", "--arguments")
    assert '"loose"' in table
    assert "1 of 4 begun" in table
    (told,) = json.loads(cli("admin", "calls", "--arguments", "--json"))
    assert [*told["args"], *told["kwargs"].values()] == ["loose"]
    text = cli("admin", "cancel", call["call_id"], "--reason", "too slow")
    assert text == f"call {call['call_id']} is cancelled\n"
    _, said = process.communicate(timeout=PATIENCE)
    assert "the call was cancelled by an administrator: too slow" in said
    assert process.returncode == 1
    assert "waits or runs" in cli("admin", "cancel", call["call_id"], code=1)


def test_a_session_that_is_not_there_is_an_error(cli: Cli) -> None:
    assert "there is no session 'none'" in cli("admin", "calls", "--session", "none", code=1)


def test_events_are_printed_until_control_c(cli: Cli, start: Start, hub: dict[str, Any]) -> None:
    process = start("admin", "events", "--kind", "call", "--json", "--arguments", "--address", hub["address"])
    lines: list[dict[str, Any]] = []
    while not lines:
        # The command says nothing before something happens.
        cli("call", "add", "1", "2")
        if has_line(process):
            lines.append(json.loads(read_line(process)))
    while lines[-1]["operation"] != "ended":
        lines.append(json.loads(read_line(process)))
    assert lines[-1]["result"] == 3
    assert lines[-1]["call"]["state"] == "done"
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 130


def has_line(process: "subprocess.Popen[str]") -> bool:
    """Tells whether a command has printed something, or does so within a moment."""
    assert process.stdout is not None
    return bool(select.select([process.stdout], [], [], 0.2)[0])


def test_events_are_lines_for_people(cli: Cli, start: Start, hub: dict[str, Any]) -> None:
    sampled = ("--calls-per-second", "50")
    process = start("admin", "events", "--count", "4", *sampled, "--address", hub["address"])
    # One call may be too few: the command sees only the rest of one that is going on when it begins to watch.
    while process.poll() is None:
        cli("call", "add", "1", "2")
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    assert len(out.splitlines()) == 4
    assert all(any(kind in line for kind in ("call", "session", "log")) for line in out.splitlines())


def test_a_kind_that_is_none_is_refused_before_the_hub_is_asked(cli: Cli) -> None:
    assert "--kind calls is not a kind of event" in cli("admin", "events", "--kind", "calls", code=2)


def test_a_hub_that_is_not_there_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    text = runner(capsys)("admin", "sessions", "--address", "127.0.0.1:1", "--connect-timeout", "0", code=1)
    assert "no hub answered at 127.0.0.1:1" in text
