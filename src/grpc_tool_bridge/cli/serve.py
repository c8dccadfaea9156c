"""``serve``: a hub that runs until a signal."""

import logging
import signal
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from grpc_tool_bridge.cli.exit_codes import FAILED
from grpc_tool_bridge.cli.failures import ArgumentError, CommandError, file_error
from grpc_tool_bridge.cli.options import check_address, setting
from grpc_tool_bridge.cli.recording import (
    RecordOption,
    RedactOption,
    RedactPatternOption,
    check_redaction,
    make_recorder,
)
from grpc_tool_bridge.cli.serving import SOURCE_HELP, ServingOptions, announce, construction, run, serving
from grpc_tool_bridge.cli.signals import ending_signals, exit_code, finish
from grpc_tool_bridge.cli.tool_sources import load_tools
from grpc_tool_bridge.config import DEFAULT_ADDRESS, Settings
from grpc_tool_bridge.core.chaos.injections import Chaos
from grpc_tool_bridge.core.chaos.reading import read_chaos
from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.server import BridgeServer
from grpc_tool_bridge.transport.open_files import allow_connections

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ServeOptions(ServingOptions):
    """The options of ``serve``: those of any process that runs tools, and the settings of a hub."""

    address: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT",
            envvar="TOOL_BRIDGE_ADDRESS",
            help="Address to listen on; port 0 picks a free port; also [IPV6]:PORT or unix:PATH.",
        ),
    ] = DEFAULT_ADDRESS
    http: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Serve over HTTP there, too, with the same token and TLS; port 0 picks a free port. Default: not.",
        ),
    ] = None
    chaos: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="TOML file with faults to inject into calls on purpose, to test programs. Never in production.",
        ),
    ] = None
    record: RecordOption = None
    redact: RedactOption = None
    redact_pattern: RedactPatternOption = None
    token_file: Annotated[Path | None, setting("token_file")] = None
    tls_cert: Annotated[Path | None, setting("tls_cert")] = None
    tls_key: Annotated[Path | None, setting("tls_key")] = None
    allow_insecure: Annotated[bool | None, setting("allow_insecure")] = None
    link_address: Annotated[str | None, setting("link_address")] = None
    local_socket: Annotated[bool | None, setting("local_socket")] = None
    max_batch_items: Annotated[int | None, setting("max_batch_items")] = None
    call_timeout: Annotated[float | None, setting("call_timeout")] = None
    stream_timeout: Annotated[float | None, setting("stream_timeout")] = None
    max_sessions: Annotated[int | None, setting("max_sessions")] = None
    session_idle_timeout: Annotated[float | None, setting("session_idle_timeout")] = None
    max_session_calls: Annotated[int | None, setting("max_session_calls")] = None

    def check(self) -> None:
        """Checks the addresses and the common options."""
        check_address(self.address, listening=True)
        if self.http is not None:
            check_address(self.http, listening=True, flag="--http")
        check_redaction(self.record, self.redact, self.redact_pattern)
        super().check()


def serve(
    *,
    tools: Annotated[list[str] | None, typer.Option(metavar="SOURCE", help=f"{SOURCE_HELP} Repeatable.")] = None,
    options: ServeOptions,
) -> None:
    """Run a hub that offers tools, until Ctrl-C or SIGTERM.

    It then accepts no new calls and waits for those in flight; a second Ctrl-C cancels them.
    """
    settings = options.read_settings()
    allow_connections(settings.max_connections)
    with serving(options) as out:
        offered = load_tools(tools or ())
        recorder = make_recorder(options.record, settings, options.redact, options.redact_pattern)
        with construction("serve"):
            server = BridgeServer(
                options.address,
                offered,
                agents=options.agents,
                http_address=options.http,
                settings=settings,
                chaos=_read_chaos(options.chaos),
                recorder=recorder,
            )

        def say() -> None:
            heading, facts = _heading(server, len(offered), options.record), _facts(server, options.record)
            announce(out, options, settings, offered, heading=heading, facts=facts)

        run(_serve(server, say))


def _read_chaos(file: Path | None) -> Chaos | None:
    try:
        return None if file is None else read_chaos(file)
    except OSError as error:
        raise file_error(error, file) from None
    except ValidationError as error:
        raise ArgumentError(f"--chaos {error.message}") from None


async def _serve(server: BridgeServer, ready: Callable[[], None]) -> int:
    """Serves until a signal; returns its exit code."""
    with ending_signals() as signals:
        await _start(server)
        try:
            ready()
            number = await signals.get()
            _log.info("%s: waiting for calls in flight; press Ctrl-C again to cancel them", signal.Signals(number).name)
        finally:
            await finish(server.stop(), signals, partial(server.hub.drain, 0))
    return exit_code(number)


async def _start(server: BridgeServer) -> None:
    try:
        await server.start()
    except ValidationError as error:
        raise ArgumentError(error.message) from None
    except OSError as error:
        text = error.strerror or str(error)
        if error.filename is not None:
            raise ArgumentError(f"cannot read {error.filename}: {text}") from None
        raise CommandError(text, code=FAILED) from None


def _facts(server: BridgeServer, record: Path | None) -> dict[str, object]:
    """Describes the hub for programs: what they need to call it, but never the token itself."""
    settings = server.settings
    http = {} if server.http_address is None else {"http_address": server.http_address}
    needed = {"tls": settings.tls_cert is not None, "token": settings.token is not None}
    chaos = server.hub.chaos
    faults = {} if chaos is None else {"chaos": chaos.source, "chaos_seed": chaos.seed}
    recording = {} if record is None else {"recording": str(record)}
    return {"address": server.address, **http, **needed, **faults, **recording}


def _heading(server: BridgeServer, tools: int, record: Path | None) -> Text:
    settings: Settings = server.settings
    needed = [what for what, value in (("TLS", settings.tls_cert), ("a token", settings.token)) if value]
    text = Text(f"The hub listens on {server.address}", style="bold")
    if server.http_address is not None:
        text.append(f" and, over HTTP, at {'https' if settings.tls_cert else 'http'}://{server.http_address}")
    text.append(f" ({' and '.join(needed)} needed)\n" if needed else "\n", style="not bold")
    if server.hub.chaos is not None:
        warning = f"CHAOS: this hub injects faults on purpose ({server.hub.chaos}): never use it in production\n"
        text.append(warning, style="bold red")
    if record is not None:
        text.append(f"Recording to {record}\n", style="not bold")
    count = "1 tool" if tools == 1 else f"{tools} tools"
    offered = count if tools else "No tools of its own: name some with --tools, or start workers"
    return text.append(f"{offered}\n", style="not bold")
