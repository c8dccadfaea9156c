"""The tools of the load test, as a worker offers them."""

import math
from collections.abc import AsyncIterator

from grpc_tool_bridge import tool

# Of the stream: more than the load test reads, so that it leaves in the middle.
_VALUES = 100

_WORDS = ("bridge", "tool", "session", "stream", "batch", "worker", "hub", "link")


@tool
def search(query: int, option: str = "A") -> list[dict[str, str]]:
    """Finds words by a number."""
    return [{"title": _WORDS[(query + place) % len(_WORDS)], "option": option} for place in range(5)]


@tool
async def calculate(number: int, option: str = "A") -> float:
    """Calculates a root."""
    return math.sqrt(number) * {"A": 1, "B": 2, "C": 3}[option]


@tool
def process(rows: int, option: str = "A") -> dict[str, int]:
    """Sums up rows."""
    return {option: sum(row * row for row in range(rows))}


@tool
async def stream_data() -> AsyncIterator[dict[str, int]]:
    """Streams rows."""
    for number in range(_VALUES):
        yield {"row": number, "square": number * number}
