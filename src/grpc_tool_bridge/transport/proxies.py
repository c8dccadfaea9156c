"""Proxies: a hub is reached through one only if the user says so, whatever is set in the environment."""

import base64
import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from grpc_tool_bridge.errors import ArgumentTypeError, ValidationError
from grpc_tool_bridge.transport.addresses import (
    check_address,
    host_and_port,
    is_loopback,
    join_address,
    split_address,
)

# Use the proxy set in the environment, as gRPC itself does.
FROM_ENVIRONMENT = "env"

# Where gRPC looks for a proxy, in this order; it reads lower case only.
PROXY_VARIABLES = ("grpc_proxy", "https_proxy", "http_proxy")
NO_PROXY_VARIABLES = ("no_grpc_proxy", "no_proxy")
# Set a proxy by the resolved address, whatever the options of a channel say.
ADDRESS_VARIABLES = ("GRPC_ADDRESS_HTTP_PROXY", "GRPC_ADDRESS_HTTP_PROXY_ENABLED_ADDRESSES")

_WRITE = "write http://host:port, http://user:password@host:port, or env for the proxy set in the environment"

_KNOWN_SCHEMES = (
    "https",
    "socks",
    "socks4",
    "socks4a",
    "socks5",
    "socks5h",
    "ftp",
    "grpc",
    "grpcs",
    "tcp",
    "ws",
    "wss",
)

Option = tuple[str, int | str]

# Make gRPC ignore the proxies set in the environment.
_DIRECT: tuple[Option, ...] = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.address_http_proxy_enabled_addresses", ""),
)


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy that connects to the hub by CONNECT.

    Attributes:
        address: Its ``host:port``.
        credentials: ``user:password``; None: none.
    """

    address: str
    credentials: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"http://{'***@' if self.credentials is not None else ''}{self.address}"

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of the CONNECT request."""
        if self.credentials is None:
            return {}
        encoded = base64.b64encode(self.credentials.encode()).decode()
        return {"Proxy-Authorization": f"Basic {encoded}"}


def proxy_for(address: str, proxy: object) -> Proxy | None:
    """Returns the proxy through which ``address`` is reached.

    Args:
        address: The hub's address.
        proxy: As the user gave it: None, ``http://[user:password@]host:port``, or ``env``.

    Returns:
        The proxy; None if the hub is reached directly.

    Raises:
        ValidationError: The proxy cannot be used; the text never shows its user and password.
    """
    if proxy is None:
        return None
    if not isinstance(proxy, str):
        raise ArgumentTypeError(f"proxy is of type {type(proxy).__name__}; {_WRITE}")
    named = "proxy"
    if proxy == FROM_ENVIRONMENT:
        named, found = _from_environment(address)
        if found is None:
            return None
        proxy = found
    parsed = _parsed(named, proxy)
    if host_and_port(address) is None:
        raise ValidationError(f"proxy: {address} is not host:port, and is reached without a proxy; leave the proxy out")
    return parsed


def channel_target(address: str, proxy: Proxy | None) -> tuple[str, list[Option]]:
    """Returns the target that gRPC dials, and its options for proxies.

    gRPC's own option for a proxy would be overridden by no_proxy in the environment; so the target is the proxy itself.
    """
    if proxy is None:
        return address, list(_DIRECT)
    wanted = host_and_port(address)
    assert wanted is not None  # noqa: S101 - proxy_for has refused others
    hub = join_address(*wanted)
    headers = "\n".join(f"{name}:{value}" for name, value in proxy.headers.items())
    options: list[Option] = [*_DIRECT, ("grpc.http_connect_server", hub), ("grpc.default_authority", hub)]
    return proxy.address, [*options, ("grpc.http_connect_headers", headers)] if headers else options


def set_variables() -> list[str]:
    """Returns the set environment variables that would make gRPC use a proxy."""
    return [name for name in (*PROXY_VARIABLES, ADDRESS_VARIABLES[0]) if os.environ.get(name)]


def _from_environment(address: str) -> tuple[str, str | None]:
    """Reads the environment as gRPC does; returns the variable and the proxy that applies."""
    wanted = host_and_port(address)
    for name in PROXY_VARIABLES:
        proxy = os.environ.get(name)
        if proxy is not None:
            # An empty variable means no proxy.
            return name, None if not proxy or wanted is None or _is_excepted(wanted[0]) else proxy
    return "", None


def _is_excepted(host: str) -> bool:
    entries = next((os.environ[name] for name in NO_PROXY_VARIABLES if name in os.environ), "")
    return any(_matches(host.lower(), entry.strip().lower()) for entry in entries.split(",") if entry.strip())


def _matches(host: str, entry: str) -> bool:
    if host.endswith(entry):
        return True
    try:
        return "/" in entry and ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False


def _parsed(named: str, proxy: str) -> Proxy:
    scheme, separator, rest = proxy.partition("://")
    if not separator:
        raise ValidationError(f"{named} does not begin with http://; {_WRITE}")
    if scheme.lower() != "http":
        # An unknown scheme may be a user or a password.
        begins = f"begins with {scheme[:20]!r}" if scheme.lower() in _KNOWN_SCHEMES else "does not begin with http://"
        raise ValidationError(f"{named} {begins}; gRPC speaks only plain HTTP to a proxy; {_WRITE}")
    userinfo, at, place = rest.rpartition("@")
    place = place.removesuffix("/")
    try:
        split_address(place)
        check_address(place)
    except ValueError:
        # It may be a user and a password without a host.
        raise ValidationError(f"{named} does not name a host and a port; {_WRITE}") from None
    credentials = unquote(userinfo) if at else None
    if credentials is not None and (":" not in credentials or not credentials.isprintable()):
        raise ValidationError(
            f"{named} has something other than user:password before its @; {_WRITE}, with %XX for characters that a "
            "URL cannot contain"
        )
    return Proxy(place, credentials)


def stays_here(address: str, proxy: Proxy | None) -> bool:
    """Returns whether what is sent to a hub stays on this machine."""
    return is_loopback(address) and (proxy is None or is_loopback(proxy.address))
