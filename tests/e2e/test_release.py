"""The commands with which a release is made: they compare the tag, build the package, and run what was built."""

import re
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from support.programs import ROOT, environment, run

CHECK = "scripts/check_release.sh"


def copy_of(folder: Path, *, version: str, heading: str, module: str) -> Path:
    """A project that has only what the check of a tag reads."""
    package = folder / "src" / "grpc_tool_bridge"
    package.mkdir(parents=True)
    (folder / "scripts").mkdir()
    (package / "__init__.py").write_text(f'__version__ = "{module}"\n')
    shutil.copy(ROOT / CHECK, folder / CHECK)
    (folder / "pyproject.toml").write_text(f'version = "{version}"\n')
    (folder / "CHANGELOG.md").write_text(f"# Changelog\n\n{heading}\n")
    return folder / CHECK


@pytest.mark.parametrize(
    ("tag", "module", "heading", "complaint"),
    [
        ("v1.2.3", "1.2.3", "## [1.2.3] - 2030-01-02", ""),
        ("v1.2.4", "1.2.3", "## [1.2.3] - 2030-01-02", "the tag is v1.2.4, and pyproject.toml has version 1.2.3"),
        ("1.2.3", "1.2.3", "## [1.2.3] - 2030-01-02", "the tag is 1.2.3"),
        ("v1.2.3", "1.2.2", "## [1.2.3] - 2030-01-02", "__init__.py has another version than pyproject.toml, 1.2.3"),
        ("v1.2.3", "1.2.3", "## [1.2.3] - Unreleased", "CHANGELOG.md has no date for version 1.2.3"),
    ],
)
def test_a_tag_is_the_version_that_the_changelog_has_a_date_for(
    tmp_path: Path, tag: str, module: str, heading: str, complaint: str
) -> None:
    done = run([str(copy_of(tmp_path, version="1.2.3", heading=heading, module=module)), tag])
    assert (done.returncode == 0) == (not complaint)
    assert complaint in done.stderr


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``make dist`` builds, without a network."""
    folder = tmp_path_factory.mktemp("dist")
    command = [".venv/bin/uv", "build", "--offline", "--no-build-isolation", "--python", sys.executable]
    build = run([*command, "--out-dir", str(folder)])
    assert build.returncode == 0, build.stderr
    return folder


def test_what_is_built_calls_a_tool_without_the_repository_and_a_network(dist: Path) -> None:
    checked = run(["scripts/check_wheel.sh", str(dist)], env=environment(UV_OFFLINE="1", PYTHON=sys.executable))
    assert (checked.returncode, checked.stdout.splitlines()[0]) == (0, "3"), checked.stderr


def test_tests_are_run_with_what_was_built(dist: Path) -> None:
    offline = environment(UV_OFFLINE="1", PYTHON=sys.executable)
    checked = run(["scripts/check_wheel.sh", str(dist), "tests/unit/tools/test_variable.py"], env=offline)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert re.search(r"^\d+ passed", checked.stdout, re.MULTILINE)


def test_the_files_have_what_a_user_and_a_packager_need(dist: Path) -> None:
    assert {path.suffix for path in dist.iterdir() if path.name != ".gitignore"} == {".whl", ".gz"}
    (wheel,) = dist.glob("*.whl")
    (sdist,) = dist.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as packed:
        names = packed.namelist()
        (metadata,) = (packed.read(name).decode() for name in names if name.endswith(".dist-info/METADATA"))
    assert "grpc_tool_bridge/py.typed" in names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert not [name for name in names if not name.startswith(("grpc_tool_bridge/", "grpc_tool_bridge-"))]
    for line in ("Requires-Python: >=3.11", "License-Expression: Apache-2.0", "Project-URL: Changelog, https://"):
        assert line in metadata
    with tarfile.open(sdist) as packed_source:
        folders = {name.split("/")[1] for name in packed_source.getnames() if "/" in name}
    assert folders >= {"src", "proto", "CHANGELOG.md", "LICENSE", "README.md", "pyproject.toml"}
    assert not folders & {"tests", ".venv", "build", "dist"}


def test_a_folder_without_a_wheel_is_refused(tmp_path: Path) -> None:
    done = run(["scripts/check_wheel.sh", str(tmp_path)])
    assert done.returncode == 1
    assert "has not exactly one wheel" in done.stderr
