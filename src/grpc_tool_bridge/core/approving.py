"""Calls of tools that need approval wait for it after their arguments were checked, and before they take a permit."""

import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from grpc_tool_bridge.core.calls import HubCall
from grpc_tool_bridge.core.fingerprint import fingerprint
from grpc_tool_bridge.core.guards import Approver
from grpc_tool_bridge.core.interfaces import Backend
from grpc_tool_bridge.errors import AccessError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    ToolCallResponse,
    ToolCallResult,
    ToolStreamChunk,
    ToolStreamRequest,
)
from grpc_tool_bridge.rpc.buffers import Payload
from grpc_tool_bridge.rpc.large_messages import whole


class _AnApproval:
    """What such a call waits for, for the texts of errors."""

    def __str__(self) -> str:
        return "an approval"


_AN_APPROVAL = _AnApproval()


class ApprovalBackend:
    """Lets the calls of a tool run that are approved.

    Args:
        inner: Runs the calls.
        approver: Returns who approves calls; None: nobody does, and all are refused.
        moved: Told when a call begins to wait, and when it stops.
    """

    def __init__(
        self, inner: Backend[HubCall], approver: Callable[[], Approver | None], moved: Callable[[HubCall], None]
    ) -> None:
        self.inner = inner
        self._approver = approver
        self._moved = moved

    def prepare(self, call: HubCall, request: Any, payload: Payload, size: int) -> Awaitable[None] | None:
        """Checks the arguments; returns an awaitable that ends once the call is approved.

        Raises:
            AccessError: The hub has nobody who approves calls.
        """
        preparing = self.inner.prepare(call, request, payload, size)
        # The hub that has admitted a call has decided; it is not decided again where it runs.
        return preparing if call.origin is not None else self._approved(call, request, size, preparing)

    async def _approved(self, call: HubCall, request: Any, size: int, preparing: Awaitable[None] | None) -> None:
        if preparing is not None:
            await preparing
        approver = self._approver()
        if approver is None:
            raise AccessError(f"{call.tool.name} needs approval, and this hub has nobody who can give it")
        message = whole(request)
        size = size or message.ByteSize()
        approver.check(call, size)
        call.wait_for(_AN_APPROVAL)
        self._moved(call)
        await call.step(approver.approve(call, message, call_digest(call, message), size))
        call.stop_waiting()
        call.refuse_ended()
        self._moved(call)

    def call(
        self, call: HubCall, request: Any, answer: ToolCallResponse | ToolCallResult, *, as_bytes: bool
    ) -> Awaitable[Payload | None]:
        """Runs the call, which is approved."""
        return self.inner.call(call, request, answer, as_bytes=as_bytes)

    def stream(
        self, call: HubCall, request: ToolStreamRequest, *, as_bytes: bool
    ) -> AsyncGenerator[ToolStreamChunk | Payload, None]:
        """Runs the stream, which is approved."""
        return self.inner.stream(call, request, as_bytes=as_bytes)

    def try_call(self, call: HubCall, request: Any, payload: Payload, done: Any) -> None:
        """Leaves it to ``call``."""


def call_digest(call: HubCall, request: Any) -> str:
    """Returns what a decision is bound to: SHA-256 over the tool, its version and its arguments."""
    digest = hashlib.sha256()
    for part in (call.tool.name.encode(), call.tool.version.encode(), fingerprint(request)):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()
