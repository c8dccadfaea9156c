"""The log of a command that runs until a signal."""

import logging
import sys
from enum import StrEnum
from typing import Annotated

import typer

from grpc_tool_bridge.cli.failures import visible


class LogLevel(StrEnum):
    """How much is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


LogLevelOption = Annotated[LogLevel, typer.Option("--log-level", help="What to log on stderr.")]


class LineFormatter(logging.Formatter):
    """Writes each record as one line, before its traceback: a text that came from a peer must not look like another."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name is the library's
        """Puts the message on one line."""
        return super().formatMessage(record).replace("\n", "\\n")

    def format(self, record: logging.LogRecord) -> str:
        """Shows what a terminal would obey."""
        return visible(super().format(record))


def log_to_stderr(level: LogLevel) -> None:
    """Logs on stderr, in place of whatever was set up before."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
