"""Methods of gRPC services as tools of the bridge."""

import os
from typing import Unpack

from grpc_tool_bridge.adapters.grpc.bounds import Bounds
from grpc_tool_bridge.adapters.grpc.config import ServiceConfig, ServiceOptions, config_of, distinct, read_config_file
from grpc_tool_bridge.adapters.grpc.service import GrpcService

__all__ = ["Bounds", "GrpcService", "ServiceConfig", "ServiceOptions", "import_grpc", "import_grpc_config"]


def import_grpc(
    source: str | ServiceConfig, *, bounds: Bounds | None = None, **options: Unpack[ServiceOptions]
) -> GrpcService:
    """Imports the methods of the gRPC services at an address.

    ``BridgeServer(sources=[import_grpc("127.0.0.1:5000")])`` offers each as a tool named ``package.Service.Method``,
    whose arguments are the fields of its request. The services describe themselves by reflection, unless
    ``descriptor_set`` or ``proto`` describes them. ``async with import_grpc("127.0.0.1:5000") as service:`` connects
    without a hub, and ``service.tools`` are its tools.

    Args:
        source: An address: ``host:port``, ``[ipv6]:port``, ``unix:PATH``, ``dns:///…``, or ``grpcs://host:port`` for
            TLS; perhaps after ``NAME=``. Or a ServiceConfig, which the options complete.
        bounds: Limits on what the services say of themselves; None: the defaults.
        **options: The attributes of ServiceConfig: ``name``, ``prefix``, ``methods``, ``exclude``, ``tls``, ``tls_ca``,
            ``tls_cert``, ``tls_key``, ``tls_server_name``, ``authority``, ``metadata``, ``forward``,
            ``descriptor_set``, ``proto``, ``proto_include``, ``max_message_bytes``, ``keepalive_time``,
            ``keepalive_timeout``, ``timeout``, ``refresh`` and ``away_seconds``. None: as if it were not given.

    Raises:
        ValidationError: An option is not valid.
        TypeError: There is no such option.
    """
    return GrpcService(config_of(source, **options), bounds or Bounds())


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
