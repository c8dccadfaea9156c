"""The options that every client command takes, declared once."""

import asyncio
import contextlib
import functools
import inspect
import os
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import typer

from grpc_tool_bridge.cli.argv import WordsCommand
from grpc_tool_bridge.cli.failures import ArgumentError, CommandError, file_error, say_warning
from grpc_tool_bridge.cli.program import INTERRUPTED
from grpc_tool_bridge.cli.streams import PipeClosedError, require_stdout
from grpc_tool_bridge.config import DEFAULT_ADDRESS, read_token
from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.transport import addresses
from grpc_tool_bridge.transport.proxies import Proxy, proxy_for
from grpc_tool_bridge.values.bigints import MAX_DIGITS

_HUB = "The hub"

SessionOption = Annotated[
    str | None,
    typer.Option(
        "--session",
        metavar="ID",
        help="Attach to this session, or create it, and keep it. Without it the command has a session of its own, "
        "removed at the end.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


@dataclass(frozen=True, kw_only=True)
class HubOptions:
    """How a command reaches the hub. Each field is an option of every client command."""

    address: Annotated[
        str,
        typer.Option(
            "--address",
            metavar="HOST:PORT",
            envvar="TOOL_BRIDGE_ADDRESS",
            help="Where the hub is; also [IPV6]:PORT or unix:PATH.",
            rich_help_panel=_HUB,
        ),
    ] = DEFAULT_ADDRESS
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file",
            metavar="FILE",
            help="File with the bearer token. Without it: the environment's TOOL_BRIDGE_TOKEN or "
            "TOOL_BRIDGE_TOKEN_FILE.",
            rich_help_panel=_HUB,
        ),
    ] = None
    tls: Annotated[
        bool,
        typer.Option("--tls/--no-tls", envvar="TOOL_BRIDGE_TLS", help="Use TLS.", rich_help_panel=_HUB),
    ] = False
    tls_ca: Annotated[
        Path | None,
        typer.Option(
            "--tls-ca",
            metavar="FILE",
            envvar="TOOL_BRIDGE_TLS_CA",
            help="PEM file with the authorities to trust; the system's without it. Implies --tls.",
            rich_help_panel=_HUB,
        ),
    ] = None
    proxy: Annotated[
        str | None,
        typer.Option(
            "--proxy",
            metavar="URI",
            envvar="TOOL_BRIDGE_PROXY",
            help="Reach the hub through this proxy, http://HOST:PORT; env: the one that http_proxy and the like name. "
            "Without it they are ignored. One with a password goes in TOOL_BRIDGE_PROXY, since others can see a "
            "program's arguments.",
            rich_help_panel=_HUB,
        ),
    ] = None
    allow_insecure: Annotated[
        bool,
        typer.Option(
            "--allow-insecure",
            envvar="TOOL_BRIDGE_ALLOW_INSECURE",
            help="Send the token beyond this machine without TLS, where the network itself is trusted.",
            rich_help_panel=_HUB,
        ),
    ] = False
    connect_timeout: Annotated[
        float,
        typer.Option(
            "--connect-timeout",
            min=0.0,
            metavar="SECONDS",
            envvar="TOOL_BRIDGE_CONNECT_TIMEOUT",
            help="Go on trying to reach the hub for so long.",
            rich_help_panel=_HUB,
        ),
    ] = 2.0

    @property
    def uses_tls(self) -> bool:
        """Whether the connection goes by TLS."""
        return self.tls or self.tls_ca is not None

    def check(self) -> None:
        """Checks what can be checked without the hub.

        Raises:
            ArgumentError: The address is none, the proxy cannot be used, or a file cannot be read.
        """
        check_address(self.address)
        self.proxied()
        if self.tls_ca is not None:
            try:
                self.tls_ca.read_bytes()
            except OSError as error:
                raise file_error(error, self.tls_ca) from None

    def proxied(self) -> Proxy | None:
        """Finds the proxy on the way to the hub; None where there is none.

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
        """Returns the token to send: of the file that was named, else of the environment.

        Raises:
            ArgumentError: It cannot be read or sent, or the environment gives two.
        """
        return self._read[0]

    @property
    def warnings(self) -> list[str]:
        """What is to be said of the token's file, where it was read and is kept too openly."""
        return self._read[1] if "_read" in self.__dict__ else []

    @functools.cached_property
    def _read(self) -> tuple[str | None, list[str]]:
        # Once: a pipe can be read no second time.
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


