"""The command line: ``grpc-tool-bridge``."""

from collections.abc import Sequence

from grpc_tool_bridge.cli import grpc_messages

# They would appear beside the error message.
grpc_messages.silence()

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
