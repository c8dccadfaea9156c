"""The options that name gRPC services, and what they name."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

from grpc_tool_bridge.cli.failures import ArgumentError, file_error
from grpc_tool_bridge.cli.options import OptionGroup
from grpc_tool_bridge.cli.parameters import Option

if TYPE_CHECKING:
    from grpc_tool_bridge.adapters.grpc import GrpcService, ServiceConfig

_PANEL = "gRPC services"

# Options that belong to one service, and are no good for several.
_OF_ONE = ("descriptor_set", "proto", "grpc_metadata", "grpc_tls_cert")


@dataclass(frozen=True, kw_only=True)
class GrpcServiceOptions(OptionGroup):
    """How a gRPC service is reached and described, and which of its methods are chosen."""

    grpc_methods: Annotated[
        list[str] | None,
        Option(
            metavar="GLOB",
            help="Only these methods, such as 'weather.v1.*' or 'Weather.Get'. Repeatable. Default: all.",
            panel=_PANEL,
        ),
    ] = None
    grpc_exclude: Annotated[
        list[str] | None,
        Option(metavar="GLOB", help="Leave these methods out. Repeatable.", panel=_PANEL),
    ] = None
    descriptor_set: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="Descriptor set of protoc or buf that describes the service, which is then not asked for reflection.",
            panel=_PANEL,
        ),
    ] = None
    proto: Annotated[
        Path | None,
        Option(
            metavar="PATH",
            help="Folder of .proto files, or one such file, that describes the service; needs the extra protos.",
            panel=_PANEL,
        ),
    ] = None
    proto_include: Annotated[
        list[Path] | None,
        Option(metavar="DIR", help="With --proto: look for imports there, too. Repeatable.", panel=_PANEL),
    ] = None
    grpc_metadata: Annotated[
        list[str] | None,
        Option(
            metavar="KEY=VALUE",
            help="Send this metadata with each call; env:NAME as the value: that variable of the environment, since "
            "other users can see a program's arguments. Repeatable.",
            panel=_PANEL,
        ),
    ] = None
    grpc_forward: Annotated[
        list[str] | None,
        Option(
            metavar="KEY",
            help="Send metadata of this name, or of names that match, on from a tool's caller. Repeatable. Default: "
            "none.",
            panel=_PANEL,
        ),
    ] = None
    grpc_tls: Annotated[bool, Option("--grpc-tls", help="Use TLS, as grpcs://HOST:PORT does.", panel=_PANEL)] = False
    grpc_tls_ca: Annotated[
        Path | None,
        Option(metavar="FILE", help="PEM file with the CAs to trust, and no others. Implies --grpc-tls.", panel=_PANEL),
    ] = None
    grpc_tls_cert: Annotated[
        Path | None,
        Option(metavar="FILE", help="PEM file with the certificate of this client. Implies --grpc-tls.", panel=_PANEL),
    ] = None
    grpc_tls_key: Annotated[Path | None, Option(metavar="FILE", help="PEM file with its key.", panel=_PANEL)] = None

    def check(self) -> None:
        """Checks that the options fit together, and the form of metadata."""
        if (self.grpc_tls_cert is None) != (self.grpc_tls_key is None):
            raise ArgumentError("--grpc-tls-cert and --grpc-tls-key belong together; give both of them, or none")
        if self.descriptor_set is not None and self.proto is not None:
            raise ArgumentError("--descriptor-set and --proto both describe the service; keep one of them")
        if self.proto_include and self.proto is None:
            raise ArgumentError("--proto-include: for the imports of --proto only; give that, too")
        self.metadata()

    def metadata(self) -> dict[str, str]:
        """Returns the metadata by name, where ``env:NAME`` still stands for a variable.

        Raises:
            ArgumentError: An item is not ``KEY=VALUE``, or a name is there twice.
        """
        found: dict[str, str] = {}
        for item in self.grpc_metadata or ():
            key, equals, value = item.partition("=")
            key = key.strip().lower()
            if not equals or not key:
                # What was given may be secret.
                raise ArgumentError("--grpc-metadata must be KEY=VALUE, such as authorization=env:WEATHER_TOKEN")
            if key in found:
                raise ArgumentError(f"--grpc-metadata: {key!r:.80} is there twice")
            found[key] = value
        return found

    def given(self) -> list[str]:
        """Returns the flags of those options that were given, without ``--grpc`` and ``--grpc-config``."""
        return [
            flag_of(item.name, item.type)
            for item in fields(GrpcServiceOptions)
            if getattr(self, item.name) not in (None, False, [])
        ]

    def refuse_without(self, owner: str) -> None:
        """Refuses the options where there is no service.

        Args:
            owner: What would name one.

        Raises:
            ArgumentError: One was given.
        """
        if named := self.given():
            raise ArgumentError(f"{' and '.join(named)}: for gRPC services only; give {owner}, too")

    def config_of(self, source: str, option: str, *, tls: bool = False) -> "ServiceConfig":
        """Returns the settings of one service.

        Args:
            source: Its address, perhaps after ``NAME=``.
            option: What gives that, for errors.
            tls: Whether it uses TLS, whatever the options say.

        Raises:
            ArgumentError: Something is not valid.
        """
        from grpc_tool_bridge.adapters.grpc.config import config_of, from_environment
        from grpc_tool_bridge.errors import ValidationError

        try:
            return config_of(
                source,
                methods=self.grpc_methods,
                exclude=self.grpc_exclude,
                descriptor_set=self.descriptor_set,
                proto=self.proto,
                proto_include=self.proto_include,
                metadata={key: from_environment(key, value) for key, value in self.metadata().items()} or None,
                forward=self.grpc_forward,
                tls=True if tls or self.grpc_tls else None,
                tls_ca=self.grpc_tls_ca,
                tls_cert=self.grpc_tls_cert,
                tls_key=self.grpc_tls_key,
            )
        except ValidationError as error:
            raise ArgumentError(f"{option}: {error.message}") from None


@dataclass(frozen=True, kw_only=True)
class GrpcOptions(GrpcServiceOptions):
    """Which gRPC services a process takes in. All options but ``grpc_config`` are about the services of ``grpc``."""

    grpc: Annotated[
        list[str] | None,
        Option(
            metavar="[NAME=]ADDRESS",
            help="Offer the methods of the gRPC services at an address as tools: HOST:PORT, grpcs://HOST:PORT or "
            "unix:PATH. They are read by reflection. With a NAME, their names begin with it. Repeatable.",
            panel=_PANEL,
        ),
    ] = None
    grpc_config: Annotated[
        list[Path] | None,
        Option(
            metavar="FILE",
            help="Offer those of all services in a TOML file, each with options of its own in a table services.NAME. "
            "Repeatable.",
            panel=_PANEL,
        ),
    ] = None

    @property
    def names_some(self) -> bool:
        """Whether there are services."""
        return bool(self.grpc or self.grpc_config)

    def check(self) -> None:
        """Checks that options of a service are given with one."""
        super().check()
        if not self.grpc:
            self.refuse_without("--grpc")
        elif len(self.grpc) > 1:
            many = [flag_of(item.name, item.type) for item in fields(self) if item.name in _OF_ONE]
            wrong = [flag for flag in many if flag in self.given()]
            if wrong:
                raise ArgumentError(
                    f"{' and '.join(wrong)}: for one service; with several, give each its own in --grpc-config FILE"
                )


def flag_of(name: str, annotation: Any) -> str:
    """Returns the flag of an option that is a field of a group."""
    declared = next(part for part in get_args(annotation)[1:] if isinstance(part, Option))
    return (declared.flags or f"--{name.replace('_', '-')}").partition("/")[0]


def grpc_sources(options: GrpcOptions) -> "list[GrpcService]":
    """Returns the services that a command line names; they are not started yet.

    Raises:
        ArgumentError: One is not valid, or a file cannot be read.
    """
    if not options.names_some:
        return []
    from grpc_tool_bridge.adapters.grpc import import_grpc
    from grpc_tool_bridge.adapters.grpc.config import distinct
    from grpc_tool_bridge.errors import ValidationError

    found = [options.config_of(source, "--grpc") for source in options.grpc or ()]
    for file in options.grpc_config or ():
        found += configs_of_file(file, "--grpc-config")
    try:
        return [import_grpc(config) for config in distinct(found)]
    except ValidationError as error:
        raise ArgumentError(error.message) from None


def configs_of_file(file: Path, option: str) -> "list[ServiceConfig]":
    """Reads the services of a file; ``option`` names it in errors.

    Raises:
        ArgumentError: It is not valid, or cannot be read.
    """
    from grpc_tool_bridge.adapters.grpc.config import read_config_file

    with _file_errors(file, option):
        return read_config_file(file)


def variables_of(options: GrpcOptions) -> list[str]:
    """Returns the variables of the environment that the metadata of the services takes its values from.

    Raises:
        ArgumentError: A value is given in plain, or a file is not valid.
    """
    found: dict[str, None] = {}
    for key, value in options.metadata().items():
        if not value.startswith("env:"):
            raise ArgumentError(
                f"--grpc-metadata {key}: its value may be secret, so it is not printed; give it as {key}=env:NAME"
            )
        found[value.removeprefix("env:")] = None
    for file in options.grpc_config or ():
        from grpc_tool_bridge.adapters.grpc.config import variables_of_file

        with _file_errors(file, "--grpc-config"):
            found.update(dict.fromkeys(variables_of_file(file)))
    return list(found)


@contextlib.contextmanager
def _file_errors(file: Path, option: str) -> Iterator[None]:
    from grpc_tool_bridge.errors import ValidationError

    try:
        yield
    except OSError as error:
        raise file_error(error, file) from None
    except ValidationError as error:
        raise ArgumentError(f"{option} {error.message}") from None
