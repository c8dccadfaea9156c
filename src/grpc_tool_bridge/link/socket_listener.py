"""The hub's end of sockets that carry links."""

import asyncio
import itertools
import logging
import socket
from typing import Any

from grpc_tool_bridge.aio import forks
from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.errors import ToolBridgeError, ValidationError
from grpc_tool_bridge.errors.faults import log_fault
from grpc_tool_bridge.errors.throttled_log import ThrottledLog
from grpc_tool_bridge.link.listener import LinkServer
from grpc_tool_bridge.link.socket import LINGER_SECONDS, READ_BYTES, SocketStream
from grpc_tool_bridge.link.socket_dialer import ADDRESS_KEY, hello_metadata
from grpc_tool_bridge.link.socket_places import Place, UnusableError, check_peer
from grpc_tool_bridge.link.status import link_status_of
from grpc_tool_bridge.proto.dspex_bridge_pb2 import LinkHello, LinkStatus
from grpc_tool_bridge.rpc.authentication import Authenticator, Principal

_log = logging.getLogger(__name__)


class SocketListener:
    """Accepts connections for the links of one hub.

    Args:
        links: Serves the links.
        authenticator: Decides by the metadata of a peer's hello who it is; None: the hub does not authenticate.
        max_connections: Further connections are closed.
    """

    def __init__(self, links: LinkServer, authenticator: Authenticator | None, max_connections: int) -> None:
        self._links = links
        self._authenticator = authenticator
        self._max_connections = max_connections
        self._address: str | None = None
        self._place: Place | None = None
        self._server: asyncio.Server | None = None
        self._streams: set[SocketStream] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._tasks = TaskSet()
        self._numbers = itertools.count(1)
        # A peer could flood the log otherwise.
        self._throttled = ThrottledLog(_log)

    async def listen_locally(self, address: str) -> None:
        """Listens on the local socket of the hub at ``host:port``.

        Raises:
            OSError: There is no safe place for the socket.
        """
        self._address = address
        self._place = place = Place(address)
        try:
            make = self._factory()
            self._server = await asyncio.get_running_loop().create_unix_server(make, sock=place.socket)
        except BaseException:
            place.remove()
            place.socket.close()
            raise

    def stop_listening(self) -> None:
        """Accepts no further connections, and removes the local socket."""
        if self._place is not None:
            self._place.remove()
        if self._server is not None:
            self._server.close()

    async def aclose(self) -> None:
        """Waits until the peers have read why their links have ended, a second at most, and closes all connections."""
        if self._serving:
            await asyncio.wait(set(self._serving), timeout=2 * LINGER_SECONDS)
        await self._tasks.aclose()

    def abandon(self) -> None:
        """Closes everything after the event loop has ended."""
        if self._place is not None:
            self._place.remove()
            self._place.socket.close()
        for stream in self._streams:
            stream.strand()
        self._tasks.abandon()

    def forked(self) -> None:
        """Closes the listening socket in a forked process; its connections do that themselves."""
        if self._place is not None and self._place.socket.fileno() >= 0:
            forks.drop_descriptor(self._place.socket.fileno())

    def _factory(self) -> Any:
        scratch = memoryview(bytearray(READ_BYTES))
        metadata = hello_metadata(None, self._address)
        return lambda: SocketStream(
            scratch, metadata=metadata, admit=self._admit, accepted=True, on_connected=self._accept
        )

    def _admit(self, hello: LinkHello) -> Principal | None:
        principal = None
        if self._authenticator is not None:
            principal = self._authenticator.authenticate(hello.metadata.items())
        if self._address is not None:
            wanted = hello.metadata.get(ADDRESS_KEY)
            if wanted != self._address:
                raise ValidationError(f"the hub at this socket is {self._address}, and not {wanted!r:.100}")
        return principal

    def _accept(self, stream: SocketStream, transport: asyncio.Transport) -> None:
        if len(self._streams) >= self._max_connections:
            self._throttled.warning("a connection was closed: %d are open (max_connections)", len(self._streams))
            transport.abort()
            return
        connected = transport.get_extra_info("socket")
        if connected.family == socket.AF_UNIX:
            try:
                check_peer(connected)
            except UnusableError as error:
                self._throttled.warning("a connection was closed: %s", error)
                transport.abort()
                return
            # Each has a budget of its own, as each TCP connection has.
            stream.peer = f"socket:{next(self._numbers)}"
        self._streams.add(stream)
        task = self._tasks.spawn(self._serve(stream), "link over a socket")
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, stream: SocketStream) -> None:
        try:
            status = await self._status_of(stream)
            stream.close()
            await stream.finish(status)
        finally:
            stream.strand()
            self._streams.discard(stream)

    async def _status_of(self, stream: SocketStream) -> LinkStatus | None:
        """Serves a link; returns why it ended, for the peer."""
        try:
            await self._links.serve(stream)
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001 - every failure is a status
            status = link_status_of(error)
            if isinstance(error, ToolBridgeError):
                # The stack frames of its traceback keep the link alive.
                error.__traceback__ = error.__context__ = error.__cause__ = None
            elif not isinstance(error, OSError):
                log_fault(_log, "fault in a link: %s", status.message, error=error)
            return status
        return None
