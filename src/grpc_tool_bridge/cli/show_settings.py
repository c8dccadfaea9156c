"""``settings``: the settings that a hub would have, or a sample file with all of them."""

import re
from pathlib import Path
from typing import Annotated, Any

from grpc_tool_bridge.cli.failures import ArgumentError
from grpc_tool_bridge.cli.options import JsonOption
from grpc_tool_bridge.cli.output import print_json
from grpc_tool_bridge.cli.parameters import Option
from grpc_tool_bridge.cli.streams import require_stdout, write

_SECRET = "********"  # noqa: S105 - stands for one


def settings(
    *,
    sample: Annotated[
        bool, Option("--sample", help="Print a complete settings file, with each default and what it does.")
    ] = False,
    config: Annotated[Path | None, Option("--config", metavar="FILE", help="TOML file with settings by name.")] = None,
    as_json: JsonOption = False,
) -> int:
    """Print the settings that serve would have with this environment and file, and check them.

    A secret is not printed.
    """
    require_stdout()
    if sample:
        if config is not None or as_json:
            raise ArgumentError("settings: --sample prints a file with the defaults; leave out --config and --json")
        from grpc_tool_bridge.cli.settings_file import sample as sample_text

        write(sample_text())
        return 0
    from grpc_tool_bridge.cli.settings import default_text, read_settings
    from grpc_tool_bridge.config import Settings

    found = read_settings({}, config)
    values = {name: _shown(getattr(found, name)) for name in Settings.model_fields}
    if as_json:
        print_json(values)
        return 0
    from rich.text import Text

    from grpc_tool_bridge.cli.consoles import console, rich_table

    rows = []
    for name, field in Settings.model_fields.items():
        is_default = getattr(found, name) == field.default
        style = "" if is_default else "bold"
        text = default_text(field) if is_default else _text(values[name])
        rows.append([Text(name, style=style), Text(text, style=style), Text(field.description or "", style="dim")])
    console().print(rich_table(["setting", "value", "meaning"], rows))
    return 0


def _shown(value: Any) -> Any:
    if hasattr(value, "get_secret_value"):
        return _SECRET
    if isinstance(value, str | Path):
        # A URL may have a user and a password.
        return re.sub(r"//.*@", "//***@", str(value))
    return list(value) if isinstance(value, tuple) else value


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return ", ".join(value) if isinstance(value, list) else "none" if value is None else str(value)
