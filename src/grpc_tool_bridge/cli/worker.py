"""``worker``: a process that offers tools to a hub until a signal."""

import asyncio
import logging
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import typer
from rich.text import Text

from grpc_tool_bridge.cli.connection import refused, unreachable
from grpc_tool_bridge.cli.failures import ArgumentError, CommandError
from grpc_tool_bridge.cli.lifeline import Lifeline, hold
from grpc_tool_bridge.cli.options import HubOptions, setting
from grpc_tool_bridge.cli.reload import Reloader, SourceFiles
from grpc_tool_bridge.cli.serving import (
    SOURCE_HELP,
    ServingOptions,
    announce,
    construction,
    log_to_stderr,
    run,
    serving,
)
from grpc_tool_bridge.cli.signals import ending_signals, exit_code, finish
from grpc_tool_bridge.cli.tool_sources import load_tools
from grpc_tool_bridge.config import DEFAULT_CAPACITY, Settings
from grpc_tool_bridge.errors import AccessError, ToolCommunicationError
from grpc_tool_bridge.tools.tool import Tool
from grpc_tool_bridge.worker.worker import ToolWorker

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class WorkerOptions(ServingOptions):
    """The options of ``worker``: those of any process that runs tools, and the worker's identity."""

    session: Annotated[
        str | None,
        typer.Option(
            "--session",
            metavar="ID",
            help="Offer the tools to this session only, and create it if it does not exist. Without it every session "
            "has them.",
        ),
    ] = None
    worker_id: Annotated[
        str | None,
        typer.Option(
            "--worker-id",
            metavar="ID",
            help="The worker's id. A second worker with the same id replaces the first. Generated if not given.",
        ),
    ] = None
    capacity: Annotated[
        int,
        typer.Option("--capacity", min=1, metavar="N", help="Concurrent calls; more go to other workers, or wait."),
    ] = DEFAULT_CAPACITY
    reload: Annotated[
        bool, typer.Option("--reload", help="Restart when a Python file beside or below the sources changes.")
    ] = False
    max_processes: Annotated[int | None, setting("max_processes")] = None


def worker(
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="SOURCE", help=f"{SOURCE_HELP} Optional with --agents."),
    ] = None,
    *,
    options: WorkerOptions,
    hub: HubOptions,
) -> None:
    """Offer tools to a hub over a connection that this process opens, until Ctrl-C or SIGTERM.

    It then accepts no new calls and waits for those in flight; a second Ctrl-C cancels them. It waits for a hub
    that cannot be reached, and reconnects if the connection is lost.
    """
    if not sources and not options.agents:
        raise ArgumentError(
            "missing argument 'SOURCE'; see grpc-tool-bridge worker --help (it is optional with --agents)"
        )
    sources = sources or []
    settings = options.read_settings(token_file=hub.token_file)
    if options.reload:
        log_to_stderr(options.log_level)
        raise typer.Exit(_reload(sources, options, settings))
    with serving(options) as out:
        line = hold()
        offered = load_tools(sources, given_to="worker")
        made = _make_worker(hub, offered, settings, options)
        line.wait_for_turn()

        def say() -> None:
            what = "has the tools of" if offered else "has"
            heading = Text(f"The hub at {made.address} {what} worker {made.worker_id}\n", style="bold")
            facts = {"address": made.address, "worker_id": made.worker_id}
            announce(out, options, settings, offered, heading=heading, facts=facts)

        run(_work(made, hub, line, say))


def _reload(sources: list[str], options: WorkerOptions, settings: Settings) -> int:
    files = SourceFiles.of(sources)
    reloader = Reloader(sys.argv[1:], files, worker_id=options.worker_id, grace=settings.shutdown_grace)
    return asyncio.run(reloader.run())


def _make_worker(hub: HubOptions, tools: list[Tool], settings: Settings, options: WorkerOptions) -> ToolWorker:
    with construction("worker"):
        return ToolWorker(
            hub.address,
            tools,
            session_id=options.session,
            worker_id=options.worker_id,
            capacity=options.capacity,
            token=None if settings.token is None else settings.token.get_secret_value(),
            tls=hub.tls,
            tls_ca=hub.tls_ca,
            proxy=hub.proxy,
            allow_insecure=hub.allow_insecure,
            agents=options.agents,
            settings=settings,
        )


async def _work(worker: ToolWorker, hub: HubOptions, line: Lifeline, ready: Callable[[], None]) -> int:
    """Serves until a signal; returns its exit code."""
    with ending_signals() as signals:
        told = asyncio.ensure_future(signals.get())
        serving = asyncio.ensure_future(worker.start(connect_timeout=hub.connect_timeout))
        try:
            await asyncio.wait((serving, told), return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                await serving
                ready()
                serving = asyncio.ensure_future(worker.run())
                await asyncio.wait((serving, told), return_when=asyncio.FIRST_COMPLETED)
                if not serving.done():
                    name = signal.Signals(await told).name
                    _log.info("%s: waiting for calls in flight; press Ctrl-C again to cancel them", name)
                    await finish(worker.drain(on_leave=line.leave), signals, partial(worker.drain, 0))
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
