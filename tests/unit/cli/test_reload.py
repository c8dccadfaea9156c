"""The files that ``--reload`` looks at."""

import os
from pathlib import Path

import pytest

from grpc_tool_bridge.cli import reload
from grpc_tool_bridge.cli.reload import SourceFiles


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with sources, and with what is none of its own."""
    root = tmp_path / "project"
    own = ["tools.py", "data.txt", "package/__init__.py", "package/deep/more.py"]
    others = [".hidden/a.py", "venv/pyvenv.cfg", "venv/lib/b.py", "__pycache__/c.py", "node_modules/d.py"]
    for name in own + others:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.chdir(root)
    return root


def seen(files: SourceFiles, folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in files.look()}


def test_all_python_files_below_are_seen_but_not_those_of_others(folder: Path) -> None:
    assert seen(SourceFiles([folder]), folder) == {"tools.py", "package/__init__.py", "package/deep/more.py"}


@pytest.mark.parametrize(
    ("sources", "looked_at"),
    [
        (["tools"], ["."]),
        (["tools:add", "package.deep.more:add"], ["."]),
        (["package/deep/more.py:add"], ["package/deep"]),
        (["package/deep/more.py", "package/__init__.py"], ["package"]),
        (["json:loads"], ["."]),
        (["no_such_module"], ["."]),
    ],
)
def test_the_folders_are_those_of_the_sources(folder: Path, sources: list[str], looked_at: list[str]) -> None:
    assert SourceFiles.of(sources).folders == [folder / name for name in looked_at]


def test_a_package_that_lies_elsewhere_is_looked_at_too(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere" / "far_package"
    elsewhere.mkdir(parents=True)
    (elsewhere / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(elsewhere.parent))
    assert SourceFiles.of(["far_package.tools:add"]).folders == [elsewhere, folder]


def test_a_write_a_new_file_and_one_that_has_gone_are_changes(folder: Path) -> None:
    files = SourceFiles([folder])
    before = files.look()
    (folder / "tools.py").write_text("x = 1")
    (folder / "new.py").touch()
    (folder / "package" / "deep" / "more.py").unlink()
    os.utime(folder / "package" / "__init__.py", ns=(1, 1))
    after = files.look()
    changed = {path.name for path, _ in before.items() ^ after.items()}
    assert changed == {"tools.py", "new.py", "more.py", "__init__.py"}
    assert files.look() == after


def test_too_many_files_are_said_once_and_the_upper_ones_still_seen(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(reload, "MAX_ENTRIES", 8)
    files = SourceFiles([folder])
    assert "tools.py" in seen(files, folder)
    assert seen(files, folder) < {"tools.py", "package/__init__.py", "package/deep/more.py"}
    assert [record.message for record in caplog.records] == [
        f"there are more than 8 files below {folder}; changes to some of them are not noticed"
    ]
