"""What a tool raised, put into words where its code may run: never in the event loop, and within the call's time."""

import asyncio
from functools import partial
from typing import Any

from grpc_tool_bridge.aio.threads import ToolThreads
from grpc_tool_bridge.errors import DeadlineExceededError, error_info, untold
from grpc_tool_bridge.errors.plain_errors import is_plain
from grpc_tool_bridge.errors.tracebacks import is_at_hand
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ErrorInfo
from grpc_tool_bridge.runner.calls import Call

# Exceptions that are told at once; one whose ``__str__`` never returns keeps a thread, and more than these wait.
MAX_THREADS = 16
_threads = ToolThreads(MAX_THREADS)

UNTOLD = "<no text: to put it into words took longer than the call's deadline allows>"


class ToolRaised(Exception):  # noqa: N818 - not an error of its own: it carries the tool's through the bridge's code
    """What a tool raised, so that it is not taken for an error of the bridge."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.error = error


class ToldError(Exception):
    """What a tool raised where it was put into words at once: in a thread, or in another process.

    Attributes:
        info: The error as it goes to the caller, with its traceback.
        is_timeout: Whether it was a TimeoutError of this process.
    """

    def __init__(self, info: ErrorInfo, *, is_timeout: bool = False) -> None:
        super().__init__(f"{info.type}: {info.message}")
        self.info = info
        self.is_timeout = is_timeout

    def __reduce__(self) -> tuple[Any, ...]:
        # A protobuf message cannot be pickled.
        state = {name: value for name, value in self.__dict__.items() if name != "info"}
        return _told, (type(self), self.info.SerializeToString()), state


class Teller:
    """Puts into words what tools raise.

    Args:
        show_tracebacks: Whether the traceback is told as well.
    """

    def __init__(self, *, show_tracebacks: bool) -> None:
        self._shows = show_tracebacks

    def is_plain(self, error: BaseException) -> bool:
        """Tells whether it takes neither a tool's own code nor a file to tell an exception."""
        return is_plain(error) and (not self._shows or is_at_hand(error))

    def told_here(self, error: BaseException) -> BaseException:
        """Called in the thread of a synchronous tool with what it raised; returns what the event loop is given."""
        if type(error) is ToldError or self.is_plain(error):
            return error
        return ToldError(self._info(error), is_timeout=issubclass(type(error), TimeoutError))

    def told_by_result(self, error: BaseException) -> BaseException:
        """Called in a thread with what was raised where a result was written there; the bridge's own stays as it is."""
        return ToolRaised(self.told_here(error.error)) if type(error) is ToolRaised else error

    async def tell(self, call: Call, error: BaseException) -> ErrorInfo:
        """Maps what a tool raised to the wire.

        Raises:
            asyncio.CancelledError: The caller has gone meanwhile.
        """
        if type(error) is ToldError:
            return error.info
        if self.is_plain(error):
            return self._info(error)
        try:
            info: ErrorInfo = await call.step(_threads.run(partial(self._info, error)))
        except asyncio.CancelledError:
            cause = call.convert()
            if cause is None:
                raise
            return untold(error, UNTOLD) if isinstance(cause, DeadlineExceededError) else error_info(cause)
        return info

    def _info(self, error: BaseException) -> ErrorInfo:
        return error_info(error, raised_by_tool=True, show_traceback=self._shows)


def _told(kind: type[ToldError], data: bytes) -> ToldError:
    return kind(ErrorInfo.FromString(data))
