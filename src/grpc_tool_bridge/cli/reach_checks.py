"""The checks of ``doctor`` that need no gRPC: whether an address resolves, something listens there, and TLS works."""

import asyncio
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from grpc_tool_bridge.cli.failures import one_line
from grpc_tool_bridge.cli.options import HubOptions
from grpc_tool_bridge.transport.addresses import host_and_port, join_address, socket_path, split_address
from grpc_tool_bridge.transport.channel import grpc_roots
from grpc_tool_bridge.transport.proxies import Proxy, stays_here

# Characters of a proxy's response in an error text.
_MAX_SHOWN_CHARS = 80


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check."""

    name: str
    status: Literal["ok", "warn", "fail"]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a connection goes, and how.

    Attributes:
        what: What texts call it, such as ``hub``.
        address: Its address.
        uses_tls: Whether the connection uses TLS.
        tls_ca: The authorities to trust; None: those of gRPC.
        ca_option: The option that gives them.
        tls_cert, tls_key: The certificate of this client, and its key.
        server_name: The name in the certificate, if it is not the host.
        proxy: The proxy on the way.
        timeout: Seconds for each step; 0: no limit.
    """

    what: str
    address: str
    uses_tls: bool
    tls_ca: Path | None
    timeout: float
    ca_option: str = "--tls-ca"
    tls_cert: Path | None = None
    tls_key: Path | None = None
    server_name: str = ""
    proxy: Proxy | None = None

    @classmethod
    def of(cls, hub: HubOptions) -> Self:
        """Returns where a hub is."""
        return cls(
            what="hub",
            address=hub.address,
            uses_tls=hub.uses_tls,
            tls_ca=hub.tls_ca,
            proxy=hub.proxied(),
            timeout=hub.connect_timeout,
        )


async def check_reach(place: Place) -> AsyncIterator[Check]:
    """Yields the check of each step until one fails: the name, the connection, and TLS."""
    for step in (check_name, check_connection, check_tls):
        check = await step(place)
        if check is None:
            continue
        yield check
        if check.status == "fail":
            return


async def check_name(place: Place) -> Check | None:
    """Checks that the name of the host resolves; None: there is no name to resolve here."""
    # A proxy resolves the name itself.
    where = host_and_port(place.address) if place.proxy is None else split_address(place.proxy.address)
    if where is None:
        return None
    host, port = where
    try:
        async with asyncio.timeout(place.timeout or None):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except TimeoutError:
        return Check("address", "fail", f"no name server resolved {host} within {place.timeout:g} s")
    except OSError as error:
        return Check("address", "fail", f"{host} has no address: {error.strerror}; is the host name correct?")
    return Check("address", "ok", f"{host} is {', '.join(dict.fromkeys(str(item[4][0]) for item in found))}")


async def check_connection(place: Place) -> Check | None:
    """Checks that something listens there; None: only gRPC can find out."""
    if not _can_dial(place.address):
        return None
    began = time.perf_counter()
    what, proxy = place.what, place.proxy
    way = place.address if proxy is None else f"{place.address} through the proxy {proxy}"
    try:
        async with asyncio.timeout(place.timeout or None):
            writer = await _open_socket(place, None)
    except _ProxyRefusedError as error:
        return Check("connect", "fail", f"the proxy {proxy} does not connect to {place.address}: {error}")
    except (OSError, TimeoutError) as error:
        # asyncio puts a text of its own into strerror.
        why = os.strerror(error.errno) if error.errno else "no answer"
        running = f"is the {what} running"
        hint = f"{running} there?" if proxy is None else f"is this the right proxy, and {running}?"
        return Check("connect", "fail", f"cannot connect to {way}: {why}; {hint}")
    await _close(writer)
    return Check("connect", "ok", f"{way} took {(time.perf_counter() - began) * 1000:.1f} ms")


