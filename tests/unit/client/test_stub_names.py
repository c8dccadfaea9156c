"""Python names for tools, arguments and types."""

import keyword

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpc_tool_bridge.client.stub_names import Names, class_name, identifier


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("add", "add"),
        ("get-page", "get_page"),
        ("class", "class_"),
        ("None", "None_"),
        ("match", "match"),
        ("1x", "tool_1x"),
        ("_x", "_x"),
        ("__init__", "init"),
        ("__", "tool"),
        ("", "tool"),
        ("...", "_"),
        ("größe", "größe"),
        ("ﬁnd", "find"),
        ("a\u202eb", "a_b"),
        ("x: int = 1", "x_int_1"),
    ],
)
def test_a_name_becomes_an_identifier(name: str, made: str) -> None:
    assert identifier(name, "tool") == made


@given(st.text())
def test_any_text_becomes_an_identifier_that_means_the_same_in_a_class(name: str) -> None:
    for made in (identifier(name, "tool"), class_name(name)):
        assert made.isidentifier()
        assert not keyword.iskeyword(made)
        assert not made.startswith("__")


def test_a_class_has_the_words_of_a_name_and_no_more_than_fit() -> None:
    assert class_name("orders.create-all items") == "OrdersCreateAllItems"
    assert class_name("Page_int_") == "PageInt"
    assert class_name("!") == "Value"
    assert class_name("none") == "None_"
    assert len(class_name("x" * 200)) == 40


def test_a_name_is_given_once() -> None:
    names = Names({"self"})
    assert [names.take("a"), names.take("a"), names.take("a"), names.take("self")] == ["a", "a_2", "a_3", "self_"]
    assert names.take("self") == "self_2"
    assert names.take("a", "b") == "b"
    assert names.take("a", "b") == "b_2"
