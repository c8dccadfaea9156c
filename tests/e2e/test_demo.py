"""``make demo`` shows the main job, in processes of its own."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[2] / "examples" / "demo.py"


@pytest.mark.timeout(240)
def test_the_demo_runs_its_six_parts_in_five_processes_and_ends_them_all() -> None:
    ran = subprocess.run([sys.executable, DEMO], capture_output=True, text=True, timeout=220, check=False)

    said = ran.stdout
    assert ran.returncode == 0, said + ran.stderr
    assert "hub │ process" in said
    assert "its tools: calculate, scan_tree, search_docs, summarize" in said
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
    assert said.rstrip().endswith("done: every process has ended")
