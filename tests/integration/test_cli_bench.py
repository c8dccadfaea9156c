"""The command ``bench``: calls a hub for some time, and prints how long the calls took."""

import json
import resource
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from grpc_tool_bridge.cli import main
from grpc_tool_bridge.cli.failures import ArgumentError
from grpc_tool_bridge.cli.open_files import allow_open_files
from integration.test_cli import Cli, runner, serving
from integration.test_cli_answers import Terminal
from support.patience import PATIENCE

SOURCE = """
import asyncio
from grpc_tool_bridge import ToolContext

async def add(a: int, b: int = 2) -> int:
    return a + b

async def count(n: int):
    for number in range(n):
        yield number

async def fail(why: str) -> None:
    raise LookupError(why)

async def hang(ctx: ToolContext) -> None:
    await asyncio.Event().wait()
"""
TOOLS = ("add", "count", "fail", "hang")
SHORT = ("--duration", "0.3", "--warmup", "0")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    source = tmp_path_factory.mktemp("tools") / "bench_tools.py"
    source.write_text(SOURCE)
    words = [word for tool in TOOLS for word in ("--tools", f"{source}:{tool}")]
    with serving(*words, stderr=subprocess.DEVNULL) as (announced, _):
        yield announced


@pytest.fixture
def cli(hub: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    monkeypatch.setenv("TOOL_BRIDGE_ADDRESS", hub["address"])
    return runner(capsys)


def measure(cli: Cli, *words: str) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(cli("bench", *SHORT, "--json", *words))
    return facts


def test_without_a_tool_the_hub_alone_is_measured_and_the_output_says_so(cli: Cli) -> None:
    out = cli("bench", *SHORT, "--clients", "2")
    assert out.startswith("heartbeats, no tool: closed loop, 2 clients, 1 at a time each\n")
    assert " 0 failed" in out
    assert "p99.9 ms" in out


@pytest.mark.parametrize("transport", ["link", "socket", "rpc"])
def test_every_call_of_a_tool_is_counted_with_its_bytes(cli: Cli, transport: str) -> None:
    facts = measure(cli, "--tool", "add", "--args", "1", "3", "--clients", "2", "--transport", transport)
    assert facts["target"] == {"tool": "add", "shape": "call", "batch": None, "timeout": 30.0}
    assert (facts["plan"]["loop"], facts["plan"]["clients"], facts["plan"]["transport"]) == ("closed", 2, transport)
    assert facts["calls"] == facts["values"] == facts["latency"]["count"] == facts["outcomes"]["ok"]["count"] > 0
    assert facts["calls"] == sum(count for _, count in facts["histogram"])
    assert (facts["failed"], facts["dropped"], facts["interrupted"], facts["unfinished"]) == (0, 0, False, None)
    assert facts["bytes_sent"] >= facts["calls"] * 10 <= facts["bytes_received"]
    latency = facts["latency"]
    order = [latency[name] for name in ("min", "p50", "p90", "p99", "p99.9", "max")]
    assert order == sorted(order)
    assert order[0] > 0


def test_an_open_loop_makes_the_calls_that_are_due(cli: Cli) -> None:
    facts = measure(cli, "--tool", "add", "1", "--kwarg", "b=2", "--rate", "100", "--arrivals", "poisson")
    assert (facts["plan"]["loop"], facts["plan"]["rate"], facts["plan"]["arrivals"]) == ("open", 100, "poisson")
    # From the seed.
    assert facts["calls"] == 23
    again = measure(cli, "--tool", "add", "1", "--rate", "100", "--arrivals", "poisson", "--seed", "1")
    assert again["calls"] != facts["calls"]


def test_a_streaming_tool_is_streamed_and_its_first_value_timed(cli: Cli) -> None:
    facts = measure(cli, "--tool", "count", "5")
    assert facts["target"]["shape"] == "stream"
    assert facts["values"] == 5 * facts["calls"]
    assert facts["first_value"]["count"] == facts["calls"]
    assert facts["first_value"]["p50"] <= facts["latency"]["p50"]
    assert measure(cli, "--tool", "add", "1", "--stream")["target"]["shape"] == "stream"


def test_a_batch_counts_once_and_its_results_are_values(cli: Cli) -> None:
    facts = measure(cli, "--tool", "add", "1", "--batch", "7")
    assert (facts["target"]["shape"], facts["target"]["batch"]) == ("batch", 7)
    assert facts["values"] == 7 * facts["calls"] > 0
    assert "batches of 7 calls of add" in cli("bench", *SHORT, "--tool", "add", "1", "--batch", "7")


@pytest.mark.parametrize("words", [(), ("--batch", "2"), ("--stream",)])
def test_errors_of_a_tool_are_counted_by_type(cli: Cli, words: tuple[str, ...]) -> None:
    facts = measure(cli, "--tool", "fail", "no", *words)
    assert list(facts["outcomes"]) == ["LookupError"]
    assert facts["failed"] == facts["calls"] > 0
    assert facts["success_rate"] == 0


def test_calls_that_time_out_count_with_their_time(cli: Cli) -> None:
    facts = measure(cli, "--tool", "hang", "--timeout", "0.1", "--clients", "1")
    assert list(facts["outcomes"]) == ["TimeoutError"]
    assert facts["latency"]["min"] >= 0.1


def test_results_are_written_to_a_file_too(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    out = cli("bench", *SHORT, "--out", str(file))
    facts = json.loads(file.read_text())
    assert out.splitlines()[3].split()[:2] == ["ok", f"{facts['calls']:,}"]
    assert facts["target"]["tool"] is None


def test_a_session_of_the_caller_is_used_and_kept(cli: Cli) -> None:
    measure(cli, "--session", "mine", "--clients", "2")
    sessions = [item["session_id"] for item in json.loads(cli("admin", "sessions", "--json"))]
    assert "mine" in sessions
    measure(cli, "--clients", "2")
    assert [item["session_id"] for item in json.loads(cli("admin", "sessions", "--json"))] == sessions


# --------------------------------------------------------------------------------------------------- thresholds


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--tool", "fail", "no", "--fail-on-error"), "calls failed"),
        (("--max-p99", "0"), "over the 0 s of --max-p99"),
        (("--min-rate", "1000000"), "fewer than the 1,000,000 of --min-rate"),
        (("--tool", "hang", "--rate", "100", "--max-in-flight", "1", "--timeout", "1", "--fail-on-error"), "not made"),
    ],
)
def test_a_threshold_that_is_missed_is_exit_1_and_named(
    hub: dict[str, Any], capsys: pytest.CaptureFixture[str], words: tuple[str, ...], why: str
) -> None:
    assert main(["bench", "--address", hub["address"], *SHORT, "--json", *words]) == 1
    captured = capsys.readouterr()
    # The results are printed all the same.
    assert json.loads(captured.out)["calls"] > 0
    error = json.loads(captured.err)["error"]
    assert error["type"] == "ThresholdMissed"
    assert why in error["message"]


