"""The plan of the package holds: no circle, no long module or function, and a place for each module in the map."""

import ast
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "grpc_tool_bridge"
GENERATED = "proto"

MAX_FLAT_MODULES = 6
MAX_MODULE_LINES = 600
MAX_FUNCTION_LINES = 60


@dataclass(frozen=True)
class Module:
    """A module by its name within the package, such as ``core.hub``; the package itself has none."""

    name: str
    path: Path
    tree: ast.Module
    lines: int

    @property
    def room(self) -> str:
        return self.name.partition(".")[0]


@cache
def modules() -> dict[str, Module]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[0] == GENERATED:
            continue
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        text = path.read_text(encoding="utf-8")
        found[name] = Module(name, path, ast.parse(text), len(text.splitlines()))
    return found


def imported(module: Module) -> Iterator[str]:
    """Names all that a module imports, wherever in it: inside functions and under ``TYPE_CHECKING`` as well."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module.name} has a relative import, which nothing here does"
            for alias in node.names:
                # A module, or a name of one.
                whole = f"{node.module}.{alias.name}"
                yield whole if within(whole) in modules() else node.module or ""


def within(name: str) -> str:
    """Takes the package off a module's name; what is not of the package has no name here."""
    package, _, rest = name.partition(".")
    return rest if package == PACKAGE.name else "-"


@cache
def edges() -> dict[str, set[str]]:
    known = modules()
    return {name: {within(item) for item in imported(module)} & known.keys() - {name} for name, module in known.items()}


def reached(start: str) -> set[str]:
    seen: set[str] = set()
    ahead = list(edges()[start])
    while ahead:
        name = ahead.pop()
        if name not in seen:
            seen.add(name)
            ahead.extend(edges()[name])
    return seen


def circles() -> list[set[str]]:
    """Finds the largest sets of modules that all reach each other."""
    reach = {name: reached(name) for name in modules()}
    together = {frozenset(other for other in reach[name] if name in reach[other]) for name in reach}
    return sorted((set(circle) for circle in together if circle), key=sorted)


def functions(node: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (item for item in ast.walk(node) if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef))


def layers() -> list[set[str]]:
    """Reads which rooms stand on each floor, the highest first, from the contract of import-linter."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = config["tool"]["importlinter"]["contracts"]
    (contract,) = (item for item in contracts if item["id"] == "floors")
    return [{room.strip() for room in layer.split("|")} for layer in contract["layers"]]


def map_of_rooms() -> dict[str, int]:
    """Reads the floor of each room from the table in CONTRIBUTING.md."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \|", text, re.MULTILINE)
    return {room: int(floor) for floor, room in rows}


def test_no_modules_import_each_other_in_a_circle_for_types_neither() -> None:
    assert circles() == []


def test_few_modules_stand_beside_the_rooms() -> None:
    flat = sorted(path.name for path in PACKAGE.glob("*.py"))
    assert len(flat) <= MAX_FLAT_MODULES, flat


def test_no_module_is_too_long() -> None:
    long = {module.name for module in modules().values() if module.lines > MAX_MODULE_LINES}
    assert long == set()


def test_no_function_is_too_long() -> None:
    long = {
        f"{module.name}.{function.name}"
        for module in modules().values()
        for function in functions(module.tree)
        if (function.end_lineno or 0) - function.lineno + 1 > MAX_FUNCTION_LINES
    }
    assert long == set()


def test_every_module_has_a_room_in_the_map_on_the_floor_that_the_import_contract_gives_it() -> None:
    assert map_of_rooms() == {room: floor for floor, rooms in enumerate(reversed(layers()), start=1) for room in rooms}
    # ``python -m`` runs a room, and is none.
    rooms = {module.room for module in modules().values() if module.name not in {"", "__main__"}}
    assert rooms - map_of_rooms().keys() == set()


def test_the_finder_of_circles_counts_imports_for_types_and_in_functions() -> None:
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from grpc_tool_bridge.core.hub import Hub\n"
    text += "def later():\n    from grpc_tool_bridge import errors\n"
    module = Module("x", PACKAGE / "x.py", ast.parse(text), 5)
    assert {within(name) for name in imported(module)} == {"-", "core.hub", "errors"}
