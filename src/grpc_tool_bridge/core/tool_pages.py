"""The tools that a session sees, page by page."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from grpc_tool_bridge.core.registered_tool import RegisteredTool
from grpc_tool_bridge.errors import ConflictError, ValidationError
from grpc_tool_bridge.rpc.bounds import PAGE_BYTES, PAGE_NODES, shown

# Overhead of one spec in a list: its tag and its length.
_ENTRY_BYTES = 5

_TOKEN = re.compile(r"(\d{1,20})\.(\d{1,10})\.([0-9a-f]{16})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Page:
    """One page of the tools.

    Attributes:
        tools: Its tools, sorted by name.
        revision: The revision of the whole list.
        next_token: The token of the next page; empty on the last page.
    """

    tools: Sequence[RegisteredTool]
    revision: int
    next_token: str


def tool_page(
    tools: Mapping[str, RegisteredTool],
    revision: int,
    *,
    owner: str,
    token: str = "",
    size: int = 0,
    max_bytes: int = PAGE_BYTES,
) -> Page:
    """Returns one page of the tools.

    Args:
        tools: The whole list, by name and in order.
        revision: The revision of the list.
        owner: Identifies the list; a token is valid only for the list that it came from.
        token: ``next_token`` of the page before; empty: the first page.
        size: Maximum number of tools; 0: as many as fit.
        max_bytes: Maximum bytes of the specs, unless the page has only one.

    Raises:
        ConflictError: The list has changed since the page before (RevisionConflict).
        ValidationError: The token or the size is not valid.
    """
    if size < 0:
        raise ValidationError(f"page_size must be 0 (as many as fit) or more, not {size}")
    mark = hashlib.sha256(owner.encode()).hexdigest()[:16]
    start = _start(token, revision, mark, len(tools)) if token else 0
    chosen: list[RegisteredTool] = []
    room, nodes = min(max_bytes, PAGE_BYTES), PAGE_NODES
    for tool in islice(tools.values(), start, None):
        room -= tool.spec_bytes + _ENTRY_BYTES
        nodes -= tool.spec_nodes
        if chosen and (room < 0 or nodes < 0 or len(chosen) == size):
            break
        chosen.append(tool)
    end = start + len(chosen)
    return Page(chosen, revision, f"{revision}.{end}.{mark}" if end < len(tools) else "")


def _start(token: str, revision: int, mark: str, count: int) -> int:
    found = _TOKEN.fullmatch(token)
    if found is None:
        raise ValidationError(
            f"page_token {shown(token)} is not from GetSessionTools; begin at the first page, with an empty page_token"
        )
    if int(found[1]) != revision or found[3] != mark:
        raise ConflictError(
            "the tools have changed since the page before was read, or it was of another session; list them again "
            "from the first page, with an empty page_token",
            details={"revision": str(revision)},
        )
    start = int(found[2])
    if not 0 < start < count:
        raise ValidationError(f"page_token {shown(token)} is for a page that the list does not have")
    return start
