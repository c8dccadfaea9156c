"""Logs that a tool or an agent calls a deprecated tool, once for each of them and each tool."""

import logging

from grpc_tool_bridge.core.calls import HubCall

# Callers and tools that are remembered; of others, the log has another line.
MAX_REMEMBERED = 10_000

_log = logging.getLogger(__name__)


class DeprecatedCalls:
    """Notices nested calls of deprecated tools, wherever the calling tool or agent runs.

    A client warns its own program; nobody reads the warnings of a tool or an agent.
    """

    def __init__(self) -> None:
        self._noted: dict[tuple[str, str, str], None] = {}

    def note(self, call: HubCall) -> None:
        """Logs a call of a deprecated tool that another call makes, unless the log has the same already."""
        parent, deprecated = call.parent, call.tool.deprecated
        if parent is None or not deprecated:
            return
        key = parent.tool.name, call.tool.name, deprecated
        if key in self._noted:
            return
        if len(self._noted) >= MAX_REMEMBERED:
            del self._noted[next(iter(self._noted))]
        self._noted[key] = None
        caller = f"an agent, {parent.tool.name}," if parent.run_id else f"the tool {parent.tool.name}"
        _log.warning(
            "%s calls the tool %s, which is deprecated: %s",
            caller,
            call.tool.name,
            deprecated,
            extra={"session_id": call.session.id},
        )
