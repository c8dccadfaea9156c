"""The calls that run at an MCP server, and what it tells and asks meanwhile."""

import json
import logging
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, cast

from mcp.client.session import ClientRequestContext
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    ElicitRequestFormParams,
    ElicitRequestParams,
    ElicitResult,
    ErrorData,
    LoggingMessageNotificationParams,
)

from grpc_tool_bridge.adapters.mcp.bounds import one_line
from grpc_tool_bridge.errors import ToolBridgeError, ValidationError, wire_text
from grpc_tool_bridge.tools.content_schemas import check_schema
from grpc_tool_bridge.tools.context import LogLevel, ToolContext

_log = logging.getLogger(__name__)

_MAX_LINE_CHARS = 4_096
_LEVELS: Mapping[str, LogLevel] = {
    "debug": "debug", "info": "info", "notice": "info", "warning": "warning", "error": "error", "critical": "error",
    "alert": "error", "emergency": "error",
}  # fmt: skip
_NUMBERS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


@dataclass(eq=False, slots=True)
class RunningCall:
    """A call that runs at the server.

    Attributes:
        context: The context of the call.
        failure: Why a question of the server could not be answered; None: all were.
    """

    context: ToolContext
    failure: ToolBridgeError | None = None


# The call in whose name something runs, where that is known: what comes over HTTP is in its context.
current_call: ContextVar[RunningCall | None] = ContextVar("current_call", default=None)


class RunningCalls:
    """The calls that run at one server.

    Args:
        server: The server's name.
    """

    def __init__(self, server: str) -> None:
        self._server = server
        self._running: dict[RunningCall, None] = {}

    def __len__(self) -> int:
        return len(self._running)

    def add(self, call: RunningCall) -> None:
        """Adds a call that begins."""
        self._running[call] = None

    def discard(self, call: RunningCall) -> None:
        """Removes a call that has ended."""
        self._running.pop(call, None)

    def meant(self) -> RunningCall | None:
        """Returns the call that a message belongs to; None if that cannot be told.

        Over pipes, messages do not say to which call they belong. If all calls that run are of one session, the last
        one is meant; else nobody is, since one session must not see what is meant for another.
        """
        known = current_call.get()
        if known is not None and known in self._running:
            return known
        sessions = {call.context.session_id for call in self._running}
        return next(reversed(self._running)) if len(sessions) == 1 else None

    async def on_log(self, params: LoggingMessageNotificationParams) -> None:
        """Passes a log line of the server to the call that it belongs to, or to the log."""
        text = params.data if isinstance(params.data, str) else json.dumps(params.data, default=str)
        text = wire_text(text, _MAX_LINE_CHARS)
        level = _LEVELS.get(params.level, "info")
        call = self.meant()
        if call is not None:
            fields: dict[str, Any] = {} if params.logger is None else {"logger": params.logger}
            call.context.log(text, level=level, **fields)
        else:
            _log.log(_NUMBERS[level], "MCP server %s: %s", self._server, one_line(text))

    async def on_question(self, context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult | ErrorData:
        """Asks the caller what the server asks."""
        del context
        call = self.meant()
        if call is None:
            text = "calls of several sessions run, or none, and the question does not say to which it belongs"
            return ErrorData(code=INVALID_REQUEST, message=text)
        try:
            if isinstance(params, ElicitRequestFormParams):
                answer = await call.context.ask(params.message, _form(dict(params.requested_schema)))
            else:
                answer = await call.context.ask(f"{params.message}\n\nOpen {params.url}")
        except ToolBridgeError as error:
            call.failure = error
            code = INVALID_PARAMS if isinstance(error, ValidationError) else INTERNAL_ERROR
            return ErrorData(code=code, message=wire_text(error.message, _MAX_LINE_CHARS))
        content = (
            cast("Any", answer.content) if answer.accepted and isinstance(params, ElicitRequestFormParams) else None
        )
        return ElicitResult(action=answer.action, content=content)


def _form(schema: dict[str, Any]) -> dict[str, Any]:
    """Writes the form of a question as the bridge has it.

    An optional property that no question may have, such as a list of any strings, is left out, since nobody has to
    answer it.
    """
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return schema
    required = schema.get("required") or ()
    kept = {name: rules for name, rules in properties.items() if name in required or _may_be_asked(name, rules)}
    return {**schema, "properties": kept}


def _may_be_asked(name: str, rules: Any) -> bool:
    try:
        check_schema({"type": "object", "properties": {name: rules}})
    except ValidationError:
        return False
    return True
