"""The command line: ``grpc-tool-bridge``."""

import os
from collections.abc import Sequence

# Whether the user leaves it to this program what gRPC writes.
silences_grpc = "GRPC_VERBOSITY" not in os.environ
# Set before gRPC is loaded, which reads it then: its log lines would appear beside the error message.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line.

    Args:
        argv: The arguments, without the program's name; None: those of the process, whose signals and standard streams
        the program then handles.

    Returns:
        The exit code: 0 on success; 1 if the hub or a tool failed; 2 if an argument was wrong; 130 after Ctrl-C. A
        failure is printed on one line on stderr.
    """
    if argv is not None:
        from grpc_tool_bridge.cli.app import main as run

        return run(argv)
    from grpc_tool_bridge.cli import program

    return program.run()
