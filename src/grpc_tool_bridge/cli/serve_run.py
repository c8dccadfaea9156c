"""What ``serve`` does: makes the hub, and serves until a signal."""

import asyncio
import logging
import signal
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from rich.text import Text

from grpc_tool_bridge.cli import interrupts, serving
from grpc_tool_bridge.cli.dashboard_urls import reachable_url
from grpc_tool_bridge.cli.failures import ArgumentError, CommandError, file_error
from grpc_tool_bridge.cli.grpc_options import GrpcOptions
from grpc_tool_bridge.cli.named_sources import named_sources
from grpc_tool_bridge.cli.recording import make_recorder
from grpc_tool_bridge.cli.serve_options import ServeOptions
from grpc_tool_bridge.cli.serve_reload import HubReloader, files_to_watch
from grpc_tool_bridge.cli.serving import HasSpec
from grpc_tool_bridge.cli.signals import ending_signals, exit_code, finish
from grpc_tool_bridge.cli.tool_sources import load, load_all
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.chaos.injections import Chaos
from grpc_tool_bridge.core.chaos.reading import read_chaos
from grpc_tool_bridge.errors import ToolBridgeError, ValidationError
from grpc_tool_bridge.server import BridgeServer
from grpc_tool_bridge.stores.urls import sqlite_path
from grpc_tool_bridge.transport.open_files import allow_connections

_log = logging.getLogger(__name__)


def run(sources: Iterable[str], options: ServeOptions, services: GrpcOptions, settings: Settings) -> int:
    """Runs a hub with the tools of ``sources`` until a signal; returns its exit code.

    Raises:
        ArgumentError: A source or an option cannot be used.
        CommandError: The hub cannot listen at its address.
    """
    interrupts.loaded()
    allow_connections(settings.max_connections)
    sources = list(sources)
    files = files_to_watch(sources, options.lifespan or (), settings) if options.reload else None
    with serving.serving(options, settings) as out:
        offered, lifespans = load(
            () if options.reload else sources, prefix=options.prefix, lifespans=_own_lifespans(options)
        )
        middleware = load_all(options.middleware, "--middleware")
        servers = named_sources(options, services)
        recorder = make_recorder(options.record, settings, options.redact, options.redact_pattern)
        with serving.construction("serve"):
            server = BridgeServer(
                options.address,
                offered,
                agents=options.agents,
                http_address=options.http,
                mcp_agents=options.declared_agents(),
                settings=settings,
                chaos=_read_chaos(options.chaos),
                recorder=recorder,
                sources=servers,
                lifespan=lifespans,
                middleware=middleware,
            )

        def say() -> None:
            whole: list[HasSpec] = [*offered, *(tool for source in servers for tool in source.tools)]
            if options.reload:
                whole = [*server.hub.registry.visible(None)]
            missing = "No tools yet" if servers else "No tools of its own: name some with --tools, or start workers"
            heading = _heading(server, len(whole), options.record, missing)
            facts = _facts(server, options.record)
            serving.announce(out, options, settings, whole, heading=heading, facts=facts)

        def reloader() -> HubReloader | None:
            return None if files is None else HubReloader.beside(server, files, sources, options, ready=say)

        return serving.run(_serve(server, say, reloader), options)


def _own_lifespans(options: ServeOptions) -> Iterable[str]:
    """Returns the lifespans to enter here: with ``--reload`` the worker that runs the tools enters them."""
    return () if options.reload else options.lifespan or ()


def _read_chaos(file: Path | None) -> Chaos | None:
    try:
        return None if file is None else read_chaos(file)
    except OSError as error:
        raise file_error(error, file) from None
    except ValidationError as error:
        raise ArgumentError(f"--chaos {error.message}") from None


async def _serve(
    server: BridgeServer, ready: Callable[[], None], make_reloader: Callable[[], HubReloader | None]
) -> int:
    """Serves until a signal; returns its exit code."""
    with ending_signals() as signals:
        told = await _until_started(server, signals)
        if told is not None:
            return exit_code(told)
        try:
            reloader = make_reloader()
            if reloader is not None:
                return await reloader.run_until(signals)
            ready()
            number = await signals.get()
            _log.info("%s: waiting for calls in flight; press Ctrl-C again to cancel them", signal.Signals(number).name)
        finally:
            with serving.lifespan_errors(server):
                await finish(server.stop(), signals, partial(server.hub.drain, 0))
    return exit_code(number)


