"""Files of rules, in TOML: a list of tables of one name, which nobody else on the machine can change."""

import os
import stat
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.errors.clipped_repr import clipped_repr
from grpc_tool_bridge.errors.near_names import did_you_mean


def read_rules(path: Path, most: int) -> str:
    """Reads a file of rules.

    Args:
        path: The file.
        most: Bytes that it may have.

    Raises:
        ValidationError: Every user of the machine can change it, or it is too large or no text.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        if os.name != "nt" and stat.S_ISREG(mode) and mode & stat.S_IWOTH:
            raise ValidationError(f"{path}: every user of this machine can change it; chmod o-w {path}")
        data = file.read(most + 1)
    if len(data) > most:
        raise ValidationError(f"{path} has over {most:,} bytes; is it the right file?")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ValidationError(f"{path} is not UTF-8: byte {error.start + 1:,}") from None


def tables_in(text: str, source: str, name: str, most: int) -> Sequence[Mapping[str, Any]]:
    """Returns the tables of a text that has no others.

    Args:
        text: The text.
        source: What it is called, such as its file.
        name: Of the tables, such as "rules".
        most: How many there may be.

    Raises:
        ValidationError: It is no TOML, has something else, or too many of them.
    """
    try:
        found = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValidationError(f"{source} is not valid TOML: {error}") from None
    for key in found:
        if key != name:
            more = did_you_mean(key, (name,), f"write [[{name}]] above each {name.removesuffix('s')}")
            raise ValidationError(f"{source}: unknown table or field {clipped_repr(key, 60)}{more}")
    given = found.get(name, [])
    if not isinstance(given, list) or not all(isinstance(each, Mapping) for each in given):
        raise ValidationError(f"{source}: {name} must be a list of tables: write [[{name}]] above each")
    if len(given) > most:
        raise ValidationError(f"{source} has {len(given):,} {name}; the limit is {most:,}")
    return given
