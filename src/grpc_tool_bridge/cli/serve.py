"""``serve``: a hub that runs until it is told to end."""

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from grpc_tool_bridge.cli.children import end_children
from grpc_tool_bridge.cli.failures import FAILED, ArgumentError, CommandError
from grpc_tool_bridge.cli.log_output import LogLevel, LogLevelOption, log_to_stderr
from grpc_tool_bridge.cli.options import check_address
from grpc_tool_bridge.cli.output import console, print_json
from grpc_tool_bridge.cli.settings_options import check_agents, model_text, read_settings, setting
from grpc_tool_bridge.cli.signals import ending_signals, exit_code, finish
from grpc_tool_bridge.cli.spec_text import signature_text
from grpc_tool_bridge.cli.streams import kept_stdout, require_stdout, stdout_is_closed
from grpc_tool_bridge.cli.tool_sources import load_tools
from grpc_tool_bridge.config import DEFAULT_ADDRESS, Settings
from grpc_tool_bridge.errors import ToolBridgeError, ValidationError
from grpc_tool_bridge.server import BridgeServer
from grpc_tool_bridge.tools.tool import Tool

_log = logging.getLogger(__name__)


def serve(
    *,
    address: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT",
            envvar="TOOL_BRIDGE_ADDRESS",
            help="Where to listen; port 0 takes any that is free; also [IPV6]:PORT or unix:PATH.",
        ),
    ] = DEFAULT_ADDRESS,
    tools: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SOURCE",
            help="Tools to offer: module:attr, module, FILE.py or FILE.py:attr. The attr is a tool, a function, or a "
            "list, tuple or dict of them; without it, every tool of the module. May be given many times.",
        ),
    ] = None,
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="TOML file with settings by name.")] = None,
    log_level: LogLevelOption = LogLevel.INFO,
    as_json: Annotated[
        bool, typer.Option("--json", help="Say where it listens as one line of JSON, for programs that wait for it.")
    ] = False,
    agents: Annotated[
        bool, typer.Option("--agents", help="Run agents in this process, too; a model's key stands in its environment.")
    ] = False,
    agent_model: Annotated[str | None, setting("agent_model", "--model")] = None,
    agent_api_base: Annotated[str | None, setting("agent_api_base", "--api-base")] = None,
    token_file: Annotated[Path | None, setting("token_file")] = None,
    tls_cert: Annotated[Path | None, setting("tls_cert")] = None,
    tls_key: Annotated[Path | None, setting("tls_key")] = None,
    allow_insecure: Annotated[bool | None, setting("allow_insecure")] = None,
    max_message_bytes: Annotated[int | None, setting("max_message_bytes")] = None,
    max_batch_items: Annotated[int | None, setting("max_batch_items")] = None,
    call_timeout: Annotated[float | None, setting("call_timeout")] = None,
    stream_timeout: Annotated[float | None, setting("stream_timeout")] = None,
    max_threads: Annotated[int | None, setting("max_threads")] = None,
    max_sessions: Annotated[int | None, setting("max_sessions")] = None,
    session_idle_timeout: Annotated[float | None, setting("session_idle_timeout")] = None,
    max_session_calls: Annotated[int | None, setting("max_session_calls")] = None,
    show_tracebacks: Annotated[bool | None, setting("show_tracebacks")] = None,
    shutdown_grace: Annotated[float | None, setting("shutdown_grace")] = None,
) -> None:
    """Run a hub that offers tools, until Ctrl-C or SIGTERM.

    It then takes no new calls and lets those in flight finish; a second Ctrl-C ends them at once.
    """
    flags = {name: value for name, value in locals().items() if name in Settings.model_fields}
    check_address(address, listening=True)
    check_agents(agents, agent_model, agent_api_base)
    settings = read_settings(flags, config)
    log_to_stderr(log_level)
    if as_json:
        require_stdout()
    # What tools print must not stand among what a program reads here.
    out = console()
    with kept_stdout():
        offered = load_tools(tools or ())
        server = _make_server(address, offered, settings, agents=agents)
        announce = partial(_announce, server, offered, out, as_json=as_json, agents=agents)
        try:
            code = asyncio.run(_serve(server, announce))
        finally:
            end_children()
    if code:
        raise typer.Exit(code)


def _make_server(address: str, tools: list[Tool], settings: Settings, *, agents: bool) -> BridgeServer:
    try:
        return BridgeServer(address, tools, agents=agents, settings=settings)
    except ImportError as error:
        raise CommandError(f"--agents: {error}") from None
    except ToolBridgeError as error:
        raise ArgumentError(f"serve: {error.message}") from None


async def _serve(server: BridgeServer, announce: Callable[[], None]) -> int:
    """Serves until a signal; returns the exit code that it stands for."""
    with ending_signals() as signals:
        await _start(server)
        try:
            announce()
            number = await signals.get()
            _log.info("%s: calls in flight may finish; Ctrl-C again ends them", signal.Signals(number).name)
        finally:
            await finish(server.stop(), signals, partial(_end_calls, server))
    return exit_code(number)


async def _end_calls(server: BridgeServer) -> None:
    _log.warning("ending the calls in flight")
    await server.hub.drain(0)


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


def _announce(server: BridgeServer, offered: list[Tool], out: Console, *, as_json: bool, agents: bool) -> None:
    """Says that the hub is up. What it needs to be called is there; the token itself never is."""
    settings = server.settings
    tools = sorted((tool.spec for tool in offered), key=lambda spec: spec.name)
    if as_json:
        facts = {
            "address": server.address,
            "tools": [spec.name for spec in tools],
            "tls": settings.tls_cert is not None,
            "token": settings.token is not None,
            "pid": os.getpid(),
        }
        if agents:
            facts["agents"] = True
        print_json(facts, out.file)
        return
    guards = [what for what, there in (("TLS", settings.tls_cert), ("a token", settings.token)) if there]
    block = Text(f"The hub listens at {server.address}", style="bold")
    block.append(f" ({' and '.join(guards)} needed)\n" if guards else "\n", style="not bold")
    block.append(
        f"{len(tools)} tools\n" if tools else "No tools of its own: --tools names some, and workers bring theirs\n",
        style="not bold",
    )
    for spec in tools:
        block.append(f"  {signature_text(spec)}\n", style="not bold cyan")
    if agents:
        block.append(f"Agents run here, with {model_text(settings)}\n", style="not bold")
    block.append("Ctrl-C ends it", style="not bold")
    if not stdout_is_closed():
        out.print(block, soft_wrap=True)
