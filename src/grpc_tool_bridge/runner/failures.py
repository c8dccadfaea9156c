"""What a call failed with, as the error that its caller gets."""

import asyncio
import logging
import time

from grpc_tool_bridge.errors import ToolBridgeError, error_info
from grpc_tool_bridge.errors.faults import log_fault
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ErrorInfo
from grpc_tool_bridge.runner.calls import Call
from grpc_tool_bridge.runner.error_formatter import ErrorFormatter, FormattedError, ToolRaised
from grpc_tool_bridge.runner.process import RaisedElsewhereError

_log = logging.getLogger(__name__)


class Failures:
    """Turns failures of calls into errors for the wire.

    Args:
        formatter: Formats what tools raise.
        show_tracebacks: Whether callers get the tracebacks of tools in other processes.
    """

    def __init__(self, formatter: ErrorFormatter, *, show_tracebacks: bool) -> None:
        self._formatter = formatter
        self._shows = show_tracebacks

    async def info_of(self, failure: BaseException, call: Call | None) -> ErrorInfo:
        """Returns the error of a failed call for the wire; formats a tool's exception outside of the event loop.

        Args:
            failure: Any exception. One that is neither an Exception nor wrapped was raised by a tool's own code, unless
                it ends the call from outside.
            call: The call, or None if it was not opened.

        Raises:
            asyncio.CancelledError: The caller has gone.
            GeneratorExit: The reader of the stream has gone.
        """
        if isinstance(failure, GeneratorExit):
            raise failure
        if isinstance(failure, asyncio.CancelledError):
            return await self._cancelled(call, failure)
        if call is None or (type(failure) is not ToolRaised and issubclass(type(failure), Exception)):
            return self.fault_info(failure)
        error = failure.error if type(failure) is ToolRaised else failure
        if call.cause is not None:
            # What ended the call matters, not what the tool raised meanwhile.
            return error_info(call.cause)
        is_timeout = error.is_timeout if type(error) is FormattedError else issubclass(type(error), TimeoutError)
        if is_timeout and call.deadline <= time.monotonic():
            # A nested call has the same deadline, and may be the first to time out.
            return error_info(call.timeout_error())
        if type(error) is RaisedElsewhereError:
            if not self._shows:
                error.info.stacktrace = ""
            return error.info
        return await self._formatter.format(call, error)

    def fault_info(self, failure: BaseException) -> ErrorInfo:
        """Returns the error for a failure that is not a tool's; logs it if it is a fault of the bridge."""
        info = error_info(failure)
        if not issubclass(type(failure), ToolBridgeError):
            log_fault(_log, "fault %s in a call", info.details["error_id"], error=failure)
        return info

    async def _cancelled(self, call: Call | None, cancelled: asyncio.CancelledError) -> ErrorInfo:
        """Returns the error for a cancellation by the call or the tool; raises one from outside again."""
        cause = call.convert() if call is not None else None
        if cause is not None:
            return error_info(cause)
        if call is None or call.cancelled_from_outside():
            raise cancelled
        return await self._formatter.format(call, cancelled)
