"""The options of ``mcp``."""

from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from grpc_tool_bridge.cli.event_loop import LoopChoice, LoopOption
from grpc_tool_bridge.cli.failures import ArgumentError
from grpc_tool_bridge.cli.log import LogLevel, LogLevelOption
from grpc_tool_bridge.cli.mcp_agents import declared_agents
from grpc_tool_bridge.cli.options import OptionGroup
from grpc_tool_bridge.cli.parameters import Option
from grpc_tool_bridge.cli.settings import read_settings, setting
from grpc_tool_bridge.config import Settings

DEFAULT_NAME = "grpc-tool-bridge"

# Settings of a hub in this process.
_OF_TOOLS = (
    "max_session_calls",
    "max_threads",
    "max_processes",
    "call_timeout",
    "stream_timeout",
    "show_tracebacks",
)


class ConfigFormat(StrEnum):
    """Which application's settings are printed."""

    CLAUDE = "claude"
    CURSOR = "cursor"
    VSCODE = "vscode"


@dataclass(frozen=True, kw_only=True)
class McpOptions(OptionGroup):
    """The options of ``mcp``. Those that are settings are None if not given."""

    session: Annotated[
        str | None,
        Option(
            "--session",
            metavar="ID",
            help="Serve this session of the hub: its tools and variables. It is created if needed, and kept. Without "
            "it the server has a session of its own, removed afterwards.",
            complete="session",
        ),
    ] = None
    tool_filter: Annotated[
        list[str] | None,
        Option(
            "--tool-filter",
            metavar="PATTERN",
            help="Serve only the tools whose names match, such as 'weather.*', or that have a tag, such as tag:read; "
            "search: instead of the tools, show two that find tools and call them. Repeatable, also with commas "
            "between them.",
        ),
    ] = None
    mcp_agent: Annotated[
        list[str] | None,
        Option(
            metavar="NAME=SIGNATURE",
            help="Offer an agent of the hub as a tool, such as ask='question -> answer'; the hub needs an agent "
            "runtime, such as serve --agents. Repeatable.",
        ),
    ] = None
    print_config: Annotated[
        ConfigFormat | None,
        Option(
            "--print-config",
            help="Print the block that an application's settings need to start this command, and exit: claude (Claude "
            "Desktop, Claude Code), cursor or vscode.",
        ),
    ] = None
    name: Annotated[
        str | None,
        Option(
            "--name",
            metavar="NAME",
            help=f"With --print-config: what the server is called there (default: {DEFAULT_NAME}).",
            show_default=False,
        ),
    ] = None
    config: Annotated[Path | None, Option("--config", metavar="FILE", help="TOML file with settings by name.")] = None
    log_level: LogLevelOption = LogLevel.INFO
    loop: LoopOption = LoopChoice.AUTO
    max_message_bytes: Annotated[int | None, setting("max_message_bytes")] = None
    max_session_calls: Annotated[int | None, setting("max_session_calls")] = None
    max_threads: Annotated[int | None, setting("max_threads")] = None
    max_processes: Annotated[int | None, setting("max_processes")] = None
    call_timeout: Annotated[float | None, setting("call_timeout")] = None
    stream_timeout: Annotated[float | None, setting("stream_timeout")] = None
    show_tracebacks: Annotated[bool | None, setting("show_tracebacks")] = None

    def check(self) -> None:
        """Checks that options for ``--print-config`` are given with it, the patterns, and the agents."""
        self.declared_agents()
        if self.name is not None and self.print_config is None:
            raise ArgumentError("--name: for --print-config only; give --print-config, too")
        patterns = [pattern for given in self.tool_filter or () for pattern in given.split(",")]
        if not all(patterns):
            raise ArgumentError("--tool-filter: a pattern is empty")

    def declared_agents(self) -> dict[str, str]:
        """Returns the agents of ``--mcp-agent``: signatures by name; raises ArgumentError."""
        return declared_agents(self.mcp_agent)

    def check_remote(self) -> None:
        """Refuses settings of a hub in this process where another hub is used."""
        given = [name for name in _OF_TOOLS if getattr(self, name) is not None]
        if given:
            flags = " and ".join(f"--{name.replace('_', '-')}" for name in given)
            raise ArgumentError(f"{flags}: for the tools of --tools and --grpc only; the hub has settings of its own")

    def read_settings(self, **more: Any) -> Settings:
        """Reads the settings; ``more`` are settings from another group of options.

        Raises:
            ArgumentError: A setting is not valid, or a file cannot be read.
        """
        own = {item.name: getattr(self, item.name) for item in fields(self) if item.name in Settings.model_fields}
        return read_settings({**own, **more}, self.config)
