"""Tools by the hundred, whose names are hard to tell apart."""

from typing import Any

from grpc_tool_bridge import tool


async def _nothing() -> None:
    return None


# A wrong name that is as long was compared with each of them for milliseconds.
ALIKE: list[Any] = [tool(name=f"{'a' * 58}{number:06}")(_nothing) for number in range(480)]
