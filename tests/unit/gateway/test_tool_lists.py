"""What a list of tools says of each in a line."""

import pytest

from grpc_tool_bridge.gateway.tool_lists import MAX_DESCRIPTION_CHARS, first_paragraph


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", ""),
        ("Adds.", "Adds."),
        ("\n\n  Adds two\n    numbers.\n\nAnd more.", "Adds two numbers."),
        ("Adds.\r\n\r\nAnd more.", "Adds. And more."),
        ("x" * MAX_DESCRIPTION_CHARS, "x" * MAX_DESCRIPTION_CHARS),
        ("x" * 1_000_000, "x" * (MAX_DESCRIPTION_CHARS - 1) + "…"),
        ("word " * 100, "word " * 38 + "word…"),
    ],
    ids=lambda text: text[:12],
)
def test_a_description_is_its_first_paragraph_in_a_line(text: str, line: str) -> None:
    assert first_paragraph(text) == line
    assert len(line) <= MAX_DESCRIPTION_CHARS
