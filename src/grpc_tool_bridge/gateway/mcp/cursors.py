"""Cursors of pages that are sorted by name: a page begins after a name, whatever has come and gone since."""

from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, PaginatedRequestParams

# How a cursor begins; the last name of the page before follows.
_AFTER = "after "
_MAX_CHARS = 300


def cursor_after(name: str) -> str:
    """Returns the cursor of the page after a name."""
    return f"{_AFTER}{name}"


def name_before(params: PaginatedRequestParams | None) -> str:
    """Returns the name after which the page of a request begins; empty: it is the first page.

    Raises:
        MCPError: The cursor is none that a page has named.
    """
    cursor = (params.cursor if params is not None else None) or ""
    if cursor and (not cursor.startswith(_AFTER) or not len(_AFTER) < len(cursor) <= _MAX_CHARS):
        raise MCPError(code=INVALID_PARAMS, message=f"the cursor {cursor!r:.80} is not one that a page has named")
    return cursor.removeprefix(_AFTER)
