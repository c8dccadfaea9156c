"""A call that the hub makes of a worker."""

import asyncio
import functools
import math
import time
from collections import deque
from typing import TYPE_CHECKING

from grpc_tool_bridge.errors import (
    CallCancelledError,
    DeadlineExceededError,
    ProtocolError,
    ResourceExhaustedError,
    ToolBridgeError,
    UnavailableError,
    error_from_info,
)
from grpc_tool_bridge.link.envelopes import call_prefix, shortened
from grpc_tool_bridge.link.outbox import OutgoingCall
from grpc_tool_bridge.proto.dspex_bridge_pb2 import LinkStatus
from grpc_tool_bridge.rpc.methods import DEPTH_KEY

if TYPE_CHECKING:
    from grpc_tool_bridge.core.calls import HubCall

CREATE_AGENT = call_prefix("CreateReActAgent")
EXECUTE_AGENT = call_prefix("ExecuteAgent")
_MAX_MILLISECONDS = 2**32 - 1

# Of gRPC's statuses those that a worker may end a call with although it tells no more of it.
_ERROR_OF_CODE: dict[int, type[ToolBridgeError]] = {
    1: CallCancelledError,
    4: DeadlineExceededError,
    8: ResourceExhaustedError,
    14: UnavailableError,
}


class WorkerLostError(UnavailableError):
    """The worker that a call was given to does not answer it.

    Args:
        message: Why.
        began: Whether the tool may have begun.
    """

    def __init__(self, message: str, *, began: bool) -> None:
        super().__init__(message)
        self.began = began


class WorkerCall(OutgoingCall):
    """One call on its way to a worker and back, as bytes.

    Args:
        owner: The call as the hub has it.
        streaming: Whether the answer is a stream.
        prefix: Of the method, where it is no tool that is called.

    Attributes:
        owner: As given.
        has_arrived: Whether anything of a stream came.
    """

    has_arrived = False
    _over = False
    _error: ToolBridgeError | None = None
    _waiter: "asyncio.Future[None] | None" = None
    _payload = b""

    def __init__(self, owner: "HubCall", *, streaming: bool, prefix: bytes = b"") -> None:
        left = math.ceil((owner.deadline - time.monotonic()) * 1000)
        prefix = prefix or _prefix("StreamTool" if streaming else "ExecuteTool", owner.depth)
        super().__init__(shortened(prefix, min(max(1, left), _MAX_MILLISECONDS)))
        self.owner = owner
        if streaming:
            self.open_window(0)
            self._chunks: deque[bytes] = deque()

    def replied(self, payload: bytes) -> None:
        """Takes the answer."""
        self._payload = payload
        self._finish()

    def arrived(self, payload: bytes) -> None:
        """Takes a message of a stream."""
        self.has_arrived = True
        self._chunks.append(payload)
        self._wake()

    def ended(self, status: LinkStatus) -> None:
        """Takes the end: of a stream, or of a call that the worker refused."""
        if status.code:
            self._error = error_of_status(status)
        self._finish()

    def lost(self, error: WorkerLostError) -> None:
        """Gives it up because its worker does not answer."""
        if not self._over:
            self._error = error
            self._finish()

    def _finish(self) -> None:
        self._over = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def answer(self) -> bytes:
        """Waits for the answer.

        Raises:
            WorkerLostError: Its worker does not answer.
            ToolBridgeError: The worker refused it.
        """
        while not self._over:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        if self._error is not None:
            raise self._error
        return self._payload

    async def read(self) -> bytes | None:
        """Waits for the next message of a stream; None at its end. Raises as ``answer`` does."""
        while not self._chunks:
            if self._over:
                if self._error is not None:
                    raise self._error
                return None
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._chunks.popleft()


@functools.cache
def _prefix(method: str, depth: int) -> bytes:
    """Writes what the calls of one method and one depth have in common; the hub bounds how deep they are."""
    return call_prefix(method, metadata={DEPTH_KEY: str(depth)} if depth else None)


def error_of_status(status: LinkStatus) -> ToolBridgeError:
    """Maps the status that a worker ended a call with to its error."""
    if status.error.type:
        return error_from_info(status.error)
    kind = _ERROR_OF_CODE.get(status.code)
    if kind is not None:
        return kind(status.message or "the worker gave no reason")
    return ProtocolError(f"the worker ended the call with status {status.code}: {status.message}")
