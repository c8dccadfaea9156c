"""The example of tools for an application that speaks MCP."""

from pathlib import Path

from support.programs import run_example


def test_it_starts_the_server_by_its_printed_settings_and_calls_its_tools(tmp_path: Path) -> None:
    said = run_example("mcp_server.py", tmp_path).stdout
    assert said.splitlines() == [
        "tools: count_words, slug",
        "slug: ca-va-a-premiere-vue",
        "  1 of 2: text 1 of 2",
        "  2 of 2: text 2 of 2",
        "count_words: {'the': 3, 'cat': 1, 'and': 1, 'dog': 1, 'bird': 1}",
        "an error is a result that the model reads: slug: ValueError: '!' has no letter or digit that ASCII has",
    ]
