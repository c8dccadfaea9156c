"""The signature that a proxy shows."""

import pytest

from grpc_tool_bridge import ArgumentSpec, ToolSpec, ToolType, serialize_value
from grpc_tool_bridge.client.signature import shown, signature_of


def test_a_signature_shows_defaults_and_types_where_they_are_known() -> None:
    spec = ToolSpec(
        name="find",
        arguments=[
            ArgumentSpec(name="text", required=True),
            ArgumentSpec(name="limit", python_type="int", default_value=serialize_value(10)),
            ArgumentSpec(name="where", python_type="str"),
        ],
    )

    assert str(signature_of(spec)) == "(text, limit: int = 10, where: str = None)"


def test_a_required_argument_behind_an_optional_one_is_keyword_only() -> None:
    spec = ToolSpec(name="find", arguments=[ArgumentSpec(name="limit"), ArgumentSpec(name="text", required=True)])

    assert str(signature_of(spec)) == "(limit=None, *, text)"


def test_a_tool_that_yields_returns_an_async_iterator() -> None:
    spec = ToolSpec(name="count", type=ToolType.STREAMING)
    assert str(signature_of(spec)) == "() -> AsyncIterator[Any]"
    spec.return_type.python_type = "int"
    assert str(signature_of(spec)) == "() -> AsyncIterator[int]"


def test_an_argument_without_a_name_has_no_signature_and_an_error_text_without_one() -> None:
    spec = ToolSpec(name="tool", arguments=[ArgumentSpec(python_type="int")])
    with pytest.raises(ValueError, match="an argument of the tool has no name"):
        signature_of(spec)
    assert shown(spec) == "tool(…)"
