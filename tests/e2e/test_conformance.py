"""The peer for Python passes all that peers in other languages must pass, as a process and at a real hub."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from support.patience import PATIENCE

ROOT = Path(__file__).parents[2]
PEER = f"{sys.executable} -m conformance.peers.python_peer"


@pytest.mark.slow
def test_the_peer_for_python_passes_everything() -> None:
    command = [sys.executable, "-m", "conformance.run", "--peer", PEER, "--json"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", timeout=4 * PATIENCE, check=False
    )
    report = json.loads(done.stdout)
    assert [one for one in report["outcomes"] if one["outcome"] != "passed"] == []
    assert {one["section"] for one in report["outcomes"]} == {
        "values", "refusals", "errors", "messages", "transcripts", "hub", "properties",
    }  # fmt: skip
    assert done.returncode == 0
