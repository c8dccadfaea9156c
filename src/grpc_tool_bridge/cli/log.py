"""The log of a process that serves."""

import json
import logging
import sys
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

from grpc_tool_bridge.cli.failures import visible
from grpc_tool_bridge.cli.parameters import Option
from grpc_tool_bridge.rpc.tracing import process


class LogLevel(StrEnum):
    """How much is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


LogLevelOption = Annotated[
    LogLevel, Option("--log-level", help="What to log on stderr; debug: the messages of gRPC, too.")
]


class LineFormatter(logging.Formatter):
    """Writes each record on one line, before its traceback, so that a peer's text cannot forge a record."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name is the library's
        """Puts the message on one line."""
        return super().formatMessage(record).replace("\n", "\\n")

    def format(self, record: logging.LogRecord) -> str:
        """Escapes control characters."""
        return visible(super().format(record))


class JsonFormatter(logging.Formatter):
    """Writes each record as a JSON object on one line.

    It has ``time`` (ISO 8601, UTC), ``level``, ``logger`` and ``message``; ``fields``, if the record has some, and
    ``traceback``, if it has one. Lines of a call that is traced have ``trace_id`` and ``span_id``, too.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Writes a record; every character beyond ASCII is escaped."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": getattr(record, "event", None) or record.getMessage(),
        }
        ids = getattr(record, "trace", None)
        if ids is None and process.tracing is not None:
            ids = process.tracing.ids()
        if ids is not None:
            line["trace_id"], line["span_id"] = ids
        fields = getattr(record, "fields", None)
        if isinstance(fields, dict) and fields:
            line["fields"] = fields
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        if record.exc_text:
            line["traceback"] = record.exc_text
        return json.dumps(line, default=str)


def log_to_stderr(level: LogLevel, log_format: str = "text") -> None:
    """Logs to stderr, replacing any previous setup.

    Args:
        level: What is logged.
        log_format: "text" or "json".
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonFormatter() if log_format == "json" else LineFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    if level is not LogLevel.DEBUG:
        # What it says of connections, the hub says itself.
        logging.getLogger("grpc").setLevel(logging.CRITICAL)
    if level is LogLevel.INFO:
        # What uvicorn says of its start and end, the hub has said.
        logging.getLogger("uvicorn").setLevel(logging.WARNING)