def test_thresholds_that_are_met_are_exit_0(cli: Cli) -> None:
    cli("bench", *SHORT, "--fail-on-error", "--max-p99", str(PATIENCE), "--min-rate", "0.001")


# ------------------------------------------------------------------------------------------------ wrong arguments


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--tool", "add", "x"), "argument a takes an integer"),
        (("1",), "arguments need --tool NAME"),
        (("--batch", "2"), "need --tool NAME"),
        (("--tool", "add", "1", "--batch", "2", "--stream"), "exclude each other"),
        (("--rate", "5", "--concurrency", "2"), "--concurrency is for a closed loop"),
        (("--arrivals", "poisson"), "--arrivals poisson is for an open loop; give --rate CALLS, too"),
        (("--arrivals", "uniform"), "--arrivals is constant or poisson, not uniform"),
        (("--transport", "http"), "--transport is link, socket or rpc, not http"),
        (("--timeout", "0"), "--timeout: "),
        (("--duration", "inf"), "--duration must be a finite number"),
        (("--duration", "nan"), "--duration"),
        (("--clients", "0"), "--clients"),
    ],
)
def test_wrong_arguments_are_one_line_and_exit_2(cli: Cli, words: tuple[str, ...], why: str) -> None:
    assert why in cli("bench", *words, code=2)


