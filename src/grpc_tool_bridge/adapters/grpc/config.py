"""Which gRPC services there are: an address with options, or a TOML file with ``[services.NAME]``.

They are named by local settings alone. Nothing of a configuration is ever read from a peer.
"""

import os
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypedDict, Unpack

from grpc_tool_bridge.adapters import naming
from grpc_tool_bridge.config import MAX_MESSAGE_BYTES
from grpc_tool_bridge.config.argument_checks import check_count, check_flag, check_seconds, check_text, check_timeout
from grpc_tool_bridge.errors import ArgumentTypeError, ValidationError
from grpc_tool_bridge.errors.clipped_repr import clipped_repr
from grpc_tool_bridge.errors.near_names import near_names
from grpc_tool_bridge.transport.addresses import check_address, shown_address

MAX_CONFIG_BYTES = 4 * 1024 * 1024
MAX_NAME_CHARS = 64

_NAMED = re.compile(r"([A-Za-z0-9_.-]{1,64})=(.+)", re.DOTALL)
_SCHEME = re.compile(r"(grpcs?)://", re.IGNORECASE)
_OTHER_SCHEME = re.compile(r"(https?|wss?|tcp)://", re.IGNORECASE)
# A key of metadata, by the specification of gRPC over HTTP/2.
_KEY = re.compile(r"[0-9a-z_.-]{1,128}")
# Names that HTTP gives a meaning for one connection or message: with some of them a server refuses a call, and with
# ``host`` a proxy may send it elsewhere.
_OF_HTTP = frozenset(
    {"accept-encoding", "connection", "content-encoding", "content-length", "content-type", "expect", "host"}
    | {"keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "user-agent"}
)
FROM_ENVIRONMENT = "env:"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceConfig:
    """One gRPC service, or several at one address.

    Attributes:
        address: ``host:port``, ``[ipv6]:port``, ``unix:PATH``, ``dns:///…``, ``grpc://host:port``, or
            ``grpcs://host:port`` for TLS.
        name: What texts call it, of letters, digits, ``_`` and ``-``; empty: its address.
        prefix: Begins the name of each tool, followed by a dot; None: ``name`` if that is given, else nothing.
        methods: Patterns of the methods that become tools, such as ``weather.*``; empty: all.
        exclude: Patterns of those that are left out.
        tls: Whether the connection uses TLS.
        tls_ca: A PEM file with the authorities that are trusted, and no others; it implies ``tls``.
        tls_cert: A PEM file with the certificate of this client, for services that want one.
        tls_key: A PEM file with its key.
        tls_server_name: The name in the service's certificate, if it is not the host of the address.
        authority: The ``:authority`` of each call, if it is not the host and port of the address.
        metadata: Sent with each call: texts by name, bytes for names that end in ``-bin``.
        forward: Patterns of the names in ``ctx.metadata`` that are sent with a call; none by default.
        descriptor_set: A file with a FileDescriptorSet that describes the service, which is then not asked.
        proto: A folder of ``.proto`` files, or one such file; likewise.
        proto_include: Folders in which their imports are looked for, too.
        max_message_bytes: Bytes of one message, in both directions.
        keepalive_time: Seconds between pings while calls run; None: there are none. Many services end connections that
            ping more often than every five minutes.
        keepalive_timeout: Seconds for the answer to a ping.
        timeout: Seconds for a call at most; None: what the caller gives it.
        refresh: Seconds between looks for changes of the service.
        away_seconds: For how long the tools of a service that is away are listed; calls of them fail at once.
    """

    address: str
    name: str = ""
    prefix: str | None = None
    methods: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    tls: bool = False
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_server_name: str = ""
    authority: str = ""
    metadata: Mapping[str, str | bytes] = field(default_factory=dict, repr=False)
    forward: tuple[str, ...] = ()
    descriptor_set: Path | None = None
    proto: Path | None = None
    proto_include: tuple[Path, ...] = ()
    max_message_bytes: int = MAX_MESSAGE_BYTES
    keepalive_time: float | None = None
    keepalive_timeout: float = 20.0
    timeout: float | None = None
    refresh: float = 60.0
    away_seconds: float = 30.0

    def __post_init__(self) -> None:
        """Checks all that can be checked before there is a connection; raises ValidationError."""
        address, tls = _target(self.address)
        set_ = object.__setattr__
        set_(self, "address", address)
        for key in ("name", "tls_server_name", "authority"):
            check_text(key, getattr(self, key), may_be_empty=True)
        for key in ("methods", "exclude", "forward"):
            set_(self, key, _patterns(key, getattr(self, key)))
        for key in ("tls_ca", "tls_cert", "tls_key", "descriptor_set", "proto"):
            set_(self, key, _path(key, getattr(self, key)))
        set_(
            self, "proto_include", tuple(Path(item).expanduser() for item in _list("proto_include", self.proto_include))
        )
        check_flag("tls", self.tls)
        set_(self, "tls", self.tls or tls or self.tls_ca is not None or self.tls_cert is not None)
        set_(self, "metadata", _metadata(self.metadata))
        check_count("max_message_bytes", self.max_message_bytes, least=1, most=2**31 - 1)
        for key in ("keepalive_time", "timeout"):
            if getattr(self, key) is not None:
                check_timeout(key, getattr(self, key))
        for key in ("keepalive_timeout", "refresh"):
            check_timeout(key, getattr(self, key))
        check_seconds("away_seconds", self.away_seconds)
        if self.prefix is not None:
            check_text("prefix", self.prefix, may_be_empty=True)
        set_(self, "prefix", _fitting(self.name) if self.prefix is None and self.name else self.prefix or "")
        set_(self, "name", _fitting(self.name) if self.name else _shown(address))
        self._check_together()

    def _check_together(self) -> None:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValidationError("tls_cert and tls_key belong together; give both of them, or none")
        if self.tls_server_name and not self.tls:
            raise ValidationError("tls_server_name is for connections with TLS; set tls or tls_ca, or leave it out")
        if self.descriptor_set is not None and self.proto is not None:
            raise ValidationError("descriptor_set and proto both describe the service; keep one of them")
        if self.proto_include and self.proto is None:
            raise ValidationError("proto_include is where the imports of proto are; give proto, too")

    @property
    def where(self) -> str:
        """The address, for texts."""
        return f"{_shown(self.address)}{' (TLS)' if self.tls else ''}"


class ServiceOptions(TypedDict, total=False):
    """The attributes of ServiceConfig, as keyword arguments."""

    name: str | None
    prefix: str | None
    methods: Sequence[str] | None
    exclude: Sequence[str] | None
    tls: bool | None
    tls_ca: str | os.PathLike[str] | None
    tls_cert: str | os.PathLike[str] | None
    tls_key: str | os.PathLike[str] | None
    tls_server_name: str | None
    authority: str | None
    metadata: Mapping[str, str | bytes] | None
    forward: Sequence[str] | None
    descriptor_set: str | os.PathLike[str] | None
    proto: str | os.PathLike[str] | None
    proto_include: Sequence[str | os.PathLike[str]] | None
    max_message_bytes: int | None
    keepalive_time: float | None
    keepalive_timeout: float | None
    timeout: float | None
    refresh: float | None
    away_seconds: float | None


def config_of(source: str | ServiceConfig, **options: Unpack[ServiceOptions]) -> ServiceConfig:
    """Reads one service.

    Args:
        source: An address, perhaps after ``NAME=``; or a config, which ``options`` complete.
        **options: Attributes of ServiceConfig; None: as if it were not given.

    Raises:
        ValidationError: Something is not valid.
        TypeError: There is no such option.
    """
    for key in options:
        if key not in _KEYS and key != "name":
            close = near_names(key, _KEYS)
            raise TypeError(f"{key!r} is no option of a gRPC service{f'; did you mean {close[0]!r}?' if close else ''}")
    given: dict[str, Any] = {key: value for key, value in options.items() if value is not None}
    if isinstance(source, ServiceConfig):
        return replace(source, **given) if given else source
    if not isinstance(source, str):
        raise ArgumentTypeError(
            f"a gRPC service is given by its address, such as 127.0.0.1:50051, and not by {clipped_repr(source, 60)}"
        )
    text = source.strip()
    named = _NAMED.fullmatch(text)
    if named is not None:
        given.setdefault("name", named[1])
        text = named[2]
    return ServiceConfig(address=text, **given)


def read_config_file(path: str | os.PathLike[str]) -> list[ServiceConfig]:
    """Reads the services of a TOML file: a table ``[services.NAME]`` for each, with the attributes of ServiceConfig.

    A value of ``metadata`` that begins with ``env:`` is the value of that variable of the environment. Paths are
    relative to the folder of the file.

    Raises:
        ValidationError: It is not valid; the text says what is wrong, and never repeats a value that may be secret.
        OSError: It cannot be read.
    """
    path = Path(path).expanduser()
    return [_entry(path, name, entry) for name, entry in _tables(path).items()]


def variables_of_file(path: str | os.PathLike[str]) -> list[str]:
    """Returns the variables of the environment that the metadata of a file's services takes its values from.

    Raises:
        ValidationError: As for ``read_config_file``.
        OSError: Likewise.
    """
    found: dict[str, None] = {}
    for entry in _tables(Path(path).expanduser()).values():
        metadata = entry.get("metadata") if isinstance(entry, dict) else None
        for value in metadata.values() if isinstance(metadata, dict) else ():
            if isinstance(value, str) and value.startswith(FROM_ENVIRONMENT):
                found[value.removeprefix(FROM_ENVIRONMENT)] = None
    return list(found)


def _tables(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        data = file.read(MAX_CONFIG_BYTES + 1)
    if len(data) > MAX_CONFIG_BYTES:
        raise ValidationError(f"{path}: over {MAX_CONFIG_BYTES:,} bytes; is it the right file?")
    try:
        whole = tomllib.loads(data.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise ValidationError(f"{path}: it is not valid TOML: {str(error)[:200]}") from None
    services = whole.pop("services", None)
    if not isinstance(services, dict) or not services or whole:
        others = f"; {clipped_repr(next(iter(whole)), 60)} is not known" if whole else ""
        raise ValidationError(f"{path}: it needs a table [services.NAME] for each service, and nothing else{others}")
    return services


def distinct(configs: Iterable[ServiceConfig]) -> list[ServiceConfig]:
    """Checks that no two services have the same name.

    Raises:
        ValidationError: Two of them have; the text says how to name one.
    """
    return naming.distinct(configs, "gRPC services", "--grpc NAME=ADDRESS")


def from_environment(key: str, value: Any) -> Any:
    """Returns a value of metadata; one that begins with ``env:`` is the value of that variable of the environment.

    Raises:
        ValidationError: There is no such variable.
    """
    if not isinstance(value, str) or not value.startswith(FROM_ENVIRONMENT):
        return value
    variable = value.removeprefix(FROM_ENVIRONMENT)
    found = os.environ.get(variable)
    if found is None:
        raise ValidationError(f"metadata {key}: the environment variable {variable:.80} is not set; set it")
    return found


def names_file(source: str) -> bool:
    """Returns whether a source names a file with services, rather than an address."""
    return source.endswith(".toml") and not source.startswith("unix:")


_KEYS = frozenset(item.name for item in fields(ServiceConfig)) - {"name"}
_PATHS = ("tls_ca", "tls_cert", "tls_key", "descriptor_set", "proto")


def _entry(path: Path, name: str, entry: Any) -> ServiceConfig:
    what = f"{path}: [services.{name}]"
    if not isinstance(entry, dict):
        raise ValidationError(f"{what}: it must be a table")
    for key in entry:
        if key not in _KEYS:
            close = near_names(key, _KEYS)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise ValidationError(f"{what}: {clipped_repr(key, 60)} is not known{hint}")
    if "address" not in entry:
        raise ValidationError(f'{what}: it needs an address, such as address = "127.0.0.1:50051"')
    made = dict(entry)
    for key in _PATHS:
        if isinstance(made.get(key), str):
            made[key] = path.parent / Path(made[key]).expanduser()
    if isinstance(made.get("proto_include"), list):
        made["proto_include"] = [path.parent / Path(str(item)).expanduser() for item in made["proto_include"]]
    try:
        if isinstance(made.get("metadata"), dict):
            made["metadata"] = {key: from_environment(key, value) for key, value in made["metadata"].items()}
        return ServiceConfig(name=name, **made)
    except ValidationError as error:
        raise ValidationError(f"{what}: {error.message}") from None


def _target(address: Any) -> tuple[str, bool]:
    """Returns the address without a scheme of ours, and whether that says TLS."""
    check_text("address", address, "the address of a gRPC service, such as 127.0.0.1:50051")
    text = address.strip()
    tls = False
    if begin := _SCHEME.match(text):
        tls = begin[1].lower() == "grpcs"
        text = text[begin.end() :].removesuffix("/")
    elif begin := _OTHER_SCHEME.match(text):
        raise ValidationError(
            f"{shown_address(text)} begins with {begin[0]}; the address of a gRPC service is host:port, or "
            "grpcs://host:port for TLS"
        )
    check_address(text)
    return text, tls


def _metadata(given: Any) -> dict[str, str | bytes]:
    if not isinstance(given, Mapping):
        raise ArgumentTypeError("metadata must be texts by name, such as {'x-team': 'blue'}")
    made: dict[str, str | bytes] = {}
    for key, value in given.items():
        name = key.lower() if isinstance(key, str) else ""
        if not is_metadata_name(name):
            raise ValidationError(
                f"{clipped_repr(key, 60)} is not a name of metadata; it has letters, digits, '_', '-' and '.', and "
                "does not begin with grpc-; nor is it one of HTTP's own, such as host"
            )
        if name.endswith("-bin"):
            if not isinstance(value, str | bytes):
                raise ValidationError(f"the value of the metadata {name} must be bytes")
            made[name] = value.encode() if isinstance(value, str) else value
            continue
        if not isinstance(value, str) or not is_metadata_text(value):
            raise ValidationError(f"the value of the metadata {name} must be a text of printable ASCII")
        made[name] = value
    return made


def is_metadata_text(value: str) -> bool:
    """Returns whether gRPC can send a text as a value of metadata."""
    return value.isascii() and value.isprintable()


def _list(key: str, given: Any) -> Sequence[Any]:
    if isinstance(given, str | bytes | os.PathLike) or not isinstance(given, Iterable):
        raise ArgumentTypeError(f"{key} must be a list, not {clipped_repr(given, 60)}")
    return list(given)


def _patterns(key: str, given: Any) -> tuple[str, ...]:
    made = tuple(_list(key, given))
    for item in made:
        check_text(key, item, "a list of patterns, such as ['weather.*']")
    return made


def _path(key: str, given: Any) -> Path | None:
    if given is None:
        return None
    if not isinstance(given, str | os.PathLike) or not os.fspath(given):
        raise ArgumentTypeError(f"{key} must be the path of a file, not {clipped_repr(given, 60)}")
    return Path(given).expanduser()


def _shown(address: str) -> str:
    """Returns a checked address for texts; what is looked up in the DNS has no secrets in it either."""
    return address if address.startswith("dns:") else shown_address(address)


def _fitting(name: str) -> str:
    """Makes a name that can begin the name of a tool."""
    made = re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_")[:MAX_NAME_CHARS]
    if not made:
        raise ValidationError(f"a gRPC service cannot be called {clipped_repr(name, 60)}")
    return made


def is_metadata_name(name: str) -> bool:
    """Returns whether a name in lower case can be one of metadata that is neither gRPC's own nor HTTP's."""
    return _KEY.fullmatch(name) is not None and not name.startswith("grpc-") and name not in _OF_HTTP
