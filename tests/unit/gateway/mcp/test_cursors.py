"""Cursors of pages that are sorted by name."""

import pytest
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, PaginatedRequestParams

from grpc_tool_bridge.gateway.mcp.cursors import cursor_after, name_before


@pytest.mark.parametrize("name", ["a", "after b", "ü" * 256])
def test_a_page_begins_after_the_name_of_its_cursor(name: str) -> None:
    assert name_before(PaginatedRequestParams(cursor=cursor_after(name))) == name


@pytest.mark.parametrize("params", [None, PaginatedRequestParams(), PaginatedRequestParams(cursor="")])
def test_a_request_without_a_cursor_asks_for_the_first_page(params: PaginatedRequestParams | None) -> None:
    assert name_before(params) == ""


@pytest.mark.parametrize("cursor", ["x", "after ", "after " + "x" * 400])
def test_any_other_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(MCPError, match="is not one that a page has named") as refused:
        name_before(PaginatedRequestParams(cursor=cursor))
    assert refused.value.error.code == INVALID_PARAMS
