"""Traces in a process that runs tools: the spans of their own code."""

import logging

from grpc_tool_bridge.telemetry.telemetry import Telemetry

# Such a process may be killed at any time after its call.
_DELAY_MILLISECONDS = 200

_log = logging.getLogger(__name__)


def start() -> None:
    """Begins to trace, as the standard variables say."""
    try:
        Telemetry(delay=_DELAY_MILLISECONDS, with_metrics=False)
    except Exception as error:  # noqa: BLE001 - the tool runs without
        _log.warning("a process for tools cannot trace: %s", error)
