"""Channels to a hub, and the options of gRPC at both ends."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc.aio

from grpc_tool_bridge.aio import forks
from grpc_tool_bridge.config import MAX_MESSAGE_BYTES
from grpc_tool_bridge.config.argument_checks import check_count, check_flag, check_text
from grpc_tool_bridge.config.secret_files import read_secret
from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.link.keepalive import KeepAlive
from grpc_tool_bridge.transport.address_lists import pair_addresses, shown_addresses, split_addresses
from grpc_tool_bridge.transport.addresses import check_address, is_loopback, split_address
from grpc_tool_bridge.transport.open_files import connection_limit
from grpc_tool_bridge.transport.proxies import Option, channel_target, proxy_for, stays_here
from grpc_tool_bridge.transport.tokens import TokenSource, token_interceptors

if TYPE_CHECKING:
    from grpc_tool_bridge.config import Settings

# gRPC's own limit is so many times the bridge's, so that the bridge refuses a message, with a clear error.
MESSAGE_HEADROOM = 4
# A frame of a link must pass, however small the limit for messages is.
LEAST_MESSAGE_LIMIT = 1024 * 1024
# Seconds of ``Connection.keepalive_time`` and ``keepalive_timeout``, with one address and with several: if there is
# another hub to go to, one that is gone should be noticed soon.
KEEPALIVE = (30.0, 10.0)
KEEPALIVE_OF_SEVERAL = (5.0, 3.0)

# Of the metadata of one RPC, names and values.
MAX_METADATA_BYTES = 16 * 1024

# More calls than a client has open; each that is left in a loop that has ended fails one attempt to close its channel.
_MAX_STRANDED_CALLS = 100_000

# How often a peer may ping the hub, and how many pings may come too early before its connection ends. Most gRPC
# libraries let a client ping every 10 seconds at most, but some as often as it likes.
LEAST_PING_SECONDS = 0.1
MAX_PING_STRIKES = 10

# A connection without RPCs and links for this long is closed: a peer may open thousands and send nothing. A client that
# calls again connects again.
MAX_IDLE_SECONDS = 300.0

# RPCs of all connections that wait for the event loop to begin them.
MAX_PENDING_RPCS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """How a client reaches a hub.

    Attributes:
        address: ``host:port``, ``[ipv6]:port`` or ``unix:path``; or several with commas between them, which are tried
            in this order. Everything else is the same for all of them.
        token: Bearer token, if the hub requires one, or a function that gives it, see ``TokenSource``. Beyond this
            machine it is sent over TLS only.
        tls: Whether to use TLS.
        tls_ca: PEM file with the authorities to trust; None: those that gRPC ships. Implies TLS.
        tls_cert: PEM file with the certificate that this client shows, if the hub asks for one. Implies TLS.
        tls_key: PEM file with its private key.
        proxy: ``http://[user:password@]host:port`` of a proxy, or ``env`` for the proxy set in the environment; None:
            connect directly, whatever is set in the environment.
        allow_insecure: Send the token beyond this machine without TLS, because the network itself is trusted.
        link_address: ``host:port`` at which the hub takes links over TCP; with several addresses, one for each of them,
            in the same order. None: links go over gRPC, or the hub's local socket.
        max_message_bytes: Maximum size of one request or response.
        keepalive_time: Seconds without traffic after which the connection is probed; None: 30, or 5 with several
            addresses.
        keepalive_timeout: Seconds that a probe may stay unanswered before the connection ends; with several addresses,
            also a dial before the next one is tried. None: 10, or 3 with several addresses.
    """

    address: str
    token: TokenSource | None = field(default=None, repr=False)
    tls: bool = False
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    proxy: str | None = field(default=None, repr=False)
    allow_insecure: bool = False
    link_address: str | None = None
    max_message_bytes: int = MAX_MESSAGE_BYTES
    keepalive_time: float | None = None
    keepalive_timeout: float | None = None

    def __post_init__(self) -> None:
        """Checks the arguments, before anyone waits for a hub that cannot be reached with them.

        Raises:
            ValidationError: An argument is not valid.
        """
        if len(self.addresses) > 1:
            # Each is checked by itself.
            self.each()
            return
        if self.token is not None and not callable(self.token):
            check_text("token", self.token)
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValidationError("a client certificate needs its key: give both tls_cert and tls_key")
        check_flag("tls", self.tls)
        check_flag("allow_insecure", self.allow_insecure)
        check_count("max_message_bytes", self.max_message_bytes, least=1)
        proxy = proxy_for(self.address, self.proxy)
        way = f"{self.address}{'' if proxy is None else f' through the proxy {proxy}'}"
        exposed = not stays_here(self.address, proxy)
        if self.link_address is not None:
            self._check_link_address(self.link_address)
            if not exposed and not is_loopback(self.link_address):
                way, exposed = self.link_address, True
        if exposed and self.token is not None and not self.uses_tls and not self.allow_insecure:
            raise ValidationError(
                f"the token would be sent to {way} without TLS, where others may read it: set tls or tls_ca, or "
                "allow_insecure if the network itself is trusted"
            )

    def _check_link_address(self, address: str) -> None:
        check_address(address)
        if self.proxy is not None:
            raise ValidationError("link_address: links over TCP use no proxy; leave one of them out")
        try:
            split_address(address)
        except ValueError as error:
            raise ValidationError(f"link_address: {error}") from None

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses in ``address``, usually one."""
        return split_addresses(self.address)

    def each(self) -> tuple["Connection", ...]:
        """Returns a connection for each address.

        Raises:
            ValidationError: One of them is not valid, or there are not as many link addresses.
        """
        pairs = pair_addresses(self.address, self.link_address)
        if len(pairs) == 1:
            return (self,)
        time, timeout = self.keepalive
        return tuple(
            replace(self, address=address, link_address=link, keepalive_time=time, keepalive_timeout=timeout)
            for address, link in pairs
        )

    @property
    def keepalive(self) -> KeepAlive:
        """``keepalive_time`` and ``keepalive_timeout``."""
        time, timeout = KEEPALIVE_OF_SEVERAL if len(self.addresses) > 1 else KEEPALIVE
        given = (self.keepalive_time, self.keepalive_timeout)
        return KeepAlive(time if given[0] is None else given[0], timeout if given[1] is None else given[1])

    @property
    def uses_tls(self) -> bool:
        """Whether the connection uses TLS."""
        return self.tls or self.tls_ca is not None or self.tls_cert is not None

    @property
    def where(self) -> str:
        """The hub's address and the proxy, for error texts; of several, the first few."""
        if len(self.addresses) > 1:
            return shown_addresses(tuple(connection.where for connection in self.each()))
        proxy = proxy_for(self.address, self.proxy)
        return self.address if proxy is None else f"{self.address} (through the proxy {proxy})"

    def open(self) -> grpc.aio.Channel:
        """Returns a channel to the one address, which connects when it is first used; needs a running event loop.

        Raises:
            OSError: A file of the TLS settings cannot be read.
            ValueError: Others can read the private key.
            ProtocolError: gRPC does not work in this process, which was forked while gRPC was active.
        """
        forks.check_usable()
        target, proxy_options = channel_target(self.address, proxy_for(self.address, self.proxy))
        time, timeout = self.keepalive
        options = [
            *proxy_options,
            *message_options(self.max_message_bytes),
            ("grpc.keepalive_time_ms", int(time * 1000)),
            ("grpc.keepalive_timeout_ms", int(timeout * 1000)),
            # For a hub whose system still acknowledges what it receives; gRPC would wait a minute.
            ("grpc.http2.ping_timeout_ms", int(timeout * 1000)),
            # Otherwise an idle connection would be probed twice and then once a minute.
            ("grpc.http2.max_pings_without_data", 0),
            # A connection for each bridge: closing one must not affect others.
            ("grpc.use_local_subchannel_pool", 1),
            # Only the bridge knows which calls may be retried.
            ("grpc.enable_retries", 0),
            # DNS must not configure how calls are made.
            ("grpc.service_config_disable_resolution", 1),
            ("grpc.initial_reconnect_backoff_ms", 100),
            # The pauses between the dials of a link decide; gRPC's own are shorter: a dial during one of gRPC's pauses
            # fails unsent, and costs another pause.
            ("grpc.max_reconnect_backoff_ms", 1_000),
        ]
        asks = token_interceptors(self.token) if callable(self.token) else None
        if not self.uses_tls:
            return grpc.aio.insecure_channel(target, options=options, interceptors=asks)
        authorities, own = (None if file is None else file.read_bytes() for file in (self.tls_ca, self.tls_cert))
        key = None if self.tls_key is None else read_secret(self.tls_key, "tls_key")
        credentials = grpc.ssl_channel_credentials(authorities, key, own)
        return grpc.aio.secure_channel(target, credentials, options=options, interceptors=asks)