def check_address(address: str, *, listening: bool = False) -> None:
    """Checks the form of an address; ``listening`` says that a hub listens there.

    Raises:
        ArgumentError: It is none.
    """
    try:
        addresses.check_address(address, listening=listening)
    except ValidationError as error:
        raise ArgumentError(f"--address: {error.message}") from None


def _check_text(given: Mapping[str, Any]) -> None:
    """Checks that what the hub is to be told is text; names of files may have any bytes.

    Raises:
        ArgumentError: An argument is not UTF-8.
    """
    for name, value in given.items():
        for word in value if isinstance(value, list) else (value,):
            if name != "sources" and isinstance(word, str) and not _is_text(word):
                raise ArgumentError(f"the argument {word[:60]} is not UTF-8")


def _is_text(word: str) -> bool:
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True


@contextlib.contextmanager
def _long_integers() -> Iterator[None]:
    """Lets Python write every integer that the bridge carries; else a tool's result could not be printed."""
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(MAX_DIGITS)
    try:
        yield
    finally:
        sys.set_int_max_str_digits(before)


def interruptible(function: Callable[..., None]) -> Callable[..., None]:
    """Makes Ctrl-C in a command an error like any other; the library of commands ends it without a word."""

    @functools.wraps(function)
    def run(*args: Any, **given: Any) -> None:
        try:
            function(*args, **given)
        except KeyboardInterrupt:
            raise CommandError("interrupted", code=INTERRUPTED, error_type="Cancelled") from None

    return run


def client_command(
    app: typer.Typer,
    name: str,
    function: Callable[..., Coroutine[Any, Any, None]],
    *,
    cls: type[WordsCommand] = WordsCommand,
) -> None:
    """Makes an async function a command of ``app`` that also takes every option of HubOptions; see ``hub_command``."""

    @functools.wraps(function)
    def run(hub: HubOptions, **given: Any) -> None:
        require_stdout()
        try:
            with _long_integers():
                asyncio.run(function(hub, **given))
            # Not before: of a command that fails, stderr has the one line that says why.
            for text in hub.warnings:
                say_warning(text)
        except BrokenPipeError:
            raise PipeClosedError from None

    hub_command(app, name, run, cls=cls)


def hub_command(
    app: typer.Typer,
    name: str,
    function: Callable[..., None],
    *,
    cls: type[WordsCommand] = WordsCommand,
    **defaults: Any,
) -> None:
    """Makes a function a command of ``app`` that also takes every option of HubOptions.

    Args:
        app: Where it belongs.
        name: What it is called.
        function: Its first parameter gets the HubOptions; the others are the command's own.
        cls: Reads the command line.
        defaults: Of fields of HubOptions that have another default in this command.
    """
    own = list(inspect.signature(function).parameters.values())[1:]
    shared = [
        inspect.Parameter(
            item.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=defaults.get(item.name, item.default),
            annotation=item.type,
        )
        for item in fields(HubOptions)
    ]
    parameters = [item.replace(kind=inspect.Parameter.KEYWORD_ONLY) for item in own] + shared

    @functools.wraps(function)
    @interruptible
    def command(**given: Any) -> None:
        _check_text(given)
        hub = HubOptions(**{item.name: given.pop(item.name) for item in shared})
        hub.check()
        function(hub, **given)

    command.__dict__["__signature__"] = inspect.Signature(parameters)
    command.__annotations__ = {item.name: item.annotation for item in parameters}
    app.command(name, cls=cls)(command)
