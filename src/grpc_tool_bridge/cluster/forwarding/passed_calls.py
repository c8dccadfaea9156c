"""One request that is passed on to another hub, with the questions of its tool."""

import time
from collections.abc import AsyncGenerator, Mapping

from grpc_tool_bridge.cluster.links.peer_calls import OnEvent, PeerCall
from grpc_tool_bridge.cluster.links.peers import PeerLink
from grpc_tool_bridge.errors import CallCancelledError, DeadlineExceededError, ToolBridgeError
from grpc_tool_bridge.link.asks import GiveAnswer, PassedOn
from grpc_tool_bridge.proto.dspex_bridge_pb2 import Ask
from grpc_tool_bridge.rpc.asks import Asker
from grpc_tool_bridge.rpc.buffers import Payload
from grpc_tool_bridge.rpc.callers import told_of
from grpc_tool_bridge.rpc.context import RequestContext
from grpc_tool_bridge.rpc.tracing import TRACEPARENT, TRACESTATE, process


async def pass_call(
    peer: PeerLink,
    method: str,
    payload: Payload,
    context: RequestContext,
    *,
    on_event: OnEvent | None = None,
) -> Payload:
    """Passes a request on that has one answer, and returns that; cancelling the wait cancels it.

    Args:
        peer: The link to the other hub.
        method: Such as "ExecuteTool".
        payload: The serialized request.
        context: Its context: the deadline and the principal pass, and the questions of its tool come back.
        on_event: Called with what the other hub reports meanwhile.

    Raises:
        PeerLostError: There is no link, or it was lost.
        DeadlineExceededError: There was no answer in time.
        ToolBridgeError: The other hub's error.
    """
    call = _PassedCall(method, context, on_event, streaming=False)
    try:
        return await peer.start(call, payload, waits=False).answer()
    finally:
        call.close()


async def pass_stream(
    peer: PeerLink,
    method: str,
    payload: Payload,
    context: RequestContext,
) -> AsyncGenerator[Payload, None]:
    """Passes a request on that has a stream of answers, and yields them; arguments and errors as for ``pass_call``.

    The other hub sends no more than its reader takes; closing the generator cancels the request.
    """
    call = _PassedCall(method, context, None, streaming=True)
    try:
        peer.start(call, payload, waits=False)
        while (message := await call.read()) is not None:
            yield message
            call.took(message)
    finally:
        # Does nothing if it has ended.
        call.cancel()
        call.close()


class _PassedCall(PeerCall):
    def __init__(
        self,
        method: str,
        context: RequestContext,
        on_event: OnEvent | None,
        *,
        streaming: bool,
    ) -> None:
        timeout = None
        if context.deadline is not None:
            timeout = context.deadline - time.monotonic()
            if timeout <= 0:
                raise DeadlineExceededError(f"{method} was not passed on in time to the hub that has the session")
        self._questions: _Questions | None = None
        asker = context.asker
        if asker is not None and asker.can_ask:
            self._questions = _Questions(self, asker)
        super().__init__(
            method,
            metadata=_trace_headers(context),
            caller=told_of(context),
            timeout=timeout,
            streaming=streaming,
            on_event=on_event,
            on_ask=None if self._questions is None else self._questions.take,
        )

    def close(self) -> None:
        """Withdraws the questions that nobody has answered."""
        if self._questions is not None:
            self._questions.close()


def _trace_headers(context: RequestContext) -> Mapping[str, str] | None:
    """Returns the metadata by which the other hub's spans are in the trace of a request."""
    trace = context.trace
    if trace is not None:
        return {TRACEPARENT: trace.traceparent, TRACESTATE: trace.tracestate} if trace.traceparent else None
    return process.tracing.headers() if process.tracing is not None and context.peer is None else None


class _Questions:
    """The questions of one call; an ``AskedFor``."""

    def __init__(self, call: PeerCall, asker: Asker) -> None:
        self._call = call
        self.asker: Asker | None = asker
        self.nested: set[PassedOn] = set()
        self.hold = self.nested.add

    def take(self, ask: Ask, give: GiveAnswer) -> None:
        """Passes a question on to the caller."""
        PassedOn(self, ask, give)

    def cancel(self, cause: ToolBridgeError) -> None:
        """Ends the call: a question or an answer of it cannot be passed on."""
        if self._call.carrier is not None:
            self._call.carrier.cancel(self._call)
        self._call.fail(cause)

    def close(self) -> None:
        while self.nested:
            self.nested.pop().cancel(CallCancelledError("the call is over"))
