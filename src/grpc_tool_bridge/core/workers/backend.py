"""The backend of tools that workers run."""

import asyncio
import math
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from grpc_tool_bridge.aio.eager import Done
from grpc_tool_bridge.core.calls import HubCall
from grpc_tool_bridge.core.fair_queue import FairQueue
from grpc_tool_bridge.core.forwarded import ForwardedChunk, ForwardedResponse, call_bytes, with_metadata
from grpc_tool_bridge.core.interfaces import Cancellable
from grpc_tool_bridge.core.registered_tool import RegisteredTool
from grpc_tool_bridge.core.workers.addressing import addressed
from grpc_tool_bridge.core.workers.dispatch import Dispatcher, WaitingCall, check_lost, check_repeatable
from grpc_tool_bridge.core.workers.peer import PeerWorker, number_above
from grpc_tool_bridge.core.workers.worker import Worker
from grpc_tool_bridge.errors import MessageTooLargeError, ProtocolError, ToolBridgeError
from grpc_tool_bridge.link.calls import WorkerCall, WorkerLostError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    ToolCallItem,
    ToolCallRequest,
    ToolCallResponse,
    ToolCallResult,
    ToolStreamChunk,
    ToolStreamRequest,
)
from grpc_tool_bridge.rpc.buffers import Payload

# Bytes of an answer besides its value, such as its type and its metrics.
ANSWER_OVERHEAD = 4_096


