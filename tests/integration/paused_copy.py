"""Runs the command line, and pauses it while it copies a store: prints a line, and goes on when it can read one."""

import sys

from grpc_tool_bridge.cli import program
from grpc_tool_bridge.stores.sqlite import placing


class Pause:
    """Pauses at the first step of the copy."""

    def __init__(self) -> None:
        self.was = False

    def __call__(self, status: int, remaining: int, total: int) -> None:
        if not self.was:
            self.was = True
            sys.stdout.write("copying\n")
            sys.stdout.flush()
            sys.stdin.readline()


placing.PAGES = 1
placing._notice_signals = Pause()
sys.exit(program.run())
