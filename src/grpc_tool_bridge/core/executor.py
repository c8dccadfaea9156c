"""The one call path: find, check, admit, run, measure, answer.

Whatever edge or transport a call came by, it goes this way. The steps are plain code, not a chain of objects: at some
ten microseconds a call, the calls between layers would be most of the cost.

A call of a worker's tool is passed on as the bytes that it came in, and its answer as the bytes that the worker gave,
wherever the transport takes them so.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

from grpc_tool_bridge.aio.eager import Done, EagerTasks
from grpc_tool_bridge.aio.notifier import Waiters
from grpc_tool_bridge.core.calls import HubCall
from grpc_tool_bridge.core.forwarded import ANSWER_OVERHEAD, PassedAnswer, PassedChunk, call_bytes, stream_bytes
from grpc_tool_bridge.core.forwarder import Relays
from grpc_tool_bridge.core.idempotency import KeyedCalls
from grpc_tool_bridge.core.limits import Places
from grpc_tool_bridge.core.registered_tool import RegisteredTool
from grpc_tool_bridge.core.registry import ToolRegistry
from grpc_tool_bridge.core.result_cache import ResultCache, ResultPlace
from grpc_tool_bridge.core.sessions import Session, SessionStore
from grpc_tool_bridge.core.tool_runtime import HubRuntime
from grpc_tool_bridge.core.variables import check_name, clip
from grpc_tool_bridge.core.workers.pool import WorkerPool
from grpc_tool_bridge.errors import (
    CallCancelledError,
    NotFoundError,
    ProtocolError,
    ResourceExhaustedError,
    SessionExpiredError,
    ToolBridgeError,
    UnavailableError,
    ValidationError,
    error_info,
)
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    ErrorInfo,
    ToolCallItem,
    ToolCallRequest,
    ToolCallResponse,
    ToolCallResult,
    ToolSpec,
    ToolStreamRequest,
)
from grpc_tool_bridge.rpc.bounds import MAX_NAME_CHARS, check_request
from grpc_tool_bridge.rpc.context import LOCAL, RequestContext
from grpc_tool_bridge.runner.arguments import LARGE_BYTES
from grpc_tool_bridge.runner.blocking import BLOCKED_SECONDS
from grpc_tool_bridge.runner.runner import Request, ToolRunner, last_chunk, set_duration

C = TypeVar("C", bound=HubCall)

BLOCKED_US = int(BLOCKED_SECONDS * 1_000_000)

# Tools that call tools that call tools: each takes some ten frames of Python's stack, which has a thousand.
MAX_NESTED_CALLS = 32
# Nested calls take no place of their session; of those that one call from outside has led to, so many run at once.
MAX_CALLS_BELOW = 10_000


class Executor:
    """Runs calls.

    Args:
        store: The sessions.
        registry: The tools.
        workers: Run the tools that are not the hub's own.
    """

    def __init__(self, store: SessionStore, registry: ToolRegistry, workers: WorkerPool | None = None) -> None:
        self.settings = store.settings
        self.draining = False
        self.active = 0
        self._store = store
        self._registry = registry
        # A pool without workers is false.
        self._workers = WorkerPool(registry) if workers is None else workers
        self._runner = ToolRunner(self.settings, lambda call: HubRuntime(call, self, store))
        self.check_size = self._runner.check_size
        self.error_of = self._runner.error_of
        self.relays = Relays(self, self._workers)
        self._tasks = EagerTasks()
        self._default = self.settings.call_timeout
        self._ends = Waiters()

    async def aclose(self) -> None:
        """Ends what cancelled calls left behind."""
        await self._tasks.aclose()
        await self._runner.aclose()

    def abandon(self) -> None:
        """Ends what was left in an event loop that has ended."""
        self._runner.abandon()

    def spawn(self, coroutine: Coroutine[Any, Any, Any], done: Done) -> "asyncio.Task[Any]":
        """Runs a coroutine beside its caller, which is told of the end."""
        return self._tasks.spawn(coroutine, done)

    def read_answer(self, call: HubCall, data: bytes) -> PassedAnswer:
        """Reads a worker's answer to a call.

        Raises:
            MessageTooLargeError: It is over the limit of a message.
            ProtocolError: It is no answer.
        """
        name = call.tool.name
        if len(data) - ANSWER_OVERHEAD > self.settings.max_message_bytes:
            self.check_size(f"the result of {name}", len(data) - ANSWER_OVERHEAD)
        answer = PassedAnswer(data, name, show_traceback=self.settings.show_tracebacks)
        if not answer.success:
            answer.restate(call.deadline - call.opened_at)
        return answer

    @property
    def threads_busy(self) -> int:
        """Threads that run a tool now, those left behind included."""
        return self._runner.threads_busy

    @property
    def processes_busy(self) -> int:
        """Processes that run a tool now."""
        return self._runner.processes_busy

    async def idle(self) -> None:
        """Waits until no call runs."""
        while self.active:
            await self._ends.wait()

    async def session_idle(self, session: Session) -> None:
        """Waits until no call of ``session`` runs or waits for a place."""
        if session.idle is None:
            session.idle = Waiters()
        while session.active:
            await session.idle.wait()

    def end(self, call: HubCall | None, held: Sequence[Places], duration_us: int = 0) -> None:
        """Gives back what a call has; of a single call, its duration tells whether it held the event loop."""
        if call is not None:
            if duration_us > BLOCKED_US and not call.armed:
                # It waited for nothing: all of it was one step.
                call.note_step(call.opened_at)
            call.disarm()
            call.uncharge()
            if call.root is not None:
                call.root.below -= 1
        for places in held:
            places.release()
        if call is not None and call.session.idle is not None and not call.session.active:
            call.session.idle.wake()
        self.ended()

    def ended(self) -> None:
        """Counts the end of a call or a batch."""
        self.active -= 1
        self._ends.wake()

    # -------------------------------------------------------------------------------------------------- calls

    async def execute(self, request: ToolCallRequest, context: RequestContext = LOCAL) -> Any:
        """Runs one call and answers it, whatever happens.

        Args:
            request: The call.
            context: Its deadline can only shorten the call's; its parent gives its place, and its deadline holds too.

        Returns:
            The answer, a ToolCallResponse; where the payload was given it may be the bytes of one that a worker gave.

        Raises:
            asyncio.CancelledError: The caller has gone.
        """
        if request.idempotency_key:
            return await self._execute_once(request, context)
        response = ToolCallResponse()
        if request.request_id:
            response.request_id = clip(request.request_id)
        return await self.run(request, response, context, request.session_id, timeout_ms=request.timeout_ms) or response

    async def _execute_once(self, request: ToolCallRequest, context: RequestContext) -> ToolCallResponse:
        """Runs a call that has an idempotency key, or answers as it was answered before."""
        began = time.monotonic()
        # What the call waits for another of its key is taken off its own time.
        ends = [began + request.timeout_ms / 1000] if request.timeout_ms > 0 else []
        if context.deadline is not None:
            ends.append(context.deadline)
        if context.parent is not None:
            ends.append(context.parent.deadline)
        end = min(ends, default=None)
        context.payload = b""

        async def call() -> ToolCallResponse:
            response = ToolCallResponse(request_id=request.request_id)
            within = RequestContext(deadline=end, parent=context.parent, size=context.size)
            await self.run(request, response, within, request.session_id, timeout_ms=request.timeout_ms)
            return response

        try:
            check_request(request)
            session = self._store.find(request.session_id)
            if session.keyed is None:
                session.keyed = KeyedCalls(self.settings, self._store.memory_of(session))
            until = began + (session.call_timeout or self.settings.call_timeout) if end is None else end
            return await session.keyed.run(request, call, until=until)
        except ToolBridgeError as error:
            return ToolCallResponse(request_id=clip(request.request_id), error=error_info(error))

    async def run(  # noqa: PLR0915 - a call is followed in one place, and a function more would be a frame more
        self,
        request: ToolCallRequest | ToolCallItem,
        answer: ToolCallResponse | ToolCallResult,
        context: RequestContext,
        session_id: str,
        *,
        timeout_ms: int = 0,
    ) -> bytes | None:
        """Runs one call and fills its answer in: the result or the error, and what it took.

        Arguments as of ``execute``.

        Returns:
            The bytes of the whole answer where the payload was given and a worker answered; ``answer`` is empty then.
        """
        began = time.perf_counter_ns()
        tool: RegisteredTool | None = None
        call: HubCall | None = None
        held: Sequence[Places] = ()
        ok = False
        self.active += 1
        payload, context.payload = context.payload, b""
        try:
            within_another = context.parent is not None or context.admitted
            session = self._store.find(session_id) if within_another else self.let_in(session_id)
            # To find it out, protobuf writes all of a request.
            size = context.size or (0 if context.admitted else request.ByteSize())
            tool = self.find(session, request, size)
            tool.metrics.active += 1
            call = self.open(session, tool, timeout_ms, context.deadline, parent=context.parent)
            call.charge(self._store, size)
            place = self._result_place(session, tool, request) if session.caching else None
            local = tool.tool
            if place is not None and place.fill(answer):
                ok = True
            elif local is None:
                tool.check(request)
                held = await self.admit(call)
                given = await call.step(self._workers.execute(call, payload or call_bytes(request, session_id)))
                call.refuse_late()
                passed = self.read_answer(call, given)
                if not payload or place is not None:
                    passed.put_into(answer, place)
                ok = passed.success
                return passed.data if payload and place is None else None
            else:
                args, kwargs = (
                    self._runner.arguments(local, request, size)
                    if size <= LARGE_BYTES
                    else await self._runner.large_arguments(call, local, request, size)
                )
                payload = b""  # what waits need not hold the bytes as well
                held = await self.admit(call)
                value = await self._runner.invoke(call, local, request, args, kwargs)
                call.refuse_late()
                answer.result.type_url, answer.result.value = self._runner.pack(call, value, local)
                ok = answer.success = True
                if place is not None:
                    place.keep(answer)
        except asyncio.CancelledError as cancelled:
            answer.error.CopyFrom(await self._runner.cancelled(call, cancelled))
        except GeneratorExit:
            raise
        except BaseException as failure:  # noqa: BLE001 - every failure is an answer
            answer.error.CopyFrom(await self._runner.told(failure, call))
        finally:
            duration_us = (time.perf_counter_ns() - began) // 1_000
            self.end(call, held, duration_us)
            if tool is not None:
                tool.metrics.active -= 1
                tool.metrics.record(duration_us, ok=ok)
        set_duration(answer.metrics, duration_us)
        return None

    def _result_place(
        self, session: Session, tool: RegisteredTool, request: ToolCallRequest | ToolCallItem
    ) -> ResultPlace | None:
        """Returns where the result of a call is kept; None where it is not, since the tool is not idempotent."""
        if not tool.spec.idempotent:
            return None
        if session.cache is None:
            session.cache = ResultCache(self.settings, self._store.memory_of(session))
        return session.cache.place(tool, request)

    # ------------------------------------------------------------------------------------------------ streams

    async def stream(  # noqa: PLR0915 - as of run
        self, request: ToolStreamRequest, context: RequestContext = LOCAL
    ) -> AsyncGenerator[Any, None]:
        """Runs one stream: a chunk for each value as it is made, then exactly one ``complete`` or ``error``.

        Arguments as of ``execute``; where the payload was given, chunks that a worker gave come as their bytes. The
        tool is held up while the reader takes no chunk.
        """
        began = time.perf_counter_ns()
        stream_id = clip(request.stream_id) or uuid.uuid4().hex
        tool: RegisteredTool | None = None
        call: HubCall | None = None
        error: ErrorInfo | None = None
        sequence = sent = 0
        held: Sequence[Places] = ()
        self.active += 1
        payload, context.payload = context.payload, b""
        parent = context.parent
        try:
            session_id = request.session_id
            session = self._store.find(session_id) if parent is not None else self.let_in(session_id)
            size = context.size or request.ByteSize()
            tool = self.find(session, request, size)
            tool.metrics.active += 1
            call = self.open(
                session, tool, request.timeout_ms, context.deadline, default=self.settings.stream_timeout, parent=parent
            )
            call.charge(self._store, size)
            if request.stream_id:
                # Each chunk carries it.
                check_name(request.stream_id, "a stream id")
            local = tool.tool
            if local is None:
                tool.check(request)
                held = await self.admit(call)
                async with aclosing(self._passed_chunks(call, payload or stream_bytes(request, stream_id))) as given:
                    async for passed in given:
                        error = passed.error
                        yield passed.data if payload else passed.message()
                        sequence += 1
                        if passed.is_last:
                            return
            else:
                args, kwargs = (
                    self._runner.arguments(local, request, size)
                    if size <= LARGE_BYTES
                    else await self._runner.large_arguments(call, local, request, size)
                )
                held = await self.admit(call)
                chunks = self._runner.chunks(call, local, request, args, kwargs, stream_id=stream_id)
                async with aclosing(chunks) as made:
                    async for chunk in made:
                        yield chunk
                        sequence += 1
                        sent += chunk.HasField("data")
        except asyncio.CancelledError as cancelled:
            error = await self._runner.cancelled(call, cancelled)
        except GeneratorExit:
            raise
        except BaseException as failure:  # noqa: BLE001 - every failure is an answer
            error = await self._runner.told(failure, call)
        finally:
            duration_us = (time.perf_counter_ns() - began) // 1_000
            self.end(call, held)
            if tool is not None:
                tool.metrics.active -= 1
                tool.metrics.record(duration_us, ok=error is None)
        yield last_chunk(stream_id, sequence, sent=sent, error=error, duration_us=duration_us)

    async def _passed_chunks(self, call: HubCall, payload: bytes) -> AsyncGenerator[PassedChunk, None]:
        """Yields what the worker of a stream gives, as it comes and in order."""
        shows = self.settings.show_tracebacks
        sequence = 0
        async with aclosing(self._workers.stream(call, payload)) as chunks:
            while True:
                try:
                    data = await call.step(chunks.__anext__())
                except StopAsyncIteration:
                    raise ProtocolError(
                        f"the worker's stream of {call.tool.name} ended without 'complete' or 'error'"
                    ) from None
                self.check_size(f"a value of {call.tool.name}", len(data) - ANSWER_OVERHEAD)
                chunk = PassedChunk(data, call.tool.name, sequence, show_traceback=shows)
                if chunk.error is not None:
                    chunk.restate(call.deadline - call.opened_at)
                yield chunk
                sequence += 1
                call.check()

    # -------------------------------------------------------------------------------------------- the way in

    def let_in(self, session_id: str) -> Session:
        """Returns the session of a call from outside.

        Raises where the hub or the session takes no new calls; those that run may still make further ones.
        """
        if self.draining:
            raise UnavailableError("the hub is shutting down and takes no new calls; call again when it is back")
        session = self._store.find(session_id)
        if session.closing:
            raise SessionExpiredError(
                f"session {session_id!r} is being removed and takes no new calls; start a new one"
            )
        return session

    def find(self, session: Session, request: Request, size: int) -> RegisteredTool:
        """Returns the tool that a request of ``size`` bytes (0: not known) means.

        Raises:
            NotFoundError: The session sees none of this id.
            MessageTooLargeError: The request is over the limit.
            ValidationError: One of its texts or lists is.
        """
        tool = self._registry.find(session, request.tool_id)
        size = size or request.ByteSize()
        # In a smaller one no text and no list can be over its bound.
        if size > MAX_NAME_CHARS:
            check_request(request)
            # The items of a batch were weighed with it.
            if size > self.settings.max_message_bytes and type(request) is not ToolCallItem:
                self.check_size(f"the call of {tool.name}", size)
        return tool

    def spec_of(self, session_id: str, tool_id: str) -> ToolSpec | None:
        """Returns the spec of a tool that a session sees; None where it sees none, which the call will say."""
        try:
            return self._registry.find(self._store.find(session_id), tool_id).spec
        except NotFoundError:
            return None

    def open(
        self,
        session: Session,
        tool: RegisteredTool,
        timeout_ms: int,
        deadline: float | None,
        *,
        default: float | None = None,
        parent: HubCall | None = None,
        kind: type[C] = HubCall,  # type: ignore[assignment]  # the default is of the bound
    ) -> C:
        """Makes the call, and sets its deadline: the caller's, else the tool's, the session's or the hub's ``default``.

        It is never past an outer one.

        Raises:
            DeadlineExceededError: It has passed.
            ToolBridgeError: The ``parent`` may make no such call.
        """
        if parent is not None and parent.over:
            raise CallCancelledError(f"{parent.tool.name} is over for its caller and may call no further tools")
        if parent is not None and parent.session is not session:
            raise ValidationError(
                f"{tool.name}: a call that a tool makes belongs to the session {parent.session.id!r} of its own call"
            )
        if parent is not None and parent.depth >= MAX_NESTED_CALLS:
            raise ValidationError(
                f"{tool.name}: {MAX_NESTED_CALLS} tools have called one another already, which is the limit; "
                "see whether one of them calls itself without end"
            )
        if timeout_ms < 0:
            raise ValidationError(f"{tool.name}: timeout_ms is {timeout_ms}; it is 0 (the default) or more")
        seconds = timeout_ms / 1000 if timeout_ms else tool.timeout or session.call_timeout or default or self._default
        if tool.timeout is not None and tool.timeout < seconds:
            seconds = tool.timeout
        now = time.monotonic()
        end = now + seconds
        if deadline is not None and deadline < end:
            end = deadline
        if parent is not None and parent.deadline < end:
            end = parent.deadline
        call = kind(session, tool, end, parent=parent, left_behind=self._runner.tasks, opened_at=now)
        if end <= now:
            raise call.timeout_error()
        if parent is not None:
            _count_below(call, parent.root or parent)
        return call

    def admit_now(self, call: HubCall) -> Sequence[Places] | None:
        """Takes the places of a call where all of them are free; returns those to give back, or None."""
        held: list[Places] = []
        for places in self._places_of(call):
            if not places.take_now():
                for taken in held:
                    taken.release()
                return None
            held.append(places)
        return held

    def _places_of(self, call: HubCall) -> list[Places]:
        tool, session = call.tool, call.session
        wanted: list[Places] = []
        if call.parent is None:
            if session.places is None:
                session.places = Places(
                    session.max_calls or self.settings.max_session_calls,
                    self.settings.max_session_waiting,
                    f"session {session.id!r}",
                )
            wanted.append(session.places)
        if tool.places is not None and not _held_above(call):
            wanted.append(tool.places)
        return wanted

    async def admit(self, call: HubCall) -> Sequence[Places]:
        """Counts the call on every limit, waiting for its places; returns those to give back."""
        if call.tool.rate is not None:
            call.tool.rate.take(call.tool.name)
        held: list[Places] = []
        try:
            for places in self._places_of(call):
                if not places.take_now():
                    call.wait_for(places)
                    await call.step(places.take())
                    call.begin()
                    held.append(places)
                    call.refuse_ended()
                else:
                    held.append(places)
        except BaseException:
            for places in held:
                places.release()
            raise
        return held


def _count_below(call: HubCall, root: HubCall) -> None:
    if root.below >= MAX_CALLS_BELOW:
        raise ResourceExhaustedError(
            f"{root.tool.name} has led to {root.below:,} calls that run at once, which is the limit; "
            "see whether a tool calls itself many times over"
        )
    root.below += 1
    call.root = root


def _held_above(call: HubCall) -> bool:
    above: HubCall | None = call.parent
    while above is not None:
        if above.tool is call.tool:
            return True
        above = above.parent
    return False
