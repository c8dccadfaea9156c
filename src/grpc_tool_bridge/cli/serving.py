"""What ``serve`` and ``worker`` share: their options, their log, what they print, and how they end."""

import asyncio
import contextlib
import logging
import os
import sys
import time
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from grpc_tool_bridge.cli.failures import ArgumentError, CommandError, visible
from grpc_tool_bridge.cli.options import OptionGroup, ReadyJsonOption, model_text, read_settings, setting
from grpc_tool_bridge.cli.output import console, print_json
from grpc_tool_bridge.cli.spec_text import signature_text
from grpc_tool_bridge.cli.streams import kept_stdout, require_stdout, stdout_is_closed
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.errors import ToolBridgeError
from grpc_tool_bridge.tools.tool import Tool

SOURCE_HELP = (
    "Tools to offer: module:attr, module, FILE.py or FILE.py:attr. The attr is a tool, a function, or a list, tuple or "
    "dict of them; without it, every tool of the module."
)

# Seconds that they have to end by themselves after SIGTERM.
GRACE_SECONDS = 2.0

_log = logging.getLogger(__name__)


class LogLevel(StrEnum):
    """How much is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


LogLevelOption = Annotated[LogLevel, typer.Option("--log-level", help="What to log on stderr.")]


class LineFormatter(logging.Formatter):
    """Writes each record on one line, before its traceback, so that a peer's text cannot forge a record."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name is the library's
        """Puts the message on one line."""
        return super().formatMessage(record).replace("\n", "\\n")

    def format(self, record: logging.LogRecord) -> str:
        """Escapes control characters."""
        return visible(super().format(record))


def log_to_stderr(level: LogLevel) -> None:
    """Logs to stderr, replacing any previous setup."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    if level is LogLevel.INFO:
        # What uvicorn says of its start and end, the hub has said.
        logging.getLogger("uvicorn").setLevel(logging.WARNING)


@dataclass(frozen=True, kw_only=True)
class ServingOptions(OptionGroup):
    """The options of a process that runs tools. Those that are settings are None if not given."""

    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="TOML file with settings by name.")
    ] = None
    log_level: LogLevelOption = LogLevel.INFO
    as_json: ReadyJsonOption = False
    agents: Annotated[
        bool,
        typer.Option("--agents", help="Run agents in this process, too; API keys are read from its environment."),
    ] = False
    agent_model: Annotated[str | None, setting("agent_model", "--model")] = None
    agent_api_base: Annotated[str | None, setting("agent_api_base", "--api-base")] = None
    max_message_bytes: Annotated[int | None, setting("max_message_bytes")] = None
    max_threads: Annotated[int | None, setting("max_threads")] = None
    show_tracebacks: Annotated[bool | None, setting("show_tracebacks")] = None
    shutdown_grace: Annotated[float | None, setting("shutdown_grace")] = None

    def check(self) -> None:
        """Checks that options for agents are given with agents."""
        given = (("--model", self.agent_model), ("--api-base", self.agent_api_base))
        named = [flag for flag, value in given if value is not None]
        if named and not self.agents:
            raise ArgumentError(f"{' and '.join(named)}: for agents only; give --agents, too")

    def read_settings(self, **more: Any) -> Settings:
        """Reads the settings; ``more`` are settings from another group of options.

        Raises:
            ArgumentError: A setting is not valid, or a file cannot be read.
        """
        own = {item.name: getattr(self, item.name) for item in fields(self) if item.name in Settings.model_fields}
        return read_settings({**own, **more}, self.config)


@contextlib.contextmanager
def serving(options: ServingOptions) -> Iterator[Console]:
    """Sets up the log, and a console on stdout that is separate from what tools print."""
    log_to_stderr(options.log_level)
    if options.as_json:
        require_stdout()
    out = console()
    with kept_stdout():
        yield out


@contextlib.contextmanager
def construction(command: str) -> Iterator[None]:
    """Converts errors of the constructor of a hub or a worker to the command's error."""
    try:
        yield
    except ImportError as error:
        raise CommandError(f"{command}: {error}") from None
    except ToolBridgeError as error:
        raise ArgumentError(f"{command}: {error.message}") from None


def run(work: Coroutine[Any, Any, int]) -> None:
    """Runs a serving coroutine until a signal; exits the program with the code that it returns."""
    try:
        code = asyncio.run(work)
    finally:
        end_children()
    if code:
        raise typer.Exit(code)


def announce(
    out: Console,
    options: ServingOptions,
    settings: Settings,
    offered: Iterable[Tool],
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
