"""The options that several commands share, each declared once."""

import functools
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

from grpc_tool_bridge.cli.failures import ArgumentError, file_error
from grpc_tool_bridge.cli.parameters import Option
from grpc_tool_bridge.config.defaults import DEFAULT_ADDRESS

if TYPE_CHECKING:
    from grpc_tool_bridge.transport.proxies import Proxy

_hub_option = functools.partial(Option, panel="The hub")

SessionOption = Annotated[
    str | None,
    Option(
        "--session",
        metavar="ID",
        help="Use this session, create it if needed, and keep it. Without it the command uses a temporary session, "
        "removed afterwards.",
        complete="session",
    ),
]
JsonOption = Annotated[bool, Option("--json", help="Print JSON.")]
CountOption = Annotated[
    int | None, Option("--count", min=1, metavar="N", help="Stop after this many lines. Default: at Ctrl-C.")
]
ReadyJsonOption = Annotated[
    bool, Option("--json", help="Print one line of JSON when ready, for programs that wait for it.")
]


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
            help="Address of the hub; also [IPV6]:PORT or unix:PATH. Several with commas between them: the first one "
            "that answers.",
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
    tls_cert: Annotated[
        Path | None,
        _hub_option(
            "--tls-cert",
            metavar="FILE",
            envvar="TOOL_BRIDGE_CLIENT_TLS_CERT",
            help="PEM file with the certificate by which the hub knows this client. Implies --tls.",
        ),
    ] = None
    tls_key: Annotated[
        Path | None,
        _hub_option(
            "--tls-key",
            metavar="FILE",
            envvar="TOOL_BRIDGE_CLIENT_TLS_KEY",
            help="PEM file with the private key of --tls-cert.",
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
            help="Where the hub takes links over TCP; one for each address. Default: links go over its local socket, "
            "or gRPC.",
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
        return self.tls or self.tls_ca is not None or self.tls_cert is not None

    def check(self) -> None:
        """Checks the options that do not need the hub.

        Raises:
            ArgumentError: The address is not valid, the proxy cannot be used, or a file cannot be read.
        """
        for hub in self.each():
            if hub.link_address is not None:
                check_address(hub.link_address, flag="--link-address")
            hub.proxied()
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ArgumentError("--tls-cert and --tls-key belong together; give both")
        for file in (self.tls_ca, self.tls_cert, self.tls_key):
            if file is None:
                continue
            try:
                file.read_bytes()
            except OSError as error:
                raise file_error(error, file) from None

    def each(self) -> tuple[Self, ...]:
        """Returns the options for each of several addresses.

        Raises:
            ArgumentError: An address is not valid, or there are not as many link addresses.
        """
        from grpc_tool_bridge.errors import ValidationError
        from grpc_tool_bridge.transport.address_lists import pair_addresses

        try:
            pairs = pair_addresses(self.address, self.link_address)
        except ValidationError as error:
            flag = "--link-address" if error.message.startswith("link_address") else "--address"
            raise ArgumentError(f"{flag}: {error.message.removeprefix('link_address: ')}") from None
        if len(pairs) == 1:
            return (self,)
        found = tuple(replace(self, address=address, link_address=link) for address, link in pairs)
        if "_read" in self.__dict__:
            # A pipe cannot be read again.
            for hub in found:
                hub.__dict__["_read"] = self._read
        return found

    def proxied(self) -> "Proxy | None":
        """Finds the proxy on the way to the hub, or to the first one of several; None if there is none.

        Raises:
            ArgumentError: It cannot be used.
        """
        from grpc_tool_bridge.errors import ValidationError
        from grpc_tool_bridge.transport.proxies import proxy_for

        try:
            return proxy_for(self.each()[0].address, self.proxy)
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
        from grpc_tool_bridge.config.secret_files import read_token

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
    from grpc_tool_bridge.errors import ValidationError
    from grpc_tool_bridge.transport import addresses

    try:
        addresses.check_address(address, listening=listening)
    except ValidationError as error:
        raise ArgumentError(f"{flag}: {error.message}") from None


def check_timeout(timeout: float | None, owner: str) -> None:
    """Checks the value of ``--timeout``; None is none. ``owner`` names what takes that long in the text.

    Raises:
        ArgumentError: It is not valid.
    """
    if timeout is None:
        return
    from grpc_tool_bridge.client.options import to_milliseconds
    from grpc_tool_bridge.errors import ValidationError

    try:
        to_milliseconds(timeout, owner)
    except ValidationError as error:
        raise ArgumentError(f"--timeout: {error.message}") from None