def test_a_file_that_cannot_be_written_is_found_before_anything_is_called(cli: Cli) -> None:
    words = ("bench", "--duration", "600", "--out", "/nowhere/x.json")
    assert "cannot write /nowhere/x.json: No such file" in cli(*words, code=2)


def test_a_tool_that_does_not_exist_is_one_error_with_a_near_name(cli: Cli) -> None:
    assert "did you mean add?" in cli("bench", "--duration", "600", "--tool", "ad", code=1)


def test_arguments_that_the_hub_refuses_are_one_error_and_not_thousands(cli: Cli) -> None:
    assert "ValidationError" in cli("bench", "--duration", "600", "--tool", "add", "1", "2", "3", code=1)


def test_a_hub_that_is_not_there_is_one_error(capsys: pytest.CaptureFixture[str]) -> None:
    out = runner(capsys)("bench", "--address", "127.0.0.1:1", "--connect-timeout", "0", code=1)
    assert "no hub answered at 127.0.0.1:1" in out


def test_a_hub_that_admits_too_few_sessions_is_one_error(capsys: pytest.CaptureFixture[str]) -> None:
    with serving("--max-sessions", "3", stderr=subprocess.DEVNULL) as (announced, _):
        out = runner(capsys)("bench", *SHORT, "--clients", "20", "--address", announced["address"], code=1)
        assert "sessions" in out


def test_more_clients_than_the_system_allows_files_is_an_argument_error(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (100, 1_000))
    raised: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda _, pair: raised.append(pair))
    allow_open_files(500)
    assert raised == [(700, 1_000)]
    with pytest.raises(ArgumentError, match="--clients 5000 needs 5,200 open files"):
        allow_open_files(5_000)
    monkeypatch.undo()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == limits


# --------------------------------------------------------------------------------------------------- Ctrl-C, views


def test_ctrl_c_prints_what_was_measured_so_far(hub: dict[str, Any]) -> None:
    words = ("bench", "--duration", "600", "--warmup", "0", "--tool", "add", "1")
    with Terminal(hub, *words) as terminal:
        terminal.expect(" in flight")
        terminal.expect(" in flight")
        terminal.process.send_signal(signal.SIGINT)
        code, out = terminal.ended()
    assert code == 130
    assert out.startswith("calls of add: closed loop, 10 clients")
    assert "calls had not ended when it was interrupted" in out


def test_where_no_call_has_ended_no_times_are_shown(hub: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--tool", "add", "1", "--rate", "0.01", "--arrivals", "poisson")
    assert main(["bench", "--address", hub["address"], *SHORT, *words]) == 1
    captured = capsys.readouterr()
    assert captured.out.splitlines()[3].split() == ["all", "0", "-", "-", "-", "-", "-", "-"]
    assert "no call has ended while it was measured" in captured.err


def test_ctrl_c_with_json_prints_one_line_that_says_what_was_in_flight(hub: dict[str, Any]) -> None:
    words = ("bench", "--duration", "600", "--warmup", "0", "--tool", "hang", "--json", "--clients", "3")
    with Terminal(hub, *words) as terminal:
        terminal.expect("3 in flight")
        terminal.process.send_signal(signal.SIGINT)
        code, out = terminal.ended()
    facts = json.loads(out)
    assert (code, facts["interrupted"], facts["calls"]) == (130, True, 0)
    assert facts["unfinished"]["calls"] == 3
    assert facts["unfinished"]["oldest"] > 0


@pytest.mark.parametrize("term", ["dumb", "xterm-256color"])
def test_the_view_at_a_terminal_leaves_stdout_alone(hub: dict[str, Any], term: str) -> None:
    with Terminal(hub, "bench", "--duration", "1.2", "--json", term=term) as terminal:
        terminal.expect("warming up")
        terminal.expect("calls · ")
        code, out = terminal.ended()
    assert code == 0
    assert json.loads(out)["calls"] > 0
