"""The quick check runs the unit tests of what has changed."""

import runpy
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
SCRIPT: dict[str, Any] = runpy.run_path(str(ROOT / "scripts" / "changed_tests.py"))
ALWAYS = "tests/unit/test_house.py"


def chosen(*changed: str) -> set[str]:
    return set(SCRIPT["tests_of"](changed))


def test_of_a_module_its_own_tests_are_chosen_and_those_that_import_it() -> None:
    found = chosen("src/grpc_tool_bridge/cli/exit_codes.py", "src/grpc_tool_bridge/tools/steps.py")
    assert found >= {ALWAYS, "tests/unit/tools/test_steps.py", "tests/unit/cli/test_failures.py"}
    assert "tests/unit/tools/test_docstrings.py" not in found


def test_of_a_room_itself_all_its_tests_are_chosen() -> None:
    assert chosen("src/grpc_tool_bridge/config/__init__.py") == {ALWAYS, "tests/unit/config"}


def test_of_the_conformance_of_peers_and_of_scripts_all_their_tests_are_chosen() -> None:
    changed = ("conformance/values.py", "conformance/vectors.json", "scripts/busy.py")
    assert chosen(*changed) == {ALWAYS, "tests/unit/conformance", "tests/unit/scripts"}


def test_a_changed_test_is_chosen_and_one_that_was_removed_is_not() -> None:
    assert chosen("tests/unit/tools/test_steps.py", "tests/unit/tools/test_gone.py") == {
        ALWAYS,
        "tests/unit/tools/test_steps.py",
    }


def test_of_what_every_test_uses_all_are_chosen() -> None:
    for name in ("tests/support/patience.py", "pyproject.toml", "proto/dspex_bridge.proto"):
        assert chosen("README.md", name) == {"tests/unit"}


def test_with_nothing_changed_only_the_plan_of_the_package_is_checked() -> None:
    assert chosen() == {ALWAYS}
    assert chosen("docs/index.md") == {ALWAYS, "tests/unit/cli/test_docs.py"}
