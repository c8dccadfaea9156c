"""The project that ``init`` makes works: its test, and what its README shows."""

import ast
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from grpc_tool_bridge.cli import main
from support.patience import PATIENCE
from support.programs import ROOT, announced, environment, run, running
from support.pytests import PYTEST

EXAMPLE_ADDRESS = "127.0.0.1:50051"
PRINTED = {
    "grpc-tool-bridge call greet Ada": "Hello, Ada!\n",
    "grpc-tool-bridge call greet --kwarg name=Ada --kwarg excited=true": "HELLO, ADA!\n",
    "grpc-tool-bridge stream countdown 3": "3\n2\n1\n0\n",
}


def python(words: list[str], folder: Path, **more: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work") / "my-tools"
    ran = python(["-m", "grpc_tool_bridge", "init", "my-tools"], folder.parent)
    assert ran.returncode == 0, ran.stderr
    assert "  cd my-tools\n  pytest\n" in ran.stdout
    return folder


def blocks(project: Path, language: str) -> list[str]:
    text = (project / "README.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def address(project: Path) -> Iterator[str]:
    """The hub of the README, at another port."""
    (serve,) = [line for block in blocks(project, "sh") for line in block.splitlines() if " serve " in line]
    words = [sys.executable, "-m", "grpc_tool_bridge", *shlex.split(serve)[1:], "--json"]
    given = environment(TOOL_BRIDGE_ADDRESS="127.0.0.1:0")
    with running(words, cwd=project, env=given, stderr=subprocess.DEVNULL) as process:
        facts = announced(process)
        assert facts["tools"] == ["count_words", "countdown", "greet"]
        yield facts["address"]


def test_its_tests_pass_where_it_is(project: Path) -> None:
    ran = python(PYTEST[1:], project)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "3 passed" in ran.stdout


def test_its_files_are_well_formed(project: Path) -> None:
    for words in (["check", "--no-cache", "--select", "E,F,W,I,UP,B"], ["format", "--no-cache", "--check"]):
        checked = run(["ruff", *words, "."], cwd=project)
        assert checked.returncode == 0, checked.stdout
    assert python(["-m", "grpc_tool_bridge", "settings", "--config", "settings.toml"], project).returncode == 0
    for file in project.rglob("*.py"):
        assert ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))), file


def test_the_commands_of_its_readme_do_what_it_says(project: Path, address: str) -> None:
    lines = [line for block in blocks(project, "sh") for line in block.splitlines()]
    ours = [line for line in lines if line.startswith("grpc-tool-bridge ") and " serve " not in line]
    assert PRINTED.keys() < set(ours)
    for line in ours:
        ran = python(["-m", "grpc_tool_bridge", *shlex.split(line)[1:]], project, TOOL_BRIDGE_ADDRESS=address)
        assert ran.returncode == 0, ran.stderr
        assert ran.stdout == PRINTED.get(line, ran.stdout)


def test_the_programs_of_its_readme_run(project: Path, address: str, tmp_path: Path) -> None:
    typed, program = blocks(project, "python")
    (tmp_path / "program.py").write_text(program.replace(EXAMPLE_ADDRESS, address))
    assert python(["program.py"], tmp_path).stdout == "Hello, Ada!\n3\n2\n1\n0\n"
    ran = subprocess.run(
        [sys.executable, "-m", "grpc_tool_bridge", "shell"],
        input=f"print({typed.strip()})",
        env=environment(TOOL_BRIDGE_ADDRESS=address),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (ran.stdout, ran.stderr) == ("Hello, Ada!\n", "")


def test_the_page_of_it_shows_what_happens(project: Path, address: str) -> None:
    text = (ROOT / "docs" / "how-to" / "start-a-project.md").read_text(encoding="utf-8")
    shown = re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    readme = (project / "README.md").read_text(encoding="utf-8")
    make, serve, try_out = (block.splitlines() for block in shown)
    assert make == ["grpc-tool-bridge init my-tools", "cd my-tools", "pytest"]
    assert all(line in readme for line in [*serve, *try_out])
    (typed,) = re.findall(r"^>>> (.*)\n(.*)\n", text, re.MULTILINE)
    ran = subprocess.run(
        [sys.executable, "-m", "grpc_tool_bridge", "shell"],
        input=f"print(repr({typed[0]}))",
        env=environment(TOOL_BRIDGE_ADDRESS=address),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ran.stdout == f"{typed[1]}\n"


def test_a_folder_that_is_not_empty_or_a_file_is_refused_and_left_as_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert main(["init", str(tmp_path)]) == 2
    assert f"{tmp_path} is not empty: it has notes.txt; name a folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    assert main(["init", str(tmp_path / "notes.txt")]) == 2
    assert "is a file" in capsys.readouterr().err


def test_an_empty_folder_and_a_new_repository_are_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "9 tools & more!"
    (folder / ".git").mkdir(parents=True)
    monkeypatch.chdir(folder)
    assert main(["init", ".", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == set(said["files"])
    assert 'name = "9-tools-more"' in (folder / "pyproject.toml").read_text(encoding="utf-8")


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["init", str(tmp_path / "file" / "below")]) == 1
    assert "Not a directory" in capsys.readouterr().err
