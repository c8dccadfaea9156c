"""``chaos-proxy``: TCP proxies that fail on demand, with the HTTP API of Toxiproxy."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from grpc_tool_bridge.cli.failures import ArgumentError, CommandError, file_error
from grpc_tool_bridge.cli.log import LogLevel, LogLevelOption, log_to_stderr
from grpc_tool_bridge.cli.options import ReadyJsonOption
from grpc_tool_bridge.cli.output import print_json
from grpc_tool_bridge.cli.parameters import Option
from grpc_tool_bridge.cli.streams import require_stdout, stdout_is_closed

if TYPE_CHECKING:
    from rich.console import Console

    from grpc_tool_bridge.testing.toxiproxy.server import ToxiproxyServer


def chaos_proxy(
    *,
    host: Annotated[
        str, Option(metavar="HOST", help="Host of the API. Whoever reaches it can open proxies to any address.")
    ] = "127.0.0.1",
    port: Annotated[int, Option(metavar="PORT", min=0, max=65535, help="Port of the API; 0 picks a free port.")] = 8474,
    config: Annotated[
        Path | None,
        Option(metavar="FILE", help="JSON file with proxies to create: a list, as /populate takes it."),
    ] = None,
    seed: Annotated[
        int | None,
        Option(metavar="N", help="Decides which connections a toxic affects, and its jitter. Default: random."),
    ] = None,
    log_level: LogLevelOption = LogLevel.INFO,
    as_json: ReadyJsonOption = False,
) -> int:
    """Run TCP proxies that fail on demand, with the HTTP API of Toxiproxy, until Ctrl-C or SIGTERM.

    Each proxy forwards an address to another, and its toxics delay, limit, cut and drop what passes.
    """
    import asyncio
    import secrets

    from grpc_tool_bridge.cli import interrupts
    from grpc_tool_bridge.cli.consoles import console

    interrupts.loaded()
    log_to_stderr(log_level)
    if as_json:
        require_stdout()
    given = None if config is None else _Config(config, _read(config))
    chosen = secrets.randbits(32) if seed is None else seed
    return asyncio.run(_serve(_server(host, port, chosen), given, console(), as_json=as_json, seed=chosen))


@dataclass(frozen=True)
class _Config:
    """The file of --config, and its content."""

    file: Path
    body: bytes


def _read(config: Path) -> bytes:
    try:
        return config.read_bytes()
    except OSError as error:
        raise file_error(error, config) from None


def _server(host: str, port: int, seed: int) -> "ToxiproxyServer":
    try:
        # The package's only command that needs them.
        from grpc_tool_bridge.testing.toxiproxy.server import ToxiproxyServer
    except ImportError as error:
        from grpc_tool_bridge.optional import missing

        package = (error.name or "").partition(".")[0]
        raise CommandError(f"chaos-proxy: {missing(error, package, extra='http')}") from None
    return ToxiproxyServer(host, port, seed=seed)


async def _serve(server: "ToxiproxyServer", config: _Config | None, out: "Console", *, as_json: bool, seed: int) -> int:
    """Serves until a signal; returns its exit code."""
    from grpc_tool_bridge.cli.signals import ending_signals, exit_code

    with ending_signals() as signals:
        try:
            await _start(server, config)
            _announce(server, out, as_json=as_json, seed=seed)
            number = await signals.get()
        finally:
            await server.stop()
    return exit_code(number)


async def _start(server: "ToxiproxyServer", config: _Config | None) -> None:
    from grpc_tool_bridge.testing.toxiproxy.errors import ApiError

    if config is not None:
        try:
            async for _ in server.proxies.populate(config.body):
                pass
        except ApiError as error:
            # There, what is not valid is a request.
            text = error.message.replace("bad request body", "not a JSON list of proxies", 1)
            raise ArgumentError(f"--config {config.file}: {text}") from None
    try:
        await server.start()
    except (OSError, ValueError) as error:
        text = f"cannot listen at {server.address}: {_why_not(error)}; choose another --host or --port"
        raise CommandError(text) from None


def _why_not(error: OSError | ValueError) -> str:
    import os
    import socket

    if isinstance(error, OSError) and error.errno and not isinstance(error, socket.gaierror):
        # Its text is in the words of Toxiproxy.
        return os.strerror(error.errno)
    return getattr(error, "strerror", None) or str(error)


def _announce(server: "ToxiproxyServer", out: "Console", *, as_json: bool, seed: int) -> None:
    import os

    proxies = server.proxies.all()
    if as_json:
        facts: dict[str, Any] = {"address": server.address, "seed": seed, "pid": os.getpid()}
        print_json({**facts, "proxies": [proxy.to_json() for proxy in proxies]}, out.file)
        return
    lines = [f"Toxiproxy's API is at http://{server.address} (seed {seed})"]
    lines += [f"  {proxy.name}: {proxy.listen} to {proxy.upstream}" for proxy in proxies]
    if not stdout_is_closed():
        out.print("\n".join([*lines, "Press Ctrl-C to stop"]), soft_wrap=True, markup=False, highlight=False)
