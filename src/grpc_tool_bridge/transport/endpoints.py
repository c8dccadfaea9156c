"""How a link to a hub is dialled: over a socket where the hub has one that may be trusted, else over gRPC."""

import logging
import ssl
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Literal

from grpc_tool_bridge.aio import forks
from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.errors import ToolBridgeError, ValidationError
from grpc_tool_bridge.link.socket import SocketStream
from grpc_tool_bridge.link.socket_dialer import dial_local, dial_tcp
from grpc_tool_bridge.link.status import Code, code_of, link_error
from grpc_tool_bridge.link.streams import Dialable, Endpoint, FrameStream, PushStream
from grpc_tool_bridge.transport.addresses import loopback_name, split_address
from grpc_tool_bridge.transport.channel import Connection, grpc_roots
from grpc_tool_bridge.transport.frames import GrpcEndpoint, GrpcWay
from grpc_tool_bridge.transport.plain_calls import PlainCalls
from grpc_tool_bridge.transport.several import SeveralEndpoints
from grpc_tool_bridge.transport.tokens import current_token

# How links are dialled: "link" takes a socket where there is one, "socket" nothing else.
LinkKind = Literal["link", "socket"]

# The hub has decided, and would decide the same over gRPC.
_FINAL = (Code.UNAUTHENTICATED, Code.PERMISSION_DENIED)

_log = logging.getLogger(__name__)


def endpoint_of(connection: Connection, kind: LinkKind = "link") -> Endpoint:
    """Returns where the links of a connection are dialled.

    Raises:
        ValidationError: ``kind`` is none of them, or it is "socket", and the connection cannot go over a socket.
    """
    connections = connection.each()
    if len(connections) > 1:
        return SeveralEndpoints([endpoint_of(each, kind) for each in connections], connection.keepalive)
    if kind not in ("link", "socket"):
        raise ValidationError(f"transport must be 'link' or 'socket', not {kind!r:.60}")
    refusal = why_no_socket(connection)
    if refusal is None:
        return SocketEndpoint(connection, kind)
    if kind == "socket":
        raise ValidationError(f"transport='socket' cannot reach {connection.where}: {refusal}")
    return GrpcEndpoint(connection)


def why_no_socket(connection: Connection) -> str | None:
    """Returns why links of a connection never go over a socket; None if they may."""
    if connection.link_address is not None:
        return None
    if connection.uses_tls:
        return "TLS was asked for, which a local socket has not; give a link_address"
    if connection.proxy is not None:
        return "it is reached through a proxy"
    if loopback_name(connection.address) is None:
        return "a local socket belongs to a hub at a loopback host:port, such as 127.0.0.1:50051; give a link_address"
    return None


class SocketEndpoint:
    """A hub that may take links over a socket: at a link address if there is one, else at its local socket.

    Args:
        connection: How it is reached.
        kind: "link": over gRPC if there is no link over the socket; "socket": not at all.
    """

    def __init__(self, connection: Connection, kind: LinkKind) -> None:
        self.where = connection.where
        self._connection = connection
        self._kind = kind

    def open(self) -> "SocketWay":
        """See ``Endpoint``."""
        forks.check_usable()
        return SocketWay(self._connection, self._kind)


class SocketWay(Dialable):
    """The way to a hub that may take links over a socket; a channel is opened when a link needs one.

    Args:
        connection: How the hub is reached.
        kind: As for ``SocketEndpoint``.

    Raises:
        OSError: The file of the authorities cannot be read.
    """

    def __init__(self, connection: Connection, kind: LinkKind) -> None:
        self._connection = connection
        self._kind = kind
        self._dial_socket = _dial_function(connection)
        self._grpc: GrpcWay | None = None
        # Whether the last dial went over the socket, and why the next one must not.
        self._over_socket = False
        self._refused = ""

    async def dial(self) -> FrameStream | PushStream:
        """See ``Dialable``."""
        why, self._refused, self._over_socket = self._refused, "", False
        if not why:
            try:
                stream = await self._dial_socket(await current_token(self._connection.token))
            except OSError as error:
                why = _reason(error)
                if self._kind == "socket":
                    raise link_error(Code.UNAVAILABLE, f"no link over a socket: {why}") from None
            else:
                self._over_socket = True
                return stream
        over_grpc = await self._over_grpc().dial()
        over_grpc.over = f"gRPC, because {why}"
        return over_grpc

    def dial_otherwise(self, error: ToolBridgeError) -> bool:
        """See ``Dialable``: a socket that gives no link must not keep anybody from the hub."""
        if not self._over_socket or self._kind == "socket" or code_of(error) in _FINAL:
            return False
        where = self._connection.where
        _log.info("the socket of the hub at %s gives no link, which goes over gRPC instead: %s", where, error.message)
        self._refused = f"its socket gives no link: {error.message}"
        return True

    def plain_calls(self, tasks: TaskSet) -> PlainCalls:
        """See ``Dialable``: each call is an RPC of its own."""
        return self._over_grpc().plain_calls(tasks)

    async def close(self, *, stranded: bool = False) -> None:
        """Closes the channel, if there is one."""
        if self._grpc is not None:
            await self._grpc.close(stranded=stranded)

    def _over_grpc(self) -> GrpcWay:
        if self._grpc is None:
            self._grpc = GrpcEndpoint(self._connection).open()
        return self._grpc


def _dial_function(connection: Connection) -> Callable[[str | None], Awaitable[SocketStream]]:
    """Returns what dials with a token."""
    if connection.link_address is None:
        return partial(dial_local, loopback_name(connection.address) or "")
    host, port = split_address(connection.link_address)
    context = _tls_context(connection)

    def dial(token: str | None) -> Awaitable[SocketStream]:
        # A certificate of its own is read again with each dial, as it may have been replaced.
        return dial_tcp(host, port, token, context if connection.tls_cert is None else _tls_context(connection))

    return dial


def _tls_context(connection: Connection) -> ssl.SSLContext | None:
    if not connection.uses_tls:
        return None
    context = ssl.create_default_context(cafile=connection.tls_ca or grpc_roots())
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if connection.tls_cert is not None:
        context.load_cert_chain(connection.tls_cert, connection.tls_key, password="")
    return context


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not trusted: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return "nobody answers there"
    return str(error) or type(error).__name__
