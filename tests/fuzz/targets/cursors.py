"""Tokens of pages, of the lists that the hub keeps and of the tools of a session."""

import asyncio

from google.protobuf.struct_pb2 import Value

from grpc_tool_bridge.core.pages import page_of
from grpc_tool_bridge.core.tool_pages import tool_page
from grpc_tool_bridge.errors import ConflictError, ValidationError

REFUSALS = (ConflictError, ValidationError, UnicodeDecodeError)

_ENTRIES = range(5)


def fuzz(data: bytes) -> None:
    """Reads a token as that of either list."""
    token = data.decode()
    try:
        asyncio.run(_list(token))
    except ValidationError:
        tool_page({}, 7, owner="session", token=token)


async def _list(token: str) -> None:
    page = await page_of(
        _ENTRIES,
        lambda number: (float(number), str(number)),
        lambda number: Value(number_value=number),
        what="calls",
        token=token,
        size=2,
    )
    assert len(page.entries) <= 2
