"""Addresses to listen at, as Go reads them."""

import asyncio
import os
import socket

from grpc_tool_bridge.transport.addresses import join_address

BACKLOG = 1_024


async def listen(address: str) -> socket.socket:
    """Listens at ``host:port``.

    An empty host is every address of this machine; an empty address, a free port of loopback.

    Raises:
        ValueError: It is no address.
        OSError: One cannot listen there.
    """
    try:
        host, port = _parts(address or "127.0.0.1:0")
    except ValueError as error:
        raise ValueError(f"listen tcp: {error}") from None
    family, place = await _resolve(host, port) if host else _everywhere(port)
    both = family == socket.AF_INET6 and not host
    try:
        listener = socket.create_server(place, family=family, dualstack_ipv6=both, backlog=BACKLOG)
    except OSError as error:
        text = f"listen tcp {join_address(*place)}: bind: {os.strerror(error.errno or 0).lower()}"
        raise OSError(error.errno, text) from error
    # What is accepted inherits it; small pieces would wait for the acknowledgement of the one before.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


async def resolved(address: str) -> str:
    """Returns the address with its host as a number.

    Raises:
        ValueError: It is no address.
        OSError: There is no such host.
    """
    host, port = _parts(address or "127.0.0.1:0")
    if not host:
        return f"[::]:{port}"
    _, sockaddr = await _resolve(host, port)
    return join_address(*sockaddr[:2])


def _everywhere(port: int) -> tuple[socket.AddressFamily, tuple[str, int]]:
    return (socket.AF_INET6, ("::", port)) if socket.has_dualstack_ipv6() else (socket.AF_INET, ("", port))


async def _resolve(host: str, port: int) -> tuple[socket.AddressFamily, tuple[str, int]]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    # IPv4 first, where a name has both.
    family, _, _, _, sockaddr = min(found, key=lambda item: item[0] != socket.AF_INET)
    return family, (str(sockaddr[0]), int(sockaddr[1]))


def _parts(address: str) -> tuple[str, int]:
    host, colon, port = address.rpartition(":")
    if not colon or (":" in host and not (host.startswith("[") and host.endswith("]"))):
        raise ValueError(f"address {address:.100}: missing port in address")
    if not (port.isascii() and port.isdigit() and int(port) < 1 << 16):
        raise ValueError(f"address {address:.100}: {port!r:.100} is not a port from 0 to 65535")
    return host.strip("[]"), int(port)
