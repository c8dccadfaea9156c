"""Where the dashboard of a hub is for somebody on this machine."""

import contextlib
import ipaddress
from urllib.parse import urlsplit

from grpc_tool_bridge.cli.failures import ArgumentError
from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.transport.addresses import (
    check_address,
    host_and_port,
    is_loopback,
    join_address,
    shown_address,
    split_address,
)

_SCHEMES = ("http", "https")


def given_url(text: str, *, tls: bool) -> str:
    """Returns the URL of the dashboard at an address that a user gave.

    Args:
        text: ``http://host:port``, ``https://host`` or ``host:port``.
        tls: Whether a ``host:port`` is reached over TLS.

    Raises:
        ArgumentError: It is none of these.
    """
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = "https" if tls else "http", text
    if scheme.lower() not in _SCHEMES:
        raise ArgumentError(f"--http: {shown_address(text)!r} is no address over HTTP; write http://127.0.0.1:8080")
    address = rest.removesuffix("/")
    # A URL may leave its port out.
    whole = address if not separator or _has_port(address) else f"{address}:{443 if scheme.lower() == 'https' else 80}"
    try:
        check_address(whole)
        split_address(whole)
    except (ValidationError, ValueError) as error:
        raise ArgumentError(f"--http: {error}") from None
    return f"{scheme.lower()}://{address}/"


def reachable_url(served: str, address: str) -> str:
    """Returns the URL of the dashboard of a hub that is reached at an address.

    Args:
        served: Where it serves HTTP, as it says itself: scheme, host and port. A host such as ``0.0.0.0`` stands for
            all addresses of its machine.
        address: Where its gRPC is reached.

    Raises:
        ArgumentError: It serves HTTP only to its own machine, which is another one, or says what is no address over
            HTTP: a browser, or another program, would open that too.
    """
    scheme, _, where = served.partition("://")
    try:
        check_address(where)
        host, port = split_address(where)
    except (ValidationError, ValueError) as error:
        raise _not_opened(served, address, str(error)) from None
    if scheme not in _SCHEMES:
        raise _not_opened(served, address, "it must begin with http:// or https://")
    if _is_any(host):
        reached = _host_of(address)
        if reached is None:
            raise ArgumentError(f"{address} does not say which machine the hub runs on; name it by --http HOST:{port}")
        host = reached
    elif is_loopback(where) and not is_loopback(address):
        raise ArgumentError(
            f"the hub serves HTTP to its own machine only, at {where}; there, or with that port forwarded to this "
            f"machine, use --http {where}"
        )
    return f"{scheme}://{join_address(host, port)}/"


def _not_opened(served: str, address: str, why: str) -> ArgumentError:
    return ArgumentError(
        f"the hub at {address} says that it serves HTTP at {served!r:.200}, which is not opened ({why}); name the "
        "address of its dashboard by --http HOST:PORT"
    )


def _host_of(address: str) -> str | None:
    if is_loopback(address) or address.startswith("unix"):
        found = host_and_port(address)
        return "127.0.0.1" if found is None else found[0]
    found = host_and_port(address)
    if found is None:
        return None
    # A hub that listens at all addresses of this machine is told so too.
    return ("::1" if ":" in found[0] else "127.0.0.1") if _is_any(found[0]) else found[0]


def _is_any(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_unspecified
    return False


def _has_port(address: str) -> bool:
    with contextlib.suppress(ValueError):
        return urlsplit(f"//{address}").port is not None
    return False
