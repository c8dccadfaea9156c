"""The gRPC server of a hub: its services, health, reflection, TLS and token."""

import asyncio
import errno
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import grpc.aio

from grpc_tool_bridge.aio import forks
from grpc_tool_bridge.aio.loop_internals import note_thread
from grpc_tool_bridge.aio.loops import note_use, silence_closed
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.link.listener import LinkedHub, LinkServer
from grpc_tool_bridge.link.socket_listener import SocketListener
from grpc_tool_bridge.rpc.authentication import Authenticator
from grpc_tool_bridge.rpc.budgets import Budget
from grpc_tool_bridge.rpc.methods import SERVICE_NAMES
from grpc_tool_bridge.rpc.peers import Peers, peers_of
from grpc_tool_bridge.transport import health, reflection
from grpc_tool_bridge.transport.addresses import (
    check_address,
    is_loopback,
    join_address,
    loopback_name,
    socket_path,
    split_address,
)
from grpc_tool_bridge.transport.channel import memory_options, receive_limit, server_options
from grpc_tool_bridge.transport.frames import link_behaviour
from grpc_tool_bridge.transport.open_files import socket_connection_limit
from grpc_tool_bridge.transport.reads import Reads
from grpc_tool_bridge.transport.server_tls import TlsFiles
from grpc_tool_bridge.transport.servicer import AuthenticationInterceptor, service_handler

# How many requests are read concurrently on connections without a token, and the seconds after which such a request
# counts as stalled.
MAX_OPEN_READS = 16
OPEN_GRACE_SECONDS = 0.25

_log = logging.getLogger(__name__)


class Serving(LinkedHub, Protocol):
    """What the server needs of a hub besides its methods.

    Attributes:
        peer_memory: Set to the server's ``Peers``, which know the memory of connections.
    """

    peer_memory: Any

    @property
    def memory(self) -> Budget:
        """The budget that everything the hub holds is charged to."""

    def on_serving(self, callback: "ServingCallback") -> None:
        """Calls ``callback`` whenever the hub starts or stops serving."""


class ServingCallback(Protocol):
    """Called with whether a hub serves."""

    def __call__(self, serving: bool, /) -> None:
        """Notes whether the hub serves."""


class Service(Protocol):
    """A service that is served beside those of the hub, with the same token and limits.

    Attributes:
        name: Its full name.
    """

    name: str

    def handler(self, reads: Reads) -> grpc.GenericRpcHandler:
        """Returns its handler; ``reads`` reads its requests."""


