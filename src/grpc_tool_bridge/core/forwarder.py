"""The fast path: forwards calls with callbacks instead of tasks.

A call that waits only for its outcome needs no task and no timer of its own. Any other call, such as one that has to
wait for a permit, is left to the executor, which takes the same steps.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from grpc_tool_bridge.aio.eager import Done
from grpc_tool_bridge.core.admission import Admission
from grpc_tool_bridge.core.calls import WORKER_SLACK, HubCall
from grpc_tool_bridge.core.forwarded import with_id
from grpc_tool_bridge.core.interfaces import Backend, Cancellable
from grpc_tool_bridge.core.limits import Permits, release
from grpc_tool_bridge.errors import ToolBridgeError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ErrorInfo, ToolCallRequest, ToolCallResponse
from grpc_tool_bridge.rpc.buffers import Payload
from grpc_tool_bridge.rpc.context import RequestContext
from grpc_tool_bridge.runner.runner import set_duration

# A larger call is left to the executor, which alone can keep the whole payload for a second worker.
MAX_BYTES = 16 * 1024

# Seconds between checks of deadlines. The worker enforces them to the millisecond, and a caller waits a second longer.
SWEEP_INTERVAL = 0.25


class Outcome(Protocol):
    """The outcome that a backend reports.

    Attributes:
        success: Whether the tool succeeded.
        data: The serialized ToolCallResponse.
    """

    success: bool
    data: Payload


class Forwarded:
    """A forwarded call that has no outcome yet.

    Args:
        forwarder: Its owner.
        call: The call.
        permits: The permits that it acquired.
        done: Called with the answer.
    """

    __slots__ = ("_forwarder", "_handle", "_over", "call", "done", "permits")

    def __init__(self, forwarder: "Forwarder", call: HubCall, permits: Permits, done: Done) -> None:
        self._forwarder = forwarder
        self._handle: Cancellable | None = None
        self._over = False
        self.call = call
        self.permits = permits
        self.done = done

    @property
    def payload(self) -> Payload:
        """The bytes of its request if the backend still holds them, else empty."""
        return getattr(self._handle, "payload", b"")

    def start(self, backend: Backend[HubCall], request: ToolCallRequest | None, payload: Payload) -> bool:
        """Starts the call; returns False if the backend cannot run it this way."""
        self._handle = backend.try_call(self.call, request, payload, self._ended)
        return self._handle is not None

    def cancel(self) -> None:
        """Ends the call because its caller cancelled it."""
        self.abort(asyncio.CancelledError())

    def abort(self, error: BaseException) -> None:
        """Ends the call with ``error``."""
        if not self._over and self._handle is not None:
            self._finish(None, error)
            self._handle.cancel()

    def _ended(self, outcome: Outcome | None, error: BaseException | None) -> None:
        if not self._over:
            self._finish(outcome, error)

    def _finish(self, outcome: Outcome | None, error: BaseException | None) -> None:
        self._over = True
        self._forwarder.finish(self, outcome, error)


class Forwarder:
    """Forwards calls to backends, and answers them.

    Args:
        admission: Admits them.
        error_of: Converts an exception to the error of an answer.
    """

    def __init__(self, admission: Admission, error_of: Callable[[BaseException], ErrorInfo]) -> None:
        self._admission = admission
        self._error_of = error_of
        self._open: dict[Forwarded, None] = {}
        self._sweep: asyncio.TimerHandle | None = None

    def start(
        self,
        call: HubCall,
        backend: Backend[HubCall],
        request: ToolCallRequest | None,
        context: RequestContext,
        done: Done,
    ) -> Forwarded | None:
        """Forwards a call.

        Args:
            call: The call, from ``Admission.make``; it has no permits and is not counted.
            backend: Runs the call.
            request: The request; None if its arguments were checked.
            context: The context; only a call with the payload can be forwarded.
            done: Called later with the answer as a message or as bytes, or with the CancelledError.

        Returns:
            The forwarded call; None if the call cannot be forwarded, and nothing was started.
        """
        payload = context.payload
        if not payload or len(payload) > MAX_BYTES:
            return None
        if self._admission.tracer is not None and self._admission.traces(context):
            # Its span has to begin before it is sent.
            return None
        if call.quota is not None and not call.quota.may_take(len(payload)):
            # The executor is told why.
            return None
        permits = self._admission.try_acquire(call)
        if permits is None:
            return None
        forwarded = Forwarded(self, call, permits, done)
        try:
            started = forwarded.start(backend, request, payload)
        except ToolBridgeError:
            # The executor gets the same error, and answers with it.
            started = False
        if not started:
            release(permits)
            return None
        # Its quota is asked by the same size as above: the message may have another.
        self._admission.enter(call, context, len(payload), payload if request is None else request)
        call.forwarded = forwarded
        call.enter_session()
        self._open[forwarded] = None
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(SWEEP_INTERVAL, self._enforce_deadlines)
        return forwarded

    def finish(self, forwarded: Forwarded, outcome: Outcome | None, error: BaseException | None) -> None:
        """Ends a call and answers it."""
        del self._open[forwarded]
        call = forwarded.call
        # A worker repeats the id that the caller gave.
        has_id = bool(call.request_id)
        duration_us = self._admission.end(
            call,
            forwarded.permits,
            ok=outcome is not None and outcome.success,
            streamed=True,
            outcome=error if outcome is None else outcome.data,
        )
        if outcome is not None:
            has_id = has_id or outcome.success
            forwarded.done(outcome.data if has_id else with_id(call.identify(), outcome.data), None)
        elif isinstance(error, Exception):
            response = ToolCallResponse(error=self._error_of(error))
            response.request_id = call.identify()
            set_duration(response.metrics, duration_us)
            forwarded.done(response, None)
        else:
            forwarded.done(None, error)

    def _enforce_deadlines(self) -> None:
        self._sweep = None
        now = time.monotonic() - WORKER_SLACK
        for forwarded in [forwarded for forwarded in self._open if forwarded.call.deadline <= now]:
            forwarded.call.cancel(forwarded.call.timeout_error())
        if self._open:
            self._sweep = asyncio.get_running_loop().call_later(SWEEP_INTERVAL, self._enforce_deadlines)
