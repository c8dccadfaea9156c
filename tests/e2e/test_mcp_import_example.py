"""The example that takes in an MCP server beside tools of its own."""

import os
import subprocess
import sys
from pathlib import Path

from support.patience import PATIENCE

EXAMPLE = Path(__file__).parents[2] / "examples" / "mcp_import.py"


def test_it_calls_tools_of_both_kinds_in_one_way(tmp_path: Path) -> None:
    folders = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    paths = os.pathsep.join(str(Path(folder).resolve()) for folder in folders if folder)
    ran = subprocess.run(
        [sys.executable, str(EXAMPLE)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == [
        "tools: most_frequent, words.count_words, words.slug",
        "  1 of 2: text 1 of 2",
        "  2 of 2: text 2 of 2",
        "words.count_words: {'the': 4, 'cat': 2, 'and': 2, 'dog': 1, 'bird': 1}",
        "most_frequent: ['the', 'and', 'cat']",
        "words.slug: ValueError is raised here as there",
    ]
