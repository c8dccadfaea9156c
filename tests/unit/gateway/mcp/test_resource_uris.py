"""Every variable has one address, and an address leads to its variable."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpc_tool_bridge.gateway.mcp.resource_uris import name_of, uri_of


@pytest.mark.parametrize(
    ("name", "uri"),
    [
        ("note", "variable:///note"),
        ("a/b c?d#e%", "variable:///a%2Fb%20c%3Fd%23e%25"),
        ("größe", "variable:///gr%C3%B6%C3%9Fe"),
        # It looks like an address of another kind, and is none.
        ("user:42", "variable:///user%3A42"),
        ("docs://has space", "variable:///docs%3A%2F%2Fhas%20space"),
        ("docs://100%", "variable:///docs%3A%2F%2F100%25"),
        ("docs://", "variable:///docs%3A%2F%2F"),
        ("docs://readme", "docs://readme"),
        ("test://template/123/data?x=1#y", "test://template/123/data?x=1#y"),
        ("https://example.com/a%20b", "https://example.com/a%20b"),
        # The address of another variable cannot be taken.
        ("variable:///note", "variable:///variable%3A%2F%2F%2Fnote"),
        ("VARIABLE:///note", "variable:///VARIABLE%3A%2F%2F%2Fnote"),
    ],
)
def test_a_variable_has_its_address(name: str, uri: str) -> None:
    assert uri_of(name) == uri
    assert name_of(uri) == name


@given(st.text(min_size=1, max_size=256).filter(lambda text: text.isprintable()))
def test_every_name_comes_back_and_its_address_is_ascii(name: str) -> None:
    uri = uri_of(name)
    assert uri.isascii()
    assert name_of(uri) == name


@pytest.mark.parametrize("uri", ["", "note", "variable:///", "variable:note", "variable:///%FF", "x:y", "docs://a b"])
def test_what_is_no_address_of_a_variable_leads_nowhere(uri: str) -> None:
    assert name_of(uri) is None
