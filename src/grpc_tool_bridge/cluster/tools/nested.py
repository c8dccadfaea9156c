"""Sends nested calls of a guest back to the hub of its session, over the link that the guest came by."""

import math
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

from grpc_tool_bridge.errors import DeadlineExceededError, ToolCommunicationError, UnavailableError
from grpc_tool_bridge.link.calls import LinkCall
from grpc_tool_bridge.link.connection import LinkConnection
from grpc_tool_bridge.link.envelopes import call_prefix
from grpc_tool_bridge.proto.dspex_bridge_pb2 import LinkEvent
from grpc_tool_bridge.rpc.asks import Asker
from grpc_tool_bridge.rpc.buffers import Payload

# The other hub enforces the deadline; this end waits a little longer for what it says.
GRACE_SECONDS = 1.0

_MAX_MILLISECONDS = 2**32 - 1

OnEvent = Callable[[LinkEvent], None]


class OriginLink:
    """The hub that made a call, over the link of that call.

    A nested call names the call by its number on that link, so it can go over no other. What its tool asks, the other
    hub asks the caller of the outermost call itself.

    Args:
        link: The link.
        name: What the other hub is called in error texts.
    """

    def __init__(self, link: LinkConnection, name: str) -> None:
        self._link = link
        self.name = name

    async def call(
        self,
        method: str,
        payload: Payload,
        *,
        deadline: float | None = None,
        metadata: Mapping[str, str] | None = None,
        asker: Asker | None = None,
        on_event: OnEvent | None = None,
    ) -> Payload:
        """Makes a call with one answer; cancelling the wait cancels it there.

        Args:
            method: Such as "ExecuteTool".
            payload: The serialized request.
            deadline: When its caller stops waiting, on the monotonic clock; None: the other hub says.
            metadata: Sent with it.
            asker: Ignored, see above.
            on_event: Called with each event of the other hub.

        Returns:
            The serialized answer.

        Raises:
            ToolBridgeError: The other hub's error, whole; UnavailableError if the link was lost.
        """
        del asker
        call = self._send(method, payload, deadline, metadata, on_event, streaming=False)
        try:
            return await call.answer()
        except ToolCommunicationError as error:
            raise self._lost(error) from None

    async def stream(
        self,
        method: str,
        payload: Payload,
        *,
        deadline: float | None = None,
        metadata: Mapping[str, str] | None = None,
        asker: Asker | None = None,
        on_event: OnEvent | None = None,
    ) -> AsyncGenerator[Payload, None]:
        """Makes a call with a stream of answers; arguments and errors as for ``call``.

        The other hub sends no more than its reader takes; closing the generator cancels the call there.
        """
        del asker
        call = self._send(method, payload, deadline, metadata, on_event, streaming=True)
        try:
            while (message := await call.read()) is not None:
                yield message
                if not call.is_over:
                    self._link.grant(call, len(message))
        except ToolCommunicationError as error:
            raise self._lost(error) from None
        finally:
            # Does nothing if it has ended.
            call.cancel()

    def _send(
        self,
        method: str,
        payload: Payload,
        deadline: float | None,
        metadata: Mapping[str, str] | None,
        on_event: OnEvent | None,
        *,
        streaming: bool,
    ) -> "_OriginCall":
        left = 0.0 if deadline is None else deadline - time.monotonic()
        if left < 0:
            raise DeadlineExceededError(f"{method} was not passed on to {self.name} in time")
        timeout_ms = min(math.ceil(left * 1000), _MAX_MILLISECONDS)
        call = _OriginCall(call_prefix(method, timeout_ms=timeout_ms, metadata=metadata), on_event)
        if deadline is not None:
            call.expires_at = deadline + GRACE_SECONDS
        if streaming:
            call.open_window(0)
        self._link.send_request(call, _Serialized(payload))
        return call

    def _lost(self, error: ToolCommunicationError) -> UnavailableError | DeadlineExceededError:
        if error.code_name == "DEADLINE_EXCEEDED":
            return DeadlineExceededError(f"{self.name} did not answer in time")
        return UnavailableError(f"the link to {self.name} was lost: {error.message}")


class _OriginCall(LinkCall):
    """A nested call.

    Args:
        prefix: As for ``LinkCall``.
        on_event: Called with each event; None: they are ignored.
    """

    def __init__(self, prefix: bytes, on_event: OnEvent | None) -> None:
        super().__init__(prefix)
        self._on_event = on_event

    def on_event(self, event: LinkEvent) -> None:
        """See ``LinkCall``."""
        if self._on_event is not None and not self.is_over:
            self._on_event(event)

    def expire(self) -> None:
        """See ``LinkCall``."""
        self._end_late()


class _Serialized:
    """A request that is serialized already."""

    __slots__ = ("_payload",)

    def __init__(self, payload: Payload) -> None:
        self._payload = payload

    def SerializeToString(self) -> Any:  # noqa: N802 - protobuf's name
        """Returns its bytes."""
        return self._payload
