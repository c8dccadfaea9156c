"""The middleware of a client: runs its chain around each call that it makes.

A proxy without middleware never comes here.
"""

import logging
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

from grpc_tool_bridge.errors import InternalError, ToolBridgeError
from grpc_tool_bridge.errors.faults import log_fault
from grpc_tool_bridge.tools.middleware import CallKind, CallNext, ToolCall, checked_iterator

_log = logging.getLogger(__name__)


class ClientToolCall(ToolCall):
    """A call that a client makes, as its middleware sees it.

    Args:
        send: Makes the call: returns an awaitable or, for a stream, an async generator.
        **facts: As for ``ToolCall``.

    Attributes:
        failure: What the call inside of the middleware has raised last.
    """

    def __init__(self, send: Callable[[ToolCall], Any], *, kind: CallKind, **facts: Any) -> None:
        super().__init__(kind=kind, is_stream=kind == "stream", request_id=uuid.uuid4().hex, side="client", **facts)
        self.failure: BaseException | None = None
        self._send = send

    async def proceed(self) -> Any:
        """Sends the call."""
        try:
            self.check_changes()
            if self.is_stream:
                return self._noting(self._send(self))
            return await self._send(self)
        except BaseException as error:
            self.failure = error
            raise

    async def _noting(self, values: AsyncGenerator[Any, None]) -> AsyncGenerator[Any, None]:
        try:
            async with aclosing(values):
                async for value in values:
                    yield value
        except BaseException as error:
            self.failure = error
            raise


async def call_through(chain: CallNext | None, call: ClientToolCall) -> Any:
    """Makes a call through the chain, if there is one.

    Raises:
        ToolBridgeError: As the call, or as middleware raises it.
        InternalError: Middleware has raised another exception, which is its cause.
    """
    try:
        return await (call.proceed() if chain is None else chain(call))
    except Exception as error:
        if isinstance(error, ToolBridgeError) or error is call.failure:
            raise
        raise _fault(call, error) from error


async def stream_through(chain: CallNext, call: ClientToolCall) -> AsyncGenerator[Any, None]:
    """Makes a stream through the chain, and iterates over what that yields; errors as for ``call_through``."""
    values: AsyncIterator[Any] = checked_iterator(call, await call_through(chain, call))
    try:
        async for value in values:
            yield value
    except Exception as error:
        if isinstance(error, ToolBridgeError) or error is call.failure:
            raise
        raise _fault(call, error) from error
    finally:
        close = getattr(values, "aclose", None)
        if close is not None:
            await close()


def _fault(call: ToolCall, error: Exception) -> InternalError:
    fault = InternalError.new()
    log_fault(_log, "fault %s in middleware around %s", fault.details["error_id"], call.tool, error=error)
    return fault
