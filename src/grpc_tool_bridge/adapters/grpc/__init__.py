"""Methods of gRPC services as tools of the bridge."""

import os
from collections.abc import Mapping, Sequence

from grpc_tool_bridge.adapters.grpc.bounds import Bounds
from grpc_tool_bridge.adapters.grpc.config import ServiceConfig, config_of, distinct, read_config_file
from grpc_tool_bridge.adapters.grpc.service import GrpcService

__all__ = ["Bounds", "GrpcService", "ServiceConfig", "import_grpc", "import_grpc_config"]


def import_grpc(
    source: str | ServiceConfig,
    *,
    name: str | None = None,
    prefix: str | None = None,
    methods: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
    tls: bool | None = None,
    tls_ca: str | os.PathLike[str] | None = None,
    tls_cert: str | os.PathLike[str] | None = None,
    tls_key: str | os.PathLike[str] | None = None,
    tls_server_name: str | None = None,
    authority: str | None = None,
    metadata: Mapping[str, str | bytes] | None = None,
    forward: Sequence[str] | None = None,
    descriptor_set: str | os.PathLike[str] | None = None,
    proto: str | os.PathLike[str] | None = None,
    proto_include: Sequence[str | os.PathLike[str]] | None = None,
    max_message_bytes: int | None = None,
    keepalive_time: float | None = None,
    keepalive_timeout: float | None = None,
    timeout: float | None = None,
    refresh: float | None = None,
    away_seconds: float | None = None,
    bounds: Bounds | None = None,
) -> GrpcService:
    """Imports the methods of the gRPC services at an address.

    ``BridgeServer(sources=[import_grpc("127.0.0.1:5000")])`` offers each as a tool named ``package.Service.Method``,
    whose arguments are the fields of its request. The services describe themselves by reflection, unless
    ``descriptor_set`` or ``proto`` describes them. ``async with import_grpc("127.0.0.1:5000") as service:`` connects
    without a hub, and ``service.tools`` are its tools.

    Args:
        source: An address: ``host:port``, ``[ipv6]:port``, ``unix:PATH``, ``dns:///…``, or ``grpcs://host:port`` for
            TLS; perhaps after ``NAME=``. Or a ServiceConfig, which the other arguments complete.
        name: What texts call it; default: its address.
        prefix: Begins the name of each tool, followed by a dot; default: ``name`` if that is given, else nothing does.
        methods: Patterns of the methods that become tools, such as ``weather.*``; default: all of them.
        exclude: Patterns of those that are left out.
        tls: Whether the connection uses TLS.
        tls_ca: A PEM file with the authorities that are trusted, and no others.
        tls_cert: A PEM file with the certificate of this client.
        tls_key: A PEM file with its key.
        tls_server_name: The name in the service's certificate, if it is not the host of the address.
        authority: The ``:authority`` of each call, if it is not the address.
        metadata: Sent with each call.
        forward: Patterns of the names in ``ctx.metadata`` that are sent with a call; default: none of them.
        descriptor_set: A file with a FileDescriptorSet that describes the services.
        proto: A folder of ``.proto`` files, or one such file; it needs the extra ``protos``.
        proto_include: Folders in which their imports are looked for, too.
        max_message_bytes: Bytes of one message, in both directions; default: 10 MiB.
        keepalive_time: Seconds between pings while calls run; default: there are none.
        keepalive_timeout: Seconds for the answer to a ping; default: 20.
        timeout: Seconds for a call at most; default: what its caller gives it.
        refresh: Seconds between looks for changes; default: 60.
        away_seconds: For how long the tools of services that are away are listed; default: 30.
        bounds: Limits on what they say of themselves; None: the defaults.

    Raises:
        ValidationError: An argument is not valid.
    """
    config = config_of(
        source, name=name, prefix=prefix, methods=methods, exclude=exclude, tls=tls, tls_ca=tls_ca, tls_cert=tls_cert,
        tls_key=tls_key, tls_server_name=tls_server_name, authority=authority, metadata=metadata, forward=forward,
        descriptor_set=descriptor_set, proto=proto, proto_include=proto_include, max_message_bytes=max_message_bytes,
        keepalive_time=keepalive_time, keepalive_timeout=keepalive_timeout, timeout=timeout, refresh=refresh,
        away_seconds=away_seconds,
    )  # fmt: skip
    return GrpcService(config, bounds or Bounds())


def import_grpc_config(path: str | os.PathLike[str], *, bounds: Bounds | None = None) -> list[GrpcService]:
    """Imports the services of a TOML file with a table ``[services.NAME]`` for each; see ``ServiceConfig``.

    Args:
        path: The file.
        bounds: As for ``import_grpc``.

    Raises:
        ValidationError: The file is not valid.
        OSError: It cannot be read.
    """
    return [import_grpc(config, bounds=bounds) for config in distinct(read_config_file(path))]
