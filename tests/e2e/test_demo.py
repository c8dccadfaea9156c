"""``make demo`` shows the main job, in processes of its own."""

import os
import re
import subprocess
import sys
from pathlib import Path

from support.patience import PATIENCE
from support.peers import ELIXIR, NODE

DEMO = Path(__file__).parents[2] / "examples" / "demo.py"


def test_the_demo_runs_its_parts_in_processes_and_ends_them_all() -> None:
    # No model of whoever runs the tests is asked.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TOOL_BRIDGE_")}
    command = [sys.executable, str(DEMO)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=4 * PATIENCE, check=False, env=environment)

    said = ran.stdout
    assert ran.returncode == 0, said + ran.stderr
    assert "hub │ process" in said
    assert "its tools: calculate, scan_tree, search_docs, summarize" in said
    assert re.search(r"its dashboard is at http://127\.0\.0\.1:\d+/\n", said)
    assert "heapq: Heap queue algorithm" in said
    assert "scan_tree over Python's standard library" in said
    assert re.search(r"revision \d+: (set|update) to a DataFrame", said)
    assert "47 ** 2 + sqrt(47) -> 2215.8556546" in said
    assert "it divides by zero" in said
    assert "in scan_tree\n" in said, "the remote traceback names the tool's own frame"
    assert "argument 'precision': unknown" in said
    assert said.count("22,044 primes below 250,000") == 2
    assert "was killed meanwhile, and no call was lost" in said
    assert "count_primes.calls 100, " in said
    assert "from a script, as no model is named; TOOL_BRIDGE_AGENT_MODEL names one" in said
    kinds = re.findall(r"client │ +[\d,]+ ms  (\d)  (\w+)", said)
    assert kinds == [
        *zip("012", ("thought", "action", "observation"), strict=True),
        *zip("3456", ("thought", "action", "observation", "result"), strict=True),
    ]
    assert "calculate(expression='(17 + 4) * 2')" in said
    assert "{'Answer': '42'}, finished after 2 steps" in said
    assert "attached to the run again from chunk 3: thought, action, observation, result" in said
    if all(language.built.exists() for language in (ELIXIR, NODE)):
        assert "count_words('The quick fox and the lazy dog') -> {'and': 1, 'dog': 1" in said
        assert "slugify('The quick fox and the lazy dog') -> 'the-quick-fox-and-the-lazy-dog'" in said
    assert said.rstrip().endswith("done: every process has ended")
