"""The example that takes in an MCP server beside tools of its own."""

from pathlib import Path

from support.programs import run_example


def test_it_calls_tools_of_both_kinds_in_one_way(tmp_path: Path) -> None:
    said = run_example("mcp_import.py", tmp_path).stdout
    assert said.splitlines() == [
        "tools: most_frequent, words.count_words, words.slug",
        "  1 of 2: text 1 of 2",
        "  2 of 2: text 2 of 2",
        "words.count_words: {'the': 4, 'cat': 2, 'and': 2, 'dog': 1, 'bird': 1}",
        "most_frequent: ['the', 'and', 'cat']",
        "words.slug: ValueError is raised here as there",
    ]
