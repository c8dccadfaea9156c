"""The package's names: all there, and none imported before it is used."""

import ast
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

import grpc_tool_bridge
from support.patience import PATIENCE


@pytest.mark.parametrize("name", grpc_tool_bridge.__all__)
def test_a_public_name_is_there_and_listed(name: str) -> None:
    assert getattr(grpc_tool_bridge, name) is not None
    assert name in dir(grpc_tool_bridge)


def test_each_name_is_where_type_checkers_find_it() -> None:
    source = ast.parse(Path(grpc_tool_bridge.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in source.body if isinstance(node, ast.If) and isinstance(node.test, ast.Name))
    seen = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert sorted(seen) == sorted(grpc_tool_bridge.__all__)
    for name, module in seen.items():
        assert getattr(grpc_tool_bridge, name) is getattr(import_module(module or ""), name)


def test_the_version_is_that_of_the_project() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    assert grpc_tool_bridge.__version__ == project["project"]["version"]


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Bridge'"):
        _ = grpc_tool_bridge.Bridge  # type: ignore[attr-defined]  # that is the point


def test_importing_the_package_and_its_plugin_imports_no_library() -> None:
    program = (
        "import sys, grpc_tool_bridge.testing.pytest_plugin\n"
        "print([name for name in ('grpc', 'google.protobuf', 'pydantic', 'anyio') if name in sys.modules])"
    )

    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert ran.stdout.strip() == "[]"


def test_a_client_does_not_import_what_only_the_command_line_needs() -> None:
    program = (
        "import sys, grpc_tool_bridge.client.client\n"
        "print([name for name in ('pydantic_settings', 'typer', 'grpc_health.v1') if name in sys.modules])"
    )

    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert ran.stdout.strip() == "[]"


def test_a_program_that_never_closes_its_blocking_bridge_ends_all_the_same() -> None:
    # In a cycle, so that nothing collects the bridge before the interpreter's own end.
    program = (
        "import gc; gc.disable()\n"
        "from grpc_tool_bridge import GRPCToolBridge\n"
        "def use():\n"
        "    left = [GRPCToolBridge('127.0.0.1:1').sync]\n"
        "    left.append(left)\n"
        "use()\n"
        "print('used')"
    )

    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=PATIENCE)

    assert ran.stdout.strip() == "used"
