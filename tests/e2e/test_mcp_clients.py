"""MCP clients by others against a hub: those of the official TypeScript SDKs, and the Inspector.

Each client does everything once, over HTTP and over the pipes of ``grpc-tool-bridge mcp``; the tests read its report.
"""

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from e2e.mcp_client_tools import PICTURE
from support.mcp_programs import INSPECTOR, MCP, NODE, PYTHON_ENV, needs_mcp_programs
from support.patience import PATIENCE
from support.programs import announced, environment, running

HERE = Path(__file__).parent
COMMAND = [sys.executable, "-m", "grpc_tool_bridge.cli", "mcp"]
NAMES = {"add", "confirm", "count", "fail", "measure", "picture", "remember", "wait", "work"}
# The official SDKs of TypeScript, and the versions of the protocol that they speak.
SDKS = {"1": "2025-11-25", "2": "2026-07-28"}

pytestmark = [needs_mcp_programs, pytest.mark.xdist_group("mcp-clients")]


@dataclass
class Addresses:
    """Where the hub is: for MCP over HTTP, and for ``grpc-tool-bridge mcp``."""

    url: str
    address: str

    def target(self, transport: str) -> list[str]:
        """What a client is given to reach the hub."""
        return [self.url] if transport == "http" else [*COMMAND, "--address", self.address]


@pytest.fixture(scope="module")
def addresses() -> Iterator[Addresses]:
    with running([sys.executable, str(HERE / "mcp_client_tools.py")]) as hub:
        told = announced(hub)
        yield Addresses(f"http://{told['http_address']}/mcp", told["address"])


def output_of(command: list[str], folder: Path) -> str:
    """Runs a client to its end; returns what it prints."""
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
        # Whatever it keeps of a user, it keeps there.
        env=environment(HOME=str(folder)),
        cwd=folder,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# ---------------------------------------------------------------------------------------------------------- TypeScript


@dataclass
class Report:
    """What a client has found."""

    version: str
    transport: str
    found: dict[str, Any]

    def came(self, step: str) -> Any:
        """Returns what came of a step, which has not failed."""
        assert "came" in self.found[step], f"{step}: {self.found[step]}"
        return self.found[step]["came"]


@pytest.fixture(
    scope="module",
    params=[(sdk, transport) for transport in ("http", "stdio") for sdk in SDKS],
    ids=lambda chosen: f"{SDKS[chosen[0]]}-{chosen[1]}",
)
def report(request: pytest.FixtureRequest, addresses: Addresses, tmp_path_factory: pytest.TempPathFactory) -> Report:
    sdk, transport = request.param
    command = [NODE, str(MCP / "client.mjs"), sdk, *addresses.target(transport)]
    return Report(SDKS[sdk], transport, json.loads(output_of(command, tmp_path_factory.mktemp("client"))))


def text_of(result: dict[str, Any]) -> str:
    """Returns the one text of a result."""
    (block,) = result["content"]
    assert block["type"] == "text"
    return str(block["text"])


def test_the_server_says_who_it_is_and_what_it_can(report: Report) -> None:
    report.came("prepared")
    assert report.found["version"] == report.version
    assert report.found["server"]["name"] == "grpc-tool-bridge"
    assert report.found["server"]["version"]
    assert report.found["capabilities"]["tools"] == {"listChanged": True}
    assert report.found["capabilities"]["resources"]["subscribe"]
    assert "prompts" not in report.found["capabilities"]


def test_tools_are_listed_with_what_a_model_needs_to_know_of_them(report: Report) -> None:
    tools = {tool["name"]: tool for tool in report.came("tools")}
    assert tools.keys() >= NAMES
    add = tools["add"]
    assert add["description"] == "Adds two numbers."
    assert add["inputSchema"]["properties"] == {
        "a": {"type": "integer", "description": "The first."},
        "b": {"type": "integer", "description": "The second.", "default": 0},
    }
    assert add["inputSchema"]["required"] == ["a"]
    assert add["annotations"]["idempotentHint"] is True
    assert not tools["fail"].get("annotations", {}).get("idempotentHint")


