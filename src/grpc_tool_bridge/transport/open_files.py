"""The files that this process may open, of which each connection is one.

A process that has opened them all accepts nobody, and cannot start a tool's process or read a file either.
"""

import sys

if sys.platform != "win32":
    import resource

# Of the files, for the connections of one server; a hub has two, over gRPC and HTTP, and needs files of its own.
_SHARE = 3 / 8
# For each of the two sockets that take links; a client that is closed there uses gRPC.
_SOCKET_SHARE = 3 / 32


def connection_limit(wanted: int) -> int:
    """Returns how many connections a server may have: ``wanted``, or as many as the process has files for."""
    return _limit(wanted, _SHARE)


def socket_connection_limit(wanted: int) -> int:
    """Returns the same as ``connection_limit``, for a socket that takes links."""
    return _limit(wanted, _SOCKET_SHARE)


def _limit(wanted: int, share: float) -> int:
    limit = _limits()[0]
    return wanted if limit is None else max(1, min(wanted, int(limit * share)))


def allow_connections(count: int) -> None:
    """Lets this process open enough files for servers with ``count`` connections, as far as the system lets it."""
    allow_files(int(count / _SHARE) + 1)


def allow_files(needed: int) -> int | None:
    """Lets this process open ``needed`` files, as far as the system lets it.

    Returns:
        How many it may open now; None: any number.
    """
    soft, hard = _limits()
    if soft is not None and soft < needed:
        soft = max(soft, needed if hard is None else min(needed, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, resource.RLIM_INFINITY if hard is None else hard))
    return soft


def _limits() -> tuple[int | None, int | None]:
    """Returns how many files the process may open, and how many it may let itself open; None: any number."""
    if sys.platform == "win32":
        return None, None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (None if soft == resource.RLIM_INFINITY else soft), (None if hard == resource.RLIM_INFINITY else hard)
