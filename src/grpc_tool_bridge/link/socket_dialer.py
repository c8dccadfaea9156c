"""The dialler's end of sockets that carry links."""

import asyncio
import ssl
from collections.abc import Mapping

from grpc_tool_bridge.errors import ProtocolError
from grpc_tool_bridge.link.socket import READ_BYTES, SocketStream, enlarge_buffer, keep_alive
from grpc_tool_bridge.link.socket_places import connect_to
from grpc_tool_bridge.proto.dspex_bridge_pb2 import LinkHello
from grpc_tool_bridge.rpc.authentication import HEADER

# The name under which both hellos have the hub's address, over a local socket.
ADDRESS_KEY = "address"

# For a connection over TCP and its handshake of TLS.
CONNECT_SECONDS = 20.0

# A hub that accepts a local socket but sends no hello for so long is stuck, or is not a hub.
GREETING_SECONDS = 5.0


async def dial_local(address: str, token: str | None) -> SocketStream:
    """Connects to the local socket of the hub at ``host:port``.

    Args:
        address: The hub's address, as the hub writes it.
        token: Sent in the hello; None: none.

    Raises:
        UnusableError: There is no socket that may be trusted, or nobody accepts connections there.
    """
    path, connected = connect_to(address)

    def admit(hello: LinkHello) -> None:
        found = hello.metadata.get(ADDRESS_KEY)
        if found != address:
            raise ProtocolError(f"the hub behind {path} says that it is at {found!r:.100}, not at {address}")

    stream = SocketStream(
        memoryview(bytearray(READ_BYTES)),
        metadata=hello_metadata(token, address),
        admit=admit,
        peer=str(path),
    )
    stream.greeting_seconds = GREETING_SECONDS
    enlarge_buffer(connected)
    try:
        await asyncio.get_running_loop().create_unix_connection(lambda: stream, sock=connected)
    except BaseException:
        connected.close()
        raise
    return stream


async def dial_tcp(host: str, port: int, token: str | None, context: ssl.SSLContext | None) -> SocketStream:
    """Connects to the TCP port at which a hub takes links.

    Args:
        host: The hub's name or address; with TLS, that of its certificate.
        port: The port.
        token: Sent in the hello; None: none.
        context: For TLS; None: there is none.

    Raises:
        OSError: Nobody accepts connections there, or the certificate is not trusted.
    """
    stream = SocketStream(memoryview(bytearray(READ_BYTES)), metadata=hello_metadata(token, None), peer=host)
    stream.over = "TCP" if context is None else "TCP with TLS"
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(CONNECT_SECONDS):
        transport, _ = await loop.create_connection(lambda: stream, host, port, ssl=context)
    keep_alive(transport.get_extra_info("socket"))
    return stream


def hello_metadata(token: str | None, address: str | None) -> Mapping[str, str]:
    """Returns the metadata of a hello.

    Args:
        token: The dialler's; None: none.
        address: The hub's, over a local socket; None: over another one.
    """
    metadata = {} if token is None else {HEADER: f"Bearer {token}"}
    return metadata if address is None else {**metadata, ADDRESS_KEY: address}
