"""Where NATS is, as a URL names it: ``nats://host:4222,host2:4222/CLUSTER``."""

import re
from dataclasses import dataclass, field
from urllib.parse import unquote

from grpc_tool_bridge.config.defaults import NATS_SCHEMES
from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.transport.addresses import is_loopback, split_address

DEFAULT_CLUSTER = "tool-bridge"
DEFAULT_PORT = 4222
FORM = "nats://host:4222, nats://host1:4222,host2:4222/CLUSTER, or the same with tls://"
_CLUSTER = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class NatsAddress:
    """The nodes of NATS and the cluster's name there.

    Attributes:
        servers: Of each node, ``host:port``.
        cluster: The name of the cluster of hubs.
        user, password: For all nodes; None: none.
        token: Instead of them.
        tls: Whether nothing is sent without TLS.
    """

    servers: tuple[str, ...]
    cluster: str = DEFAULT_CLUSTER
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    tls: bool = False

    @property
    def shown(self) -> str:
        """The URL for people, without its secrets."""
        return f"{'tls' if self.tls else 'nats'}://{','.join(self.servers)}/{self.cluster}"

    @property
    def urls(self) -> list[str]:
        """The URL of each node, without secrets."""
        return [f"{'tls' if self.tls else 'nats'}://{server}" for server in self.servers]

    @property
    def is_local(self) -> bool:
        """Whether all nodes are at this machine."""
        return all(is_loopback(server) for server in self.servers)


def parse(url: str) -> NatsAddress:
    """Reads a URL of NATS.

    Raises:
        ValidationError: It is none; the text does not show what may be a password.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in NATS_SCHEMES:
        raise ValidationError(f"this is no URL of NATS; write {FORM}")
    if re.search(r"[?#\s]", rest) or not rest.isprintable():
        raise ValidationError(f"a URL of NATS has no '?', '#', space or invisible character; write {FORM}")
    hosts, _, cluster = rest.rpartition("@")[2].partition("/")
    credentials = rest[: -len(rest.rpartition("@")[2]) - 1] if "@" in rest else None
    cluster = cluster.removesuffix("/") or DEFAULT_CLUSTER
    if _CLUSTER.fullmatch(cluster) is None:
        raise ValidationError(
            f"{cluster[:40]!r} is not a name of a cluster, which has small letters, digits and '-', at most 32 of them"
        )
    user, password, token = _credentials(credentials)
    servers = tuple(_server(host) for host in hosts.split(","))
    if len(set(servers)) != len(servers):
        raise ValidationError(f"the URL of NATS names a node twice; write {FORM}")
    return NatsAddress(servers, cluster, user, password, token, tls=scheme == "tls")


def _credentials(text: str | None) -> tuple[str | None, str | None, str | None]:
    if text is None:
        return None, None, None
    if "@" in text or "/" in text or "," in text:
        raise ValidationError(
            "the user and password in the URL of NATS stand once, before all hosts; write '@', '/' and ',' in them as "
            "%40, %2F and %2C"
        )
    user, colon, password = text.partition(":")
    if not user or (colon and not password):
        raise ValidationError("before the '@' in the URL of NATS stands user:password, or a token")
    return (unquote(user), unquote(password), None) if colon else (None, None, unquote(user))


def _server(text: str) -> str:
    whole = text if re.search(r":[^\]:]*$", text) else f"{text}:{DEFAULT_PORT}"
    try:
        host, port = split_address(whole)
    except ValueError as error:
        raise ValidationError(f"a host in the URL of NATS: {error}") from None
    if not port:
        raise ValidationError(f"a host in the URL of NATS has port 0; write {FORM}")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
