"""Formats exceptions of tools, whose code may run: never in the event loop, and within the call's deadline."""

import asyncio
from functools import partial
from typing import Any

from grpc_tool_bridge.aio.threads import ToolThreads
from grpc_tool_bridge.errors import DeadlineExceededError, error_info, info_without_text
from grpc_tool_bridge.errors.plain_errors import is_plain
from grpc_tool_bridge.errors.tracebacks import is_at_hand
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ErrorInfo
from grpc_tool_bridge.runner.calls import Call

# Threads that format exceptions; an exception whose ``__str__`` never returns keeps one, and others wait.
MAX_THREADS = 16
_threads = ToolThreads(MAX_THREADS)

NO_TIME_TEXT = "<no text: its __str__ took longer than the call's deadline allows>"


class ToolRaised(Exception):  # noqa: N818 - only carries the tool's error through the bridge's code
    """Wraps what a tool raised, to distinguish it from an error of the bridge."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.error = error


class FormattedError(Exception):
    """What a tool raised in a thread or in another process, where it was formatted.

    Attributes:
        info: The error for the caller, with its traceback.
        is_timeout: Whether it was a TimeoutError of this process.
    """

    def __init__(self, info: ErrorInfo, *, is_timeout: bool = False) -> None:
        super().__init__(f"{info.type}: {info.message}")
        self.info = info
        self.is_timeout = is_timeout

    def __reduce__(self) -> tuple[Any, ...]:
        # A protobuf message cannot be pickled.
        state = {name: value for name, value in self.__dict__.items() if name != "info"}
        return _recreated, (type(self), self.info.SerializeToString()), state


class ErrorFormatter:
    """Formats what tools raise.

    Args:
        show_tracebacks: Whether to include the traceback.
    """

    def __init__(self, *, show_tracebacks: bool) -> None:
        self._shows = show_tracebacks

    def is_plain(self, error: BaseException) -> bool:
        """Returns whether formatting an exception runs no code of a tool and reads no file."""
        return is_plain(error) and (not self._shows or is_at_hand(error))

    def format_here(self, error: BaseException) -> BaseException:
        """Formats what a synchronous tool raised, in its thread, unless the event loop can do it."""
        if type(error) is FormattedError or self.is_plain(error):
            return error
        return FormattedError(self._info(error), is_timeout=issubclass(type(error), TimeoutError))

    def format_result_error(self, error: BaseException) -> BaseException:
        """Formats what was raised while a thread encoded a result; the bridge's own errors stay as they are."""
        return ToolRaised(self.format_here(error.error)) if type(error) is ToolRaised else error

    async def format(self, call: Call, error: BaseException) -> ErrorInfo:
        """Maps what a tool raised to the wire.

        Raises:
            asyncio.CancelledError: The caller has gone.
        """
        if type(error) is FormattedError:
            return error.info
        if self.is_plain(error):
            return self._info(error)
        try:
            info: ErrorInfo = await call.step(_threads.run(partial(self._info, error)))
        except asyncio.CancelledError:
            cause = call.convert()
            if cause is None:
                raise
            if not isinstance(cause, DeadlineExceededError):
                return error_info(cause)
            if not is_plain(error):
                return info_without_text(error, NO_TIME_TEXT)
            # Only the traceback takes time; what was raised is known without it.
            return error_info(error, raised_by_tool=True)
        return info

    def _info(self, error: BaseException) -> ErrorInfo:
        return error_info(error, raised_by_tool=True, show_traceback=self._shows)


def _recreated(kind: type[FormattedError], data: bytes) -> FormattedError:
    return kind(ErrorInfo.FromString(data))
