"""Names the unit tests of what has changed, one a line: ``scripts/changed_tests.py [BASE]``.

These are the files that differ from the merge base with BASE (main), or are uncommitted. A module selects its
own test module and those that import it; a file that every test uses selects all.
"""

import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = Path("src/grpc_tool_bridge")
UNIT = Path("tests/unit")
# Fast tests of the package as a whole.
ALWAYS = UNIT / "test_house.py"
EVERYTHING = re.compile(r"tests/(support/|conftest\.py$)|pyproject\.toml$|proto/|src/grpc_tool_bridge/proto/")


def changed_files(base: str) -> list[str]:
    """Lists the files that differ from the merge base with ``base``; from the last commit if there is no base."""
    start = _git("merge-base", base, "HEAD") or ["HEAD"]
    return [*_git("diff", "--name-only", start[0]), *_git("ls-files", "--others", "--exclude-standard")]


def tests_of(changed: Iterable[str]) -> list[str]:
    """Chooses the unit tests of changed files, each given by its path in the project."""
    chosen = {ALWAYS}
    for name in changed:
        path = Path(name)
        if EVERYTHING.match(name):
            return [str(UNIT)]
        if path.is_relative_to(UNIT) and path.name.startswith("test_"):
            chosen.add(path)
        elif path.is_relative_to(PACKAGE) and path.suffix == ".py":
            chosen.update(_tests_of_module(path.relative_to(PACKAGE)))
        elif path.parts[0] in ("conformance", "scripts"):
            chosen.add(UNIT / path.parts[0])
        elif path.suffix == ".md":
            chosen.add(UNIT / "cli" / "test_docs.py")
    return sorted(str(path) for path in chosen if (ROOT / path).exists())


def _tests_of_module(module: Path) -> Iterator[Path]:
    room = UNIT / module.parent
    if module.stem == "__init__":
        yield room
        return
    yield room / f"test_{module.stem}.py"
    dotted = ".".join(("grpc_tool_bridge", *module.with_suffix("").parts))
    parent, _, name = dotted.rpartition(".")
    importing = re.compile(
        rf"^\s*(from|import) {re.escape(dotted)}\b|^\s*from {re.escape(parent)} import .*\b{name}\b", re.MULTILINE
    )
    for path in (ROOT / UNIT).rglob("test_*.py"):
        if importing.search(path.read_text(encoding="utf-8")):
            yield path.relative_to(ROOT)


def _git(*words: str) -> list[str]:
    ran = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return ran.stdout.splitlines() if ran.returncode == 0 else []


if __name__ == "__main__":
    print("\n".join(tests_of(changed_files(sys.argv[1] if len(sys.argv) > 1 else "main"))))
