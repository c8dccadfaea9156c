"""How a link to a hub is dialled: over the hub's local socket where it has one, else over gRPC."""

import logging
from typing import Literal

from grpc_tool_bridge.aio import forks
from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.errors import ToolBridgeError, ValidationError
from grpc_tool_bridge.link.socket_dialer import dial_local
from grpc_tool_bridge.link.socket_places import UnusableError
from grpc_tool_bridge.link.status import Code, code_of, link_error
from grpc_tool_bridge.link.streams import Dialable, Endpoint, FrameStream, PushStream
from grpc_tool_bridge.transport.addresses import loopback_name
from grpc_tool_bridge.transport.channel import Connection
from grpc_tool_bridge.transport.frames import GrpcEndpoint, GrpcWay
from grpc_tool_bridge.transport.plain_calls import PlainCalls

# How links are dialled: "link" takes the local socket where there is one, "socket" nothing else.
LinkKind = Literal["link", "socket"]

# The hub has decided, and would decide the same over gRPC.
_FINAL = (Code.UNAUTHENTICATED, Code.PERMISSION_DENIED)

_log = logging.getLogger(__name__)


def endpoint_of(connection: Connection, kind: LinkKind = "link") -> Endpoint:
    """Returns where the links of a connection are dialled.

    Raises:
        ValidationError: ``kind`` is "socket", and the connection cannot go over a local socket.
    """
    refusal = why_no_socket(connection)
    if refusal is None:
        return LocalEndpoint(connection, kind)
    if kind == "socket":
        raise ValidationError(f"transport='socket' cannot reach {connection.where}: {refusal}")
    return GrpcEndpoint(connection)


def why_no_socket(connection: Connection) -> str | None:
    """Returns why a connection never goes over a local socket; None if it does where the hub has one."""
    if connection.uses_tls:
        return "TLS was asked for, which only gRPC has"
    if connection.proxy is not None:
        return "it is reached through a proxy"
    if loopback_name(connection.address) is None:
        return "a local socket belongs to a hub at a loopback host:port, such as 127.0.0.1:50051"
    return None


class LocalEndpoint:
    """A hub that may have a local socket.

    Args:
        connection: How it is reached.
        kind: "link": over gRPC if it has no local socket; "socket": not at all.
    """

    def __init__(self, connection: Connection, kind: LinkKind) -> None:
        self.where = connection.where
        self._connection = connection
        self._kind = kind

    def open(self) -> "LocalWay":
        """See ``Endpoint``."""
        forks.check_usable()
        return LocalWay(self._connection, self._kind)


class LocalWay(Dialable):
    """The way to a hub that may have a local socket; a channel is opened when a link needs one.

    Args:
        connection: How the hub is reached.
        kind: As for ``LocalEndpoint``.
    """

    def __init__(self, connection: Connection, kind: LinkKind) -> None:
        self._connection = connection
        self._address = loopback_name(connection.address) or ""
        self._kind = kind
        self._grpc: GrpcWay | None = None
        # Whether the last dial went over the socket, and why the next one must not.
        self._over_socket = False
        self._refused = ""

    async def dial(self) -> FrameStream | PushStream:
        """See ``Dialable``."""
        why, self._refused, self._over_socket = self._refused, "", False
        if not why:
            try:
                stream = await dial_local(self._address, self._connection.token)
            except UnusableError as error:
                if self._kind == "socket":
                    raise link_error(Code.UNAVAILABLE, f"no link over a local socket: {error}") from None
                why = str(error)
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
        _log.info(
            "the local socket of %s gives no link, which goes over gRPC instead: %s", self._address, error.message
        )
        self._refused = f"its local socket gives no link: {error.message}"
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
