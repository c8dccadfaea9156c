"""What a hub and a worker log, as processes of their own."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from grpc_tool_bridge.cli import main
from integration.test_cli import PATIENCE, Cli, popen, read_line, runner, serving

HERE = Path(__file__)
TOOLS = str(HERE.parent / "logging_tools.py")


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    return runner(capsys)


def ended(process: Any, ends_with: int = 0) -> list[str]:
    """Ends a process as an operator does, and returns the lines that it has logged."""
    process.send_signal(signal.SIGTERM)
    _, logged = process.communicate(timeout=PATIENCE)
    assert process.returncode == ends_with
    return [line for line in logged.splitlines() if line]


def objects(lines: list[str]) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in lines]
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in found)
    return found


def test_a_hub_logs_failed_calls_and_not_the_others(cli: Cli) -> None:
    with serving("--tools", TOOLS) as (facts, process):
        address = facts["address"]
        said = cli("call", "tells", "--address", address)
        cli("call", "refuses", "forged\nline", "--address", address, code=1)
        lines = ended(process)
    (told,) = [line for line in lines if "grpc_tool_bridge.tool" in line]
    assert told.endswith(' INFO grpc_tool_bridge.tool: tells: did i=3 what="two words"')
    (failed,) = [line for line in lines if "grpc_tool_bridge.calls" in line]
    assert " WARNING grpc_tool_bridge.calls: call failed tool=refuses session=" in failed
    assert " error=ValueError duration_ms=" in failed
    assert failed.endswith(' message="refused\\nforged"')
    assert "forged\nline" not in "\n".join(lines)
    assert said.strip()


def test_the_access_log_has_every_call_and_json_has_fields(cli: Cli) -> None:
    with serving("--tools", TOOLS, "--access-log", "--log-format", "json") as (facts, process):
        address = facts["address"]
        request_id = cli("call", "tells", "--address", address).strip()
        cli("call", "refuses", "x", "--address", address, code=1)
        lines = objects(ended(process))
    told, done, failed = [
        line for line in lines if line["logger"] in ("grpc_tool_bridge.tool", "grpc_tool_bridge.calls")
    ]
    assert (told["message"], told["fields"]["i"], told["fields"]["what"]) == ("tells: did", "3", "two words")
    assert (done["level"], done["message"], done["fields"]["tool"]) == ("info", "call done", "tells")
    assert told["fields"]["request_id"] == done["fields"]["request_id"] == request_id
    assert (failed["level"], failed["fields"]["error"]) == ("warning", "ValueError")
    assert isinstance(failed["fields"]["duration_ms"], float)


def test_a_worker_logs_as_json_and_with_the_hub_s_id(cli: Cli) -> None:
    with serving("--access-log", "--log-format", "json") as (facts, process):
        address = facts["address"]
        worker = popen("worker", TOOLS, "--address", address, "--json", "--log-format", "json")
        try:
            assert read_line(worker)
            request_id = cli("call", "tells", "--address", address).strip()
            in_process = cli("call", "tells_apart", "--address", address).strip()
            of_worker = objects(ended(worker))
        finally:
            worker.kill()
            worker.communicate()
        of_hub = objects(ended(process))
    told = [line["fields"] for line in of_worker if line["logger"] == "grpc_tool_bridge.tool"]
    done = [line["fields"] for line in of_hub if line["message"] == "call done"]
    assert [fields["request_id"] for fields in told] == [request_id, in_process]
    assert [(fields["tool"], fields["request_id"]) for fields in done] == [
        ("tells", request_id),
        ("tells_apart", in_process),
    ]
    assert told[1]["where"] == "a process"


def test_settings_say_the_same_as_options(cli: Cli, tmp_path: Path) -> None:
    config = tmp_path / "hub.toml"
    config.write_text('access_log = true\nlog_format = "json"\n')
    with serving("--tools", TOOLS, "--config", str(config)) as (facts, process):
        cli("call", "tells", "--address", facts["address"])
        assert "call done" in [line["message"] for line in objects(ended(process))]


def test_middleware_is_named_on_the_command_line(cli: Cli) -> None:
    words = ("--middleware", f"{TOOLS}:both", "--middleware", f"{TOOLS}:inner")
    with serving("--tools", TOOLS, *words) as (facts, _):
        assert cli("call", "plain", "--address", facts["address"]).strip() == "outer middle inner plain"


def test_middleware_of_a_worker_is_named_on_the_command_line(cli: Cli) -> None:
    with serving("--middleware", f"{TOOLS}:outer") as (facts, _):
        address = facts["address"]
        worker = popen("worker", TOOLS, "--address", address, "--json", "--middleware", f"{TOOLS}:inner")
        try:
            assert read_line(worker)
            assert cli("call", "plain", "--address", address).strip() == "outer inner plain"
        finally:
            worker.kill()
            worker.communicate()


@pytest.mark.parametrize("command", [["serve", "--address", "127.0.0.1:0"], ["worker", TOOLS]], ids=["serve", "worker"])
@pytest.mark.parametrize(
    ("source", "text"),
    [
        (TOOLS, "name an attribute of it"),
        (f"{TOOLS}:nothing", "has no nothing"),
        (f"{TOOLS}:plain_function", "plain_function must be an async function"),
        ("no_such_module:mw", "there is no module no_such_module"),
    ],
)
def test_what_cannot_be_middleware_is_refused_before_anything_starts(
    command: list[str], source: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--middleware", source]) == 2
    assert text in capsys.readouterr().err
