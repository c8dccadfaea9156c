"""The log of a process that serves."""

import logging
import sys
from enum import StrEnum
from typing import Annotated

from grpc_tool_bridge.cli.failures import visible
from grpc_tool_bridge.cli.parameters import Option


class LogLevel(StrEnum):
    """How much is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


LogLevelOption = Annotated[LogLevel, Option("--log-level", help="What to log on stderr.")]


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
