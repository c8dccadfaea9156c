"""The hub's end of sockets that carry links."""

import asyncio
import itertools
import logging
import socket
import ssl
import sys
from typing import Any

from grpc_tool_bridge.aio import forks
from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.errors import ToolBridgeError, ValidationError
from grpc_tool_bridge.errors.faults import log_fault
from grpc_tool_bridge.errors.throttled_log import ThrottledLog
from grpc_tool_bridge.link.listener import LinkServer
from grpc_tool_bridge.link.socket import LINGER_SECONDS, READ_BYTES, SocketStream, enlarge_buffer, keep_alive
from grpc_tool_bridge.link.socket_dialer import ADDRESS_KEY, hello_metadata
from grpc_tool_bridge.link.socket_places import Place, check_peer, user_of
from grpc_tool_bridge.link.status import link_status_of
from grpc_tool_bridge.proto.dspex_bridge_pb2 import LinkHello, LinkStatus
from grpc_tool_bridge.rpc.authentication import Authenticator

_log = logging.getLogger(__name__)


# Connections that are accepted before others get a turn.
_BATCH = 16
# After the process has run out of files, among others.
_PAUSE_SECONDS = 1.0


class SocketListener:
    """Accepts connections for the links of one hub, at one socket.

    Args:
        links: Serves the links.
        authenticator: Decides with a peer's hello who it is; None: the hub does not authenticate.
        max_connections: Further connections are closed, unless one can be given up for them: one whose link has ended
            and whose peer has not closed it yet, or one in its handshake.
        max_handshakes: Of TLS, concurrently; a further one ends the oldest, as a genuine peer does not take long.
        handshake_timeout: Seconds for the handshake of TLS.
    """

    def __init__(
        self,
        links: LinkServer,
        authenticator: Authenticator | None,
        *,
        max_connections: int,
        max_handshakes: int,
        handshake_timeout: float,
    ) -> None:
        self._links = links
        self._authenticator = authenticator
        self._max_connections = max_connections
        self._max_handshakes = max_handshakes
        self._handshake_timeout = handshake_timeout
        # The hub's address, which both hellos have at a local socket.
        self._address: str | None = None
        self._place: Place | None = None
        self._socket: socket.socket | None = None
        self._context: ssl.SSLContext | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._scratch = memoryview(bytearray(READ_BYTES))
        self._streams: set[SocketStream] = set()
        self._serving: set[asyncio.Task[None]] = set()
        # Those of them that can be given up, the oldest first: connections in their handshake, and the streams of links
        # that have ended.
        self._handshakes: dict[asyncio.Task[Any], None] = {}
        self._lingering: dict[SocketStream, None] = {}
        self._tasks = TaskSet()
        self._numbers = itertools.count(1)
        # A peer could flood the log otherwise.
        self._throttled = ThrottledLog(_log)

    def listen_locally(self, address: str) -> None:
        """Listens on the local socket of the hub at ``host:port``.

        Raises:
            OSError: There is no safe place for the socket.
        """
        self._place = Place(address)
        self._address = address
        self._listen(self._place.socket)

    def listen_at(self, host: str, port: int, context: ssl.SSLContext | None) -> int:
        """Listens at a TCP port.

        Args:
            host: The name or address of an interface.
            port: 0: any free port.
            context: For TLS; None: there is none.

        Returns:
            The port.

        Raises:
            OSError: It cannot listen there.
        """
        family, _, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        try:
            if sys.platform != "win32":
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listening.bind(where)
            listening.listen(socket.SOMAXCONN)
            listening.setblocking(False)
        except BaseException:
            listening.close()
            raise
        self._context = context
        self._listen(listening)
        return int(listening.getsockname()[1])

    def _listen(self, listening: socket.socket) -> None:
        self._socket = listening
        self._accepting = self._tasks.spawn(self._accept_forever(listening), "accept connections of links")

    def stop_listening(self) -> None:
        """Accepts no further connections, and removes the local socket."""
        if self._place is not None:
            self._place.remove()
        if self._accepting is not None and self._socket is not None:
            self._accepting.cancel()
            # Not before the event loop has forgotten its descriptor, which another file may get.
            listening = self._socket
            self._accepting.add_done_callback(lambda _: listening.close())

    async def aclose(self) -> None:
        """Waits until the peers have read why their links have ended, for some seconds, and closes all connections."""
        if self._serving:
            await asyncio.wait(set(self._serving), timeout=2 * LINGER_SECONDS)
        await self._tasks.aclose()

    def abandon(self) -> None:
        """Closes everything after the event loop has ended."""
        if self._place is not None:
            self._place.remove()
        if self._socket is not None:
            self._socket.close()
        for stream in list(self._streams):
            stream.strand()
        self._tasks.abandon()

    def forked(self) -> None:
        """Closes the listening socket in a forked process; its connections do that themselves."""
        if self._socket is not None and self._socket.fileno() >= 0:
            forks.drop_descriptor(self._socket.fileno())

    # ------------------------------------------------------------------------------------------------ connections

    async def _accept_forever(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        for number in itertools.count(1):
            try:
                connected, address = await loop.sock_accept(listening)
            except OSError as error:
                if listening.fileno() < 0:
                    return
                self._throttled.warning("no connection could be accepted: %s", error)
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            try:
                self._check(connected)
            except OSError as error:
                self._throttled.warning("a connection was closed: %s", error)
                connected.close()
            else:
                task = self._tasks.spawn(self._serve(connected, self._name(address)), "link over a socket")
                self._serving.add(task)
                task.add_done_callback(self._serving.discard)
            if not number % _BATCH:
                await asyncio.sleep(0)

    def _check(self, connected: socket.socket) -> None:
        """Raises OSError if a connection must not be served."""
        if len(self._serving) >= self._max_connections and not self._give_one_up():
            raise OSError(f"{len(self._serving)} are open (max_connections)")
        if self._place is not None:
            check_peer(connected)
            enlarge_buffer(connected)
        else:
            keep_alive(connected)

    def _give_one_up(self) -> bool:
        """Makes room for a connection; returns False if every other one is in use."""
        if self._lingering:
            stream = next(iter(self._lingering))
            del self._lingering[stream]
            stream.strand()
            return True
        return self._end_oldest_handshake()

    def _end_oldest_handshake(self) -> bool:
        if not self._handshakes:
            return False
        task = next(iter(self._handshakes))
        del self._handshakes[task]
        return task.cancel()

    def _name(self, address: Any) -> str:
        """Returns the name of a peer, by which it has a budget of its own."""
        if self._place is not None:
            return f"socket:{next(self._numbers)}"
        host, port = address[:2]
        return f"ipv6:[{host}]:{port}" if ":" in host else f"ipv4:{host}:{port}"

    def _admit(self, hello: LinkHello) -> None:
        if self._address is not None:
            wanted = hello.metadata.get(ADDRESS_KEY)
            if wanted != self._address:
                raise ValidationError(f"the hub at this socket is {self._address}, and not {wanted!r:.100}")

    async def _serve(self, connected: socket.socket, peer: str) -> None:
        # Windows receives in the background.
        scratch = memoryview(bytearray(READ_BYTES)) if sys.platform == "win32" else self._scratch
        stream = SocketStream(
            scratch,
            metadata=hello_metadata(None, self._address),
            admit=self._admit,
            authenticator=self._authenticator,
            accepted=True,
            peer=peer,
            uid=None if self._place is None else user_of(connected),
        )
        self._streams.add(stream)
        try:
            if await self._is_connected(connected, stream):
                status = await self._status_of(stream)
                stream.close()
                self._lingering[stream] = None
                await stream.finish(status)
        finally:
            self._lingering.pop(stream, None)
            stream.strand()
            self._streams.discard(stream)

    async def _is_connected(self, connected: socket.socket, stream: SocketStream) -> bool:
        """Connects a stream to its socket; returns whether the peer could, which may fail with TLS."""
        tls: dict[str, Any] = {}
        task = asyncio.current_task()
        if self._context is not None and task is not None:
            tls["ssl_handshake_timeout"] = self._handshake_timeout
            if len(self._handshakes) >= self._max_handshakes:
                self._end_oldest_handshake()
            self._handshakes[task] = None
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: stream, connected, ssl=self._context, **tls
            )
        except OSError as error:
            _log.debug("%s did not connect: %s", stream.peer, error)
            connected.close()
            return False
        except BaseException:
            connected.close()
            raise
        finally:
            if task is not None:
                self._handshakes.pop(task, None)
            # The traceback of an error has this frame, and the task has the error.
            del task
        return True

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
