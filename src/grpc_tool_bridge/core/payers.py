"""Whose quota a call uses."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from google.protobuf.message import Message

from grpc_tool_bridge.core.calls import HubCall
from grpc_tool_bridge.core.guards import Quota, Quotas
from grpc_tool_bridge.rpc.buffers import SERIALIZED
from grpc_tool_bridge.rpc.callers import HUB_METHOD
from grpc_tool_bridge.rpc.context import RequestContext


class Payers:
    """Finds the quotas of calls.

    Attributes:
        quotas: What principals may use; None: no principal has a quota.
    """

    def __init__(self) -> None:
        self.quotas: Quotas | None = None

    def note(self, call: HubCall, context: RequestContext) -> None:
        """Notes on whose behalf a call from outside is made, and whose quota it uses."""
        call.made_for(context)
        if self.quotas is not None and call.principal is not None:
            call.quota = self.quotas.of(call.principal)

    def quota_of(self, context: RequestContext) -> Quota | None:
        """Returns what the caller of a request may use; None: it has no quota."""
        principal = context.principal
        # As ``caller_of``, without a call for each call.
        if self.quotas is None or principal is None or principal.method == HUB_METHOD:
            return None
        return self.quotas.of(principal)

    def quota_of_call(self, call: HubCall) -> Quota | None:
        """Returns what the principal of a call may use, also of a nested one; None: it has no quota."""
        return None if self.quotas is None or call.principal is None else self.quotas.of(call.principal)


def take(quota: Quota, request: Any, size: int) -> None:
    """Counts a call against the quota that it uses.

    Args:
        quota: The quota.
        request: Its request, as a message or as bytes; None: its size is known.
        size: Bytes of the request; 0: not known.

    Raises:
        ResourceExhaustedError: The quota is used up.
    """
    quota.take(size or _size_of(request))


def count_answer(quota: Quota | None, answer: Any, now: float) -> None:
    """Counts the bytes of what a call was answered with, or of what else was sent to who has made it.

    Args:
        quota: What its caller may use; None: it has no quota.
        answer: A message or its bytes; of anything else, such as an exception, nothing is counted.
        now: On the monotonic clock.
    """
    if quota is not None and quota.counts_bytes:
        quota.use_bytes(_size_of(answer), now)


def counted(quota: Quota | None, chunks: AsyncGenerator[Any, None]) -> AsyncGenerator[Any, None]:
    """Counts each chunk of a stream before it is sent.

    Args:
        quota: As for ``count_answer``.
        chunks: Messages or their bytes.

    Returns:
        The chunks; once the bytes of the quota are used up, they end with ResourceExhaustedError.
    """
    return chunks if quota is None or not quota.counts_bytes else _counted(quota, chunks)


async def _counted(quota: Quota, chunks: AsyncGenerator[Any, None]) -> AsyncGenerator[Any, None]:
    async with aclosing(chunks):
        async for chunk in chunks:
            quota.take_bytes(_size_of(chunk))
            yield chunk


def _size_of(sent: Any) -> int:
    if type(sent) in SERIALIZED:
        return len(sent)
    return sent.ByteSize() if isinstance(sent, Message) else 0
