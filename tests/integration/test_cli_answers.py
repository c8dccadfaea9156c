"""The command line answers a tool that asks: by options, or at a terminal."""

import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import pytest

from integration.test_cli import PATIENCE, Cli, popen, runner, serving

TOOLS = str(Path(__file__).with_name("ask_tools.py"))


@pytest.fixture(scope="module")
def hub() -> Iterator[dict[str, Any]]:
    """A hub whose tools ask."""
    with serving("--tools", f"{TOOLS}:TOOLS", stderr=subprocess.DEVNULL) as (announced, _):
        yield announced


@pytest.fixture
def cli(hub: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs a command against the hub in this process."""
    monkeypatch.setenv("TOOL_BRIDGE_ADDRESS", hub["address"])
    return runner(capsys)


class Terminal:
    """A command at a terminal of its own, of the kind ``term``; its stdout is a pipe."""

    def __init__(self, hub: dict[str, Any], *words: str, term: str = "dumb") -> None:
        self._fd, far = os.openpty()
        self.seen = ""
        env = {**os.environ, "TERM": term}
        self.process = popen(*words, "--address", hub["address"], stdin=far, stderr=far, env=env, encoding="utf-8")
        os.close(far)

    def expect(self, text: str) -> None:
        """Reads until the command has shown a text after what was expected before."""
        end = time.monotonic() + PATIENCE
        while text not in self.seen:
            assert time.monotonic() < end, f"{text!r} did not come, but {self.seen!r}"
            if select.select([self._fd], [], [], 1)[0]:
                try:
                    self.seen += os.read(self._fd, 65_536).decode()
                except OSError:
                    raise AssertionError(f"{text!r} did not come, but {self.seen!r} and the end") from None
        self.seen = self.seen.partition(text)[2]

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def ended(self) -> tuple[int, str]:
        """Waits for the end; returns the exit code and what was printed on stdout."""
        out, _ = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()
        with suppress(OSError):
            os.close(self._fd)


# ------------------------------------------------------------------------------------------------------- --answer


def test_answers_are_given_in_order_and_further_questions_declined(cli: Cli) -> None:
    assert cli("stream", "ask_each", "4", "--answer", "true", "--answer", "false", "--answer", "{}", "--json") == (
        "true\nfalse\ntrue\nfalse\n"
    )


def test_an_answer_has_the_content_that_is_asked_for(cli: Cli) -> None:
    out = cli("call", "ask", "--answer", '{"count": 2, "name": "n"}', "--json")
    assert json.loads(out) == ["accept", {"count": 2, "name": "n"}]


def test_an_answer_that_does_not_fit_fails_the_call_and_says_why(cli: Cli) -> None:
    assert "'count' is 'x', not an integer" in cli("call", "ask", "--answer", '{"count": "x"}', code=1)


@pytest.mark.parametrize(
    ("text", "why"), [("{", "is not JSON"), ("7", "is not an object"), ('"accept"', "is not an object")]
)
def test_an_answer_that_is_none_is_a_bad_argument(cli: Cli, text: str, why: str) -> None:
    err = cli("call", "ask", "--answer", text, code=2)
    assert err.startswith("error: --answer: ")
    assert why in err


def test_without_a_terminal_and_without_answers_the_tool_is_told_so(cli: Cli) -> None:
    assert "ask asked its caller, who cannot answer" in cli("call", "ask", code=1)


# ------------------------------------------------------------------------------------------------------ a terminal


def test_a_terminal_is_asked_for_each_property_until_it_fits(hub: dict[str, Any]) -> None:
    with Terminal(hub, "call", "ask", "How many?", "--json") as terminal:
        terminal.expect("How many?")
        terminal.expect("count (integer, at least 1, at most 9): ")
        terminal.type("many\n")
        terminal.expect("'many' is not an integer")
        terminal.expect("count (integer, at least 1, at most 9): ")
        terminal.type("10\n")
        terminal.expect("it is 10, not at most 9")
        terminal.expect("count ")
        terminal.type("\n")
        terminal.expect("it is required")
        terminal.expect("count ")
        terminal.type("3\n")
        terminal.expect("name (text, characters at most 20, optional): ")
        terminal.type("ö b\n")
        terminal.expect("ratio (number, optional): ")
        terminal.type("\n")
        terminal.expect("sure (y/n, optional): ")
        terminal.type("y\n")
        terminal.expect("colour (red | blue, optional): ")
        terminal.type("green\n")
        terminal.expect("it is 'green', not one of 'red', 'blue'")
        terminal.expect("colour ")
        terminal.type("blue\n")
        code, out = terminal.ended()
    assert code == 0
    assert json.loads(out) == ["accept", {"count": 3, "name": "ö b", "sure": True, "colour": "blue"}]


def test_a_default_is_taken_where_nothing_is_typed(hub: dict[str, Any]) -> None:
    schema = {"type": "object", "properties": {"size": {"type": "integer", "default": 4, "description": "How large"}}}
    with Terminal(hub, "call", "ask_by", json.dumps(schema), "Size?", "--json") as terminal:
        terminal.expect("Size?")
        terminal.expect("How large")
        terminal.expect("size (integer, default 4): ")
        terminal.type("\n")
        assert terminal.ended() == (0, '["accept", {"size": 4}]\n')


@pytest.mark.parametrize(("typed", "accepted"), [("y\n", "true"), ("no\n", "false"), ("\x04", "false")])
def test_a_question_without_a_schema_is_answered_by_yes_or_no(hub: dict[str, Any], typed: str, accepted: str) -> None:
    with Terminal(hub, "call", "confirm", "Delete 3 files?", "--json") as terminal:
        terminal.expect("Delete 3 files?")
        terminal.expect("accept (y/n): ")
        terminal.type(typed)
        assert terminal.ended() == (0, f"{accepted}\n")


def test_ctrl_d_cancels_the_question(hub: dict[str, Any]) -> None:
    with Terminal(hub, "call", "ask", "--json") as terminal:
        terminal.expect("count ")
        terminal.type("\x04")
        terminal.expect("(cancelled)")
        assert terminal.ended() == (0, '["cancel", {}]\n')


def test_ctrl_c_at_a_question_ends_the_command(hub: dict[str, Any]) -> None:
    with Terminal(hub, "call", "ask") as terminal:
        terminal.expect("at most 9): ")
        terminal.process.send_signal(signal.SIGINT)
        terminal.expect("\r\nerror: interrupted\r\n")
        assert terminal.ended() == (130, "")


def test_questions_of_a_stream_stand_between_its_values(hub: dict[str, Any]) -> None:
    with Terminal(hub, "stream", "ask_each", "2", "--json") as terminal:
        for number in range(2):
            terminal.expect(f"number {number}")
            terminal.expect("accept (y/n): ")
            terminal.type("y\n")
        assert terminal.ended() == (0, "true\ntrue\n")


def test_what_a_terminal_would_obey_is_shown_instead(hub: dict[str, Any]) -> None:
    with Terminal(hub, "call", "confirm", "\x1b[2Jgone", "--json") as terminal:
        terminal.expect("\\x1b[2Jgone")
        terminal.expect("accept")
        terminal.type("n\n")
        assert terminal.ended() == (0, "false\n")


def test_a_hub_that_is_not_there_is_said_to_be_so_at_a_terminal_too() -> None:
    with Terminal({"address": "127.0.0.1:1"}, "call", "ask", "--connect-timeout", "0") as terminal:
        terminal.expect("error: no hub answered at 127.0.0.1:1 (Connection refused); is it running?")
        assert terminal.ended() == (1, "")
