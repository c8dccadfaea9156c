"""The reference pages name every command, option and setting, and none that does not exist."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from grpc_tool_bridge.cli.options import HubOptions
from grpc_tool_bridge.cli.settings import default_text
from grpc_tool_bridge.cli.typer_app import make_app
from grpc_tool_bridge.config import Settings

REFERENCE = Path(__file__).parents[3] / "docs" / "reference"
CLI = (REFERENCE / "cli.md").read_text(encoding="utf-8")
SETTINGS = (REFERENCE / "settings.md").read_text(encoding="utf-8")

ROOT: Any = typer.main.get_command(make_app())
SHARED = "Connection options"
# Commands that connect to no hub, and have options of their own.
STORE = {"store info", "store backup", "store restore", "store vacuum", "secrets key", "secrets rotate"}
AUDIT = {"audit key", "audit verify", "audit show"}
TRUST = {"token new", "token list", "token revoke", "policy check", "policy explain", "quotas check", "quotas explain"}
LISTENING = {"init", "serve", "approve", "replay", "chaos-proxy", "settings", "completion", *STORE, *AUDIT, *TRUST}


def commands(group: Any = ROOT, path: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{name} ")
        else:
            yield path + name, command


def flags(command: Any) -> set[str]:
    return {flag for item in command.params for flag in [*item.opts, *item.secondary_opts] if flag.startswith("--")} - {
        "--help"
    }


def section(title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", CLI, re.DOTALL | re.MULTILINE)
    assert found, f"docs/reference/cli.md has no section {title!r}"
    return found[1]


def named(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", text))


COMMANDS = dict(commands())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_a_command_stands_in_its_section(name: str) -> None:
    command = COMMANDS[name]
    expected = flags(command)
    if name not in LISTENING:
        expected -= {f"--{field.replace('_', '-')}" for field in HubOptions.__dataclass_fields__} | {"--no-tls"}
    assert expected - named(section(name)) == set()


def test_the_options_that_commands_share_stand_in_theirs_with_their_environment() -> None:
    text = section(SHARED)
    shared = set.intersection(*(flags(command) for name, command in COMMANDS.items() if name not in LISTENING)) - {
        "--json"
    }
    assert named(text) - {"--session"} == shared
    for item in COMMANDS["doctor"].params:
        assert item.envvar is None or f"`{item.envvar}`" in text


def test_the_page_names_no_command_and_no_option_that_does_not_exist() -> None:
    every = set().union(*(flags(command) for command in COMMANDS.values())) | flags(ROOT)
    # An input of the agent that stands there for an example is an option of its own.
    assert named(CLI) - every == {"--help", "--question"}
    titles = set(re.findall(r"^## (.+)$", CLI, re.MULTILINE))
    assert titles - COMMANDS.keys() == {"Exit codes", SHARED, "JSON"}
    assert flags(ROOT) <= named(CLI)


def test_every_setting_stands_on_its_page_as_it_is() -> None:
    rows = [line for line in SETTINGS.splitlines() if line.startswith("| `")]
    assert rows == [
        f"| `{name}` | {default_text(field)} | {field.description} |" for name, field in Settings.model_fields.items()
    ]


def test_every_option_has_a_help_text() -> None:
    for name, command in COMMANDS.items():
        assert command.help, name
        assert [item.name for item in command.params if not item.help] == []
