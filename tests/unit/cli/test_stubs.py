"""``stubs``: its arguments, and the files that it writes and compares."""

from pathlib import Path

import pytest

from grpc_tool_bridge.cli import main

TOOLS = '''
from grpc_tool_bridge import tool


@tool
def add(a: int, b: int = 1) -> int:
    """Adds."""
    return a + b
'''


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file with a tool, beside which the commands run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stub_tools.py").write_text(TOOLS, encoding="utf-8")
    return "stub_tools.py"


def fails(capsys: pytest.CaptureFixture[str], *words: str, code: int) -> str:
    assert main(["stubs", *words]) == code
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--check"], "--check compares a file; name it with --out FILE"),
        (["--class", "two words"], "--class: 'two words' is not a name of a Python class"),
        (["--class", "class"], "--class: 'class' is not a name of a Python class"),
        (["--tools", "x.py", "--session", "s"], "--session: of a hub only"),
    ],
)
def test_a_wrong_argument_is_told_before_a_hub_is_asked(
    words: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert text in fails(capsys, *words, code=2)


def test_the_tools_of_a_file_need_no_hub(tools: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stubs", "--tools", tools]) == 0
    assert "async def add(self, a: int, b: int = 1) -> int:" in capsys.readouterr().out
    assert main(["stubs", "--tools", tools, "--out", "api.py"]) == 0
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "api.py: 1 tool\n")
    assert main(["stubs", "--tools", tools, "--out", "api.py", "--check"]) == 0
    assert fails(capsys, "--tools", tools, "--out", "api.py", "--check", "--sync", code=1).startswith(
        "error: api.py is not up to date with the tools"
    )


def test_no_tools_are_an_error_rather_than_an_empty_module(tools: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "there are no tools whose names begin with 'x.'" in fails(capsys, "--tools", tools, "--prefix", "x.", code=1)


def test_a_file_that_cannot_be_read_or_written_is_named(tools: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--out: cannot write no/api.py" in fails(capsys, "--tools", tools, "--out", "no/api.py", code=2)
    Path("folder").mkdir()
    assert "cannot read folder" in fails(capsys, "--tools", tools, "--out", "folder", "--check", code=2)
