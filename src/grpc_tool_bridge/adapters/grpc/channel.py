"""The connection to a gRPC service."""

import grpc.aio

from grpc_tool_bridge.adapters.grpc.config import ServiceConfig
from grpc_tool_bridge.aio import forks
from grpc_tool_bridge.transport.proxies import channel_target

_RECONNECT_FIRST_MS = 100
_RECONNECT_LAST_MS = 2_000
# For one try to connect: over TLS to another continent it takes a second.
_CONNECT_MS = 5_000


def read_credentials(config: ServiceConfig) -> grpc.ChannelCredentials | None:
    """Reads the certificates of a connection with TLS; None: it has none. Blocks.

    Raises:
        OSError: A file cannot be read.
    """
    if not config.tls:
        return None
    ca, key, cert = (
        None if path is None else path.read_bytes() for path in (config.tls_ca, config.tls_key, config.tls_cert)
    )
    return grpc.ssl_channel_credentials(root_certificates=ca, private_key=key, certificate_chain=cert)


def open_channel(config: ServiceConfig, credentials: grpc.ChannelCredentials | None) -> grpc.aio.Channel:
    """Returns a channel that connects when it is first used; needs a running event loop.

    Raises:
        ProtocolError: gRPC does not work in this process, which was forked while gRPC was active.
    """
    forks.check_usable()
    target, direct = channel_target(config.address, None)
    options: list[tuple[str, int | str]] = [
        *direct,
        ("grpc.max_receive_message_length", config.max_message_bytes),
        # Requests are measured before they are sent.
        ("grpc.max_send_message_length", -1),
        # A connection of its own: closing it must not affect others to the same address.
        ("grpc.use_local_subchannel_pool", 1),
        # Only the bridge's callers know which calls may be repeated, and DNS must not configure how they are made.
        ("grpc.enable_retries", 0),
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.initial_reconnect_backoff_ms", _RECONNECT_FIRST_MS),
        # Also the least time that a try may take; one that is refused is repeated sooner.
        ("grpc.min_reconnect_backoff_ms", _CONNECT_MS),
        ("grpc.max_reconnect_backoff_ms", _RECONNECT_LAST_MS),
        ("grpc.primary_user_agent", "grpc-tool-bridge"),
    ]
    if config.keepalive_time is not None:
        options += [
            ("grpc.keepalive_time_ms", int(config.keepalive_time * 1_000)),
            ("grpc.keepalive_timeout_ms", int(config.keepalive_timeout * 1_000)),
            ("grpc.http2.max_pings_without_data", 0),
        ]
    if config.authority:
        options.append(("grpc.default_authority", config.authority))
    if config.tls_server_name:
        options.append(("grpc.ssl_target_name_override", config.tls_server_name))
    if credentials is None:
        return grpc.aio.insecure_channel(target, options=options)
    return grpc.aio.secure_channel(target, credentials, options=options)