class WorkerBackend:
    """The workers of one tool.

    Where the transport allows it, requests and answers are forwarded as the bytes that were received.

    Args:
        dispatcher: Sends the calls to workers.
        worker: The first worker that offers the tool.

    Attributes:
        workers: The workers of this hub that offer it, the least recently called first.
        peers: Other hubs that offer it, likewise.
        waiting: The calls that wait for one of them.
        guests: The calls of other hubs that wait for a worker of this one.
        told: As of ``Dispatcher``.
    """

    def __init__(self, dispatcher: Dispatcher, worker: Worker) -> None:
        self.workers: list[Worker] = []
        self.peers: list[PeerWorker] = []
        self.waiting: FairQueue[WaitingCall] = FairQueue()
        self.guests: FairQueue[WaitingCall] = FairQueue()
        self._was_of_peers = worker.is_peer
        self.add(worker)
        self._dispatcher = dispatcher
        self.told = dispatcher.told
        self._limit = dispatcher.settings.max_message_bytes
        self._shows_tracebacks = dispatcher.settings.show_tracebacks

    def everyone(self) -> list[Worker]:
        """Returns all who offer the tool: this hub's workers, then other hubs."""
        return [*self.workers, *self.peers] if self.peers else self.workers

    @property
    def is_of_peers(self) -> bool:
        """Whether only other hubs offer the tool or, if nobody does now, another hub did so last."""
        return not self.workers and (bool(self.peers) or self._was_of_peers)

    def add(self, worker: Worker) -> None:
        """Adds a worker or another hub, unless it is there."""
        if isinstance(worker, PeerWorker):
            if worker not in self.peers:
                self.peers.append(worker)
        elif worker not in self.workers:
            self.workers.append(worker)

    def discard(self, worker: Worker) -> None:
        """Removes a worker or another hub, if it is there."""
        self._was_of_peers = worker.is_peer
        if isinstance(worker, PeerWorker):
            worker.forget(self)
            if worker in self.peers:
                self.peers.remove(worker)
        elif worker in self.workers:
            self.workers.remove(worker)

    def prepare(
        self, call: HubCall, request: ToolCallRequest | ToolCallItem | ToolStreamRequest, payload: Payload, size: int
    ) -> None:
        """Checks the arguments against the spec."""
        del size
        call.tool.check(request)
        call.prepared = payload or call_bytes(request, call.session.id)
        if call.session.metadata and call.adds_metadata:
            call.prepared = with_metadata(call.session.metadata, call.prepared, type(request))

    async def call(
        self, call: HubCall, request: Any, answer: ToolCallResponse | ToolCallResult, *, as_bytes: bool
    ) -> Payload | None:
        """Runs the call on a worker."""
        del request
        data = await call.step(self._dispatcher.call(call, self, call.prepared))
        call.refuse_late()
        response = self.read(call, data)
        if not as_bytes:
            response.put_into(answer)
            return None
        answer.success = response.success
        return response.data

    async def stream(
        self, call: HubCall, request: ToolStreamRequest, *, as_bytes: bool
    ) -> AsyncGenerator[ToolStreamChunk | Payload, None]:
        """Yields the chunks of a worker's stream, and checks their order."""
        del request
        name, sequence = call.tool.name, 0
        async with aclosing(self._dispatcher.stream(call, self, call.prepared)) as chunks:
            while True:
                try:
                    data = await call.step(chunks.__anext__())
                except StopAsyncIteration:
                    raise ProtocolError(f"the worker's stream of {name} ended without 'complete' or 'error'") from None
                self._check_size(f"a value of {name}", data)
                chunk = ForwardedChunk(data, name, sequence, show_traceback=self._shows_tracebacks)
                if chunk.error is not None:
                    chunk.restate(call.deadline - call.opened_at)
                message = chunk.data if as_bytes else chunk.message()
                if chunk.is_last:
                    call.last_chunk, call.error = message, chunk.error
                    return
                yield message
                sequence += 1
                call.check()

    def try_call(
        self, call: HubCall, request: ToolCallRequest | None, payload: Payload, done: Done
    ) -> Cancellable | None:
        """Sends the call to a worker if one has room."""
        if request is not None:
            call.tool.check(request)
        worker = self.choose(call)
        if worker is None:
            return None
        if call.session.metadata:
            payload = with_metadata(call.session.metadata, payload)
        caller = "" if call.principal is None else self._dispatcher.caller_of(call, worker)
        if worker.is_peer:
            above = number_above(call, worker)
            direct = _DirectCall(call, self, worker, payload, done, above=above, at_peer=True, caller=caller)
        else:
            direct = _DirectCall(call, self, worker, payload, done, caller=caller)
        call.worker, call.remote = worker, direct
        worker.link.send(direct, addressed(call.tool, worker, payload) if call.tool.version else payload)
        if isinstance(worker, PeerWorker):
            worker.begin(self)
        return direct

    def repeat(self, direct: "_DirectCall", losses: int) -> "asyncio.Task[None]":
        """Sends a call to another worker after ``losses`` losses."""
        return self._dispatcher.repeat(direct.owner, self, direct.payload, losses, direct.repeated)

    def choose(self, call: HubCall) -> Worker | None:
        """Returns the worker with room that has the fewest calls; None if there is none, or if other calls wait.

        Of several, it is the least recently called one. Another hub gets the call only if no worker of this one has
        room, and never a call that came from another hub.
        """
        best: Worker | None = None
        workers = self.workers
        if not self.waiting:
            fewest = math.inf
            for worker in workers:
                active = worker.link.open_calls + worker.reserved
                if active < worker.capacity and active < fewest and not worker.suspect:
                    best, fewest = worker, active
                    if not active:
                        # None has fewer, and of hundreds of workers most are idle.
                        break
        if best is None and self.peers and call.origin is None and not self.waiting:
            peer = self.free_peer()
            if peer is not None:
                return peer
        if best is None and call.parent is not None:
            # It runs within the permit of its parent call, so that a call never waits for itself.
            known = workers if call.origin is not None else self.everyone()
            best = next((worker for worker in known if not worker.suspect and _runs_above(call, worker)), None)
            if best is not None and best.is_peer:
                return best
        if best is not None and len(workers) > 1:
            workers.remove(best)
            workers.append(best)
        return best

    def free_peer(self) -> PeerWorker | None:
        """Returns the other hub that has most room, of several the least recently called one; None: none has any."""
        best, most = None, 0
        for peer in self.peers:
            room = peer.room_for(self)
            if room > most:
                best, most = peer, room
        if best is not None and len(self.peers) > 1:
            self.peers.remove(best)
            self.peers.append(best)
        return best

    def read(self, call: HubCall, data: Payload) -> ForwardedResponse:
        """Reads a worker's answer to a call.

        Raises:
            MessageTooLargeError: It is larger than a message may be.
            ProtocolError: It is not a valid answer.
        """
        name = call.tool.name
        self._check_size(f"the result of {name}", data)
        response = ForwardedResponse(data, name, show_traceback=self._shows_tracebacks)
        if not response.success:
            response.restate(call.deadline - call.opened_at)
        return response

    def _check_size(self, what: str, data: Payload) -> None:
        if len(data) - ANSWER_OVERHEAD > self._limit:
            raise MessageTooLargeError.of(what, len(data) - ANSWER_OVERHEAD, self._limit)


