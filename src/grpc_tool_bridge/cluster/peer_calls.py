"""Calls to another hub over the link to it: a request is passed on as it came, and its answer as it is."""

import math
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

from grpc_tool_bridge.cluster.moved import unsent
from grpc_tool_bridge.errors import DeadlineExceededError, ToolBridgeError, ToolCommunicationError
from grpc_tool_bridge.link.asks import GiveAnswer, PassedOn
from grpc_tool_bridge.link.calls import LinkCall
from grpc_tool_bridge.link.dialer import Dialer
from grpc_tool_bridge.link.envelopes import call_prefix
from grpc_tool_bridge.link.outbox import INITIAL_CREDIT
from grpc_tool_bridge.proto.dspex_bridge_pb2 import Ask, LinkEvent
from grpc_tool_bridge.rpc.asks import ASKS_KEY, Asker
from grpc_tool_bridge.rpc.buffers import Payload

OnEvent = Callable[[LinkEvent], None]

_MAX_MILLISECONDS = 2**32 - 1


class PassedCall(LinkCall):
    """A call that is passed on.

    Args:
        method: Such as "ExecuteTool".
        deadline: When its caller stops waiting, on the monotonic clock; None: never.
        metadata: Sent with it.
        asker: Answers the questions of its tool; None: nobody does.
        on_event: Called with each progress and log record.
        streaming: Whether the answer is a stream.

    Attributes:
        asker, nested: See ``AskedFor``.

    Raises:
        DeadlineExceededError: Its deadline has passed.
    """

    # A hub that is linked answers at once; else its session is looked for again.
    waits = False

    def __init__(
        self,
        method: str,
        *,
        deadline: float | None,
        metadata: Mapping[str, str] | None,
        asker: Asker | None,
        on_event: OnEvent | None,
        streaming: bool,
    ) -> None:
        left_ms = 0
        if deadline is not None:
            left_ms = math.ceil((deadline - time.monotonic()) * 1000)
            if left_ms <= 0:
                raise DeadlineExceededError(f"{method} was not passed on to the hub that has the session in time")
        sent = dict(metadata or {})
        if asker is not None and asker.can_ask:
            sent[ASKS_KEY] = "true"
            self.can_answer = True
        super().__init__(
            call_prefix(
                method,
                timeout_ms=min(left_ms, _MAX_MILLISECONDS),
                metadata=sent,
            )
        )
        self._questions = _Questions(self, asker)
        self._on_event = on_event
        if streaming:
            self.open_window(INITIAL_CREDIT)

    def on_event(self, event: LinkEvent) -> None:
        """Hands on what the other hub reports."""
        if self._on_event is not None and not self.is_over:
            self._on_event(event)

    def on_ask(self, ask: Ask, give: GiveAnswer) -> None:
        """Passes a question on to the caller."""
        PassedOn(self._questions, ask, give)

    def _finish(self) -> None:
        super()._finish()
        self._questions.close()


class _Questions:
    """The questions of one call; an ``AskedFor``."""

    def __init__(self, call: PassedCall, asker: Asker | None) -> None:
        self._call = call
        self.asker = asker
        self.nested: set[PassedOn] = set()
        self.hold = self.nested.add

    def cancel(self, cause: ToolBridgeError) -> None:
        """Ends the call: a question or an answer cannot be passed on."""
        if self._call.carrier is not None:
            self._call.carrier.cancel(self._call)
        self._call.fail(cause)

    def close(self) -> None:
        """Withdraws what is not answered: the call is over."""
        while self.nested:
            self.nested.pop().cancel(ToolBridgeError("the call is over"))


class DialledPeer:
    """Another hub, to which a dialer keeps a link; a ``PeerLink``.

    Args:
        name: Its name, for error texts.
        dialer: Dials it.
    """

    def __init__(self, name: str, dialer: Dialer) -> None:
        self.name = name
        self._dialer = dialer

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
        """See ``PeerLink``."""
        call = PassedCall(method, deadline=deadline, metadata=metadata, asker=asker, on_event=on_event, streaming=False)
        self._send(call, payload)
        try:
            return await call.answer()
        except ToolCommunicationError as error:
            raise self._refined(call, error) from None

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
        """See ``PeerLink``."""
        call = PassedCall(method, deadline=deadline, metadata=metadata, asker=asker, on_event=on_event, streaming=True)
        self._send(call, payload)
        try:
            while (message := await call.read()) is not None:
                yield message
                if call.carrier is not None and not call.is_over:
                    call.carrier.grant(call, len(message))
        except ToolCommunicationError as error:
            raise self._refined(call, error) from None
        finally:
            # Does nothing if it has ended.
            call.cancel()

    def _send(self, call: PassedCall, payload: Payload) -> None:
        if not self._dialer.is_linked:
            raise unsent(self.name)
        self._dialer.send_request(call, _Serialized(payload))

    def _refined(self, call: PassedCall, error: ToolCommunicationError) -> ToolBridgeError:
        """Returns the error to raise for one of the link: if nothing was sent, the call may be made again."""
        return unsent(self.name) if not call.id and error.code_name == "UNAVAILABLE" else error


class _Serialized:
    """A request that is serialized already."""

    __slots__ = ("_payload",)

    def __init__(self, payload: Payload) -> None:
        self._payload = payload

    def SerializeToString(self) -> Any:  # noqa: N802 - protobuf's name
        """Returns its bytes."""
        return self._payload
