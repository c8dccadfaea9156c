"""The help of the commands: in which order they stand, and what it says of their options."""

import re

import pytest

from grpc_tool_bridge.cli.app import main
from grpc_tool_bridge.cli.commands import COMMANDS, PANELS
from unit.cli.test_docs import COMMANDS as LEAVES


def helped(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str) -> str:
    monkeypatch.setenv("COLUMNS", "200")
    assert main([*words, "--help"]) == 0
    return capsys.readouterr().out


def test_each_command_stands_under_one_title_of_the_help(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [name for names in PANELS.values() for name in names] == list(COMMANDS)
    panels = re.split(r"─ ([A-Z][\w ]+) ─+╮", helped(capsys, monkeypatch))[1:]
    found = {
        title: tuple(re.findall(r"^│ ([a-z-]+) ", text, re.MULTILINE))
        for title, text in zip(panels[::2], panels[1::2], strict=True)
    }
    assert found == {"Options": ("--version", "--help"), **PANELS}


@pytest.mark.parametrize("name", ["", "vars", *LEAVES])
def test_the_help_shows_no_type_where_an_option_takes_no_value(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    text = helped(capsys, monkeypatch, *name.split())
    assert "--help" in text
    options = text.partition("─ Options ─")[2]
    assert not re.search(r"<(bool|str|int|float|path)>", options)
