"""The program's name and version, as ``--version`` prints them."""

import sys

from grpc_tool_bridge import __version__

PROGRAM = "grpc-tool-bridge"


def print_version() -> None:
    """Prints the program's name and version."""
    sys.stdout.write(f"{PROGRAM} {__version__}\n")
