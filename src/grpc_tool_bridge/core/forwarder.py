"""The short way of a call that the hub only passes on.

A call of a worker's tool that has to wait for nothing but the worker's answer needs no task and no timer: what becomes
of it is called back. Whatever else there is to it, such as a place to wait for, is left to the executor, by the same
steps. Only a call whose worker is lost gets a task, in which it goes to another one.
"""

import asyncio
import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from grpc_tool_bridge.aio.eager import Done
from grpc_tool_bridge.core.calls import WORKER_SLACK, HubCall
from grpc_tool_bridge.core.limits import Places
from grpc_tool_bridge.core.workers.pool import Worker, WorkerPool, check_repeatable
from grpc_tool_bridge.errors import ToolBridgeError
from grpc_tool_bridge.link.calls import WorkerCall, WorkerLostError
from grpc_tool_bridge.link.status import error_of_status
from grpc_tool_bridge.proto.dspex_bridge_pb2 import LinkStatus, ToolCallRequest, ToolCallResponse
from grpc_tool_bridge.rpc.context import RequestContext
from grpc_tool_bridge.runner.runner import set_duration

if TYPE_CHECKING:
    from grpc_tool_bridge.core.executor import Executor

# A call with more than this is kept whole for a second worker by the executor alone.
MAX_BYTES = 16 * 1024

# How often the deadlines are looked at; the worker keeps them to the millisecond, and a caller waits a second more.
SWEEP_INTERVAL = 0.25


class RelayedCall(HubCall):
    """A call on the short way.

    Attributes:
        relay: What waits for its answer.
    """

    relay: "Relay"

    def cancel(self, cause: ToolBridgeError) -> None:
        """Ends the call with ``cause``, unless it is ending already."""
        if self._cause is None:
            self._cause = cause
            self.relay.abort(cause)


class Relay(WorkerCall):
    """Waits for the answer of one call.

    Args:
        owner: The call as the hub has it.
        worker: Who runs it.
        relays: All of them.
        request: The call.
        payload: Its bytes.
        held: The places that it has.
        done: Told of the end.
    """

    owner: RelayedCall
    _again: "asyncio.Task[Any] | None" = None

    def __init__(
        self,
        owner: RelayedCall,
        worker: Worker,
        relays: "Relays",
        request: ToolCallRequest,
        payload: bytes,
        held: Sequence[Places],
        done: Done,
    ) -> None:
        super().__init__(owner, streaming=False)
        self.worker = worker
        self.request = request
        self.payload = payload
        self.held = held
        self.done = done
        self.began = time.perf_counter_ns()
        self._relays = relays

    def replied(self, payload: bytes) -> None:
        """Takes the answer."""
        if not self._over:
            self._relays.answered(self, payload)

    def ended(self, status: LinkStatus) -> None:
        """Takes the worker's refusal."""
        if not self._over and self._again is None:
            self._relays.failed(self, error_of_status(status))

    def lost(self, error: WorkerLostError) -> None:
        """Gives it to another worker, or fails."""
        # A link that is given up is lost once more when it ends.
        if not self._over and self._again is None:
            self._relays.lost(self, error)

    def abort(self, error: BaseException) -> None:
        """Ends it for its caller, and tells the worker."""
        if not self._over:
            self.worker.link.cancel(self)
            self._relays.failed(self, error)

    def cancel(self) -> bool:
        """Ends it because its caller wants it no more."""
        self.abort(asyncio.CancelledError())
        return True

    def close(self) -> bool:
        """Takes nothing any more; tells whether that is new."""
        was_open, self._over = not self._over, True
        if self._again is not None:
            self._again.cancel()
        return was_open

    def hand_over(self, task: "asyncio.Task[Any]") -> None:
        """Leaves the call to a task, which another worker answers."""
        self._again = task


