"""What ``worker`` does: makes the worker and serves until a signal, or supervises the process that does."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from rich.text import Text

from grpc_tool_bridge.cli import interrupts, serving
from grpc_tool_bridge.cli.connection import refused, unreachable
from grpc_tool_bridge.cli.failures import ArgumentError, CommandError
from grpc_tool_bridge.cli.grpc_options import GrpcOptions
from grpc_tool_bridge.cli.lifeline import Lifeline, hold, is_held
from grpc_tool_bridge.cli.log import log_to_stderr
from grpc_tool_bridge.cli.named_sources import named_sources
from grpc_tool_bridge.cli.options import HubOptions
from grpc_tool_bridge.cli.recycle import Recycler
from grpc_tool_bridge.cli.reload import Reloader, SourceFiles
from grpc_tool_bridge.cli.signals import ending_signals, exit_code, finish
from grpc_tool_bridge.cli.tool_sources import Offered, load, load_all
from grpc_tool_bridge.cli.worker_options import WorkerOptions
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.errors import AccessError, ToolCommunicationError, ValidationError
from grpc_tool_bridge.tools.sources import ToolSource
from grpc_tool_bridge.worker.lifetime import WorkerLifetime
from grpc_tool_bridge.worker.worker import ToolWorker

_log = logging.getLogger(__name__)

# A worker that is replaced waits for its calls, whose deadlines end them.
_RETIRE_SECONDS = 86_400.0


def run(sources: list[str], options: WorkerOptions, services: GrpcOptions, hub: HubOptions, settings: Settings) -> int:
    """Runs a worker with the tools of ``sources`` until a signal; returns its exit code.

    Raises:
        ArgumentError: A source or an option cannot be used.
        CommandError: The hub cannot be reached, or refuses access.
    """
    interrupts.loaded()
    if options.reload:
        log_to_stderr(options.log_level, settings.log_format)
        return _reload(sources, options, settings)
    if options.ages and not is_held():
        log_to_stderr(options.log_level, settings.log_format)
        return _recycle(options, settings)
    with serving.serving(options, settings) as out:
        line = hold()
        offered = load(sources, given_to="worker", prefix=options.prefix, lifespans=options.lifespan or ())
        lifetime = _lifetime_of(options)
        servers = named_sources(options, services)
        made = _make_worker(hub, offered, servers, settings, options, lifetime)
        line.wait_for_turn()

        def say() -> None:
            whole = [*offered.tools, *(tool for source in servers for tool in source.tools)]
            what = "has the tools of" if whole else "has"
            heading = Text(f"The hub at {made.address} {what} worker {made.worker_id}\n", style="bold")
            facts: dict[str, Any] = {"address": made.address, "worker_id": made.worker_id}
            if lifetime is not None:
                # Signals are for the process that lasts.
                facts["pid"] = os.getppid()
            line.serve()
            if line.announces:
                serving.announce(out, options, settings, whole, heading=heading, facts=facts)

        return serving.run(_live(made, hub, line, say, lifetime), options)


def _lifetime_of(options: WorkerOptions) -> WorkerLifetime | None:
    """Returns what limits the life of this process, if something does."""
    if not options.ages:
        return None
    return WorkerLifetime(
        max_calls=options.max_calls, max_seconds=options.max_age, max_bytes=options.max_memory, jitter=options.jitter
    )


def _reload(sources: list[str], options: WorkerOptions, settings: Settings) -> int:
    files = SourceFiles.of([*sources, *(options.lifespan or ())])
    reloader = Reloader(sys.argv[1:], files, worker_id=options.worker_id, grace=settings.shutdown_grace)
    return asyncio.run(reloader.run())


def _recycle(options: WorkerOptions, settings: Settings) -> int:
    return asyncio.run(Recycler(sys.argv[1:], worker_id=options.worker_id, grace=settings.shutdown_grace).run())


def _make_worker(
    hub: HubOptions,
    offered: Offered,
    sources: Sequence[ToolSource],
    settings: Settings,
    options: WorkerOptions,
    lifetime: WorkerLifetime | None,
) -> ToolWorker:
    middleware = load_all(options.middleware, "--middleware")
    with serving.construction("worker"):
        return ToolWorker(
            hub.address,
            offered.tools,
            session_id=options.session,
            worker_id=options.worker_id,
            capacity=options.capacity,
            token=None if settings.token is None else settings.token.get_secret_value(),
            tls=hub.tls,
            tls_ca=hub.tls_ca,
            tls_cert=hub.tls_cert,
            tls_key=hub.tls_key,
            proxy=hub.proxy,
            allow_insecure=hub.allow_insecure,
            link_address=hub.link_address,
            agents=options.agents,
            settings=settings,
            lifetime=lifetime,
            sources=sources,
            lifespan=offered.lifespans,
            middleware=middleware,
        )


async def _live(
    worker: ToolWorker, hub: HubOptions, line: Lifeline, ready: Callable[[], None], lifetime: WorkerLifetime | None
) -> int:
    """Works; an error of a lifespan is told as such."""
    with serving.lifespan_errors(worker):
        return await _work(worker, hub, line, ready, lifetime)


async def _work(
    worker: ToolWorker, hub: HubOptions, line: Lifeline, ready: Callable[[], None], lifetime: WorkerLifetime | None
) -> int:
    """Serves until a signal, or until it was replaced; returns the exit code."""
    with ending_signals() as signals:
        told = asyncio.ensure_future(signals.get())
        running = asyncio.ensure_future(worker.start(connect_timeout=hub.connect_timeout))
        try:
            await asyncio.wait((running, told), return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                await running
                ready()
                running = asyncio.ensure_future(worker.run())
                replaced = asyncio.ensure_future(_replaced(line, lifetime))
                try:
                    await asyncio.wait((running, told, replaced), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    replaced.cancel()
                if replaced.done() and not told.done():
                    # From here on, a signal is for the calls in flight.
                    told.cancel()
                    leaving = worker.drain(_RETIRE_SECONDS)
                    await finish(leaving, signals, partial(worker.drain, worker.settings.shutdown_grace))
                    return 0
                if not running.done():
                    name = signal.Signals(await told).name
                    if not line.makes_way:
                        _log.info("%s: waiting for calls in flight; press Ctrl-C again to cancel them", name)
                    await finish(worker.drain(on_leave=line.leave), signals, partial(worker.drain, 0))
                elif running.exception() is not None:
                    line.give_up()
                await running
            return exit_code(await told)
        except ToolCommunicationError as error:
            raise unreachable(hub, error) from error
        except AccessError as error:
            raise CommandError(refused(hub, error)) from error
        except ValidationError as error:
            if worker.lifespans.failed:
                raise
            raise ArgumentError(error.message) from None
        finally:
            told.cancel()
            running.cancel()
            await asyncio.wait((running,))


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
