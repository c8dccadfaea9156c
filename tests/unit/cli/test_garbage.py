"""The garbage collector of a command that starts and ends, and of one that serves."""

import subprocess
import sys

from support.patience import PATIENCE

PROGRAM = """
import gc
from grpc_tool_bridge.cli import garbage
usual = gc.get_threshold()
garbage.postpone()
assert gc.get_threshold()[0] > usual[0] and gc.get_threshold()[1:] == usual[1:]
garbage.resume()
assert gc.get_threshold() == usual
assert not gc.get_freeze_count()
garbage.leave()
assert gc.get_freeze_count() and gc.isenabled()
"""


def test_collections_are_postponed_while_a_command_starts_and_left_out_at_its_end() -> None:
    # In a process of its own, which it changes.
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, timeout=PATIENCE)
