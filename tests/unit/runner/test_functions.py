"""Functions by name; that processes find them is shown by the tests of those."""

import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from grpc_tool_bridge.errors import UnavailableError
from grpc_tool_bridge.runner.functions import MAIN, FunctionPath, find_tool, importing, path_of
from grpc_tool_bridge.tools.tool import tool
from unit.runner import process_tools as made


class Group:
    @staticmethod
    @tool(executor="process")
    def inside() -> int:
        return 7


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    """Stands for a program."""
    program = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", program)
    yield program
    sys.modules.pop(MAIN, None)


def program_path(main: types.ModuleType) -> FunctionPath:
    exec("def f() -> int: return 1", vars(main))
    return path_of(tool(executor="process")(main.f))


def test_a_function_is_found_where_its_path_says() -> None:
    path = path_of(tool(name="p", executor="process")(made.pid))
    assert path == FunctionPath("p", made.__name__, "pid", str(Path(made.__file__)))
    found = find_tool(path)
    assert (found.function, found.spec.name) == (made.pid, "p")


def test_a_tool_in_a_class_is_found() -> None:
    path = path_of(Group.inside)
    assert path.qualname == "Group.inside"
    assert find_tool(path) is Group.inside


@pytest.mark.parametrize("qualname", ["nothing", "Point", "Point.x", "over"])
def test_what_is_no_function_is_refused(qualname: str) -> None:
    path = FunctionPath("p", made.__name__, qualname, made.__file__)
    with pytest.raises(UnavailableError, match=f"p: {qualname} in .* is not its function"):
        find_tool(path)


def test_a_program_has_the_path_of_its_file(main: types.ModuleType) -> None:
    main.__file__ = "/programs/start"
    assert program_path(main) == FunctionPath("f", MAIN, "f", "/programs/start")


def test_a_program_started_as_a_module_has_its_true_name(main: types.ModuleType) -> None:
    main.__spec__ = made.__spec__
    assert program_path(main).module == made.__name__


def test_a_program_without_a_file_is_refused(main: types.ModuleType) -> None:
    with pytest.raises(UnavailableError, match="f: its function was typed in"):
        program_path(main)


def test_a_program_is_imported_as_one_that_is_not_started(main: types.ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "start"
    file.write_text(
        "from grpc_tool_bridge.runner.functions import importing\nseen = importing.get()\n"
        "def name() -> str: return __name__\nif __name__ == '__main__': raise SystemExit\n"
    )
    found = find_tool(FunctionPath("name", MAIN, "name", str(file)))
    assert found() == MAIN
    assert vars(sys.modules["__main__"])["seen"] == MAIN
    assert find_tool(FunctionPath("name", MAIN, "name", str(file))).function is found.function
    assert importing.get() == ""


def test_an_import_that_fails_leaves_nothing_behind(main: types.ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "start"
    file.write_text("raise SystemExit(4)")
    with pytest.raises(
        UnavailableError, match=f"name: its process cannot import {file}: SystemExit: 4; what runs only"
    ):
        find_tool(FunctionPath("name", MAIN, "name", str(file)))
    assert sys.modules["__main__"] is main
    assert MAIN not in sys.modules


def test_the_file_rules_where_the_name_means_another_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        (folder / "two_of_me.py").write_text(f"def where() -> str: return {folder.name!r}")
    monkeypatch.syspath_prepend(str(first))
    monkeypatch.delitem(sys.modules, "two_of_me", raising=False)
    path = FunctionPath("where", "two_of_me", "where", str(second / "two_of_me.py"))
    try:
        assert find_tool(path)() == "second"
        assert find_tool(FunctionPath("where", "two_of_me", "where", str(first / "two_of_me.py")))() == "first"
    finally:
        sys.modules.pop("two_of_me", None)