async def check_tls(place: Place) -> Check | None:
    """Checks the handshake, and whose certificate is shown; None: only gRPC can find out."""
    if not place.uses_tls:
        if stays_here(place.address, place.proxy):
            return Check("tls", "ok", "not used")
        return Check("tls", "warn", "not used: the connection is not encrypted")
    if not _can_dial(place.address):
        return None
    roots = place.tls_ca or grpc_roots()
    try:
        context = ssl.create_default_context(cafile=roots)
    except (ssl.SSLError, OSError) as error:
        return Check("tls", "fail", f"{roots} has no certificates in PEM form: {_why(error)}")
    if place.tls_cert is not None:
        try:
            context.load_cert_chain(place.tls_cert, place.tls_key)
        except (ssl.SSLError, OSError) as error:
            files = f"{place.tls_cert} and {place.tls_key}"
            return Check("tls", "fail", f"{files} are no certificate with its key in PEM form: {_why(error)}")
    context.set_alpn_protocols(["h2"])
    try:
        async with asyncio.timeout(place.timeout or None):
            writer = await _open_socket(place, context)
    except ssl.SSLCertVerificationError as error:
        why = f"the {place.what}'s certificate is not trusted: {error.verify_message}"
        return Check("tls", "fail", f"{why}; {place.ca_option} FILE names its authority")
    except (OSError, TimeoutError, _ProxyRefusedError) as error:
        return Check("tls", "fail", f"no handshake: {error}; does the {place.what} use TLS?")
    socket_info = writer.get_extra_info("ssl_object")
    text = f"{socket_info.version()}, certificate good until {socket_info.getpeercert()['notAfter']}"
    await _close(writer)
    return Check("tls", "ok", text)


def _why(error: OSError) -> str:
    return str(getattr(error, "reason", None) or error.strerror)


class _ProxyRefusedError(Exception):
    """The proxy does not connect; the text is its response."""


async def _open_socket(place: Place, context: ssl.SSLContext | None) -> asyncio.StreamWriter:
    """Connects, through the proxy if there is one, and with TLS if a context is given.

    Raises:
        OSError: Nothing accepts the connection.
        _ProxyRefusedError: The proxy accepts it, but does not connect.
    """
    path = socket_path(place.address)
    if path is not None:
        name = (place.server_name or "localhost") if context else None
        return (await asyncio.open_unix_connection(path, ssl=context, server_hostname=name))[1]
    where = host_and_port(place.address)
    assert where is not None  # noqa: S101 - _can_dial says so
    name = (place.server_name or where[0]) if context else None
    if place.proxy is None:
        return (await asyncio.open_connection(*where, ssl=context, server_hostname=name))[1]
    reader, writer = await asyncio.open_connection(*split_address(place.proxy.address))
    try:
        await _ask_proxy(reader, writer, join_address(*where), place.proxy)
        if context is not None:
            await writer.start_tls(context, server_hostname=name)
    except BaseException:
        writer.close()
        raise
    return writer


def _can_dial(address: str) -> bool:
    """Whether the address can be dialed here; only gRPC can resolve the others."""
    return socket_path(address) is not None or host_and_port(address) is not None


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    try:
        await writer.wait_closed()
    except OSError:
        return  # the peer closed first, since nothing was sent to it


async def _ask_proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: str, proxy: Proxy) -> None:
    headers = "".join(f"{name}: {value}\r\n" for name, value in proxy.headers.items())
    writer.write(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{headers}\r\n".encode())
    try:
        answer = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        raise _ProxyRefusedError("it closed the connection") from error
    except asyncio.LimitOverrunError as error:
        raise _ProxyRefusedError("its response has no end") from error
    status = answer.split(b"\r\n", 1)[0].decode("latin-1")
    if not status.startswith("HTTP/1.") or status.split()[1:2] != ["200"]:
        raise _ProxyRefusedError(one_line(status)[:_MAX_SHOWN_CHARS])
