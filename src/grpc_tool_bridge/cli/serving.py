"""What ``serve`` and ``worker`` share: what they print, and how they end."""

import contextlib
import logging
import os
import sys
import time
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from typing import Any, Protocol

from rich.console import Console
from rich.text import Text

from grpc_tool_bridge.cli import garbage
from grpc_tool_bridge.cli.consoles import console
from grpc_tool_bridge.cli.event_loop import run_in_loop
from grpc_tool_bridge.cli.failures import ArgumentError, CommandError
from grpc_tool_bridge.cli.log import log_to_stderr
from grpc_tool_bridge.cli.output import print_json
from grpc_tool_bridge.cli.serving_options import ServingOptions
from grpc_tool_bridge.cli.settings import model_text
from grpc_tool_bridge.cli.spec_text import signature_text
from grpc_tool_bridge.cli.streams import kept_stdout, require_stdout, stdout_is_closed
from grpc_tool_bridge.cli.tool_sources import cause_text
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.errors import ToolBridgeError
from grpc_tool_bridge.optional import missing
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec
from grpc_tool_bridge.runner.surroundings import Surrounded
from grpc_tool_bridge.telemetry.switch import is_wanted


class HasSpec(Protocol):
    """A tool, or what the hub knows of one."""

    @property
    def spec(self) -> ToolSpec:
        """Its spec."""


# Seconds that they have to end by themselves after SIGTERM.
GRACE_SECONDS = 2.0

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def serving(options: ServingOptions, settings: Settings) -> Iterator[Console]:
    """Sets up the log, and a console on stdout that is separate from what tools print."""
    log_to_stderr(options.log_level, settings.log_format)
    if options.as_json:
        require_stdout()
    out = console()
    with kept_stdout(), _telemetry(settings):
        yield out


@contextlib.contextmanager
def _telemetry(settings: Settings) -> Iterator[None]:
    """Traces, if that is asked for, and exports what is left at the end."""
    if not is_wanted(settings.otel):
        yield
        return
    try:
        from grpc_tool_bridge.telemetry.telemetry import Telemetry
    except ImportError as error:
        raise CommandError(str(missing(error, "opentelemetry", extra="otel"))) from None
    try:
        telemetry = Telemetry()
    except ToolBridgeError as error:
        raise ArgumentError(error.message) from None
    telemetry.begin_unsampled()
    try:
        yield
    finally:
        telemetry.stop()


@contextlib.contextmanager
def construction(command: str) -> Iterator[None]:
    """Converts errors of the constructor of a hub or a worker to the command's error."""
    try:
        yield
    except ImportError as error:
        raise CommandError(f"{command}: {error}") from None
    except ToolBridgeError as error:
        raise ArgumentError(f"{command}: {error.message}") from None


@contextlib.contextmanager
def lifespan_errors(owner: Surrounded) -> Iterator[None]:
    """Converts what a lifespan of a hub or a worker raises to the command's error."""
    try:
        yield
    except (Exception, SystemExit) as error:
        failed = owner.lifespans.failed
        if not failed:
            raise
        raise CommandError(f"the lifespan {failed} failed: {cause_text(error)}") from error


def run(work: Coroutine[Any, Any, int], options: ServingOptions) -> int:
    """Runs a serving coroutine until a signal; returns its exit code."""
    garbage.resume()
    try:
        return run_in_loop(work, options.loop)
    finally:
        end_children()


def announce(
    out: Console,
    options: ServingOptions,
    settings: Settings,
    offered: Iterable[HasSpec],
    *,
    heading: Text,
    facts: Mapping[str, Any],
) -> None:
    """Prints that the tools can be called: ``facts`` as JSON if requested, else ``heading``."""
    specs = sorted((tool.spec for tool in offered), key=lambda spec: spec.name)
    if options.as_json:
        agents = {"agents": True} if options.agents else {}
        print_json(
            {**facts, "tools": [spec.name for spec in specs], "pid": facts.get("pid", os.getpid()), **agents}, out.file
        )
        return
    block = heading.copy()
    for spec in specs:
        block.append(f"  {signature_text(spec)}\n", style="not bold cyan")
    if options.agents:
        block.append(f"Agents run here, with {model_text(settings)}\n", style="not bold")
    block.append("Press Ctrl-C to stop", style="not bold")
    if not stdout_is_closed():
        out.print(block, soft_wrap=True)


def end_children() -> None:
    """Ends processes that tools started with multiprocessing, for which Python would wait endlessly."""
    multiprocessing = sys.modules.get("multiprocessing.process")
    children = multiprocessing.active_children() if multiprocessing is not None else []
    if not children:
        return
    _log.warning("ending %d processes that tools started", len(children))
    for child in children:
        child.terminate()
    end = time.monotonic() + GRACE_SECONDS
    for child in children:
        child.join(max(0.0, end - time.monotonic()))
        if child.is_alive():
            child.kill()
            child.join()
