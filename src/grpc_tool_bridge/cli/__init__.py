"""The command line: ``grpc-tool-bridge``."""

import os
from collections.abc import Sequence

# Before gRPC is loaded, which reads it then: its own log lines would stand beside the one that says what was wrong.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line.

    Args:
        argv: Its words, without the program's name; None: those of the process, whose signals and standard streams are
            the program's then.

    Returns:
        The exit code: 0; 1 where the hub or a tool failed; 2 where an argument was wrong; 130 after Ctrl-C. Whatever
        failed is told in one line on stderr.
    """
    if argv is not None:
        from grpc_tool_bridge.cli.app import main as run  # noqa: PLC0415 - see program.py

        return run(argv)
    from grpc_tool_bridge.cli import program  # noqa: PLC0415 - whoever imports a command needs none of it

    return program.run()
