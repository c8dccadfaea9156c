"""Type checkers, each run on a folder as a user's project: with its own settings, and none of this one."""

import json
import re
import sys
from pathlib import Path

from support.programs import ROOT, environment, run

# Pyright, as the wheel of basedpyright has it with its JavaScript; it downloads nothing.
PYRIGHT = Path(sys.executable).with_name("basedpyright")
# So that a library that is imported is read where the tests find it.
_PATH = {"PYTHONPATH": str(ROOT / "src")}


def mypy(folder: Path, *files: str) -> dict[tuple[str, int], list[str]]:
    """Runs ``mypy --strict``; returns the errors by file and line."""
    # The tests of a run share what was found in the package.
    words = ["--strict", "--config-file=", f"--cache-dir={folder.parent / '.mypy'}", "--hide-error-context", *files]
    ran = run([sys.executable, "-m", "mypy", *words], cwd=folder, env=environment(**_PATH))
    assert ran.returncode in (0, 1), ran.stdout + ran.stderr
    found: dict[tuple[str, int], list[str]] = {}
    for name, line, text in re.findall(r"^([^:\n]+):(\d+): error: (.*)$", ran.stdout, re.MULTILINE):
        found.setdefault((name, int(line)), []).append(text)
    assert (ran.returncode == 0) == (not found), ran.stdout + ran.stderr
    return found


def pyright(folder: Path, *files: str) -> dict[tuple[str, int], list[str]]:
    """Runs pyright in its strict mode; returns the errors by file and line."""
    settings = {"typeCheckingMode": "strict", "extraPaths": [str(ROOT / "src")], "include": list(files)}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    ran = run([str(PYRIGHT), "--outputjson", "--pythonpath", sys.executable, "--project", str(folder)], cwd=folder)
    assert ran.returncode in (0, 1), ran.stdout + ran.stderr
    report = json.loads(ran.stdout)
    assert report["summary"]["filesAnalyzed"] == len(files), ran.stdout
    found: dict[tuple[str, int], list[str]] = {}
    for item in report["generalDiagnostics"]:
        if item["severity"] == "error":
            place = (Path(item["file"]).name, item["range"]["start"]["line"] + 1)
            found.setdefault(place, []).append(item["message"])
    return found


def marked(text: str, name: str) -> list[tuple[str, int]]:
    """Returns the lines of a file that end with ``# wrong``, where a checker has to find an error."""
    return [(name, number) for number, line in enumerate(text.splitlines(), 1) if line.endswith("# wrong")]
