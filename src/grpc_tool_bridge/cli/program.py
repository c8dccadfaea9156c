"""The program as a process: how it starts and ends, even if a signal comes while it loads.

Imports nothing heavy: Ctrl-C must work while the commands are being loaded, which may take a while.
"""

import signal

from grpc_tool_bridge.cli.exit_codes import INTERRUPTED


def run() -> int:
    """Runs the command line of this process; returns its exit code."""
    # If the parent ignores it, as a shell does for background jobs, it stays ignored.
    obeys = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    try:
        from grpc_tool_bridge.cli import garbage, interrupts, streams

        if obeys:
            interrupts.quit_at_interrupts()
        streams.prepare()
        from grpc_tool_bridge.cli.app import main

        garbage.postpone()
        code = main()
        garbage.leave()
        if obeys:
            interrupts.quit_at_interrupts()
    except KeyboardInterrupt:
        code = INTERRUPTED
    return code
