"""Addresses: checks them, formats them without secrets, and finds whether they stay on this machine."""

import contextlib
import ipaddress
import os
import re
import socket
from urllib.parse import unquote

from grpc_tool_bridge.errors import ArgumentTypeError, ValidationError

MAX_PORT = 65_535

# Of a host name, and of one label of it, by RFC 1035.
MAX_HOST_CHARS = 253
MAX_LABEL_CHARS = 63

# Bytes of a socket's path that the system accepts, without the final NUL.
MAX_SOCKET_BYTES = 107

# Of an address in an error text.
MAX_SHOWN_CHARS = 200

# What gRPC resolves by itself; any other address is host:port.
NAMED_SCHEMES = ("unix:", "unix-abstract:", "dns:", "ipv4:", "ipv6:", "vsock:", "xds:")
_SOCKETS = ("unix:", "unix-abstract:")

# Schemes that people write who expect a URL.
_URL_SCHEMES = ("http", "https", "grpc", "grpcs", "tcp", "ws", "wss")

_WRITE = "write host:port, such as 127.0.0.1:50051 or [::1]:50051"
_NO_SECRETS = "an address holds no user, password or token; a token goes in token= or --token-file"
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
# Everything before the last @, which a URL may contain as %40.
_USER = re.compile(r".*(?:@|%40|\uff20)", re.DOTALL | re.IGNORECASE)
# A query whose value has one: what follows it is not a host.
_QUERY = re.compile(r"[^?#@]*[?#].*?=.*(?:@|%40)", re.DOTALL | re.IGNORECASE)
_NO_PORT = re.compile(r":(?![0-9]+$)[^:\]]+$")
_IPV6_CHARS = re.compile(r"\[?[0-9a-fA-F:.]+(?:%\w+)?\]?")
_LABEL = re.compile(r"[A-Za-z0-9_-]+")
_HIDDEN = "***"


def shown_address(address: object) -> str:
    """Returns an address for people, without what may be secret in it: user, password, query and path.

    Args:
        address: What was given as an address; any object.
    """
    if isinstance(address, bytes):
        return f"b{shown_address(address.decode('latin-1'))!r}"
    text = address if isinstance(address, str) else repr(address)
    begin = _SCHEME.match(text)
    scheme, rest = (begin[0], text[begin.end() :]) if begin else ("", text)
    is_socket = text.startswith(_SOCKETS) and not (begin and not rest.startswith("/"))
    if not is_socket:
        rest = _HIDDEN if _QUERY.match(rest) else _USER.sub(f"{_HIDDEN}@", rest)
    kept = re.split(r"[?#&]" if is_socket else r"[?#&/;]", rest, maxsplit=1)[0]
    left_out = rest[len(kept) :]
    if isinstance(address, str) and not is_socket and not text.startswith(NAMED_SCHEMES):
        # If the host was forgotten, a password stands in place of the port.
        kept = _NO_PORT.sub(f":{_HIDDEN}", kept)
    shown = f"{scheme}{kept}{left_out if left_out in ('', '/') else left_out[0] + _HIDDEN}"
    return shown if len(shown) <= MAX_SHOWN_CHARS else f"{shown[:MAX_SHOWN_CHARS]}…"


def check_address(address: object, *, listening: bool = False) -> None:
    """Checks an address.

    Args:
        address: What was given.
        listening: Whether a hub is to listen there, rather than be reached there: port 0 means any free port.

    Raises:
        ValidationError: It is not a valid address; the text says what to write.
    """
    if not isinstance(address, str):
        raise ArgumentTypeError(f"{shown_address(address)[:60]} is not a valid address; {_WRITE}")
    try:
        _check(address, listening)
    except ValueError as error:
        raise ValidationError(str(error)) from None