async def close_stranded(channel: Any) -> None:
    """Closes a channel whose event loop has ended, without waiting for the running loop."""
    for _ in range(_MAX_STRANDED_CALLS):
        try:
            await channel.close()
        except RuntimeError:
            continue
        return


class AuthorizedChannel:
    """A channel that sends the token with every call.

    The generated stub accepts any object with these four methods. Binding metadata once to each callable costs next to
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


def grpc_roots() -> Path:
    """Returns the file of the authorities that gRPC trusts by default."""
    named = Path(os.environ.get("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", ""))
    if named.is_file():
        return named
    return Path(grpc.__file__).parent / "_cython" / "_credentials" / "roots.pem"


def message_options(max_message_bytes: int) -> list[Option]:
    """Returns the options that set gRPC's limits above the bridge's."""
    limit = min(max(max_message_bytes * MESSAGE_HEADROOM, LEAST_MESSAGE_LIMIT), 2**31 - 1)
    return [("grpc.max_send_message_length", limit), ("grpc.max_receive_message_length", limit)]


def receive_limit(max_message_bytes: int) -> int:
    """Returns gRPC's limit for a message to a hub: a little above the bridge's, which refuses with a clear error."""
    return min(max(max_message_bytes + max_message_bytes // 2, LEAST_MESSAGE_LIMIT), 2**31 - 1)


def memory_options(settings: "Settings") -> Sequence[Option]:
    """Returns the options of a hub's server that bound gRPC's own memory; they come after the others."""
    return (
        ("grpc.max_receive_message_length", receive_limit(settings.max_message_bytes)),
        # An RPC that does not read buffers at most its window of 64 KiB; gRPC would enlarge it over time.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.max_concurrent_streams", settings.max_connection_rpcs),
        ("grpc.max_allowed_incoming_connections", connection_limit(settings.max_connections)),
        # Beyond its own bound, gRPC cancels RPCs that wait to be begun, whoever made them.
        ("grpc.server.max_pending_requests", MAX_PENDING_RPCS),
        ("grpc.server.max_pending_requests_hard_limit", 2 * MAX_PENDING_RPCS),
        ("grpc.max_connection_idle_ms", int(MAX_IDLE_SECONDS * 1000)),
        ("grpc.server_handshake_timeout_ms", int(settings.hello_timeout * 1000)),
        # An RPC with more metadata is refused before any handler sees it.
        ("grpc.max_metadata_size", MAX_METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
    )


def server_options(max_message_bytes: int, keepalive_time: float, keepalive_timeout: float) -> Sequence[Option]:
    """Returns the options of a hub's server; durations in seconds."""
    return (
        *message_options(max_message_bytes),
        # Otherwise two servers could share a port silently, each with half of the sessions.
        ("grpc.so_reuseport", 0),
        ("grpc.keepalive_time_ms", int(keepalive_time * 1000)),
        ("grpc.keepalive_timeout_ms", int(keepalive_timeout * 1000)),
        ("grpc.http2.min_ping_interval_without_data_ms", int(LEAST_PING_SECONDS * 1000)),
        ("grpc.http2.max_ping_strikes", MAX_PING_STRIKES),
        ("grpc.keepalive_permit_without_calls", 1),
    )
