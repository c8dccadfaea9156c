"""Tools named on the command line."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from grpc_tool_bridge.cli.failures import ArgumentError
from grpc_tool_bridge.cli.tool_sources import load, load_tools

SOURCE = """
from grpc_tool_bridge import tool
import beside

@tool
def add(a: int, b: int) -> int:
    return a + b

@tool(name="twice")
def double(a: int) -> int:
    return 2 * a

def plain(a: int) -> int:
    return a

class Box:
    @tool
    def open(self) -> int:
        return beside.answer

box = Box()
some = [add, plain]
by_name = {"a": add, "b": plain}
number = 5
unsuited = lambda: 1
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with modules, which is the current one."""
    (tmp_path / "cli_offer.py").write_text(SOURCE)
    (tmp_path / "beside.py").write_text("answer = 42\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def names(*sources: str) -> list[str]:
    return [tool.spec.name for tool in load_tools(sources)]


@pytest.mark.parametrize("where", ["cli_offer", "cli_offer.py", "./cli_offer.py"])
@pytest.mark.parametrize(
    ("attribute", "found"),
    [
        ("", ["add", "twice"]),
        (":add", ["add"]),
        (":double", ["twice"]),
        (":plain", ["plain"]),
        (":box.open", ["open"]),
        (":some", ["add", "plain"]),
        (":by_name", ["add", "plain"]),
    ],
)
def test_a_source_names_its_tools(where: str, attribute: str, found: list[str]) -> None:
    assert names(where + attribute) == found


def test_a_tool_that_is_named_twice_is_taken_once_and_its_file_run_once(folder: Path) -> None:
    (folder / "cli_offer.py").write_text(SOURCE + "\nimport beside\nbeside.answer += 1\n")
    (open_box,) = load_tools(["cli_offer.py:box.open"])
    assert open_box() == 43
    assert names("cli_offer.py", "cli_offer.py:add", "cli_offer.py:plain") == ["add", "twice", "plain"]


def test_a_file_named_as_a_module_of_the_library_does_not_take_its_place(folder: Path) -> None:
    import json

    (folder / "json.py").write_text("def here() -> int:\n    return 1\n")
    assert names("json.py:here") == ["here"]
    assert sys.modules["json"] is json


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("no_such_module:x", "--tools no_such_module:x: there is no module no_such_module; run where it can be"),
        ("cli_offer.inner", "there is no module cli_offer.inner"),
        ("nothing.py", "--tools nothing.py: the file nothing.py does not exist"),
        ("cli_offer:nothing", "--tools cli_offer:nothing: cli_offer has no nothing"),
        ("cli_offer:number", "a tool must be a function or another callable, not 5"),
        ("cli_offer:unsuited", "a lambda has no name to be called by"),
        ("cli_offer:Box", "is a class; offer a function"),
        ("cli_offer:Box.open", "is a method without its instance"),
        ("beside", "--tools beside: beside has no tools; mark functions with @tool, or name one as beside:function"),
        (":x", "does not name a module; write module:attr, module or path/to/file.py"),
    ],
)
def test_a_source_that_has_no_tool_is_told_as_such(source: str, text: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        load_tools([source])
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("import beside\nimport no_such_thing\n", "ModuleNotFoundError: No module named 'no_such_thing'"),
        ("\n1 / 0\n", "ZeroDivisionError: division by zero"),
        ("\ndef f(:\n", "SyntaxError: "),
        ("import sys\nsys.exit('no')\n", "SystemExit: it exits with 'no'"),
        ("import json\njson.loads('{')\n", "JSONDecodeError: "),
        ("from grpc_tool_bridge import tool\ntool(5)\n", "TypeError: a tool must be a function"),
    ],
)
@pytest.mark.parametrize("source", ["cli_broken", "cli_broken.py"])
def test_a_failed_import_names_its_cause_file_and_line(folder: Path, source: str, code: str, text: str) -> None:
    (folder / "cli_broken.py").write_text(code)
    with pytest.raises(ArgumentError) as caught:
        load_tools([source])
    assert str(caught.value).startswith(f"--tools {source}: cannot import it: {text}")
    assert str(caught.value).endswith(f"({folder}/cli_broken.py, line 2)")
    assert "cli_broken" not in sys.modules


RELATIVE = """
from {dots}other import number
from grpc_tool_bridge import tool

@tool
def add(a: int) -> int:
    return a + number
"""


@pytest.fixture
def package(folder: Path) -> Path:
    """A folder with packages whose modules import one another by relative imports."""
    for path, dots in (("cli_pkg/tools.py", "."), ("cli_pkg/sub/deep.py", ".."), ("cli_bare/tools.py", ".")):
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(RELATIVE.format(dots=dots))
    for path in ("cli_pkg/__init__.py", "cli_pkg/sub/__init__.py"):
        (folder / path).touch()
    for path in ("cli_pkg/other.py", "cli_bare/other.py"):
        (folder / path).write_text("number = 1\n")
    return folder


@pytest.mark.parametrize(
    ("inside", "source", "module"),
    [
        ("", "cli_pkg/tools.py", "cli_pkg.tools"),
        ("", "./cli_pkg/tools.py:add", "cli_pkg.tools:add"),
        ("", "cli_pkg/sub/deep.py", "cli_pkg.sub.deep"),
        # It has no __init__.py, and is a package all the same.
        ("", "cli_bare/tools.py", "cli_bare.tools"),
        ("cli_pkg", "tools.py", "cli_pkg.tools"),
        ("cli_pkg", "tools:add", "cli_pkg.tools:add"),
        ("cli_pkg/sub", "deep.py", "cli_pkg.sub.deep"),
    ],
)
@pytest.mark.parametrize(
    ("given_to", "command"),
    [("--tools", "grpc-tool-bridge serve --tools"), ("worker", "grpc-tool-bridge worker")],
)
def test_a_file_with_a_relative_import_says_which_module_to_name_and_that_works(
    package: Path,
    monkeypatch: pytest.MonkeyPatch,
    inside: str,
    source: str,
    module: str,
    given_to: str,
    command: str,
) -> None:
    monkeypatch.chdir(package / inside)
    with pytest.raises(ArgumentError) as caught:
        load_tools([source], given_to=given_to)
    text = str(caught.value)
    assert text.startswith(f"{given_to} {source}: cannot import it: ImportError: attempted relative import")
    there = f"cd {package} && " if inside else ""
    name = module.partition(":")[0]
    assert text.endswith(f"so name the module {name}, not its file: {there}{command} {module}")
    monkeypatch.chdir(package)
    assert [tool.spec.name for tool in load_tools([module], given_to=given_to)] == ["add"]


def test_a_relative_import_of_a_folder_that_is_no_package_s_name_says_to_write_it_otherwise(folder: Path) -> None:
    (folder / "my-tools").mkdir()
    (folder / "my-tools" / "offer.py").write_text(RELATIVE.format(dots="."))
    with pytest.raises(ArgumentError, match="write the import without the leading dot"):
        load_tools(["my-tools/offer.py"])


def test_a_prefix_is_for_tools_and_not_for_lifespans(folder: Path) -> None:
    (folder / "cli_lives.py").write_text(SOURCE + "\nasync def lifespan(server): yield\n")

    offered = load(["cli_lives"], prefix="orders.", lifespans=["cli_lives:lifespan"])

    assert [tool.spec.name for tool in offered.tools] == ["orders.add", "orders.twice"]
    assert [lifespan.__name__ for lifespan in offered.lifespans] == ["lifespan", "lifespan"]
    with pytest.raises(ArgumentError, match="--prefix"):
        load(["cli_lives"], prefix="no spaces.")
