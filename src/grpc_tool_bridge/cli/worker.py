"""``worker``: a process that offers tools to a hub until it is told to end."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from grpc_tool_bridge.cli.children import end_children
from grpc_tool_bridge.cli.connection import refused, unreachable
from grpc_tool_bridge.cli.failures import ArgumentError, CommandError
from grpc_tool_bridge.cli.lifeline import Lifeline, hold
from grpc_tool_bridge.cli.log_output import LogLevel, LogLevelOption, log_to_stderr
from grpc_tool_bridge.cli.options import HubOptions
from grpc_tool_bridge.cli.output import console, print_json
from grpc_tool_bridge.cli.reload import Reloader
from grpc_tool_bridge.cli.settings_options import check_agents, model_text, read_settings, setting
from grpc_tool_bridge.cli.signals import ending_signals, exit_code, finish
from grpc_tool_bridge.cli.source_files import SourceFiles
from grpc_tool_bridge.cli.spec_text import signature_text
from grpc_tool_bridge.cli.streams import kept_stdout, require_stdout, stdout_is_closed
from grpc_tool_bridge.cli.tool_sources import load_tools
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.errors import AccessError, ToolBridgeError, ToolCommunicationError
from grpc_tool_bridge.tools.tool import Tool
from grpc_tool_bridge.worker.worker import DEFAULT_CAPACITY, ToolWorker

_log = logging.getLogger(__name__)


def worker(
    hub: HubOptions,
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SOURCE",
            help="Tools to offer: module:attr, module, FILE.py or FILE.py:attr. The attr is a tool, a function, or a "
            "list, tuple or dict of them; without it, every tool of the module. With --agents there may be none.",
        ),
    ] = None,
    *,
    session: Annotated[
        str | None,
        typer.Option(
            "--session",
            metavar="ID",
            help="Only this session sees the tools; it is created where there is none. Without it every session does.",
        ),
    ] = None,
    worker_id: Annotated[
        str | None,
        typer.Option(
            "--worker-id",
            metavar="ID",
            help="What the worker is called. Of two with one id, the later one takes the place of the other. Without "
            "it one is made up.",
        ),
    ] = None,
    capacity: Annotated[
        int,
        typer.Option("--capacity", min=1, metavar="N", help="Calls at once; more go to other workers, or wait."),
    ] = DEFAULT_CAPACITY,
    reload: Annotated[
        bool, typer.Option("--reload", help="Start anew whenever a Python file beside or below the sources changes.")
    ] = False,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="TOML file with settings by name.")
    ] = None,
    log_level: LogLevelOption = LogLevel.INFO,
    as_json: Annotated[
        bool, typer.Option("--json", help="Say that the tools can be called as one line of JSON, for programs.")
    ] = False,
    agents: Annotated[
        bool, typer.Option("--agents", help="Run agents, too; a model's key stands in this process's environment.")
    ] = False,
    agent_model: Annotated[str | None, setting("agent_model", "--model")] = None,
    agent_api_base: Annotated[str | None, setting("agent_api_base", "--api-base")] = None,
    max_message_bytes: Annotated[int | None, setting("max_message_bytes")] = None,
    max_threads: Annotated[int | None, setting("max_threads")] = None,
    max_processes: Annotated[int | None, setting("max_processes")] = None,
    show_tracebacks: Annotated[bool | None, setting("show_tracebacks")] = None,
    shutdown_grace: Annotated[float | None, setting("shutdown_grace")] = None,
) -> None:
    """Offer tools to a hub over a connection that this process dials, until Ctrl-C or SIGTERM.

    It then takes no new calls and lets those in flight finish; a second Ctrl-C ends them at once. A hub that is not
    there, or goes away, is waited for.
    """
    flags = {name: value for name, value in locals().items() if name in Settings.model_fields}
    check_agents(agents, agent_model, agent_api_base)
    if not sources and not agents:
        raise ArgumentError(
            "missing argument 'SOURCE'; see grpc-tool-bridge worker --help (with --agents there may be none)"
        )
    sources = sources or []
    settings = read_settings({**flags, "token_file": hub.token_file}, config)
    log_to_stderr(log_level)
    if reload:
        files = SourceFiles.of(sources)
        code = asyncio.run(Reloader(sys.argv[1:], files, worker_id=worker_id, grace=settings.shutdown_grace).run())
        raise typer.Exit(code)
    if as_json:
        require_stdout()
    # What tools print must not stand among what a program reads here.
    out = console()
    with kept_stdout():
        line = hold()
        offered = load_tools(sources, given_to="worker")
        made = _make_worker(
            hub, offered, settings, session_id=session, worker_id=worker_id, capacity=capacity, agents=agents
        )
        line.wait_for_turn()
        announce = partial(_announce, made, offered, out, as_json=as_json, agents=agents)
        try:
            code = asyncio.run(_work(made, hub, line, announce))
        finally:
            end_children()
    if code:
        raise typer.Exit(code)


def _make_worker(
    hub: HubOptions,
    tools: list[Tool],
    settings: Settings,
    *,
    session_id: str | None,
    worker_id: str | None,
    capacity: int,
    agents: bool,
) -> ToolWorker:
    try:
        return ToolWorker(
            hub.address,
            tools,
            session_id=session_id,
            worker_id=worker_id,
            capacity=capacity,
            token=None if settings.token is None else settings.token.get_secret_value(),
            tls=hub.tls,
            tls_ca=hub.tls_ca,
            proxy=hub.proxy,
            allow_insecure=hub.allow_insecure,
            agents=agents,
            settings=settings,
        )
    except ImportError as error:
        raise CommandError(f"--agents: {error}") from None
    except ToolBridgeError as error:
        raise ArgumentError(f"worker: {error.message}") from None


async def _work(worker: ToolWorker, hub: HubOptions, line: Lifeline, announce: Callable[[], None]) -> int:
    """Serves until a signal; returns the exit code that it stands for."""
    with ending_signals() as signals:
        told = asyncio.ensure_future(signals.get())
        serving = asyncio.ensure_future(worker.start(connect_timeout=hub.connect_timeout))
        try:
            await asyncio.wait((serving, told), return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                await serving
                announce()
                serving = asyncio.ensure_future(worker.run())
                await asyncio.wait((serving, told), return_when=asyncio.FIRST_COMPLETED)
                if not serving.done():
                    name = signal.Signals(await told).name
                    _log.info("%s: calls in flight may finish; Ctrl-C again ends them", name)
                    await finish(worker.drain(on_leave=line.leave), signals, partial(_end_calls, worker))
                await serving
            return exit_code(await told)
        except ToolCommunicationError as error:
            raise unreachable(hub, error) from error
        except AccessError as error:
            raise CommandError(refused(hub, error)) from error
        finally:
            told.cancel()
            serving.cancel()
            await asyncio.wait((serving,))


async def _end_calls(worker: ToolWorker) -> None:
    _log.warning("ending the calls in flight")
    await worker.drain(0)


def _announce(worker: ToolWorker, offered: list[Tool], out: Console, *, as_json: bool, agents: bool) -> None:
    """Says that the tools can be called."""
    tools = sorted((tool.spec for tool in offered), key=lambda spec: spec.name)
    if as_json:
        facts = {
            "address": worker.address,
            "worker_id": worker.worker_id,
            "tools": [spec.name for spec in tools],
            "pid": os.getpid(),
        }
        if agents:
            facts["agents"] = True
        print_json(facts, out.file)
        return
    what = "has the tools of" if tools else "has"
    block = Text(f"The hub at {worker.address} {what} worker {worker.worker_id}\n", style="bold")
    for spec in tools:
        block.append(f"  {signature_text(spec)}\n", style="not bold cyan")
    if agents:
        block.append(f"  agents, with {model_text(worker.settings)}\n", style="not bold")
    block.append("Ctrl-C ends it", style="not bold")
    if not stdout_is_closed():
        out.print(block, soft_wrap=True)
