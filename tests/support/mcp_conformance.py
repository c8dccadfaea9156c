"""Runs the official conformance suite of MCP, and compares what it found with a committed list of what may not pass."""

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from support.mcp_programs import CONFORMANCE, MCP

VERSIONS = ("2025-11-25", "2026-07-28")
REQUIREMENTS = MCP / "node_modules" / "@modelcontextprotocol" / "conformance" / "requirements"

# From the worst on. INFO says something, and judges nothing.
_SEVERITIES = ("FAILURE", "WARNING", "SKIPPED", "SUCCESS")
_TIME = re.compile(r"-\d{4}-\d{2}-\d{2}T[\d-]+Z$")


def conformance_command(side: str, version: str, folder: Path, words: Sequence[str]) -> list[str]:
    """Returns the command that runs all scenarios of a version, and writes what it found into a folder."""
    return [*CONFORMANCE, side, *words, "--requirements", version, "--output-dir", str(folder)]


def required_scenarios(side: str, version: str) -> set[str]:
    """Returns the names of the scenarios that the suite runs for one side and version."""
    listed = yaml.safe_load((REQUIREMENTS / f"{version}.yaml").read_text(encoding="utf-8"))
    return {*listed[side], *(item["scenario"] for item in listed["not_scored"] if item["leg"] == side)}


def read_checks(folder: Path) -> dict[str, dict[str, tuple[str, str]]]:
    """Reads what a run found.

    Returns:
        By scenario, of each check the worst status, and what was said of it, the client's errors too.
    """
    scenarios: dict[str, dict[str, tuple[str, str]]] = {}
    for path in folder.rglob("checks.json"):
        name = _TIME.sub("", str(path.parent.relative_to(folder))).removeprefix("server-")
        checks = scenarios.setdefault(name, {})
        errors = path.with_name("stderr.txt")
        told = errors.read_text(encoding="utf-8").strip() if errors.exists() else ""
        for check in json.loads(path.read_text(encoding="utf-8")):
            status, text = check["status"], check.get("errorMessage") or check["description"]
            known = checks.get(check["id"], ("", ""))[0]
            if status in _SEVERITIES and (not known or _SEVERITIES.index(status) < _SEVERITIES.index(known)):
                checks[check["id"]] = (status, f"{text} ({told})" if told else text)
    return scenarios


class Exceptions:
    """The checks that may not pass, each with the reason: a TOML file with tables for the server and the client.

    A check is written as ``scenario:check``, and a scenario that checks nothing as its name alone.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._entries: dict[str, list[dict[str, Any]]] = tomllib.loads(path.read_text(encoding="utf-8"))

    def names(self, side: str, version: str) -> set[str]:
        """Returns the names of the checks of one side and version."""
        entries = [entry for entry in self._entries.get(side, []) if version in entry.get("versions", VERSIONS)]
        names = [name for entry in entries for name in entry["checks"]]
        assert len(names) == len(set(names)), f"listed twice: {sorted(name for name in names if names.count(name) > 1)}"
        return set(names)

    def reasons(self) -> list[str]:
        """Returns the reason of each entry; empty where there is none."""
        return [str(entry.get("reason", "")) for entries in self._entries.values() for entry in entries]


def judge(checks: Mapping[str, Mapping[str, tuple[str, str]]], allowed: set[str], expected: set[str]) -> list[str]:
    """Compares what was found with what is allowed.

    Args:
        checks: As from ``read_checks``.
        allowed: As from ``Exceptions.names``.
        expected: As from ``required_scenarios``.

    Returns:
        What is wrong with the bridge, or with the list; empty if nothing is.
    """
    wrong = [f"{name}: was not run" for name in sorted(expected - checks.keys())]
    missed: dict[str, str] = {}
    for scenario, found in sorted(checks.items()):
        if not found:
            missed[scenario] = "checked nothing"
        for check, (status, text) in found.items():
            if status != "SUCCESS":
                missed[f"{scenario}:{check}"] = f"{status}: {text}"
    wrong += [f"{name}: {what}" for name, what in missed.items() if name not in allowed]
    return wrong + [f"{name}: is listed, but passes or is not checked" for name in sorted(allowed - missed.keys())]
