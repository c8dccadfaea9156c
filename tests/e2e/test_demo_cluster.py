"""``make demo-cluster`` kills a hub and a node under load, and loses nothing."""

import os
import re
import subprocess
import sys
from pathlib import Path

from support.patience import PATIENCE

DEMO = Path(__file__).parents[2] / "examples" / "demo_cluster.py"


def test_the_demo_of_a_cluster_kills_a_hub_and_a_node_and_loses_nothing() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TOOL_BRIDGE_")}
    command = [sys.executable, str(DEMO)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=4 * PATIENCE, check=False, env=environment)

    said = ran.stdout
    assert ran.returncode == 0, said + ran.stderr
    assert "hubs may use the subjects tool-bridge.> and the stream TOOL_BRIDGE, and nothing else" in said
    for hub in ("h1", "h2", "h3"):
        assert re.search(rf"{hub} │ process \d+ listens on 127\.0\.0\.1:\d+\n", said)
        assert f"{hub} │ offers count_primes and pay, which workers of other hubs have, too" in said
    assert re.search(r"client │ h1, process \d+, was killed\n", said)
    assert re.search(r"client │ n\d, process \d+, was killed\n", said)
    assert len(re.findall(r"client │ the next write was acknowledged [\d.]+ s later", said)) == 2
    assert re.search(r"client │ [\d,]+ writes acknowledged; variables without their last value: 0\n", said)
    assert re.search(r"client │ the watch saw [\d,]+ changes; missed: 0, repeated: 0\n", said)
    assert re.search(r"client │ [\d,]+ payments acknowledged; not in the ledger: 0, in it twice: 0\n", said)
    assert said.rstrip().endswith("done: every process has ended")
