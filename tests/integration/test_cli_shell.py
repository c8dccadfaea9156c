"""``shell``, typed in a terminal."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest

from integration.test_cli import serving
from support.patience import PATIENCE
from support.programs import environment
from support.terminals import Terminal

SOURCE = """
import asyncio

from grpc_tool_bridge import ToolContext, tool

@tool
def add(a: int, b: int = 2) -> int:
    return a + b

@tool
async def hang(ctx: ToolContext) -> None:
    print("begun", flush=True)
    await asyncio.Event().wait()
"""
PROMPTS = {"plain": "\r?>>> ", "ipython": r"In \[\d+\]: "}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    source = tmp_path_factory.mktemp("tools") / "shell_tools.py"
    source.write_text(SOURCE)
    with serving("--tools", str(source), stderr=subprocess.DEVNULL) as (announced, _):
        yield announced["address"]


@pytest.fixture
def variables(address: str, tmp_path: Path) -> dict[str, str]:
    ipython = {"IPY_TEST_SIMPLE_PROMPT": "1", "IPYTHONDIR": str(tmp_path / "ipython")}
    return environment(TOOL_BRIDGE_ADDRESS=address, HOME=str(tmp_path), TERM="xterm", XDG_STATE_HOME="", **ipython)


class Prompt:
    """A prompt at which one types."""

    def __init__(self, kind: str, variables: dict[str, str], *words: str) -> None:
        plain = ["--plain"] if kind == "plain" else []
        self.process: Any = Terminal([sys.executable, "-m", "grpc_tool_bridge", "shell", *plain, *words], variables)
        self._prompt = PROMPTS[kind]
        self.banner = self.answer()

    def answer(self) -> str:
        """Waits for the next prompt; returns what was printed before it."""
        self.process.expect(self._prompt)
        return str(self.process.before)

    def type(self, line: str) -> str:
        self.process.sendline(line)
        return self.answer()

    def leave(self) -> int:
        self.process.sendline("exit()")
        self.process.expect(pexpect.EOF)
        self.process.close()
        return int(self.process.exitstatus)


@pytest.mark.parametrize("kind", PROMPTS)
def test_tools_are_called_with_await_and_errors_are_shown(kind: str, variables: dict[str, str]) -> None:
    prompt = Prompt(kind, variables, "--session", "typed")
    assert "session typed, 2 tools: add, hang" in prompt.banner
    assert "3" in prompt.type("await tools.add(1)")
    assert "5" in prompt.type("x = await bridge.call_tool('add', 3); x")
    assert "should be a valid integer" in prompt.type("await tools.add('x')")
    assert "did you mean add?" in prompt.type("tools.ad")
    # What Python warns of, such as a coroutine that nobody awaits, is a warning here as well.
    said = prompt.type("[n async for n in tools.add(1)]")
    assert "TypeError" in said
    assert "__builtins__" not in said
    assert "add(a: int, b: int = 2) -> int" in prompt.type("tools")
    assert "True" in prompt.type("bridge.session_id == 'typed' and 'add' in tools and len(tools) == 2")
    prompt.process.sendline("await tools.hang()")
    prompt.process.expect_exact("tools.hang()\r\n")
    prompt.process.sendcontrol("c")
    assert "Interrupt" in (said := prompt.answer()) or "Cancelled" in said
    assert "7" in prompt.type("x + 2")
    assert prompt.leave() == 0


def test_a_tab_completes_tools_and_what_was_typed_is_kept(variables: dict[str, str], tmp_path: Path) -> None:
    prompt = Prompt("plain", variables)
    prompt.process.send("await tools.ad\t")
    prompt.process.expect_exact("tools.add(")
    assert "11" in prompt.type("9)")
    assert prompt.leave() == 0
    history = tmp_path / ".local" / "state" / "grpc-tool-bridge" / "shell_history"
    assert "await tools.add(9)" in history.read_text()
    assert history.stat().st_mode & 0o777 == 0o600
    again = Prompt("plain", variables)
    # The line before the last, which was exit().
    again.process.send("\x10\x10")
    again.process.expect_exact("await tools.add(9)")
    assert "11" in again.type("")
    assert again.leave() == 0


def run(text: str, variables: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    words = [sys.executable, "-m", "grpc_tool_bridge", "shell"]
    return subprocess.run(
        words, input=text, env=variables, capture_output=True, text=True, timeout=PATIENCE, check=False
    )


def test_a_program_on_stdin_is_run(variables: dict[str, str]) -> None:
    ran = run("for n in range(2):\n    print(await tools.add(n))\n", variables)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "2\n3\n", "")
    ran = run("tools.add(1)\n", variables)
    assert (ran.returncode, "was never awaited" in ran.stderr) == (0, True), ran.stderr
    ran = run("x = 1\nraise ValueError('oh')\n", variables)
    assert ran.returncode == 1
    assert ran.stderr.splitlines() == [
        "Traceback (most recent call last):",
        '  File "<stdin>", line 2, in <module>',
        "ValueError: oh",
    ]


def test_a_hub_that_is_not_there_is_one_line(variables: dict[str, str]) -> None:
    ran = run("", {**variables, "TOOL_BRIDGE_ADDRESS": "127.0.0.1:1", "TOOL_BRIDGE_CONNECT_TIMEOUT": "0"})
    assert ran.returncode == 1
    assert ran.stderr.startswith("error: no hub answered at 127.0.0.1:1")
    assert ran.stderr.count("\n") == 1