class GrpcServer:
    """Listens at one address for one hub.

    Args:
        hub: What is served.
        address: ``host:port`` (port 0: any free port), ``[ipv6]:port`` or ``unix:path``.
        settings: Token, TLS and limits.
        services: Served beside those of the hub.
        authenticator: Decides who peers are; None: everyone may connect.
    """

    def __init__(
        self,
        hub: Serving,
        address: str,
        settings: Settings,
        services: Sequence[Service] = (),
        *,
        authenticator: Authenticator | None = None,
    ) -> None:
        self.address = address
        self._authenticator = authenticator
        self._tls = TlsFiles.of(settings)
        self._services = services
        self._hub = hub
        self._settings = settings
        self.peers = peers_of(hub.memory, settings)
        hub.peer_memory = self.peers
        most = receive_limit(settings.max_message_bytes)
        self._reads = Reads(self.peers, most, seconds=settings.request_timeout)
        hub.memory.make_room = self._reads.make_room
        self._links = LinkServer(hub, settings, self.peers)
        self._server: grpc.aio.Server | None = None
        strangers = Peers(
            hub.memory,
            settings.max_unauthenticated_bytes,
            owner="this connection, which has shown no token,",
            setting="max_unauthenticated_bytes",
        )
        open_reads = Reads(
            strangers, most, seconds=settings.hello_timeout, grace=OPEN_GRACE_SECONDS, max_concurrent=MAX_OPEN_READS
        )
        self._names = (*SERVICE_NAMES, *(service.name for service in services))
        self._health = health.HealthService(("", *self._names), open_reads, max_watches=settings.max_health_watches)
        self.link_address = settings.link_address
        # At the local socket, and at the link address.
        self._listeners: list[SocketListener] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        forks.watch(self)

    async def start(self) -> None:
        """Starts to listen; ``address`` then has the port.

        Raises:
            ValidationError: The address is not valid, or is beyond loopback without TLS and token; or others can read
                the private key.
            OSError: The address is in use, or a file of the TLS settings cannot be read.
        """
        settings = self._settings
        forks.check_usable()
        authenticator = self._authenticator
        check_exposure(self.address, settings, authenticates=authenticator is not None)
        self._loop = asyncio.get_running_loop()
        note_use(self._loop)
        note_thread(self._loop)
        self._server = grpc.aio.server(
            interceptors=[] if authenticator is None else [AuthenticationInterceptor(authenticator)],
            options=(
                *server_options(settings.max_message_bytes, settings.keepalive_time, settings.keepalive_timeout),
                *memory_options(settings),
            ),
        )
        service = service_handler(
            self._hub,
            write_timeout=settings.stream_timeout,
            link=link_behaviour(self._links.serve, self._reads),
            reads=self._reads,
        )
        names = (*self._names, health.SERVICE_NAME, reflection.SERVICE_NAME)
        more = (other.handler(self._reads) for other in self._services)
        self._server.add_generic_rpc_handlers(
            (service, *more, self._health.handler(), reflection.reflection_handler(names, self._reads))
        )
        self._hub.on_serving(self._health.set_serving)
        self._listen_at_all(self._server)
        starting = asyncio.ensure_future(self._server.start())
        try:
            # gRPC's own start cannot be cancelled: its server would keep listening.
            await asyncio.shield(starting)
        except asyncio.CancelledError:
            await starting
            await self.stop(0)
            raise

    def abandon(self) -> None:
        """Frees the address of a server whose event loop has ended."""
        silence_closed()
        server, self._server = self._server, None
        for listener in self._listeners:
            listener.abandon()
        if server is not None:
            # Stopping it needs the loop that has ended, and so does freeing it.
            forks.keep(server)
            forks.drop_sockets(self.address)

    def forked(self) -> None:
        """Closes the server's address and connections in a forked process."""
        for listener in self._listeners:
            listener.forked()
        if self._server is not None:
            forks.keep(self._server)
            self._server = None
            forks.drop_sockets(self.address)
            forks.end_with_step(self._loop)

    def drain(self, grace: float) -> None:
        """Refuses new links, and tells all peers that their links end in ``grace`` seconds."""
        self._links.drain(grace)

    def pause_links(self, why: str, grace: float) -> None:
        """Refuses new links until ``resume_links``; arguments as for ``LinkServer.pause``."""
        self._links.pause(why, grace)

    def resume_links(self) -> None:
        """Takes new links again."""
        self._links.resume()

    def drop_links(self, session_id: str) -> int:
        """Ends the links that have opened a session, as if the network had; returns how many."""
        return self._links.drop(session_id)

    async def stop(self, grace: float) -> None:
        """Refuses new connections, gives open calls ``grace`` seconds to end, and closes the server."""
        server, self._server = self._server, None
        listeners = self._stop_taking_links()
        if server is not None:
            # gRPC's stop would wait for links, which do not end by themselves.
            await self._links.close(grace)
            for listener in listeners:
                await listener.aclose()
            await server.stop(grace)
            forks.note_closed()

    def _listen(self, server: grpc.aio.Server) -> None:
        try:
            if self._tls is not None:
                port = server.add_secure_port(self.address, self._tls.server_credentials())
            else:
                port = server.add_insecure_port(self.address)
        except RuntimeError as error:
            raise OSError(errno.EADDRINUSE, f"cannot listen at {self.address}: {_why_not(self.address)}") from error
        if not self.address.startswith("unix"):
            self.address = join_address(split_address(self.address)[0], port)

    def _listen_at_all(self, server: grpc.aio.Server) -> None:
        """Listens at every address, before any connection is accepted: whoever reaches the hub finds its socket."""
        try:
            if self.link_address is not None:
                self.link_address = self._listen_for_links(self.link_address)
            self._listen(server)
        except BaseException:
            self._stop_taking_links()
            raise
        address = loopback_name(self.address)
        if address is None or self._settings.tls_cert is not None or not self._settings.local_socket:
            return
        listener = self._listener()
        try:
            listener.listen_locally(address)
        except OSError as error:
            _log.warning("there is no local socket for links to %s, which go over gRPC: %s", address, error)
        else:
            self._listeners.append(listener)

    def _listen_for_links(self, address: str) -> str:
        """Listens over TCP; returns the address with its port."""
        authenticates = self._authenticator is not None
        check_exposure(address, self._settings, authenticates=authenticates, setting="link_address ")
        try:
            host, port = split_address(address)
        except ValueError as error:
            raise ValidationError(f"link_address: {error}") from None
        listener = self._listener()
        try:
            port = listener.listen_at(host, port, None if self._tls is None else self._tls.context())
        except OSError as error:
            if error.filename is not None:
                raise
            why = f"cannot listen at link_address {address}: {error.strerror or error}"
            raise OSError(error.errno or errno.EADDRINUSE, why) from error
        self._listeners.append(listener)
        return join_address(host, port)

    def _stop_taking_links(self) -> list[SocketListener]:
        listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener.stop_listening()
        return listeners

    def _listener(self) -> SocketListener:
        return SocketListener(
            self._links,
            self._authenticator,
            max_connections=socket_connection_limit(self._settings.max_connections),
            max_handshakes=self._settings.max_pending_links,
            handshake_timeout=self._settings.hello_timeout,
        )


def check_exposure(address: str, settings: Settings, *, authenticates: bool, setting: str = "") -> None:
    """Refuses to listen where others can connect, unless TLS and a token, or ``allow_insecure``, are set.

    Args:
        address: Where it would listen.
        settings: Whether there is TLS, and ``allow_insecure``.
        authenticates: Whether callers have to show who they are, with a token or otherwise.
        setting: The setting that has the address, for texts.

    Raises:
        ValidationError: It can be reached from other machines.
    """
    check_address(address, listening=True)
    if is_loopback(address):
        return
    missing = [
        what for what, there in (("TLS", settings.tls_cert is not None), ("a token", authenticates)) if not there
    ]
    if missing and not settings.allow_insecure:
        raise ValidationError(
            f"{setting}{address} can be reached from other machines, and {' and '.join(missing)} "
            f"{'are' if len(missing) > 1 else 'is'} not set: set tls_cert, tls_key and token, or what else tells who "
            "callers are, listen at 127.0.0.1, or set allow_insecure if the network itself is trusted"
        )
    if missing:
        _log.warning("listening at %s without %s (allow_insecure)", address, " and ".join(missing))


def _why_not(address: str) -> str:
    """Returns why the address cannot be used, which gRPC does not tell."""
    path = socket_path(address)
    if path is not None and not path.startswith("\0") and not Path(path).parent.is_dir():
        return f"there is no folder {Path(path).parent}"
    return "the address is in use or not this machine's; choose another"
