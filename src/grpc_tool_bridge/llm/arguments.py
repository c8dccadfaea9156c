"""The arguments of a call as models send them."""

import json
from collections.abc import Mapping
from typing import Any

from grpc_tool_bridge.errors import ValidationError


def read_arguments(name: str, given: Any) -> dict[str, Any]:
    """Reads the arguments of a call: an object, or the JSON of one.

    Models that call a tool without arguments send null, an empty text or nothing at all; some send an object as JSON
    within JSON.

    Args:
        name: The tool's.
        given: What the model sent.

    Returns:
        The arguments by name.

    Raises:
        ValidationError: They are not JSON, or no object; the text says which, for the model to mend it.
    """
    # A text within JSON is read once more, and not again.
    for _ in range(2):
        if not isinstance(given, str | bytes | bytearray) or not given.strip():
            break
        try:
            given = json.loads(given)
        except (ValueError, RecursionError) as error:
            raise refused_arguments(name, f"are not valid JSON ({error})") from None
    if given is None or (isinstance(given, str | bytes | bytearray) and not given.strip()):
        return {}
    if not isinstance(given, Mapping):
        raise refused_arguments(name, f"are {type(given).__name__}, not an object")
    return {str(key): value for key, value in given.items()}


def refused_arguments(name: str, problem: str) -> ValidationError:
    """Makes the error for arguments that cannot be read."""
    text = f"{name}: the arguments {problem}; give one JSON object with the arguments by name"
    return ValidationError(text, details={"arguments": problem})
