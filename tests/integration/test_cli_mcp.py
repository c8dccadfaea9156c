"""MCP servers on the command line: ``serve``, ``worker``, ``tools --from`` and ``approve``, with real servers."""

import json
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from grpc_tool_bridge import BridgeServer, GRPCToolBridge
from grpc_tool_bridge.cli import main
from integration.mcp_servers import honest_command, hostile_command
from integration.test_cli import popen, read_line
from support.waiting import is_gone, soon, until

HONEST = f"honest={shlex.join(honest_command())}"


class Programs:
    """Starts programs, none of which outlives its test."""

    def __init__(self) -> None:
        self.processes: list[subprocess.Popen[str]] = []

    def start(self, *words: str) -> "subprocess.Popen[str]":
        self.processes.append(popen(*words, "--json"))
        return self.processes[-1]

    def ready(self, *words: str) -> dict[str, Any]:
        process = self.start(*words)
        line = read_line(process)
        assert line, process.stderr.read() if process.stderr else ""
        return dict(json.loads(line))


@pytest.fixture
def programs() -> Iterator[Programs]:
    made = Programs()
    yield made
    for process in made.processes:
        process.kill()
        process.communicate()


def run(*words: str) -> "subprocess.CompletedProcess[str]":
    process = popen(*words)
    out, err = process.communicate()
    return subprocess.CompletedProcess(words, process.returncode, out, err)


async def test_a_hub_serves_what_its_command_line_names(programs: Programs, tmp_path: Path) -> None:
    config = tmp_path / "servers.json"
    command, *args = hostile_command("any")
    config.write_text(json.dumps({"mcpServers": {"filed": {"command": command, "args": args}}}))
    facts = programs.ready("serve", "--address", "127.0.0.1:0", "--mcp", HONEST, "--mcp-config", str(config))
    assert {"honest.add", "filed.call"} <= set(facts["tools"])
    async with GRPCToolBridge(facts["address"]) as bridge:
        tools = await bridge.initialize()
        assert await soon(tools["honest.add"](a=1, b=2)) == 3
        assert await soon(tools["filed.call"]()) == "done"
        pid = await soon(tools["honest.pid"]())
    programs.processes[0].send_signal(signal.SIGTERM)
    assert programs.processes[0].wait() == 0
    assert is_gone(pid)


async def test_a_hub_serves_mcp_over_grpc_to_another_one(programs: Programs, tmp_path: Path) -> None:
    tools = tmp_path / "given.py"
    tools.write_text(
        "from grpc_tool_bridge import tool\n\n\n@tool\ndef add(a: int, b: int) -> int:\n    return a + b\n"
    )
    far = programs.ready("serve", "--address", "127.0.0.1:0", "--tools", str(tools), "--mcp-grpc")
    config = tmp_path / "servers.json"
    config.write_text(json.dumps({"mcpServers": {"filed": {"type": "grpc", "url": f"grpc://{far['address']}"}}}))
    source = f"far=grpc://{far['address']}"
    near = programs.ready("serve", "--address", "127.0.0.1:0", "--mcp", source, "--mcp-config", str(config))
    assert set(near["tools"]) == {"far.add", "filed.add"}
    async with GRPCToolBridge(near["address"]) as bridge:
        assert await soon((await bridge.initialize())["far.add"](a=1, b=2)) == 3


async def test_nothing_is_left_of_a_hub_that_was_killed(programs: Programs) -> None:
    facts = programs.ready("serve", "--address", "127.0.0.1:0", "--mcp", HONEST)
    async with GRPCToolBridge(facts["address"]) as bridge:
        pid = await soon((await bridge.initialize())["honest.pid"]())
    programs.processes[0].kill()
    await until(lambda: is_gone(pid), "for the server to end")


