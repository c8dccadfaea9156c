"""``worker``: a process that offers tools to a hub until a signal."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import typer
from rich.text import Text

from grpc_tool_bridge.cli.connection import refused, unreachable
from grpc_tool_bridge.cli.failures import ArgumentError, CommandError
from grpc_tool_bridge.cli.lifeline import Lifeline, hold, is_held
from grpc_tool_bridge.cli.options import HubOptions, setting
from grpc_tool_bridge.cli.recycle import Recycler
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
from grpc_tool_bridge.config.argument_checks import MAX_SECONDS, MOST
from grpc_tool_bridge.errors import AccessError, ToolCommunicationError
from grpc_tool_bridge.tools.tool import Tool
from grpc_tool_bridge.worker.lifetime import MAX_BYTES, WorkerLifetime
from grpc_tool_bridge.worker.worker import ToolWorker

_log = logging.getLogger(__name__)


_aging = partial(typer.Option, rich_help_panel="Replacing the process")

_JITTER = 0.1
# A worker that is replaced waits for its calls, whose deadlines end them.
_RETIRE_SECONDS = 86_400.0


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
    max_calls: Annotated[
        int,
        _aging("--max-calls", min=0, max=MOST, metavar="N", help="Replace the process after so many calls; 0: never."),
    ] = 0
    max_age: Annotated[
        float,
        _aging("--max-age", min=0.0, max=MAX_SECONDS, metavar="SECONDS", help="Replace it after this time; 0: never."),
    ] = 0.0
    max_memory: Annotated[
        int,
        _aging(
            "--max-memory",
            min=0,
            max=MAX_BYTES,
            metavar="BYTES",
            help="Replace it when it and its processes hold more memory; 0: never. Linux only.",
        ),
    ] = 0
    jitter: Annotated[
        float,
        _aging(
            "--jitter",
            min=0.0,
            max=1.0,
            metavar="PART",
            help="By which part, at most, --max-calls and --max-age are less at random, so that not all workers are "
            "replaced at once.",
        ),
    ] = _JITTER
    max_processes: Annotated[int | None, setting("max_processes")] = None

    @property
    def ages(self) -> bool:
        """Whether the process is replaced when it is old."""
        return bool(self.max_calls or self.max_age or self.max_memory)

    def check(self) -> None:
        """Checks that the options that replace the process fit together."""
        if self.jitter != _JITTER and not (self.max_calls or self.max_age):
            raise ArgumentError("--jitter: for --max-calls and --max-age only; give one of them, too")
        if self.reload and self.ages:
            raise ArgumentError("--reload and --max-calls, --max-age or --max-memory exclude each other; omit --reload")
        super().check()

    def lifetime(self) -> WorkerLifetime | None:
        """Returns what limits the life of this process, if something does."""
        if not self.ages:
            return None
        return WorkerLifetime(
            max_calls=self.max_calls, max_seconds=self.max_age, max_bytes=self.max_memory, jitter=self.jitter
        )


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
    if options.ages and not is_held():
        log_to_stderr(options.log_level)
        raise typer.Exit(_recycle(options, settings))
    with serving(options) as out:
        line = hold()
        offered = load_tools(sources, given_to="worker")
        lifetime = options.lifetime()
        made = _make_worker(hub, offered, settings, options, lifetime)
        line.wait_for_turn()

        def say() -> None:
            what = "has the tools of" if offered else "has"
            heading = Text(f"The hub at {made.address} {what} worker {made.worker_id}\n", style="bold")
            facts: dict[str, Any] = {"address": made.address, "worker_id": made.worker_id}
            if lifetime is not None:
                # Signals are for the process that lasts.
                facts["pid"] = os.getppid()
            line.serve()
            if line.announces:
                announce(out, options, settings, offered, heading=heading, facts=facts)

        run(_work(made, hub, line, say, lifetime))


def _reload(sources: list[str], options: WorkerOptions, settings: Settings) -> int:
    files = SourceFiles.of(sources)
    reloader = Reloader(sys.argv[1:], files, worker_id=options.worker_id, grace=settings.shutdown_grace)
    return asyncio.run(reloader.run())


def _recycle(options: WorkerOptions, settings: Settings) -> int:
    return asyncio.run(Recycler(sys.argv[1:], worker_id=options.worker_id, grace=settings.shutdown_grace).run())


def _make_worker(
    hub: HubOptions,
    tools: list[Tool],
    settings: Settings,
    options: WorkerOptions,
    lifetime: WorkerLifetime | None,
) -> ToolWorker:
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
            link_address=hub.link_address,
            agents=options.agents,
            settings=settings,
            lifetime=lifetime,
        )


async def _work(
    worker: ToolWorker, hub: HubOptions, line: Lifeline, ready: Callable[[], None], lifetime: WorkerLifetime | None
) -> int:
    """Serves until a signal, or until it was replaced; returns the exit code."""
    with ending_signals() as signals:
        told = asyncio.ensure_future(signals.get())
        serving = asyncio.ensure_future(worker.start(connect_timeout=hub.connect_timeout))
        try:
            await asyncio.wait((serving, told), return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                await serving
                ready()
                serving = asyncio.ensure_future(worker.run())
                replaced = asyncio.ensure_future(_replaced(line, lifetime))
                try:
                    await asyncio.wait((serving, told, replaced), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    replaced.cancel()
                if replaced.done() and not told.done():
                    # From here on, a signal is for the calls in flight.
                    told.cancel()
                    leaving = worker.drain(_RETIRE_SECONDS)
                    await finish(leaving, signals, partial(worker.drain, worker.settings.shutdown_grace))
                    return 0
                if not serving.done():
                    name = signal.Signals(await told).name
                    _log.info("%s: waiting for calls in flight; press Ctrl-C again to cancel them", name)
                    await finish(worker.drain(on_leave=line.leave), signals, partial(worker.drain, 0))
                elif serving.exception() is not None:
                    line.give_up()
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


async def _replaced(line: Lifeline, lifetime: WorkerLifetime | None) -> None:
    """Returns when this process is old and the next one serves."""
    if lifetime is None:
        await asyncio.get_running_loop().create_future()
        return
    retired, loop = asyncio.Event(), asyncio.get_running_loop()
    line.on_retire = partial(loop.call_soon_threadsafe, retired.set)
    reached = await lifetime.reached()
    _log.info("this worker's process is replaced after %s", reached)
    line.spend()
    await retired.wait()
