"""What a framework knows of a call, as the metadata that its tool finds in ``ToolContext.metadata``."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from grpc_tool_bridge.adapters.choice import AnyTool
from grpc_tool_bridge.client.options import checked_metadata
from grpc_tool_bridge.config.argument_checks import check_plain_callable
from grpc_tool_bridge.rpc.bounds import MAX_NAME_CHARS

# The metadata of every call; or a function that returns those of one call.
Metadata = Mapping[str, str] | Callable[..., Mapping[str, str]]

_SECRET = re.compile(r"key|token|secret|passw|credential|authorization", re.IGNORECASE)
# Of one value from a framework; longer ones are left out, not cut.
MAX_VALUE_CHARS = 4_096


class CallMetadata:
    """The metadata of a framework's calls.

    Args:
        given: The same for every call, or a function that is called for each; None: none.

    Raises:
        ValidationError: It is neither.
    """

    def __init__(self, given: Metadata | None) -> None:
        self._make: Callable[..., Mapping[str, str]] | None = None
        self._same: dict[str, str] = {}
        if given is None or isinstance(given, Mapping):
            self._same = checked_metadata(given) or {}
        else:
            check_plain_callable("metadata", given, "a dict of texts, or a function that returns one for each call")
            self._make = given

    def of(self, *call: Any) -> dict[str, str]:
        """Returns the metadata of one call; ``call`` is what the function is called with.

        Raises:
            ValidationError: The function has returned something else than a dict of texts.
        """
        return self._same if self._make is None else checked_metadata(self._make(*call)) or {}


def with_metadata(tool: AnyTool, metadata: Mapping[str, str]) -> AnyTool:
    """Returns a tool whose calls carry metadata; the same one if there is none."""
    return tool.with_options(metadata=metadata) if metadata else tool


def plain_metadata(found: Mapping[Any, Any]) -> dict[str, str]:
    """Returns what a framework keeps of a call as far as it is plain: texts, numbers, True and False, as texts.

    What a framework keeps for itself (``__name``) and what looks like a secret is left out.
    """
    texts = {name: str(value) for name, value in found.items() if isinstance(value, str | int | float)}
    return {
        name: text
        for name, text in texts.items()
        if isinstance(name, str)
        and 0 < len(name) <= MAX_NAME_CHARS
        and len(text) <= MAX_VALUE_CHARS
        and not name.startswith("__")
        and not _SECRET.search(name)
    }
