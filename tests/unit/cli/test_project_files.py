"""What ``init`` writes: names that a package may have, and only files that were not there."""

from pathlib import Path

import pytest

from grpc_tool_bridge.cli import project_files
from grpc_tool_bridge.cli.failures import ArgumentError


@pytest.mark.parametrize(
    ("folder", "name"),
    [("my-tools", "my-tools"), ("My Tools!", "My-Tools"), ("_x_", "x"), ("…", "my-tools"), ("a.b_c", "a.b_c")],
)
def test_the_project_is_named_as_its_folder_where_a_package_may_be(tmp_path: Path, folder: str, name: str) -> None:
    assert project_files.project_name(tmp_path / folder) == name


def test_every_template_is_used_and_filled(tmp_path: Path) -> None:
    written = project_files.make_project(tmp_path / "p")
    assert [str(path) for path in written] == list(project_files.TEMPLATES)
    folder = Path(project_files.__file__).parent / "project"
    assert {path.name for path in folder.iterdir()} == set(project_files.TEMPLATES.values())
    assert all("$name" not in (tmp_path / "p" / path).read_text(encoding="utf-8") for path in written)


def test_what_is_there_is_named_and_stays(tmp_path: Path) -> None:
    for name in ("a", "b", "c", "d"):
        (tmp_path / name).write_text(name)
    with pytest.raises(ArgumentError, match="is not empty: it has a, b, c, …; name a folder"):
        project_files.make_project(tmp_path)
    assert len(list(tmp_path.iterdir())) == 4


def test_the_next_steps_name_the_folder_unless_it_is_this_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "\n  cd 'my tools'\n  pytest\n" in project_files.next_steps(Path("my tools"), [])
    assert "  cd " not in project_files.next_steps(Path(), [])
