"""The tools that the failure suite calls, for a hub of its own or one elsewhere.

``grpc-tool-bridge serve --tools tests/failure_modes/tools.py:TOOLS`` runs a hub that the suite can test with
``GRPC_ADDR``; the suite brings the workers itself.
"""

from collections import Counter, OrderedDict
from collections.abc import AsyncIterator
from typing import Any

from grpc_tool_bridge import Tool, ToolContext, tool

# Keys whose effects are remembered; the oldest are forgotten.
MAX_KEYS = 100_000


class Effects:
    """Counts how often something took effect, by key."""

    def __init__(self) -> None:
        self._counts: OrderedDict[str, int] = OrderedDict()

    def add(self, key: str) -> int:
        """Lets it take effect; returns how often it has."""
        count = self._counts[key] = self._counts.get(key, 0) + 1
        while len(self._counts) > MAX_KEYS:
            self._counts.popitem(last=False)
        return count

    def of(self, prefix: str) -> Counter[str]:
        """Returns the counts of the keys that begin so."""
        return Counter({key: count for key, count in self._counts.items() if key.startswith(prefix)})


def make_tools(prefix: str = "") -> list[Tool]:
    """Makes the tools, whose names begin with ``prefix``; those of one list count the same effects."""
    effects = Effects()

    async def echo(value: Any) -> Any:
        """Returns what it gets."""
        return value

    async def act(key: str) -> int:
        """Takes effect; returns how often it has for this key."""
        return effects.add(key)

    async def effects_of(keys: str) -> dict[str, int]:
        """Returns how often each key that begins so has taken effect."""
        return dict(effects.of(keys))

    async def count(to: int) -> AsyncIterator[int]:
        """Counts."""
        for number in range(to):
            yield number

    async def nested(key: str, ctx: ToolContext) -> int:
        """Calls ``act`` of the hub."""
        result: int = await ctx.call_tool("act", key)
        return result

    functions = (echo, act, effects_of, count, nested)
    return [tool(name=f"{prefix}{function.__name__}")(function) for function in functions]


TOOLS = make_tools()
