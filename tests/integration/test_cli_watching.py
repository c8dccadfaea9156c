"""``sessions``, ``workers``, ``calls``, ``runs``, ``metrics``, ``top`` and ``logs``, and sessions that are mistyped."""

import asyncio
import json
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pexpect
import pytest

from grpc_tool_bridge import GRPCToolBridge
from integration.test_cli import Cli, Start, popen, read_line, runner, serving
from integration.test_cli import start as start  # noqa: PLC0414 - a fixture
from support.patience import PATIENCE
from support.programs import environment
from support.terminals import Terminal

SOURCE = """
import asyncio

from grpc_tool_bridge import ToolContext

async def add(a: int, b: int) -> int:
    return a + b

async def say(ctx: ToolContext, text: str) -> None:
    ctx.log("quiet", level="debug")
    ctx.log(text, level="warning", n=3)

async def hang(ctx: ToolContext, word: str) -> None:
    ctx.progress(1, 4, "begun")
    await asyncio.Event().wait()
"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    source = tmp_path_factory.mktemp("tools") / "watched_tools.py"
    source.write_text(SOURCE)
    tools = [word for name in ("add", "say", "hang") for word in ("--tools", f"{source}:{name}")]
    with serving(*tools, stderr=subprocess.DEVNULL) as (announced, _):
        yield announced["address"]


@pytest.fixture
def cli(address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    monkeypatch.setenv("TOOL_BRIDGE_ADDRESS", address)
    return runner(capsys)


@pytest.fixture
def hanging(cli: Cli) -> Iterator[dict[str, Any]]:
    """A call that hangs in the session "mine", as the hub tells of it."""
    process = popen("call", "hang", "x", "--session", "mine")
    try:
        calls: list[dict[str, Any]] = []
        while not calls:
            calls = json.loads(cli("calls", "--json"))
        yield calls[0]
    finally:
        process.kill()
        process.communicate()


# ------------------------------------------------------------------------------------------------- lists


def test_the_short_commands_are_those_of_admin(cli: Cli, hanging: dict[str, Any]) -> None:
    assert hanging["tool_id"] == "hang"
    for name in ("sessions", "workers", "runs"):
        short, long = (json.loads(cli(*words, "--json")) for words in ((name,), ("admin", name)))
        for each in (*short, *long):
            # Told as a time of the clock, but kept as one of another clock.
            each.pop("last_activity", None)
        assert short == long
    assert [each["session_id"] for each in json.loads(cli("calls", "--session", "mine", "--json"))] == ["mine"]
    assert "1 of 4 begun" in cli("calls")
    assert "No workers are connected" in cli("workers")


def test_metrics_are_chosen_by_name(cli: Cli) -> None:
    cli("call", "add", "1", "2")
    found = json.loads(cli("metrics", "tool.add.*", "hub.sessions", "--json"))
    assert sorted(found) == [
        "hub.sessions",
        *(f"tool.add.{name}" for name in ("active", "calls", "duration_ms", "errors")),
    ]
    durations = found["tool.add.duration_ms"]
    assert durations["count"] == found["tool.add.calls"] == sum(count for _, count in durations["buckets"])
    assert 0 < durations["p50_ms"] <= durations["p99_ms"]
    table = cli("metrics", "tool.add.*")
    assert re.search(r"^tool\.add\.duration_ms +\d+ calls?, mean .*, p50 .*, p99 ", table, re.MULTILINE)
    assert "tool.say.calls" in cli("metrics")


def test_a_metric_that_is_not_there_is_an_error_that_names_near_ones(cli: Cli) -> None:
    assert "no metric 'hub.sesions'; did you mean hub.sessions" in cli("metrics", "hub.sesions", code=1)
    assert "no metric 'zzzz*'; grpc-tool-bridge metrics lists them" in cli("metrics", "zzzz*", code=1)


# ---------------------------------------------------------------------------------------------- sessions


@pytest.mark.parametrize(
    "words",
    [
        ["tools"],
        ["tools", "add"],
        ["vars", "list"],
        ["vars", "get", "x"],
        ["vars", "delete", "x"],
        ["vars", "watch"],
        ["calls"],
        ["runs"],
        ["logs"],
        ["admin", "calls"],
        ["admin", "runs"],
        ["admin", "events"],
    ],
)
def test_a_mistyped_session_is_an_error_and_none_is_made(cli: Cli, words: list[str]) -> None:
    cli("vars", "set", "x", "1", "--session", "kept-one")
    before = cli("sessions", "--json")
    said = cli(*words, "--session", "kept_one", code=1)
    assert said == "error: there is no session 'kept_one'; did you mean 'kept-one'?\n"
    assert "grpc-tool-bridge sessions lists them" in cli(*words, "--session", "zz", code=1)
    assert len(json.loads(cli("sessions", "--json"))) == len(json.loads(before))


def test_a_session_that_is_there_is_read_and_kept(cli: Cli) -> None:
    cli("vars", "set", "x", "1", "--session", "kept-one")
    assert cli("vars", "get", "x", "--session", "kept-one") == "1\n"
    assert "add" in cli("tools", "--session", "kept-one")
    assert cli("vars", "get", "x", "--session", "kept-one") == "1\n"


# ------------------------------------------------------------------------------------------------- top


def test_top_prints_one_snapshot_where_there_is_no_terminal(cli: Cli, hanging: dict[str, Any]) -> None:
    cli("call", "add", "1", "2")
    text = cli("top", "--interval", "0.1")
    assert re.search(r"^Hub 127\.0\.0\.1:\d+, up \d+:\d\d:\d\d, \d+ sessions?, 0 workers, 1 active call, ", text)
    assert re.search(r"^add +0\.0 +0\.0 +- +- +0 +\d+ +0$", text, re.MULTILINE)
    assert re.search(rf"^{hanging['call_id']} +hang +mine +running +[\d.]+ +1 of 4 begun", text, re.MULTILINE)
    assert "No workers are connected" in text


def test_top_gives_programs_a_line_for_each_look(cli: Cli) -> None:
    cli("call", "add", "1", "2")
    looks = [json.loads(line) for line in cli("top", "--json", "--interval", "0.1", "--count", "2").splitlines()]
    assert len(looks) == 2
    for seen in looks:
        assert seen["tools"]["add"]["calls"] >= 1
        assert seen["all"]["calls_per_second"] >= 0
        assert (seen["calls"], seen["workers"]) == ([], [])


@pytest.mark.parametrize(("key", "code"), [("q", 0), ("\x03", 130)])
def test_top_in_a_terminal_changes_until_a_key(address: str, cli: Cli, key: str, code: int) -> None:
    words = [sys.executable, "-m", "grpc_tool_bridge", "top", "--interval", "0.1"]
    variables = environment(TOOL_BRIDGE_ADDRESS=address, TERM="xterm", LC_ALL="C.UTF-8")
    process: Any = Terminal(words, variables, rows=40, columns=150)
    try:
        process.expect_exact("Running calls")
        process.expect_exact("Workers")
        # It keeps changing: a call that is made now is counted.
        before = json.loads(cli("metrics", "tool.add.calls", "--json"))["tool.add.calls"]
        cli("call", "add", "1", "2")
        process.expect(rf"add +[\d.]+ +[\d.]+ +\S+(?: m?s)? +\S+(?: m?s)? +0 +{before + 1} ")
        process.send(key)
        process.expect(pexpect.EOF)
        # The screen before is back, and the terminal echoes again.
        assert "\x1b[?1049l" in process.before
    finally:
        process.close()
    assert process.exitstatus == code


# ------------------------------------------------------------------------------------------------- logs


def has_line(process: "subprocess.Popen[str]") -> bool:
    assert process.stdout is not None
    return bool(select.select([process.stdout], [], [], 0.2)[0])


def lines_of(process: "subprocess.Popen[str]", say: Any) -> str:
    """Lets a tool log until the command that follows the log has seen it; returns its first line."""
    while not has_line(process):
        say()
    return read_line(process)


def test_logs_follows_the_lines_of_a_session(cli: Cli, start: Start, address: str) -> None:
    cli("vars", "set", "x", "1", "--session", "mine")
    process = start("logs", "-f", "--session", "mine", "--level", "info", "--json", "--address", address)

    def say() -> None:
        cli("call", "say", "elsewhere", "--session", "other")
        cli("call", "say", "hello\x1b[31m", "--session", "mine")

    line = json.loads(lines_of(process, say))
    assert (line["level"], line["message"]) == ("warning", "hello\x1b[31m")
    assert line["fields"]["session_id"] == "mine"
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 130


async def test_logs_of_a_session_end_with_it(cli: Cli, start: Start, address: str) -> None:
    async with GRPCToolBridge(address) as bridge:
        await bridge.initialize("ends")
        process = start("logs", "-f", "--session", "ends", "--address", address)
        # It watches once it has printed a line.
        while not await asyncio.to_thread(has_line, process):
            await bridge.call_tool("say", "hello")
        await bridge.client.cleanup_session()
        assert await asyncio.to_thread(process.wait, PATIENCE) == 0
    assert process.stderr is not None
    assert process.stderr.read() == "session ends has ended\n"


def test_logs_are_lines_for_people(cli: Cli, start: Start, address: str) -> None:
    process = start("logs", "--count", "2", "--address", address)
    first = lines_of(process, lambda: cli("call", "say", "hello\x1b[31m\nyou", "--session", "mine"))
    second = read_line(process)
    assert process.wait(PATIENCE) == 0
    text = first if "hello" in first else second
    assert re.search(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d warning  .*: hello\\x1b\[31m you.* \[mine\]$", text)
    assert "quiet" in first + second


def test_a_level_that_is_none_is_refused(cli: Cli) -> None:
    assert "--level loud is not a level; the levels are debug, info" in cli("logs", "--level", "loud", code=2)
