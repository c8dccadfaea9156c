"""How many files and sockets this process may open."""

from grpc_tool_bridge.cli.failures import ArgumentError
from grpc_tool_bridge.transport.open_files import allow_files

# Beside one of each client: libraries, pipes, and what gRPC opens for itself.
_OTHERS = 200


def allow_open_files(clients: int) -> None:
    """Raises the limit of open files, so that so many clients can connect.

    Raises:
        ArgumentError: The system does not allow that many.
    """
    needed = clients + _OTHERS
    allowed = allow_files(needed)
    if allowed is not None and allowed < needed:
        raise ArgumentError(
            f"--clients {clients} needs {needed:,} open files, and this process may have {allowed:,}; raise the limit "
            "with ulimit -n, or use fewer clients"
        )