def test_a_result_comes_as_a_text_and_as_the_value_that_it_is(report: Report) -> None:
    number, objects = report.came("add"), report.came("measure")
    assert text_of(number) == "5"
    # The older version has objects alone.
    assert number["structuredContent"] == ({"result": 5} if report.version == "2025-11-25" else 5)
    assert objects["structuredContent"] == {"name": "ö", "size": 2.5, "tags": ["long", "thin"]}
    assert json.loads(text_of(objects)) == objects["structuredContent"]
    assert not number.get("isError")
    assert not objects.get("isError")


def test_what_a_tool_yields_comes_as_a_list(report: Report) -> None:
    assert json.loads(text_of(report.came("count"))) == [0, 1, 2]


def test_a_picture_comes_as_a_picture(report: Report) -> None:
    (block,) = report.came("picture")["content"]
    assert (block["type"], block["mimeType"]) == ("image", "image/png")
    assert base64.b64decode(block["data"]) == PICTURE


def test_progress_and_the_log_come_while_a_tool_runs(report: Report) -> None:
    came = report.came("work")
    assert came["progress"] == [{"progress": done, "total": 3, "message": f"step {done}"} for done in (1, 2, 3)]
    assert [line["level"] for line in came["log"]] == ["info", "info", "warning"]
    assert "did step 3" in json.dumps(came["log"][2]["data"])
    assert text_of(came["result"]) == "worked"


def test_an_error_of_a_tool_is_a_result_that_says_what_it_is(report: Report) -> None:
    failed, wrong = report.came("fail"), report.came("wrong")
    assert failed["isError"] is True
    assert "LookupError" in text_of(failed)
    assert "there is no such thing" in text_of(failed)
    assert wrong["isError"] is True
    assert "'a': should be a valid integer, got 'two'" in text_of(wrong)


def test_a_tool_that_is_not_there_is_an_error_of_the_protocol(report: Report) -> None:
    unknown = report.found["unknown"]
    assert unknown["code"] == -32602
    assert "no tool 'no_such_tool'" in unknown["error"]


def test_a_tool_asks_the_person_at_the_client(report: Report) -> None:
    came = report.came("confirm")
    (asked,) = came["asked"]
    assert asked["message"] == "Do it?"
    assert asked["requestedSchema"]["required"] == ["sure"]
    assert asked["requestedSchema"]["properties"]["size"]["oneOf"][1] == {"const": "l", "title": "Large"}
    assert text_of(came["result"]) == 'accept {"size": "l", "sure": true}'


def test_a_client_that_gives_up_stops_the_tool(report: Report) -> None:
    came = report.came("cancelled")
    assert "stopped here" in came["error"]
    assert text_of(came["result"]) == "true"


def test_variables_of_the_session_are_resources_that_can_be_followed(report: Report) -> None:
    came = report.came("variables")
    assert "first" in came["before"]["contents"][0]["text"]
    assert came["told"][0]["uri"] == came["found"]["uri"]
    assert "second" in came["after"]["contents"][0]["text"]


def test_a_tool_that_joins_is_told_and_called_and_one_that_leaves_is_gone(report: Report) -> None:
    came = report.came("changes")
    assert text_of(came["result"]) == "grown"
    assert set(came["left"]) >= NAMES


def test_a_result_survives_the_loss_of_the_connection(report: Report) -> None:
    # The newer version has no sessions, and pipes are lost with their program.
    if (report.version, report.transport) == ("2025-11-25", "http"):
        assert text_of(report.came("resumed")) == "finished"


# ----------------------------------------------------------------------------------------------------------- Inspector


@pytest.fixture(params=["http", "stdio"])
def inspected(request: pytest.FixtureRequest, addresses: Addresses, tmp_path: Path) -> Any:
    """Runs the Inspector on the hub with some words; returns the result that it prints."""

    def inspect(*words: str) -> Any:
        variables = [word for name, value in PYTHON_ENV.items() for word in ("-e", f"{name}={value}")]
        return json.loads(output_of([*INSPECTOR, *variables, *addresses.target(request.param), *words], tmp_path))

    return inspect


def test_the_inspector_finds_nothing_wrong_with_the_list_of_tools(inspected: Any) -> None:
    # With --strict it fails for a schema that some client cannot read.
    listed = inspected("--method", "tools/list", "--strict")
    assert {tool["name"] for tool in listed["tools"]} >= NAMES


def test_the_inspector_calls_a_tool(inspected: Any) -> None:
    result = inspected("--method", "tools/call", "--tool-name", "add", "--tool-arg", "a=2", "b=3")
    assert text_of(result) == "5"