def split_address(address: str) -> tuple[str, int]:
    """Splits ``host:port`` or ``[ipv6]:port``.

    Raises:
        ValueError: It is neither, or the port is not a number from 0 to 65535.
    """
    address = str(address)
    shown = _shown(address)
    scheme, separator, rest = address.partition("://")
    if separator and scheme.lower() in _URL_SCHEMES:
        plain = shown_address(rest).rpartition("@")[2]
        plain = re.split(r"[?#&/;]", plain, maxsplit=1)[0]
        plain = plain if plain and _HIDDEN not in plain else "host:port"
        raise ValueError(f"{shown} is not a valid address; leave {scheme}:// out: {plain}")
    if "@" in address or "?" in address or "#" in address:
        raise ValueError(f"{shown} is not a valid address; {_NO_SECRETS}")
    if not address.isprintable() or " " in address:
        raise ValueError(f"{shown} is not a valid address; it has a space or an invisible character; leave it out")
    if "/" in address and not separator:
        raise ValueError(f"{shown} is not a valid address; leave the slash and what follows it out")
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit():
        raise ValueError(f"{shown} is not a valid address; {_WRITE}")
    if len(port) > len(str(MAX_PORT)) or int(port) > MAX_PORT:
        raise ValueError(f"{shown} is not a valid address; {_WRITE}; a port is at most {MAX_PORT}")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        if not _IPV6_CHARS.fullmatch(host):
            # It may be user:password:host:port.
            shown = repr(f"{_HIDDEN}:{port}")
        raise ValueError(f"{shown} is not a valid address; write an IPv6 host in brackets, such as [::1]:50051")
    return host, int(port)


