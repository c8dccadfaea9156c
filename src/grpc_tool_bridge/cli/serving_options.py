"""The options that ``serve`` and ``worker`` share."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

from grpc_tool_bridge.cli.event_loop import LoopChoice, LoopOption
from grpc_tool_bridge.cli.failures import ArgumentError
from grpc_tool_bridge.cli.log import LogLevel, LogLevelOption
from grpc_tool_bridge.cli.mcp_options import McpConfigOption, McpOption, PinOption, check_pin
from grpc_tool_bridge.cli.options import OptionGroup, ReadyJsonOption
from grpc_tool_bridge.cli.parameters import Option
from grpc_tool_bridge.cli.settings import named_settings, read_settings, setting
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.config.settings import LogFormat

SOURCE_HELP = (
    "Tools to offer: module:attr, module, FILE.py or FILE.py:attr. The attr is a tool, a function, a toolset, or a "
    "list, tuple or dict of them; without it, every tool and toolset of the module."
)


@dataclass(frozen=True, kw_only=True)
class ServingOptions(OptionGroup):
    """The options of a process that runs tools. Those that are settings are None if not given."""

    config: Annotated[Path | None, Option("--config", metavar="FILE", help="TOML file with settings by name.")] = None
    log_level: LogLevelOption = LogLevel.INFO
    loop: LoopOption = LoopChoice.AUTO
    as_json: ReadyJsonOption = False
    lifespan: Annotated[
        list[str] | None,
        Option(
            "--lifespan",
            metavar="SOURCE",
            help="What to set up before the tools are served, and to take down at the end: module:attr or FILE.py:attr "
            "of an async context manager function. Besides it, 'lifespan' of each module of tools. Repeatable.",
            complete="file",
        ),
    ] = None
    prefix: Annotated[
        str,
        Option(
            "--prefix",
            metavar="PREFIX",
            help="Comes before the names of these tools, with its separator, such as orders. for orders.get.",
        ),
    ] = ""
    middleware: Annotated[
        list[str] | None,
        Option(
            metavar="SOURCE",
            help="Run it around each call: module:attr or FILE.py:attr, an async function that is called with (call, "
            "call_next), or a list of them. Repeatable; the first one is outermost.",
            complete="file",
        ),
    ] = None
    mcp: McpOption = None
    mcp_config: McpConfigOption = None
    pin: PinOption = None
    agents: Annotated[
        bool,
        Option("--agents", help="Run agents in this process, too; API keys are read from its environment."),
    ] = False
    agent_model: Annotated[str | None, setting("agent_model", "--model", metavar="MODEL")] = None
    agent_api_base: Annotated[str | None, setting("agent_api_base", "--api-base", metavar="URL")] = None
    max_message_bytes: Annotated[int | None, setting("max_message_bytes")] = None
    max_threads: Annotated[int | None, setting("max_threads")] = None
    show_tracebacks: Annotated[bool | None, setting("show_tracebacks")] = None
    shutdown_grace: Annotated[float | None, setting("shutdown_grace")] = None
    log_format: Annotated[LogFormat | None, setting("log_format")] = None
    otel: Annotated[bool | None, setting("otel", "--otel/--no-otel")] = None

    def check(self) -> None:
        """Checks that options for agents are given with agents, and those for MCP servers with some."""
        check_pin(self.mcp, self.mcp_config, self.pin)
        given = (("--model", self.agent_model), ("--api-base", self.agent_api_base))
        named = [flag for flag, value in given if value is not None]
        if named and not self.agents:
            raise ArgumentError(f"{' and '.join(named)}: for agents only; give --agents, too")

    def read_settings(self, **more: Any) -> Settings:
        """Reads the settings; ``more`` are settings from another group of options.

        Raises:
            ArgumentError: A setting is not valid, or a file cannot be read.
        """
        return read_settings({**self._settings(), **more}, self.config)

    def named_settings(self) -> Settings:
        """As ``read_settings``, without reading the files that the settings name."""
        return named_settings(self._settings(), self.config)

    def _settings(self) -> dict[str, Any]:
        return {item.name: getattr(self, item.name) for item in fields(self) if item.name in Settings.model_fields}
