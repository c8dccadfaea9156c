"""The hub's log of calls: a line for each that failed and, if asked for, for every call.

A line has names, times and the error, but never arguments or results. The lines are limited, so that a flood of calls
cannot fill a disk.
"""

import logging
from typing import Any

from grpc_tool_bridge.core.calls import HubCall
from grpc_tool_bridge.core.infos import CANCELLED, error_of, failed_state
from grpc_tool_bridge.core.names import clip
from grpc_tool_bridge.core.sample import TokenBucket
from grpc_tool_bridge.errors.log_fields import fields_text, log_extra
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ErrorInfo

LOGGER = "grpc_tool_bridge.calls"

# Lines a second, and at once after enough quiet: of failed calls only, and of every call.
FAILED_PER_SECOND = 1
FAILED_AT_ONCE = 100
CALLS_PER_SECOND = 1_000
CALLS_AT_ONCE = 10_000

_log = logging.getLogger(LOGGER)

_TEXTS = {"done": "call done", "failed": "call failed", "cancelled": "call cancelled"}


class CallLog:
    """Logs the ends of calls.

    Args:
        every: Whether every call is logged, not only those that failed.

    Attributes:
        every: As given.
    """

    def __init__(self, *, every: bool) -> None:
        self.every = every
        rates = (CALLS_PER_SECOND, CALLS_AT_ONCE) if every else (FAILED_PER_SECOND, FAILED_AT_ONCE)
        self._lines = TokenBucket(*rates)
        self._omitted = 0

    def ended(self, call: HubCall, *, ok: bool, duration_us: int, outcome: Any) -> None:
        """Logs the end of a call, unless it succeeded and only failed calls are logged.

        Args:
            call: The call.
            ok: Whether it succeeded.
            duration_us: Duration in microseconds.
            outcome: As for ``CallObserver.ended``.
        """
        if ok and not self.every:
            return
        error = None if ok else error_of(outcome)
        fields: dict[str, Any] = {"tool": call.tool.name, "session": call.session.id, "request_id": call.identify()}
        if call.parent is not None:
            fields["parent_id"] = call.parent.identify()
        self._write(fields, error, duration_us, None if call.trace is None else call.trace.ids)

    def refused(self, tool_id: str, session_id: str, request_id: str, error: ErrorInfo, duration_us: int) -> None:
        """Logs a call that was refused before it was counted, such as one of an unknown tool."""
        self._write({"tool": clip(tool_id), "session": clip(session_id), "request_id": request_id}, error, duration_us)

    def _write(
        self, fields: dict[str, Any], error: ErrorInfo | None, duration_us: int, trace: tuple[str, str] | None = None
    ) -> None:
        state = "done" if error is None else failed_state(error.type)
        level = logging.WARNING if state == "failed" else logging.INFO
        if not _log.isEnabledFor(level):
            return
        if not self._lines.take():
            self._omitted += 1
            if self._omitted == 1:
                _log.warning("further calls are not logged for now: there are too many of them")
            return
        if self._omitted:
            omitted, self._omitted = self._omitted, 0
            _log.warning("%d calls were not logged: there were too many of them", omitted)
        if error is not None:
            fields["error"] = error.type or CANCELLED
        fields["duration_ms"] = duration_us / 1_000
        if error is not None and error.message:
            fields["message"] = error.message
        text = _TEXTS[state]
        session_id = fields["session"]
        extra = log_extra(text, fields, session_id=session_id)
        if trace is not None:
            extra["trace"] = trace
        _log.log(level, "%s %s", text, fields_text(fields), extra=extra)
