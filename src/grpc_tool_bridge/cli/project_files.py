"""The files of a new project, which ``init`` makes from the templates in ``project``."""

import re
import shlex
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path, PurePosixPath
from string import Template

from grpc_tool_bridge.cli.failures import ArgumentError, CommandError

# Each file of a project, and its template.
TEMPLATES = {
    "README.md": "README.md.txt",
    "pyproject.toml": "pyproject.toml.txt",
    "settings.toml": "settings.toml.txt",
    "tools.py": "tools.py.txt",
    "tests/conftest.py": "conftest.py.txt",
    "tests/test_tools.py": "test_tools.py.txt",
    ".gitignore": "gitignore.txt",
}
# What may be in a folder before: a repository is often made first.
_MAY_BE_THERE = frozenset({".git"})
_SHOWN = 3


def make_project(folder: Path) -> list[PurePosixPath]:
    """Writes the files of a project; nothing that exists is changed.

    Args:
        folder: Where: it is made if it does not exist, and must be empty otherwise.

    Returns:
        The files, relative to the folder.

    Raises:
        ArgumentError: The folder is not empty, or is a file.
        CommandError: It cannot be written.
    """
    try:
        if folder.exists() and not folder.is_dir():
            raise ArgumentError(f"{folder} is a file; name a folder that does not exist, or is empty")
        there = sorted({path.name for path in folder.iterdir()} - _MAY_BE_THERE) if folder.exists() else []
        if there:
            named = ", ".join(there[:_SHOWN]) + (", …" if len(there) > _SHOWN else "")
            raise ArgumentError(
                f"{folder} is not empty: it has {named}; name a folder that does not exist, or is empty"
            )
        for name, template in TEMPLATES.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(_filled(template, project_name(folder)))
    except OSError as error:
        raise CommandError(f"cannot write {error.filename or folder}: {error.strerror or error}") from None
    return [PurePosixPath(name) for name in TEMPLATES]


def project_name(folder: Path) -> str:
    """Returns the name of the project in a folder: the folder's, as the name of a package may be."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", folder.resolve().name).strip("-._")
    return name or "my-tools"


def next_steps(folder: Path, written: Sequence[PurePosixPath]) -> str:
    """Returns what is printed after a project was made."""
    lines = [f"Made {folder}: {', '.join(map(str, written))}", "", "Next:"]
    if folder.resolve() != Path.cwd():
        lines.append(f"  cd {shlex.quote(str(folder))}")
    lines += [
        "  pytest",
        "  grpc-tool-bridge serve --tools tools.py --config settings.toml --reload",
        "",
        "Then, in another terminal:",
        "  grpc-tool-bridge call greet Ada",
    ]
    return "\n".join(lines) + "\n"


def _filled(template: str, name: str) -> str:
    text = (files("grpc_tool_bridge.cli") / "project" / template).read_text(encoding="utf-8")
    return Template(text).substitute(name=name) if "$name" in text else text
