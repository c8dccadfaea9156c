"""Calls to another hub, whose requests and answers are passed on as bytes."""

import functools
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from grpc_tool_bridge.errors import (
    DeadlineExceededError,
    ResourceExhaustedError,
    ToolCommunicationError,
    UnavailableError,
)
from grpc_tool_bridge.link.asks import GiveAnswer
from grpc_tool_bridge.link.calls import LinkCall
from grpc_tool_bridge.link.envelopes import call_prefix, shortened
from grpc_tool_bridge.link.status import Code, code_of
from grpc_tool_bridge.proto.dspex_bridge_pb2 import Ask, LinkEvent
from grpc_tool_bridge.rpc.asks import ASKS_KEY
from grpc_tool_bridge.rpc.buffers import Payload
from grpc_tool_bridge.rpc.callers import PRINCIPAL_KEY

# The other hub ends a call at its deadline, with an error that says more; this end waits so much longer for that.
GRACE_SECONDS = 1.0

# Calls with metadata of their own, such as an origin, are not worth to be kept.
_MAX_PREFIXES = 256
_MAX_MILLISECONDS = 2**32 - 1

OnEvent = Callable[[LinkEvent], None]
OnAsk = Callable[[Ask, GiveAnswer], None]


class PeerLostError(UnavailableError):
    """The link to another hub was lost, or there is none.

    Args:
        message: Why.
        began: Whether the other hub may have received the call, and so acted.
    """

    def __init__(self, message: str, *, began: bool) -> None:
        super().__init__(message)
        self.began = began


class PeerCall(LinkCall):
    """A call to another hub; it fails with the whole error of that hub, or with a PeerLostError.

    Args:
        method: Such as "ExecuteTool".
        metadata: Of the call.
        caller: On whose behalf it is made, as ``caller_text`` has written it; empty: this hub makes it itself.
        timeout: Its seconds; None: as the request says.
        streaming: Whether the answer is a stream.
        on_event: Called with what its tool reports; None: that is ignored.
        on_ask: Called with what its tool asks; None: its tool can ask nothing.
    """

    def __init__(
        self,
        method: str,
        *,
        metadata: Mapping[str, str] | None = None,
        caller: str = "",
        timeout: float | None = None,
        streaming: bool = False,
        on_event: OnEvent | None = None,
        on_ask: OnAsk | None = None,
    ) -> None:
        if on_ask is not None:
            metadata = {**(metadata or {}), ASKS_KEY: "true"}
            self.can_answer = True
        if metadata:
            prefix = call_prefix(method, metadata={**metadata, PRINCIPAL_KEY: caller} if caller else metadata)
        else:
            prefix = _prefix(method, caller)
        if timeout is not None:
            prefix = shortened(prefix, min(max(1, math.ceil(timeout * 1000)), _MAX_MILLISECONDS))
            self.expires_at = time.monotonic() + timeout + GRACE_SECONDS
        super().__init__(prefix)
        # Why the other hub is gone, if that is known better than by the link.
        self.why_gone: Callable[[], str] | None = None
        self._on_event = on_event
        self._on_ask = on_ask
        if streaming:
            self.open_window(0)

    def on_event(self, event: LinkEvent) -> None:
        """See ``LinkCall``."""
        if self._on_event is not None and not self._over:
            self._on_event(event)

    def on_ask(self, ask: Ask, give: GiveAnswer) -> None:
        """See ``LinkCall``."""
        if self._on_ask is None or self._over:
            super().on_ask(ask, give)
        else:
            self._on_ask(ask, give)

    def time_remaining(self) -> float | None:
        """See ``LinkCall``."""
        return None if self.expires_at == math.inf else max(0.0, self.expires_at - time.monotonic() - GRACE_SECONDS)

    def expire(self) -> None:
        """See ``LinkCall``."""
        self._end_late()

    def fail(self, error: Exception) -> None:
        """See ``LinkCall``."""
        if isinstance(error, ToolCommunicationError) and not self._cancelled:
            error = self._lost(error)
        super().fail(error)

    def took(self, message: Payload) -> None:
        """Notes that a message of a stream was passed on, so that the other hub may send more."""
        if self.carrier is not None and not self._over:
            self.carrier.grant(self, len(message))

    def _lost(self, error: ToolCommunicationError) -> Exception:
        code, is_sent = code_of(error), bool(self.id)
        if code is Code.DEADLINE_EXCEEDED and not is_sent:
            return PeerLostError("there was no link to the other hub within the time of the call", began=False)
        if code is Code.DEADLINE_EXCEEDED:
            return DeadlineExceededError(f"the other hub did not answer in time: {error.message}")
        if code is Code.RESOURCE_EXHAUSTED:
            return ResourceExhaustedError(error.message)
        why = self.why_gone() if self.why_gone is not None else ""
        return PeerLostError(why or error.message, began=is_sent)


class Serialized:
    """A request that is serialized already.

    Args:
        payload: The request.
    """

    __slots__ = ("_payload",)

    def __init__(self, payload: Payload) -> None:
        self._payload = payload

    def SerializeToString(self) -> Any:  # noqa: N802 - protobuf's name
        """Returns the request."""
        return self._payload


@functools.lru_cache(_MAX_PREFIXES)
def _prefix(method: str, caller: str) -> bytes:
    return call_prefix(method, metadata={PRINCIPAL_KEY: caller} if caller else None)