class Relays:
    """The calls on the short way.

    Args:
        executor: Has the steps of a call, and the calls that have more of them.
        workers: Run the tools.
    """

    def __init__(self, executor: "Executor", workers: WorkerPool) -> None:
        self._executor = executor
        self._workers = workers
        self._open: dict[Relay, None] = {}
        self._look: asyncio.TimerHandle | None = None

    def start(self, request: ToolCallRequest, context: RequestContext, done: Done) -> Relay | None:
        """Passes a call on.

        Args:
            request: The call.
            context: With the request's bytes.
            done: Called, later, with the answer as a message or as bytes, or with the cancellation.

        Returns:
            What ``cancel`` ends; None where the call does not go this way, and nothing has happened.
        """
        payload = context.payload
        if request.idempotency_key or len(payload) > MAX_BYTES:
            return None
        executor = self._executor
        try:
            session = executor.let_in(request.session_id)
            if session.places is not None and session.places.is_full:
                return None
            tool = executor.find(session, request, len(payload))
            if tool.tool is not None or session.caching or tool.rate is not None:
                return None
            tool.check(request)
            call = executor.open(session, tool, request.timeout_ms, context.deadline, kind=RelayedCall)
        except ToolBridgeError:
            # The executor finds the same, and answers it.
            return None
        held = executor.admit_now(call)
        if held is None:
            return None
        worker = self._workers.choose(call)
        if worker is None:
            for places in held:
                places.release()
            return None
        relay = call.relay = Relay(call, worker, self, request, payload, held, done)
        call.worker = worker
        worker.link.start(relay, payload)
        self._enter(relay)
        return relay

    def answered(self, relay: Relay, payload: bytes) -> None:
        """Takes a worker's answer."""
        try:
            passed = self._executor.read_answer(relay.owner, payload)
        except ToolBridgeError as error:
            self.failed(relay, error)
            return
        if relay.close():
            self._leave(relay, ok=passed.success)
            relay.done(passed.data, None)

    def failed(self, relay: Relay, error: BaseException) -> None:
        """Ends a call without a worker's answer."""
        if not relay.close():
            return
        duration_us = self._leave(relay, ok=False)
        if not isinstance(error, Exception):
            relay.done(None, error)
            return
        response = ToolCallResponse(error=self._executor.error_of(error))
        if relay.request.request_id:
            response.request_id = relay.request.request_id
        set_duration(response.metrics, duration_us)
        relay.done(response, None)

    def lost(self, relay: Relay, error: WorkerLostError) -> None:
        """Gives a call whose worker was lost to another one, where it may be repeated; it keeps its places."""
        losses = int(error.began)
        try:
            check_repeatable(relay.owner, error, losses)
        except ToolBridgeError as refusal:
            self.failed(relay, refusal)
            return
        relay.owner.worker = None
        work = self._workers.execute(relay.owner, relay.payload, losses=losses)
        relay.hand_over(self._executor.spawn(work, partial(self._went_on, relay)))

    def _went_on(self, relay: Relay, payload: bytes, error: BaseException | None) -> None:
        if error is not None:
            self.failed(relay, error)
        else:
            relay.replied(payload)

    def _enter(self, relay: Relay) -> None:
        executor, call = self._executor, relay.owner
        executor.active += 1
        call.tool.metrics.active += 1
        call.enter_session()
        self._open[relay] = None
        if self._look is None:
            self._look = asyncio.get_running_loop().call_later(SWEEP_INTERVAL, self._look_at_deadlines)

    def _leave(self, relay: Relay, *, ok: bool) -> int:
        """Gives back what a call has; returns the microseconds that it took."""
        call = relay.owner
        duration_us = (time.perf_counter_ns() - relay.began) // 1_000
        del self._open[relay]
        call.worker = None
        self._executor.end(call, relay.held)
        call.tool.metrics.active -= 1
        call.tool.metrics.record(duration_us, ok=ok)
        return duration_us

    def _look_at_deadlines(self) -> None:
        self._look = None
        now = time.monotonic() - WORKER_SLACK
        for relay in [relay for relay in self._open if relay.owner.deadline <= now]:
            relay.owner.cancel(relay.owner.timeout_error())
        if self._open:
            self._look = asyncio.get_running_loop().call_later(SWEEP_INTERVAL, self._look_at_deadlines)
