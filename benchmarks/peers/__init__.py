"""The peers that the bridge is compared with: each serves ``add`` or an echo in its own process."""

import pkgutil
from typing import Any

# Each is imported only in the processes that use it: some of them take a second and much memory.
_MODULES = {
    "adder": "grpc_service:Adder",
    "bare": "bare:Bare",
    "echo": "echo:Echo",
    "http": "bare_http:Http",
    "many": "grpc_service:Many",
    "mcp": "mcp_sdk:Mcp",
    "nats": "nats_broker:Nats",
}

KINDS = tuple(_MODULES)


def server_of(kind: str) -> Any:
    """Returns the class of a peer's server: an asynchronous context manager with an ``address``."""
    return pkgutil.resolve_name(f"{__name__}.{_MODULES[kind]}Server")


def client_of(kind: str) -> Any:
    """Returns the class of a peer's client: an asynchronous context manager with ``add``."""
    return pkgutil.resolve_name(f"{__name__}.{_MODULES[kind]}Client")
