"""How many files and sockets this process may open."""

import sys

from grpc_tool_bridge.cli.failures import ArgumentError

# Beside one of each client: libraries, pipes, and what gRPC opens for itself.
_OTHERS = 200


def allow_open_files(clients: int) -> None:
    """Raises the limit of open files, so that so many clients can connect.

    Raises:
        ArgumentError: The system does not allow that many.
    """
    if sys.platform == "win32":
        return
    import resource  # noqa: PLC0415 - Unix has it

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = clients + _OTHERS
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise ArgumentError(
            f"--clients {clients} needs {needed:,} open files, and this process may have {hard:,}; raise the limit "
            "with ulimit -n, or use fewer clients"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