def join_address(host: str, port: int) -> str:
    """Joins a host and a port, an IPv6 host in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def host_and_port(address: str) -> tuple[str, int] | None:
    """Returns the first host and port of an address; None if only gRPC can tell, or there is none, as for a socket.

    Raises:
        ValueError: It is not a valid address.
    """
    if not address.startswith(NAMED_SCHEMES):
        return split_address(address)
    scheme, _, rest = address.partition(":")
    if scheme in ("ipv4", "ipv6"):
        return split_address(rest.partition(",")[0])
    if scheme != "dns":
        return None
    if rest.startswith("//"):
        authority, _, rest = rest[2:].partition("/")
        if authority:
            # A DNS server of its own resolves the name.
            return None
    return split_address(rest)


def socket_path(address: str) -> str | None:
    """Returns the path of a ``unix:`` address, with a leading NUL if it is abstract; None for any other address."""
    if address.startswith("unix-abstract:"):
        return f"\0{unquote(address.removeprefix('unix-abstract:'))}"
    if address.startswith("unix:"):
        return unquote(address.removeprefix("unix:").removeprefix("//"))
    return None


def is_loopback(address: str) -> bool:
    """Returns whether what is sent to ``address`` stays on this machine.

    Of host names, only ``localhost`` counts: what others resolve to is decided elsewhere, and may change.

    Raises:
        ValueError: It is not a valid address.
    """
    if address.startswith(_SOCKETS):
        return True
    if address.startswith(("ipv4:", "ipv6:")):
        return all(_is_own(split_address(item)[0]) for item in address.partition(":")[2].split(","))
    found = host_and_port(address)
    return found is not None and _is_own(found[0])


def loopback_name(address: str) -> str | None:
    """Returns a loopback ``host:port`` in the form in which both ends write it; None for any other address.

    Raises:
        ValueError: It is not a valid address.
    """
    if address.startswith(("ipv4:", "ipv6:")) and "," in address:
        return None
    found = host_and_port(address)
    if found is None or not _is_own(found[0]):
        return None
    host, port = found
    with contextlib.suppress(ValueError):
        host = ipaddress.ip_address(host).compressed
    return join_address(host.lower(), port)


def _is_own(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        own = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = own.ipv4_mapped if isinstance(own, ipaddress.IPv6Address) else None
    return (mapped or own).is_loopback


def _shown(address: str) -> str:
    return repr(shown_address(address))


def _check(address: str, listening: bool) -> None:
    if address.startswith(_SOCKETS):
        _check_socket(address)
    elif not address.startswith(NAMED_SCHEMES):
        host, port = split_address(address)
        _check_host(address, host)
        if not listening and port == 0:
            raise ValueError(f"{_shown(address)} has port 0, which only a hub can listen at; write the hub's port")
    elif listening:
        raise ValueError(f"a hub cannot listen at {_shown(address)}; write host:port, [ipv6]:port or unix:path")
    else:
        _check_named(address)


def _check_socket(address: str) -> None:
    shown, path = _shown(address), socket_path(address) or ""
    if address.startswith("unix://") and not address.startswith("unix:///"):
        raise ValueError(f"{shown} is not a valid address; write unix:PATH or unix:///ABSOLUTE/PATH")
    if not path.strip("\0"):
        raise ValueError(f"{shown} is not a valid address; write the socket's path too, as in unix:/run/hub.sock")
    if any(not "!" <= character <= "~" or character in "?#" for character in address):
        raise ValueError(
            f"{shown} is not an address that gRPC can read; write spaces, ?, # and all that is not printable ASCII in "
            "the path as %XX, or choose another path"
        )
    size = len(os.fsencode(path))
    if size > MAX_SOCKET_BYTES:
        raise ValueError(
            f"the path in {shown} has {size} bytes; a socket's path has at most {MAX_SOCKET_BYTES}; choose another"
        )


def _check_named(address: str) -> None:
    """Checks what follows a scheme; without a port, gRPC would use 443."""
    shown = _shown(address)
    if "@" in address or "?" in address or "#" in address:
        raise ValueError(f"{shown} is not a valid address; {_NO_SECRETS}")
    if not address.isprintable() or " " in address:
        raise ValueError(f"{shown} is not a valid address; it has a space or an invisible character; leave it out")
    scheme, _, rest = address.partition(":")
    if not rest.strip("/"):
        raise ValueError(f"{shown} is not a valid address; {_WRITE}")
    if scheme in ("ipv4", "ipv6"):
        for item in rest.split(","):
            host, _ = split_address(item)
            wanted = ipaddress.IPv4Address if scheme == "ipv4" else ipaddress.IPv6Address
            try:
                wanted(host)
            except ValueError:
                kind = "IPv4" if scheme == "ipv4" else "IPv6"
                raise ValueError(f"{shown} is not a valid address; {host!r:.80} is not {kind}") from None
    elif scheme == "dns" and (found := host_and_port(address)) is not None:
        _check_host(address, found[0])


def _check_host(address: str, host: str) -> None:
    shown = _shown(address)
    if ":" in host:
        _check_ipv6(shown, host)
        return
    if not host.isascii():
        raise ValueError(f"{shown} has a host name that is not ASCII; write its ASCII form{_ascii_form(host)}")
    labels = host.removesuffix(".").split(".")
    if len(host) > MAX_HOST_CHARS or any(len(label) > MAX_LABEL_CHARS for label in labels):
        raise ValueError(
            f"{shown} is not a valid address; a host's name has at most {MAX_HOST_CHARS} characters, and each part "
            f"{MAX_LABEL_CHARS}"
        )
    if not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(f"{shown} is not a valid address; a host's name has letters, digits, -, _ and dots; {_WRITE}")
    if all(label.isdigit() for label in labels):
        try:
            ipaddress.IPv4Address(host)
        except ValueError:
            raise ValueError(
                f"{shown} is not a valid address; an IPv4 host is four numbers up to 255, such as 127.0.0.1"
            ) from None


def _check_ipv6(shown: str, host: str) -> None:
    try:
        zone = ipaddress.IPv6Address(host).scope_id
    except ValueError:
        raise ValueError(f"{shown} is not a valid address; what stands in its brackets is not IPv6; {_WRITE}") from None
    if zone is None or zone.isdigit():
        return
    try:
        socket.if_nametoindex(zone)
    except OSError:
        # gRPC would try to resolve it as a name, for seconds.
        raise ValueError(f"{shown} cannot be reached: this machine has no network interface {zone!r:.40}") from None


def _ascii_form(host: str) -> str:
    try:
        return f", {host.encode('idna').decode()}"
    except UnicodeError:
        return ""