async def _until_started(server: BridgeServer, signals: "asyncio.Queue[int]") -> int | None:
    """Starts the hub; returns the signal that came before it had started, if one did: its sources may take long."""
    starting, told = asyncio.ensure_future(_start(server)), asyncio.ensure_future(signals.get())
    try:
        await asyncio.wait((starting, told), return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            await starting
            if told.done():
                # It is for who waits next.
                signals.put_nowait(told.result())
            return None
        starting.cancel()
        await asyncio.wait((starting,))
        return told.result()
    finally:
        starting.cancel()
        told.cancel()


async def _start(server: BridgeServer) -> None:
    try:
        with serving.lifespan_errors(server):
            await server.start()
    except ValidationError as error:
        raise ArgumentError(error.message) from None
    except ToolBridgeError as error:
        raise CommandError(error.message, error_type=error.error_type) from None
    except OSError as error:
        text = error.strerror or str(error)
        if error.filename is not None:
            raise ArgumentError(f"cannot read {error.filename}: {text}") from None
        raise CommandError(text) from None


def _facts(server: BridgeServer, record: Path | None) -> dict[str, object]:
    """Describes the hub for programs: what they need to call it, but never the token itself."""
    settings = server.settings
    http = {} if server.http_address is None else {"http_address": server.http_address}
    needed = {"tls": settings.tls_cert is not None, "token": settings.token is not None}
    more = {} if not server.identity_methods else {"identities": list(server.identity_methods)}
    chaos = server.hub.chaos
    faults = {} if chaos is None else {"chaos": chaos.source, "chaos_seed": chaos.seed}
    recording = {} if record is None else {"recording": str(record)}
    return {"address": server.address, **http, **needed, **more, **_store_facts(server), **faults, **recording}


def _store_facts(server: BridgeServer) -> dict[str, object]:
    restored = server.hub.restored
    if restored is None:
        return {}
    if server.cluster_name is not None:
        return {"store": server.cluster_name, "hub": server.hub_name}
    path = str(sqlite_path(server.settings.store))
    return {"store": path, "store_is_new": restored.is_new, "sessions_restored": restored.sessions}


def _heading(server: BridgeServer, tools: int, record: Path | None, missing: str) -> Text:
    settings: Settings = server.settings
    needed = [what for what in ("TLS" if settings.tls_cert else "", " or ".join(server.identity_methods)) if what]
    text = Text(f"The hub listens on {server.address}", style="bold")
    if server.http_address is not None:
        text.append(f" and, over HTTP, at {'https' if settings.tls_cert else 'http'}://{server.http_address}")
    text.append(f" ({' and '.join(needed)} needed)\n" if needed else "\n", style="not bold")
    if server.hub.http_url:
        text.append(f"Dashboard: {reachable_url(server.hub.http_url, server.address)}\n", style="not bold")
    if server.cluster_name is not None:
        text.append(f"This is hub {server.hub_name} of the cluster {server.cluster_name}\n", style="not bold")
    elif server.hub.restored is not None:
        number = server.hub.restored.sessions
        restored = f"{number:,} session{'' if number == 1 else 's'} restored"
        if server.hub.restored.is_new:
            # Who has mistyped the path of another store sees it here.
            restored = "a new store"
        text.append(f"State is kept in {sqlite_path(settings.store)} ({restored})\n", style="not bold")
    if server.hub.chaos is not None:
        warning = f"CHAOS: this hub injects faults on purpose ({server.hub.chaos}): never use it in production\n"
        text.append(warning, style="bold red")
    if record is not None:
        text.append(f"Recording to {record}\n", style="not bold")
    count = "1 tool" if tools == 1 else f"{tools} tools"
    return text.append(f"{count if tools else missing}\n", style="not bold")