def backend_of(tool: RegisteredTool) -> WorkerBackend | None:
    """Returns the backend of a tool that workers run; None for other tools."""
    backend: Any = tool.backend
    # Those of breakers, of chaos and of a test's recorder are around another.
    while hasattr(backend, "inner"):
        backend = backend.inner
    return backend if isinstance(backend, WorkerBackend) else None


def workers_of(tool: RegisteredTool) -> list[Worker]:
    """Returns the workers of a tool, other hubs among them."""
    backend = backend_of(tool)
    return backend.everyone() if backend is not None else []


def is_local(tool: RegisteredTool) -> bool:
    """Returns whether this hub runs a tool itself, with a function or with its own workers, if they are back soon."""
    backend = backend_of(tool)
    return tool.tool is not None if backend is None else not backend.is_of_peers


class _DirectCall(WorkerCall):
    """A call that reports its outcome to a callback.

    Args:
        owner: The hub's call.
        backend: The backend of its tool.
        worker: The worker that runs it.
        payload: The serialized request.
        done: As for ``WorkerBackend.try_call``; not called after ``cancel``.
        above, at_peer, caller: As for ``WorkerCall``.
    """

    owner: HubCall
    _left = False
    _repeating: "asyncio.Task[None] | None" = None

    def __init__(
        self,
        owner: HubCall,
        backend: WorkerBackend,
        worker: Worker,
        payload: Payload,
        done: Done,
        *,
        above: int = 0,
        at_peer: bool = False,
        caller: str = "",
    ) -> None:
        super().__init__(owner, streaming=False, told=backend.told, above=above, at_peer=at_peer, caller=caller)
        self.payload = payload
        self._backend = backend
        self._worker = worker
        self._done = done

    def on_reply(self, payload: Payload) -> None:
        """Handles the answer."""
        self._end(payload, None)

    def fail(self, error: Exception) -> None:
        """Handles the worker's refusal."""
        if self._repeating is None:
            self._end(None, error)

    def lost(self, error: WorkerLostError) -> None:
        """Repeats the call on another worker if it may be repeated."""
        # An aborted link reports the loss again when it ends.
        if self._over or self._repeating is not None:
            return
        losses = int(error.began)
        try:
            self._leave_peer(lost=error)
            check_repeatable(self.owner, error, losses)
        except ToolBridgeError as refusal:
            self._end(None, refusal)
            return
        self._repeating = self._backend.repeat(self, losses)

    def repeated(self, payload: Payload | None, error: BaseException | None) -> None:
        """Handles the outcome of the other worker."""
        self._repeating = None
        self._end(None, error) if error is not None else self._end(payload, None)

    def cancel(self) -> bool:
        """Cancels the call without calling back; returns False if it is over."""
        if self._over:
            return False
        self._over = True
        if self._repeating is not None:
            self._repeating.cancel()
        else:
            self._worker.link.cancel(self)
        self._leave_peer()
        return True

    def _leave_peer(self, lost: WorkerLostError | None = None) -> None:
        """Counts its end at another hub, and notes what is to be noted of a loss; raises as ``check_lost`` does."""
        worker = self._worker
        if isinstance(worker, PeerWorker) and not self._left:
            self._left = True
            worker.end(self._backend)
        if lost is not None:
            check_lost(self.owner, self._backend, worker, lost)

    def _end(self, payload: Payload | None, error: BaseException | None) -> None:
        if self._over:
            return
        self._over = True
        if self._repeating is not None:
            # The first worker answered after all.
            self._repeating.cancel()
        self._leave_peer()
        response: ForwardedResponse | None = None
        if payload is not None:
            try:
                response = self._backend.read(self.owner, payload)
            except (MessageTooLargeError, ProtocolError) as unreadable:
                error = unreadable
        self._done(response, error)


def _runs_above(call: HubCall, worker: Worker) -> bool:
    above = call.parent
    while above is not None:
        if above.worker is worker:
            return True
        above = above.parent
    return False
