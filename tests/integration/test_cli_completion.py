"""The completion scripts, in real shells, beside a real hub."""

import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from grpc_tool_bridge import BridgeServer, GRPCToolBridge, tool
from grpc_tool_bridge.cli.completion_scripts import SCRIPTS
from integration.test_cli import serving
from support.needs import needs
from support.patience import PATIENCE
from support.programs import environment
from support.terminals import Terminal

SOURCE = """
from typing import Literal

from grpc_tool_bridge import tool

@tool
def weather(city: str, unit: Literal["celsius", "kelvin"] = "celsius", verbose: bool = False) -> str:
    '''Tells the weather.'''
    return city
"""
# The program, but for the time that a hub has to answer.
PATIENT = [sys.executable, str(Path(__file__).parents[1] / "support" / "patient_program.py")]
SHELLS = [pytest.param(name, marks=[] if name == "bash" else needs(name)) for name in SCRIPTS]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    source = tmp_path_factory.mktemp("tools") / "weather_tools.py"
    source.write_text(SOURCE)
    with serving("--tools", str(source), stderr=subprocess.DEVNULL) as (announced, _):
        yield announced["address"]


@pytest.fixture
def variables(address: str, tmp_path: Path) -> dict[str, str]:
    """The environment of a shell whose program is the one of this environment."""
    program = tmp_path / "bin" / "grpc-tool-bridge"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.join(PATIENT)} "$@"\n')
    program.chmod(0o755)
    found = environment(TOOL_BRIDGE_ADDRESS=address, HOME=str(tmp_path), TERM="xterm", LC_ALL="C.UTF-8")
    return {**found, "PATH": f"{program.parent}:{found['PATH']}", "INPUTRC": "/dev/null"}


class Shell:
    """An interactive shell that has read its script."""

    def __init__(self, name: str, variables: dict[str, str]) -> None:
        posix = "shown() { printf '<%s>\\n' \"$*\"; }"
        begin = {
            "bash": (["--norc", "--noprofile", "-i"], f"{posix}; source <(grpc-tool-bridge completion bash)"),
            "zsh": (
                ["-f", "-i"],
                f"{posix}; autoload -U compinit; compinit -D; source <(grpc-tool-bridge completion zsh)",
            ),
            "fish": (
                ["--no-config", "-i"],
                'function shown; echo "<$argv>"; end; grpc-tool-bridge completion fish | source',
            ),
        }
        words, load = begin[name]
        self.process: Any = Terminal([name, *words], variables)
        self.process.sendline(f"{load}; echo load''ed")
        self.process.expect("loaded\r\n")

    def complete(self, line: str) -> str:
        """Types a line and a tab; returns what the line is then."""
        self.process.send(f"{line}\t")
        # Its beginning becomes a command that prints the rest.
        self.process.sendcontrol("a")
        self.process.sendline("shown ")
        self.process.expect("<(grpc-tool-bridge[^>\r\n]*)>\r?\n")
        return str(self.process.match[1])


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest, variables: dict[str, str]) -> Iterator[Shell]:
    made = Shell(request.param, variables)
    yield made
    made.process.close(force=True)


def test_a_shell_completes_what_is_typed(shell: Shell) -> None:
    typed = {
        "grpc-tool-bridge comp": "letion",
        "grpc-tool-bridge call wea": "ther",
        "grpc-tool-bridge call weather --kwarg un": "it=",
        "grpc-tool-bridge call weather --kwarg unit=k": "elvin",
        "grpc-tool-bridge call weather berlin kel": "vin",
        "grpc-tool-bridge logs --level=wa": "rning",
    }
    assert {line: shell.complete(line).strip() for line in typed} == {line: line + rest for line, rest in typed.items()}


def test_a_tab_without_a_hub_is_silent(shell: Shell) -> None:
    line = "grpc-tool-bridge call --address 127.0.0.1:1 zzz"
    assert shell.complete(line).strip() == line
    assert "rror" not in shell.process.before


def ask(words: list[str], address: str, shell: str = "zsh", program: Sequence[str] = PATIENT) -> tuple[list[str], str]:
    """Asks the program for candidates, as a script does; returns the values, and what it prints on stderr."""
    ran = subprocess.run(
        [*program, *words],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
        env=environment(TOOL_BRIDGE_ADDRESS=address, _GRPC_TOOL_BRIDGE_COMPLETE=shell),
    )
    return [line.partition("\t")[0] for line in ran.stdout.splitlines()[1:]], ran.stderr


@tool(tags=["read", "sky"])
def weather(city: str, unit: str = "celsius") -> str:
    """Tells."""
    return city


async def test_sessions_variables_metrics_and_tools_of_a_session_are_completed_and_none_is_made() -> None:
    import asyncio

    older = tool(lambda city: city, name="sky", version="1")
    newer = tool(lambda city, unit: city, name="sky", version="2", tags=["sky"])
    hidden = tool(lambda: 1, name="secret", hidden=True)
    many = tool(lambda first, /, second, *rest, third=False, **others: 1, name="many")
    tools = [weather, older, newer, hidden, many]
    async with BridgeServer(tools=tools) as server, GRPCToolBridge(server.address) as bridge:
        await bridge.initialize("mine")
        await bridge.session_context.set_variable("colour", 1)

        async def values(*words: str) -> list[str]:
            found, said = await asyncio.to_thread(ask, list(words), server.address)
            assert said == ""
            return found

        assert await values("logs", "--session", "m") == ["mine"]
        assert await values("vars", "get", "--session", "mine", "c") == ["colour"]
        assert await values("vars", "get", "c") == []
        assert await values("metrics", "tool.weather.c") == ["tool.weather.calls"]
        assert await values("call", "--session", "mine", "w") == ["weather"]
        assert await values("call", "--session", "typo", "w") == []
        assert await values("call", "weather", "--kwarg", "city=x", "--kwarg", "") == ["unit="]
        assert await values("call", "weather", "x", "--kwarg", "") == ["unit="]
        assert await values("bench", "--tool", "weather", "--kwarg", "c") == ["city="]
        assert await values("call", "nothing", "--kwarg", "") == []
        assert await values("call", "s") == ["sky", "sky@1"]
        assert await values("call", "sky@1", "--kwarg", "") == ["city="]
        assert await values("call", "sky@2", "--kwarg", "") == ["city=", "unit="]
        assert await values("call", "many", "1", "--kwarg", "") == ["second=", "third="]
        assert await values("call", "many", "1", "2", "3", "--kwarg", "") == ["third="]
        assert await values("tools", "--tag", "") == ["read", "sky"]
        assert await values("tools", "--tag", "sky", "--tag", "") == ["read"]
        assert await values("stubs", "--session", "m") == ["mine"]
        assert [session.session_id async for session in bridge.admin.sessions()] == ["mine"]


def test_a_hub_that_never_answers_completes_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_swallow, args=(listener,), daemon=True).start()
        program = [sys.executable, "-m", "grpc_tool_bridge"]
        found, said = ask(["call", ""], f"127.0.0.1:{listener.getsockname()[1]}", program=program)
    assert (found, said) == ([], "")


def _swallow(listener: socket.socket) -> None:
    held = []
    while True:
        try:
            held.append(listener.accept())
        except OSError:
            return
