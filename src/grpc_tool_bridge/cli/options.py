"""The options that several commands share, each declared once."""

import functools
import os
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pydantic
import typer
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from grpc_tool_bridge.cli.failures import ArgumentError, file_error, say_warning, settings_error
from grpc_tool_bridge.config import DEFAULT_ADDRESS, Settings, load_settings, read_token
from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.transport import addresses
from grpc_tool_bridge.transport.proxies import Proxy, proxy_for

_hub_option = functools.partial(typer.Option, rich_help_panel="The hub")

SessionOption = Annotated[
    str | None,
    typer.Option(
        "--session",
        metavar="ID",
        help="Use this session, create it if needed, and keep it. Without it the command uses a temporary session, "
        "removed afterwards.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ReadyJsonOption = Annotated[
    bool, typer.Option("--json", help="Print one line of JSON when ready, for programs that wait for it.")
]

_PANEL = "Settings (also TOOL_BRIDGE_… and --config)"


class OptionGroup:
    """Base of dataclasses whose fields are options; a command takes all of them with one parameter."""

    def check(self) -> None:
        """Checks the options before the command runs.

        Raises:
            ArgumentError: An option has a value that cannot be used.
        """


@dataclass(frozen=True, kw_only=True)
class HubOptions(OptionGroup):
    """How a command reaches the hub. Each field is an option of every client command."""

    address: Annotated[
        str,
        _hub_option(
            "--address",
            metavar="HOST:PORT",
            envvar="TOOL_BRIDGE_ADDRESS",
            help="Address of the hub; also [IPV6]:PORT or unix:PATH.",
        ),
    ] = DEFAULT_ADDRESS
    token_file: Annotated[
        Path | None,
        _hub_option(
            "--token-file",
            metavar="FILE",
            help="File with the bearer token. Default: the environment variable TOOL_BRIDGE_TOKEN or "
            "TOOL_BRIDGE_TOKEN_FILE.",
        ),
    ] = None
    tls: Annotated[bool, _hub_option("--tls/--no-tls", envvar="TOOL_BRIDGE_TLS", help="Use TLS.")] = False
    tls_ca: Annotated[
        Path | None,
        _hub_option(
            "--tls-ca",
            metavar="FILE",
            envvar="TOOL_BRIDGE_TLS_CA",
            help="PEM file with the CAs to trust. Default: those of gRPC. Implies --tls.",
        ),
    ] = None
    proxy: Annotated[
        str | None,
        _hub_option(
            "--proxy",
            metavar="URI",
            envvar="TOOL_BRIDGE_PROXY",
            help="Connect through this proxy, http://HOST:PORT; env: use http_proxy and related variables. "
            "By default they are ignored. Put a proxy with a password in TOOL_BRIDGE_PROXY: other users can see a "
            "program's arguments.",
        ),
    ] = None
    allow_insecure: Annotated[
        bool,
        _hub_option(
            "--allow-insecure",
            envvar="TOOL_BRIDGE_ALLOW_INSECURE",
            help="Send the token to another machine without TLS. Only for networks that you trust.",
        ),
    ] = False
    link_address: Annotated[
        str | None,
        _hub_option(
            "--link-address",
            metavar="HOST:PORT",
            envvar="TOOL_BRIDGE_HUB_LINK_ADDRESS",
            help="Where the hub takes links over TCP. Default: links go over its local socket, or gRPC.",
        ),
    ] = None
    connect_timeout: Annotated[
        float,
        _hub_option(
            "--connect-timeout",
            min=0.0,
            metavar="SECONDS",
            envvar="TOOL_BRIDGE_CONNECT_TIMEOUT",
            help="How long to keep trying to connect.",
        ),
    ] = 2.0

    @property
    def uses_tls(self) -> bool:
        """Whether the connection uses TLS."""
        return self.tls or self.tls_ca is not None

    def check(self) -> None:
        """Checks the options that do not need the hub.

        Raises:
            ArgumentError: The address is not valid, the proxy cannot be used, or a file cannot be read.
        """
        check_address(self.address)
        if self.link_address is not None:
            check_address(self.link_address, flag="--link-address")
        self.proxied()
        if self.tls_ca is not None:
            try:
                self.tls_ca.read_bytes()
            except OSError as error:
                raise file_error(error, self.tls_ca) from None

    def proxied(self) -> Proxy | None:
        """Finds the proxy on the way to the hub; None if there is none.

        Raises:
            ArgumentError: It cannot be used.
        """
        try:
            return proxy_for(self.address, self.proxy)
        except ValidationError as error:
            raise ArgumentError(
                f"--{error.message}" if self.proxy != "env" else f"--proxy env: {error.message}"
            ) from None

    def token(self) -> str | None:
        """Returns the token to send: from the given file, else from the environment.

        Raises:
            ArgumentError: It cannot be read or sent, or the environment sets two.
        """
        return self._read[0]

    @property
    def warnings(self) -> list[str]:
        """A warning if the token's file was read and others can read it too."""
        return self._read[1] if "_read" in self.__dict__ else []

    @functools.cached_property
    def _read(self) -> tuple[str | None, list[str]]:
        # Only once: a pipe cannot be read again.
        token, file = None, self.token_file
        if file is None:
            token = os.environ.get("TOOL_BRIDGE_TOKEN")
            named = os.environ.get("TOOL_BRIDGE_TOKEN_FILE")
            if token is not None and named is not None:
                raise ArgumentError("TOOL_BRIDGE_TOKEN and TOOL_BRIDGE_TOKEN_FILE are both set; unset one of them")
            file = Path(named) if named else None
        warnings: list[str] = []
        try:
            return read_token(token, file, warn=warnings.append), warnings
        except OSError as error:
            raise file_error(error, file) from None
        except ValueError as error:
            raise ArgumentError(str(error)) from None


def check_address(address: str, *, listening: bool = False, flag: str = "--address") -> None:
    """Checks the form of an address that ``flag`` gives; ``listening`` says that a hub listens there.

    Raises:
        ArgumentError: It is not valid.
    """
    try:
        addresses.check_address(address, listening=listening)
    except ValidationError as error:
        raise ArgumentError(f"{flag}: {error.message}") from None


# ------------------------------------------------------------------------------------------------------------- settings


def setting(name: str, flag: str = "") -> Any:
    """Makes the option of a field of ``Settings``, named like the field or by its ``flag``.

    It has no default, so that the environment and the file apply if it is not given.
    """
    field = Settings.model_fields[name]
    flag = flag or f"--{name.replace('_', '-')}"
    declaration = f"{flag}/--no-{flag[2:]}" if field.annotation is bool else flag
    about = field.description or name
    text = f"{about[:1].upper()}{about[1:]} (default: {default_text(field)})."
    return typer.Option(declaration, help=text, show_default=False, rich_help_panel=_PANEL)


def default_text(field: FieldInfo) -> str:
    """Writes a setting's default for people."""
    if field.default is None or field.default == ():
        return "none"
    if isinstance(field.default, bool):
        return "on" if field.default else "off"
    if isinstance(field.default, tuple):
        return ", ".join(field.default)
    return f"{field.default:g}" if isinstance(field.default, float) else str(field.default)


def read_settings(flags: dict[str, Any], config_file: Path | None) -> Settings:
    """Reads the settings from flags, then environment, then file, and checks them before the hub starts.

    Raises:
        ArgumentError: A setting is not valid, or a file cannot be read.
    """
    try:
        with warnings.catch_warnings(record=True) as noticed:
            warnings.simplefilter("always", DeprecationWarning)
            settings = load_settings(flags, config_file)
    except pydantic.ValidationError as error:
        raise settings_error(error) from None
    except ValueError as error:
        raise ArgumentError(str(error)) from None
    except OSError as error:
        raise file_error(error, config_file) from None
    for warning in noticed:
        say_warning(str(warning.message))
    return settings.model_copy(update={"token": _token(settings), "token_file": None})


def model_text(settings: Settings) -> str:
    """Describes the default model of agents."""
    if settings.agent_model is None:
        return "the model that each agent names"
    # A base URL may contain a user and a password.
    base = re.sub(r"//.*@", "//***@", settings.agent_api_base or "")
    return settings.agent_model + (f" at {base}" if base else "")


def _token(settings: Settings) -> SecretStr | None:
    try:
        token = settings.bearer_token()
    except OSError as error:
        raise file_error(error, settings.token_file) from None
    except ValueError as error:
        raise ArgumentError(str(error)) from None
    return None if token is None else SecretStr(token)
