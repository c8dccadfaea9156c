"""Ctrl-C while the program is loaded, when there is nothing to shut down: it ends the program without a message."""

import os
import signal
from types import FrameType

from grpc_tool_bridge.cli.exit_codes import INTERRUPTED


def quit_at_interrupts() -> None:
    """Makes Ctrl-C end the program immediately, until ``loaded``."""
    signal.signal(signal.SIGINT, _quit)


def loaded() -> None:
    """Makes Ctrl-C interrupt the command: all that it needs is imported, and its work begins."""
    if signal.getsignal(signal.SIGINT) is _quit:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _quit(_: int, __: FrameType | None) -> None:
    os._exit(INTERRUPTED)
