"""What the conformance suite of MCP found, compared with the committed list."""

import json
from pathlib import Path

import pytest

from support.mcp_conformance import Exceptions, judge, read_checks

LIST = """
[[server]]
reason = "They are of another kind."
versions = ["2025-11-25"]
checks = ["tools:one", "prompts"]

[[server]]
reason = "So are these."
checks = ["tools:two"]
"""


def put(folder: Path, scenario: str, *statuses: str, stderr: str = "") -> None:
    """Writes what the suite writes of a scenario, with one check for each status, which is called like it."""
    place = folder / f"{scenario}-2026-11-29T21-05-31-402Z"
    place.mkdir(parents=True)
    checks = [{"id": status.lower(), "status": status, "description": f"it is {status}"} for status in statuses]
    (place / "checks.json").write_text(json.dumps(checks))
    if stderr:
        (place / "stderr.txt").write_text(stderr)


def test_scenarios_are_known_by_their_names_and_a_check_by_its_worst_status(tmp_path: Path) -> None:
    put(tmp_path, "server-tools", "SUCCESS", "INFO", "FAILURE")
    put(tmp_path, "auth/basic", "WARNING", stderr="it could not\n")
    put(tmp_path, "empty")
    twice = tmp_path / "server-twice-2026-11-29T21-05-31-402Z"
    twice.mkdir()
    checks = [{"id": "a", "status": status, "description": status} for status in ("SUCCESS", "FAILURE", "SKIPPED")]
    (twice / "checks.json").write_text(json.dumps(checks))
    assert read_checks(tmp_path) == {
        "tools": {"success": ("SUCCESS", "it is SUCCESS"), "failure": ("FAILURE", "it is FAILURE")},
        "auth/basic": {"warning": ("WARNING", "it is WARNING (it could not)")},
        "empty": {},
        "twice": {"a": ("FAILURE", "FAILURE")},
    }


def test_the_list_is_read_by_version(tmp_path: Path) -> None:
    (tmp_path / "list.toml").write_text(LIST)
    listed = Exceptions(tmp_path / "list.toml")
    assert listed.names("server", "2025-11-25") == {"tools:one", "prompts", "tools:two"}
    assert listed.names("server", "2026-07-28") == {"tools:two"}
    assert listed.names("client", "2026-07-28") == set()
    assert listed.reasons() == ["They are of another kind.", "So are these."]


def test_a_check_that_is_listed_twice_is_a_mistake_of_the_list(tmp_path: Path) -> None:
    (tmp_path / "list.toml").write_text(LIST.replace("tools:one", "tools:two"))
    with pytest.raises(AssertionError, match=r"listed twice: \['tools:two'"):
        Exceptions(tmp_path / "list.toml").names("server", "2025-11-25")


@pytest.mark.parametrize(
    ("allowed", "wrong"),
    [
        ({"a:failed", "a:warned", "a:skipped", "b"}, []),
        ({"a:warned", "a:skipped", "b"}, ["a:failed: FAILURE: why"]),
        ({"a:failed", "a:skipped", "b"}, ["a:warned: WARNING: why"]),
        ({"a:failed", "a:warned", "b"}, ["a:skipped: SKIPPED: why"]),
        ({"a:failed", "a:warned", "a:skipped"}, ["b: checked nothing"]),
        (
            {"a:failed", "a:warned", "a:skipped", "b", "a:passed", "a:gone", "c"},
            [f"{name}: is listed, but passes or is not checked" for name in ("a:gone", "a:passed", "c")],
        ),
    ],
)
def test_the_list_may_be_wrong_either_way(allowed: set[str], wrong: list[str]) -> None:
    statuses = {"failed": "FAILURE", "warned": "WARNING", "skipped": "SKIPPED", "passed": "SUCCESS"}
    found = {"a": {name: (status, "why") for name, status in statuses.items()}, "b": {}}
    assert judge(found, allowed, {"a", "b"}) == wrong


def test_a_scenario_that_was_not_run_is_told() -> None:
    assert judge({}, set(), {"a"}) == ["a: was not run"]
