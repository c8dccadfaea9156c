"""A bare connection to where the hub is, by which ``doctor`` tells what lies on the way."""

import asyncio
import ssl

from grpc_tool_bridge.cli.failures import one_line
from grpc_tool_bridge.cli.options import HubOptions
from grpc_tool_bridge.transport.addresses import host_and_port, join_address, socket_path, split_address
from grpc_tool_bridge.transport.proxies import Proxy

# Of what a proxy says, for the text of an error.
_MAX_SHOWN_CHARS = 80


class ProxyRefusedError(Exception):
    """The proxy opens no connection to the hub; the text is what it said."""


async def open_socket(hub: HubOptions, context: ssl.SSLContext | None) -> asyncio.StreamWriter:
    """Connects to the hub, through its proxy if there is one.

    Args:
        hub: Where the hub is.
        context: For TLS; None: without.

    Raises:
        OSError: Nobody takes the connection.
        ProxyRefusedError: The proxy takes it, and does not connect to the hub.
    """
    path = socket_path(hub.address)
    if path is not None:
        name = "localhost" if context else None
        return (await asyncio.open_unix_connection(path, ssl=context, server_hostname=name))[1]
    place = host_and_port(hub.address)
    assert place is not None  # noqa: S101 - can_dial says so
    proxy = hub.proxied()
    if proxy is None:
        return (await asyncio.open_connection(*place, ssl=context))[1]
    reader, writer = await asyncio.open_connection(*split_address(proxy.address))
    try:
        await _ask_proxy(reader, writer, join_address(*place), proxy)
        if context is not None:
            await writer.start_tls(context, server_hostname=place[0])
    except BaseException:
        writer.close()
        raise
    return writer


def can_dial(address: str) -> bool:
    """Tells whether the address is one that is understood here; of others gRPC alone knows where they lead."""
    return socket_path(address) is not None or host_and_port(address) is not None


async def close(writer: asyncio.StreamWriter) -> None:
    """Closes the connection."""
    writer.close()
    try:
        await writer.wait_closed()
    except OSError:
        return  # the hub closed first, since nothing was said to it


async def _ask_proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, hub: str, proxy: Proxy) -> None:
    headers = "".join(f"{name}: {value}\r\n" for name, value in proxy.headers.items())
    writer.write(f"CONNECT {hub} HTTP/1.1\r\nHost: {hub}\r\n{headers}\r\n".encode())
    try:
        answer = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        raise ProxyRefusedError("it closed the connection") from error
    except asyncio.LimitOverrunError as error:
        raise ProxyRefusedError("its response has no end") from error
    status = answer.split(b"\r\n", 1)[0].decode("latin-1")
    if not status.startswith("HTTP/1.") or status.split()[1:2] != ["200"]:
        raise ProxyRefusedError(one_line(status)[:_MAX_SHOWN_CHARS])
