"""docs/how-to/types.md is true: its module is what ``stubs`` writes, and its programs run."""

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.test_cli import serving
from support.checkers import mypy
from support.programs import ROOT, environment, run

PAGE = ROOT / "docs" / "how-to" / "types.md"
ADDRESS = "127.0.0.1:50051"


@pytest.fixture
def project(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder with the page's tool, and the address of a hub that serves it."""
    tool, tools, *_ = _blocks("python")
    (tmp_path / "my_tools.py").write_text(f"{tool}\n{tools}", encoding="utf-8")
    with serving("--tools", str(tmp_path / "my_tools.py")) as (announced, _):
        yield tmp_path, announced["address"]


def _blocks(language: str) -> list[str]:
    return [part.partition("```")[0] for part in PAGE.read_text(encoding="utf-8").split(f"```{language}\n")[1:]]


def _ran(folder: Path, *words: str, code: int = 0) -> str:
    env = environment(PYTHONPATH=str(ROOT / "src"))
    ran = run([sys.executable, *words], cwd=folder, env=env)
    assert ran.returncode == code, ran.stdout + ran.stderr
    return ran.stdout


def _stubs(folder: Path, line: str, address: str, code: int = 0) -> str:
    program, *words = shlex.split(line)
    assert program == "grpc-tool-bridge"
    return _ran(folder, "-m", "grpc_tool_bridge.cli", *words, "--address", address, code=code)


def test_the_page_shows_the_module_that_stubs_writes_and_its_programs_run(project: tuple[Path, str]) -> None:
    folder, address = project
    _, _, module, client, blocking = (text.replace(ADDRESS, address) for text in _blocks("python"))
    write, check, write_blocking = _blocks("sh")

    _stubs(folder, check, address, code=1)
    _stubs(folder, write, address)
    _stubs(folder, check, address)
    written = (folder / "tools_api.py").read_text(encoding="utf-8")
    assert written.endswith(module.partition("\n\n\n")[2])
    assert module.splitlines()[0] in written
    _stubs(folder, f"{write} --tools my_tools.py --check", address)

    (folder / "client.py").write_text(f"{client}\n\nimport asyncio\n\nasyncio.run(main())\n", encoding="utf-8")
    assert _ran(folder, "client.py").splitlines() == ["Hello Ann, Hello Ann", "Hello Bob"]

    _stubs(folder, write_blocking, address)
    (folder / "blocking.py").write_text(blocking, encoding="utf-8")
    assert _ran(folder, "blocking.py").splitlines() == ["Hello Ann"]


@pytest.mark.slow
def test_what_the_page_calls_an_error_is_one(tmp_path: Path) -> None:
    tool, tools, *_ = _blocks("python")
    text = f"{tool}\n{tools}\ngreet(1)\n"
    assert "`greet(1)` is an error" in PAGE.read_text(encoding="utf-8")
    (tmp_path / "my_tools.py").write_text(text, encoding="utf-8")
    assert list(mypy(tmp_path, "my_tools.py")) == [("my_tools.py", len(text.splitlines()))]
