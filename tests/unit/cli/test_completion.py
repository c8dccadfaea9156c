"""What the word at the cursor may become, without a hub."""

import os
import subprocess
import sys

import pytest

from grpc_tool_bridge.cli import completion
from grpc_tool_bridge.cli.app import COMPLETE_VARIABLE
from grpc_tool_bridge.cli.commands import COMMANDS
from support.patience import PATIENCE


def values(*words: str) -> list[str]:
    files, found = completion.candidates(words)
    return [*(["<files>"] if files else []), *(value for value, _ in found)]


def test_the_first_word_is_a_command_and_each_says_what_it_does() -> None:
    files, found = completion.candidates([""])
    assert not files
    assert [name for name, _ in found] == list(COMMANDS)
    assert all(text for _, text in found)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["vars", ""], ["list", "get", "set", "delete", "watch"]),
        (["vars", "w"], ["watch"]),
        (["--v"], ["--version"]),
        (["vars", "-"], ["--help"]),
        (["nothing", ""], []),
        (["call", "add", "--j"], ["--json"]),
        (["call", "--json", "add", "--j"], []),
        (["call", "add", "--kwarg", "a=1", "--kw"], ["--kwarg"]),
        (["call", "add", "--timeout", ""], []),
        (["call", "add", "--", "--j"], []),
        (["logs", "--level", "w"], ["warning"]),
        (["logs", "--level=w"], ["--level=warning"]),
        (["logs", "--nothing=w"], []),
        (["logs", "--nothing", "--le"], ["--level"]),
        (["admin", "events", "--kind", ""], ["call", "worker", "session", "log"]),
        (["serve", "--loop", "u"], ["uvloop"]),
        (["serve", "--tools", "x"], ["<files>"]),
        (["serve", "--config=x"], ["<files>"]),
        (["serve", "--middleware", "x"], ["<files>"]),
        (["worker", "--lifespan", "x"], ["<files>"]),
        (["serve", "--pref"], ["--prefix"]),
        (["stubs", "--tools", "x"], ["<files>"]),
        (["tools", "--hid"], ["--hidden"]),
        (["worker", "a.py", ""], ["<files>"]),
        (["completion", ""], ["bash", "zsh", "fish"]),
        (["completion", "bash", "--h"], ["--help"]),
        (["serve", "--no-tls"], []),
        (["sessions", "--no"], ["--no-tls"]),
    ],
)
def test_words_are_completed_by_what_they_stand_for(words: list[str], expected: list[str]) -> None:
    assert values(*words) == expected


def test_a_command_that_takes_no_more_arguments_offers_its_options() -> None:
    assert "--json" in values("workers", "")
    assert values("sessions", "--js") == ["--json"]
    assert values("sessions", "sh") == ["share", "shares"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("p call ", ["p", "call", ""]),
        ("p call ad", ["p", "call", "ad"]),
        ("p call 'a b", ["p", "call", "a b"]),
        ('p call "a', ["p", "call", "a"]),
        (r"p call a\ b", ["p", "call", "a b"]),
    ],
)
def test_a_line_is_split_as_a_shell_does(line: str, words: list[str]) -> None:
    assert completion.split_line(line) == words


def test_bash_gets_only_the_part_of_a_word_that_it_replaces(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(completion.BREAKS_VARIABLE, " \t\n\"'><=;|&(:")
    assert completion.answer("bash", ["p logs --level=w"]) == 0
    assert capsys.readouterr().out == "words\nwarning\t\n"
    assert completion.answer("zsh", ["logs", "--level=w"]) == 0
    assert capsys.readouterr().out == "words\n--level=warning\t\n"


def test_what_a_shell_would_not_read_as_a_word_is_left_out_and_help_is_one_short_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [
        ("$(reboot)", ""),
        ("a b", ""),
        ("a;b", ""),
        ("`a`", ""),
        ("ok", "first \x1b[31m\tline\nsecond"),
        ("é.b", "x" * 99),
    ]
    monkeypatch.setattr(completion, "candidates", lambda _: (False, found))
    completion.answer("fish", [""])
    first, ok, other = capsys.readouterr().out.splitlines()
    assert (first, ok) == ("words", "ok\tfirst \\x1b[31m line")
    assert other == "é.b\t" + "x" * 59 + "…"


def test_a_failure_is_silent(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(completion, "candidates", fail)
    assert completion.answer("fish", [""]) == 0
    assert capsys.readouterr() == ("", "")


def test_options_are_completed_without_what_takes_long_to_import() -> None:
    program = (
        "import sys\nfrom grpc_tool_bridge.cli import main\nmain(['call', '--j'])\n"
        "sys.exit(str({'typer', 'rich', 'grpc', 'asyncio', 'pydantic'} & sys.modules.keys()))"
    )
    environment = {**os.environ, COMPLETE_VARIABLE: "zsh"}
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=PATIENCE, env=environment
    )
    assert (ran.stdout, ran.stderr) == ("words\n--json\tPrint JSON.\n", "set()\n")