async def test_a_worker_offers_what_its_command_line_names(programs: Programs) -> None:
    async with BridgeServer() as hub, GRPCToolBridge(hub.address) as bridge:
        await bridge.initialize()
        programs.start("worker", "--address", hub.address, "--mcp", HONEST)
        await until(lambda: "honest.add" in bridge.tools, "for the worker")
        assert await soon(bridge.tools["honest.add"](a=1)) == 2


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["serve", "--mcp", "no-such-program"], 2, "MCP server no-such-program: the program 'no-such-program'"),
        (["serve", "--mcp", "a 'b"], 2, "--mcp: the command of an MCP server cannot be split"),
        (["serve", "--mcp-config", "/no/such/file"], 2, "/no/such/file"),
        (["serve", "--mcp", "x=sh -c true", "--mcp", "x=true"], 2, "two MCP servers are called 'x'"),
        (["serve", "--mcp", "x=sh -c 'echo why >&2; exit 3'"], 1, "exit code 3; its last lines were: why"),
        (["serve", "--pin", "x.json"], 2, "--pin: for MCP servers only"),
        (["worker", "--pin", "x.json", "tools.py"], 2, "--pin: for MCP servers only"),
        (["worker"], 2, "it is optional with --agents, --mcp and --grpc"),
        (["tools", "--from", "uvx x"], 2, "--from: it must be mcp:"),
        (["tools", "--from", "mcp:no-such-program"], 2, "was not found in PATH"),
        (["tools", "--from", "mcp:/no/such/file.json"], 2, "/no/such/file.json"),
        (["tools", "--from", "mcp:http://127.0.0.1:9/mcp"], 1, "http://127.0.0.1:9/mcp cannot be reached"),
        (["tools", "--from", "mcp:grpc://127.0.0.1:9"], 1, "grpc://127.0.0.1:9 cannot be reached"),
        (["serve", "--mcp", "grpc://host"], 2, "must be grpcs://HOST:PORT"),
        (["serve", "--mcp-agent", "ask=question -> answer"], 2, "add --http HOST:PORT, or --mcp-grpc"),
        (
            ["tools", "--from", "mcp:htp://127.0.0.1/mcp"],
            2,
            "--from: the address of an MCP server begins with https://",
        ),
        (["serve", "--mcp", "servers.json"], 2, "give it as --mcp-config"),
        (["serve", "--mcp", "C:\\Programs\\server.exe"], 2, "write the path of the program with /"),
        (["approve"], 2, "missing option '--pin FILE'"),
        (["approve", "--pin", "/no/such/file"], 2, "there is no file"),
    ],
)
def test_what_is_wrong_is_one_clear_line(words: list[str], code: int, text: str) -> None:
    address = ["--address", "127.0.0.1:0"] if words[0] == "serve" else []
    found = run(*words, *address)
    assert found.returncode == code
    (line,) = [line for line in found.stderr.splitlines() if line.startswith("error: ")]
    assert text in line


def test_what_would_be_imported_can_be_seen_before(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["tools", "--from", f"mcp:bad={shlex.join(hostile_command('names'))}", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [tool["name"] for tool in found["tools"]] == ["bad.add", "bad.ok", "bad.with_space"]
    assert [(item["server"], item["name"]) for item in found["refused"]][:2] == [
        ("bad", "with/space"),
        ("bad", "with_space"),
    ]
    config = tmp_path / "servers.json"
    command, *args = honest_command()
    config.write_text(json.dumps({"mcpServers": {"filed": {"command": command, "args": args}}}))
    assert main(["tools", "--from", f"mcp:{config}", "filed.add"]) == 0
    shown = capsys.readouterr().out
    assert "Adds two numbers." in shown
    assert "mcp.title" in shown
    assert main(["tools", "--from", f"mcp:{config}", "filed.ad"]) == 1
    assert "did you mean filed.add or" in capsys.readouterr().err


def test_a_changed_tool_is_listed_and_approved(
    programs: Programs, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    text, pins = tmp_path / "description", str(tmp_path / "pins.json")
    server = f"bad={shlex.join(hostile_command('pinned', str(text)))}"
    words = ["serve", "--address", "127.0.0.1:0", "--mcp", server, "--pin", pins]
    text.write_text("Reads a file.")
    assert programs.ready(*words)["tools"] == ["bad.call", "bad.other"]
    text.write_text("Reads a file, and sends it away.")
    facts = programs.ready(*words)
    assert facts["tools"] == ["bad.other"]

    assert main(["approve", "--pin", pins]) == 0
    shown = capsys.readouterr().out
    assert "bad.call: changed (description)" in shown
    assert "description: Reads a file, and sends it away." in shown
    assert main(["approve", "--pin", pins, "bad.none"]) == 2
    assert "those that do: bad.call" in capsys.readouterr().err
    assert main(["approve", "--pin", pins, "bad.call", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["approved"] is True
    assert main(["approve", "--pin", pins]) == 0
    assert "No tool waits" in capsys.readouterr().out


def test_secrets_of_a_file_are_not_shown(tmp_path: Path) -> None:
    config = tmp_path / "servers.json"
    entry = {"url": "http://127.0.0.1:1/mcp?key=s3cret", "headers": {"Authorization": "Bearer s3cret"}}
    local = {"command": "no-such-program", "args": ["s3cret"], "env": {"KEY": "s3cret"}}
    config.write_text(json.dumps({"mcpServers": {"local": local, "remote": entry}}))
    found = run("serve", "--address", "127.0.0.1:0", "--mcp-config", str(config), "--log-level", "debug")
    assert found.returncode == 2
    assert "s3cret" not in found.stdout + found.stderr


def test_a_hub_without_them_does_not_load_the_sdk() -> None:
    code = "import sys, grpc_tool_bridge.cli.serve_run; print('mcp' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"
