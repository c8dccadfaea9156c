"""The example of tools for an application that speaks MCP."""

import os
import subprocess
import sys
from pathlib import Path

from support.patience import PATIENCE

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "mcp_server.py"


def test_it_starts_the_server_by_its_printed_settings_and_calls_its_tools(tmp_path: Path) -> None:
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
        "tools: count_words, slug",
        "slug: ca-va-a-premiere-vue",
        "  1 of 2: text 1 of 2",
        "  2 of 2: text 2 of 2",
        "count_words: {'the': 3, 'cat': 1, 'and': 1, 'dog': 1, 'bird': 1}",
        "an error is a result that the model reads: slug: ValueError: '!' has no letter or digit that ASCII has",
    ]
