"""JSON of settings."""

import pytest

from grpc_tool_bridge.adapters.mcp.config_json import read_config_json
from grpc_tool_bridge.errors import ValidationError


@pytest.mark.parametrize(
    "text",
    [
        '{"a": ["x", 1]}',
        '\ufeff{"a": ["x", 1]}',
        '// first\n{"a": [/* one\ntwo */ "x", 1], // last\n}',
        '{"a": ["x", 1, // after the comma\n],\n}',
    ],
)
def test_comments_and_last_commas_are_left_out(text: str) -> None:
    assert read_config_json(text.encode()) == {"a": ["x", 1]}


@pytest.mark.parametrize("inner", ["https://x/y", "/* no */", ",]", 'a\\"//b', ", }", "\\\\"])
def test_what_is_in_a_text_stays(inner: str) -> None:
    text = f'{{"a": "{inner}",}} // "'
    assert read_config_json(text.encode()) == read_config_json(f'{{"a": "{inner}"}}'.encode())


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "(line 1, column 2): expecting property name"),
        ('{\n/* a\nb */ "a" 1}', "(line 3, column 6): expecting ':' delimiter"),
        ('{"a": "C:\\Users"}', "(line 1, column 10): write a backslash twice"),
        ("{/* never ends", "(line 1, column 2)"),
        ("[" * 100_000, "nested too deeply"),
        ("", "(line 1, column 1)"),
    ],
)
def test_what_is_not_json_is_said_with_its_place(text: str, why: str) -> None:
    with pytest.raises(ValidationError) as caught:
        read_config_json(text.encode())
    assert why in caught.value.message
    assert "Users" not in caught.value.message


def test_another_encoding_is_named() -> None:
    with pytest.raises(ValidationError, match="not encoded in UTF-8"):
        read_config_json('{"a": "ä"}'.encode("latin-1"))
