"""The commands that make, list and revoke tokens."""

import json
from pathlib import Path

import pytest

from grpc_tool_bridge.cli.failures import ArgumentError, CommandError
from grpc_tool_bridge.cli.typer_app import run


@pytest.fixture
def file(tmp_path: Path) -> str:
    return str(tmp_path / "tokens")


def test_a_token_is_made_listed_and_revoked(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(["token", "new", "bot", "--group", "a", "--group", "b", "--expires", "90d", "--file", file])
    token = capsys.readouterr().out
    assert token.startswith("tb_")
    assert token.count("\n") == 1
    identity = token.split("_")[1]
    run(["token", "list", "--file", file, "--json"])
    (listed,) = json.loads(capsys.readouterr().out)
    assert (listed["id"], listed["name"], listed["groups"], listed["state"]) == (identity, "bot", ["a", "b"], "valid")
    run(["token", "revoke", identity, "--file", file])
    assert capsys.readouterr().out == f"revoked {identity} of bot\n"
    run(["token", "list", "--file", file])
    assert "revoked" in capsys.readouterr().out


def test_the_file_is_named_by_the_environment(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOL_BRIDGE_TOKENS_FILE", file)
    run(["token", "new", "bot", "--json"])
    assert Path(file).exists()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["new", "bot"], "no file of tokens is named"),
        (["new", "bot", "--file", "F", "--expires", "5"], "'5' is no duration"),
        (["new", "bot", "--file", "F", "--expires", "0d"], "'0d' is no duration"),
        (["new", "bot", "--file", "F", "--expires", "999999999w"], "is no duration"),
        (["new", "a;b", "--file", "F"], "cannot name a caller"),
        (["list", "--file", "F"], "cannot read"),
        (["revoke", "x", "--file", "F"], "cannot read"),
        (["new", "bot", "--file", "F/no/such"], "cannot read"),
    ],
)
def test_what_cannot_be_done_is_said(words: list[str], text: str, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOOL_BRIDGE_TOKENS_FILE", raising=False)
    with pytest.raises(ArgumentError, match=text):
        run(["token", *(word.replace("F", file, 1) if word.startswith("F") else word for word in words)])


def test_a_third_token_and_one_that_is_not_there_are_refused(file: str) -> None:
    for _ in range(2):
        run(["token", "new", "bot", "--file", file])
    with pytest.raises(CommandError, match="bot has 2 valid tokens"):
        run(["token", "new", "bot", "--file", file])
    with pytest.raises(CommandError, match="no token with the id 'x'"):
        run(["token", "revoke", "x", "--file", file])
