"""Field masks as texts, as JSON has them, and back."""

import re
from collections.abc import Iterable
from typing import Any

from grpc_tool_bridge.adapters.grpc.problems import WrongError, wrong
from grpc_tool_bridge.adapters.grpc.scalars import text as checked_text

_LOOKS = "the names of fields, separated by commas"
_UPPER = re.compile("[A-Z]")
_AFTER_LINE = re.compile("_([a-z])")


def read_mask(paths: Iterable[str]) -> str | list[str]:
    """Writes a mask as JSON does, such as "name,homeCity"; paths that are not found again by that stay a list."""
    found = list(paths)
    camel = [_AFTER_LINE.sub(lambda part: part[1].upper(), path) for path in found]
    text = ",".join(camel)
    return text if mask(text) == found else found


def mask(value: Any) -> list[str]:
    """Reads the paths of a mask from a text, or from a list of them as they are in the proto.

    Raises:
        WrongError: It is none.
    """
    if isinstance(value, str):
        return [_with_lines(path.strip()) for path in checked_text(value).split(",")] if value else []
    if not isinstance(value, list | tuple):
        raise wrong(_LOOKS, value)
    paths = []
    for place, path in enumerate(value):
        try:
            paths.append(checked_text(path))
        except WrongError as error:
            raise WrongError(*((f"[{place}]{at}", told) for at, told in error.problems)) from None
    return paths


def _with_lines(path: str) -> str:
    """Returns the path as the proto has it; one that already has underscores is that."""
    return path if "_" in path else _UPPER.sub(lambda part: f"_{part[0].lower()}", path)
