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
from grpc_tool_bridge.tools.content_schemas import check_schema, supported_part
from grpc_tool_bridge.tools.context import LogLevel, ToolContext

_log = logging.getLogger(__name__)

_MAX_LINE_CHARS = 4_096
_LEVELS: Mapping[str, LogLevel] = {
    "debug": "debug", "info": "info", "notice": "info", "warning": "warning", "error": "error", "critical": "error",
    "alert": "error", "emergency": "error",
}  # fmt: skip
# What a question says of its form besides the properties.
_FORM_KEYS = ("type", "title", "description", "required")
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

    What only narrows an answer, such as a pattern, is left out: the server checks the answer. So is an optional
    property that no question may have, such as a list of any strings, since nobody has to answer it.
    """
    properties, required = schema.get("properties"), schema.get("required", [])
    if not isinstance(properties, dict) or not isinstance(required, list):
        return schema
    asked = {name: _property(rules) for name, rules in properties.items()}
    form: dict[str, Any] = {key: schema[key] for key in _FORM_KEYS if key in schema}
    form["properties"] = {name: item for name, item in asked.items() if name in required or _may_be_asked(name, item)}
    return form


def _property(rules: Any) -> Any:
    """Writes a property as the bridge has it, if it says the same in other words."""
    if not isinstance(rules, dict):
        return rules
    made = _without_null(rules)
    if "const" in made:
        made["enum"] = [made.pop("const")]
    choices = made.get("enum")
    if "type" not in made and isinstance(choices, list) and all(isinstance(choice, str) for choice in choices):
        made["type"] = "string"
    for key, place in (("oneOf", made), ("anyOf", made.get("items"))):
        if isinstance(place, dict) and isinstance(place.get(key), list):
            titled = {**place, key: [_titled(choice) for choice in place[key]]}
            made = titled if place is made else {**made, "items": titled}
    if made.get("default") is None:
        made.pop("default", None)
    return supported_part(made)


def _without_null(rules: dict[str, Any]) -> dict[str, Any]:
    """Returns the rules of a property that may be null for one that may be left out."""
    kinds, choices = rules.get("type"), rules.get("anyOf")
    if isinstance(kinds, list):
        others = [kind for kind in kinds if kind != "null"]
        return {**rules, "type": others[0]} if len(others) == 1 else dict(rules)
    if isinstance(choices, list) and "type" not in rules:
        rest = [choice for choice in choices if choice != {"type": "null"}]
        if len(rest) == 1 and isinstance(rest[0], dict):
            return {**rest[0], **{key: rule for key, rule in rules.items() if key != "anyOf"}}
    return dict(rules)


def _titled(choice: Any) -> Any:
    """Returns a choice with a title, which is the value if it has none, and nothing else."""
    if not isinstance(choice, dict) or not isinstance(choice.get("const"), str):
        return choice
    return {"const": choice["const"], "title": choice.get("title", choice["const"])}


def _may_be_asked(name: str, rules: Any) -> bool:
    try:
        check_schema({"type": "object", "properties": {name: rules}})
    except ValidationError:
        return False
    return True
