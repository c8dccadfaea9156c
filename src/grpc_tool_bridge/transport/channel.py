"""Channels: addresses, who may connect, and what gRPC is set to."""

import ipaddress
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio

from grpc_tool_bridge.argument_checks import check_count, check_flag, check_text
from grpc_tool_bridge.config import MAX_MESSAGE_BYTES, Settings
from grpc_tool_bridge.errors import ArgumentTypeError, ValidationError

# gRPC's own limit sits this much above the bridge's, so that it is the bridge that answers, with a clear error.
MESSAGE_HEADROOM = 4
# A frame of a link has to pass, however small the messages are that it carries.
LEAST_MESSAGE_LIMIT = 1024 * 1024
# Of the metadata of one RPC, names and values.
MAX_METADATA_BYTES = 16 * 1024

# What gRPC resolves by itself; any other address is host:port.
_NAMED_SCHEMES = ("unix:", "unix-abstract:", "dns:", "ipv4:", "ipv6:", "vsock:", "xds:")

# What people write who take it for a URL.
_URL_SCHEMES = ("http", "https", "grpc", "grpcs", "tcp")

MAX_PORT = 65_535

_WRITE = "write host:port, such as 127.0.0.1:50051 or [::1]:50051"

Option = tuple[str, int | str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """How a client reaches a hub.

    Attributes:
        address: ``host:port``, ``[ipv6]:port`` or ``unix:path``.
        token: Bearer token that the hub asks for; None: none.
        tls: Whether to use TLS.
        tls_ca: PEM file with the authorities to trust; None: the system's. Implies TLS.
        max_message_bytes: Payload of one request or response.
        keepalive_time, keepalive_timeout: Seconds; a silent connection is probed, and ends without an answer.
    """

    address: str
    token: str | None = None
    tls: bool = False
    tls_ca: Path | None = None
    max_message_bytes: int = MAX_MESSAGE_BYTES
    keepalive_time: float = 30.0
    keepalive_timeout: float = 10.0

    def __post_init__(self) -> None:
        """Checks what was given, before anybody waits for a hub that cannot be there.

        Raises:
            ValidationError: Something of it cannot be; the text names it.
        """
        check_address(self.address)
        if self.token is not None:
            check_text("token", self.token)
        check_flag("tls", self.tls)
        check_count("max_message_bytes", self.max_message_bytes, least=1)

    def open(self) -> grpc.aio.Channel:
        """Makes the channel; it connects when it is first used. Needs a running event loop.

        Raises:
            OSError: The file of the authorities cannot be read.
        """
        options = [
            *message_options(self.max_message_bytes),
            ("grpc.keepalive_time_ms", int(self.keepalive_time * 1000)),
            ("grpc.keepalive_timeout_ms", int(self.keepalive_timeout * 1000)),
            # A connection of its own for each bridge: one that is closed takes nobody else's with it.
            ("grpc.use_local_subchannel_pool", 1),
            # A tool's call is retried only by those who know that it may be.
            ("grpc.enable_retries", 0),
            ("grpc.initial_reconnect_backoff_ms", 100),
            # The pauses between the dials of a link are what rules, and these are short beside them: a dial that meets
            # one of gRPC's own fails unsent, and costs a pause more.
            ("grpc.max_reconnect_backoff_ms", 1_000),
        ]
        if not self.tls and self.tls_ca is None:
            return grpc.aio.insecure_channel(self.address, options=options)
        authorities = self.tls_ca.read_bytes() if self.tls_ca is not None else None
        credentials = grpc.ssl_channel_credentials(root_certificates=authorities)
        return grpc.aio.secure_channel(self.address, credentials, options=options)


class AuthorizedChannel:
    """A channel whose every call carries the token.

    The generated stub takes any object with these four methods. Metadata bound once to each callable costs next to
    nothing per call, unlike an interceptor.
    """

    def __init__(self, channel: grpc.aio.Channel, token: str) -> None:
        self._channel = channel
        self._metadata = (("authorization", f"Bearer {token}"),)

    def unary_unary(self, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        """As of a channel."""
        return self._authorize(self._channel.unary_unary(*args, **kwargs))

    def unary_stream(self, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        """As of a channel."""
        return self._authorize(self._channel.unary_stream(*args, **kwargs))

    def stream_unary(self, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        """As of a channel."""
        return self._authorize(self._channel.stream_unary(*args, **kwargs))

    def stream_stream(self, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        """As of a channel."""
        return self._authorize(self._channel.stream_stream(*args, **kwargs))

    def _authorize(self, call: Callable[..., Any]) -> Callable[..., Any]:
        token = self._metadata

        def authorized(*args: Any, metadata: Iterable[tuple[str, str | bytes]] | None = None, **kwargs: Any) -> Any:
            return call(*args, metadata=(*token, *metadata) if metadata else token, **kwargs)

        return authorized


def message_options(max_message_bytes: int) -> list[Option]:
    """Makes the options that set gRPC's limits above the bridge's."""
    limit = min(max(max_message_bytes * MESSAGE_HEADROOM, LEAST_MESSAGE_LIMIT), 2**31 - 1)
    return [("grpc.max_send_message_length", limit), ("grpc.max_receive_message_length", limit)]


def receive_limit(max_message_bytes: int) -> int:
    """Returns what a hub's gRPC receives at most in one message: a little over the bridge's limit, which answers."""
    return min(max(max_message_bytes + max_message_bytes // 2, LEAST_MESSAGE_LIMIT), 2**31 - 1)


def memory_options(settings: Settings) -> Sequence[Option]:
    """Makes the options of a hub's server that bound what gRPC itself holds; they come after the others."""
    return (
        ("grpc.max_receive_message_length", receive_limit(settings.max_message_bytes)),
        # What comes for an RPC that does not read is bounded by its window, 64 KiB; gRPC would widen it by and by.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.max_concurrent_streams", settings.max_connection_rpcs),
        ("grpc.max_allowed_incoming_connections", settings.max_connections),
        ("grpc.server_handshake_timeout_ms", int(settings.hello_timeout * 1000)),
        # Beyond these an RPC is refused before it is anybody's.
        ("grpc.max_metadata_size", MAX_METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
    )


def is_loopback(address: str) -> bool:
    """Tells whether nobody beyond this machine can reach a server that listens at ``address``."""
    if address.startswith(("unix:", "unix-abstract:")):
        return True
    host, _ = split_address(address)
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_address(address: object) -> None:
    """Refuses what is no address.

    Raises:
        ValidationError: It is none; the text says what to write.
    """
    if not isinstance(address, str):
        raise ArgumentTypeError(f"{address!r:.60} is no address; {_WRITE}")
    if not address.startswith(_NAMED_SCHEMES):
        try:
            split_address(address)
        except ValueError as error:
            raise ValidationError(str(error)) from None


def split_address(address: str) -> tuple[str, int]:
    """Splits ``host:port`` or ``[ipv6]:port``.

    Raises:
        ValueError: It is neither, or the port is no number from 0 to 65535.
    """
    scheme, _, rest = str(address).partition("://")
    if scheme in _URL_SCHEMES:
        raise ValueError(f"{address!r} is no address; leave {scheme}:// out: {rest.strip('/') or 'host:port'}")
    host, colon, port = str(address).rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit():
        raise ValueError(f"{address!r} is no address; {_WRITE}")
    if len(port) > len(str(MAX_PORT)) or int(port) > MAX_PORT:
        raise ValueError(f"{address!r} is no address; {_WRITE}; a port is at most {MAX_PORT}")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"{address!r} is no address; write an IPv6 host in brackets, such as [::1]:50051")
    return host, int(port)


def join_address(host: str, port: int) -> str:
    """Joins a host and a port, an IPv6 host in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def server_options(max_message_bytes: int, keepalive_time: float, keepalive_timeout: float) -> Sequence[Option]:
    """Makes the options of a hub's server; durations in seconds."""
    return (
        *message_options(max_message_bytes),
        # Two servers would share a port silently, each with half of the sessions.
        ("grpc.so_reuseport", 0),
        ("grpc.keepalive_time_ms", int(keepalive_time * 1000)),
        ("grpc.keepalive_timeout_ms", int(keepalive_timeout * 1000)),
        # Clients probe as often as they are set to by default; gRPC would take half of that for an attack.
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
        ("grpc.keepalive_permit_without_calls", 1),
    )
