"""The commands with which a release is made: they compare the tag, build the package, and run what was built."""

import shlex
import shutil
from pathlib import Path

import pytest
import yaml

from support.programs import ROOT, run

WORKFLOW = ROOT / ".github" / "workflows" / "release.yml"


def command(begins: str) -> list[str]:
    """The command of the workflow that begins so."""
    steps = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"]["build"]["steps"]
    (found,) = [step["run"] for step in steps if step.get("run", "").startswith(begins)]
    return shlex.split(found)


def copy_of(folder: Path, *, version: str, heading: str) -> Path:
    """A project that has only what the check of a tag reads."""
    (folder / "scripts").mkdir()
    program = command("scripts/check_release.sh")[0]
    shutil.copy(ROOT / program, folder / program)
    (folder / "pyproject.toml").write_text(f'version = "{version}"\n')
    (folder / "CHANGELOG.md").write_text(f"# Changelog\n\n{heading}\n")
    return folder / program


@pytest.mark.parametrize(
    ("tag", "heading", "complaint"),
    [
        ("v1.2.3", "## [1.2.3] - 2030-01-02", ""),
        ("v1.2.4", "## [1.2.3] - 2030-01-02", "the tag is v1.2.4, and pyproject.toml has version 1.2.3"),
        ("1.2.3", "## [1.2.3] - 2030-01-02", "the tag is 1.2.3"),
        ("v1.2.3", "## [1.2.3] - Unreleased", "CHANGELOG.md has no date for version 1.2.3"),
    ],
)
def test_a_tag_is_the_version_that_the_changelog_has_a_date_for(
    tmp_path: Path, tag: str, heading: str, complaint: str
) -> None:
    done = run([str(copy_of(tmp_path, version="1.2.3", heading=heading)), tag])
    assert (done.returncode == 0) == (not complaint)
    assert complaint in done.stderr


def test_what_is_built_calls_a_tool_without_the_repository(tmp_path: Path) -> None:
    here = {"dist": str(tmp_path)}
    build = run([here.get(word, word) for word in command(".venv/bin/uv build")])
    assert build.returncode == 0, build.stderr
    assert {path.suffix for path in tmp_path.iterdir() if path.name != ".gitignore"} == {".whl", ".gz"}
    checked = run([here.get(word, word) for word in command("scripts/check_wheel.sh")])
    assert (checked.returncode, checked.stdout.splitlines()[0]) == (0, "3"), checked.stderr


def test_a_folder_without_a_wheel_is_refused(tmp_path: Path) -> None:
    done = run(["scripts/check_wheel.sh", str(tmp_path)])
    assert done.returncode == 1
    assert "has not exactly one wheel" in done.stderr
