"""The program as a process: how it begins and ends, whatever comes while it loads.

Nothing heavy is imported here: Ctrl-C must be answered while the commands are being loaded, which takes a while.
"""

import os
import signal
from types import FrameType

from grpc_tool_bridge.cli.exit_codes import INTERRUPTED


def run() -> int:
    """Runs the command line of this process; returns its exit code."""
    # Where whoever started it has it ignored, as a shell does for what runs in the background, it stays so.
    obeys = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    try:
        if obeys:
            signal.signal(signal.SIGINT, _quit)
        from grpc_tool_bridge.cli import streams  # noqa: PLC0415 - see above

        streams.prepare()
        from grpc_tool_bridge.cli.app import main  # noqa: PLC0415 - see above

        if obeys:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        code = main()
        if obeys:
            signal.signal(signal.SIGINT, _quit)
    except KeyboardInterrupt:
        code = INTERRUPTED
    return code


def _quit(_: int, __: FrameType | None) -> None:
    # Nothing has been begun, or all has been done: nothing is to be ended in good order.
    os._exit(INTERRUPTED)
