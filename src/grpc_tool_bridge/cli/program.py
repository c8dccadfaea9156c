"""The program as a process: how it starts and ends, even if a signal comes while it loads.

Imports nothing heavy: Ctrl-C must work while the commands are being loaded, which takes a while.
"""

import os
import signal
from types import FrameType

from grpc_tool_bridge.cli.exit_codes import INTERRUPTED


def run() -> int:
    """Runs the command line of this process; returns its exit code."""
    # If the parent ignores it, as a shell does for background jobs, it stays ignored.
    obeys = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    try:
        if obeys:
            signal.signal(signal.SIGINT, _quit)
        from grpc_tool_bridge.cli import garbage, streams

        streams.prepare()
        from grpc_tool_bridge.cli.app import main

        if obeys:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        garbage.postpone()
        code = main()
        garbage.leave()
        if obeys:
            signal.signal(signal.SIGINT, _quit)
    except KeyboardInterrupt:
        code = INTERRUPTED
    return code


def _quit(_: int, __: FrameType | None) -> None:
    # Nothing has started, or everything is done: there is nothing to shut down.
    os._exit(INTERRUPTED)
