"""Messages that describe the sessions, workers, calls and runs of a hub."""

import asyncio
import heapq
import time
from collections.abc import Iterator
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from grpc_tool_bridge.core.agents.runs import Run
from grpc_tool_bridge.core.calls import HubCall
from grpc_tool_bridge.core.registered_tool import RegisteredTool
from grpc_tool_bridge.core.registry import ToolRegistry
from grpc_tool_bridge.core.session import Session
from grpc_tool_bridge.core.session_access import access_message
from grpc_tool_bridge.core.workers.backend import backend_of, workers_of
from grpc_tool_bridge.core.workers.worker import Worker
from grpc_tool_bridge.errors import ToolBridgeError, error_info
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.nodes import read_message
from grpc_tool_bridge.values.scalars import SCALARS

M = TypeVar("M", bound=Message)

# Names of tools that are listed for one worker.
MAX_WORKER_TOOLS = 100
# Larger arguments or results of a call are left out.
MAX_VALUE_BYTES = 64 * 1024
# Larger answers are not read for their error, whose texts are bounded.
MAX_ERROR_BYTES = 512 * 1024

CANCELLED = "Cancelled"


class CallIds:
    """The ids of calls, assigned when they are first needed, so that other calls cost nothing.

    Attributes:
        prefix: Begins each id that is given; set where other hubs give ids too.
    """

    def __init__(self) -> None:
        self.prefix = ""
        self._calls: WeakValueDictionary[str, HubCall] = WeakValueDictionary()
        self._last = 0

    def of(self, call: HubCall) -> str:
        """Returns the id of a call; for an agent run this is the run id, unless another call has it."""
        if not call.call_id:
            call_id = call.run_id
            while not call_id or self.find(call_id) is not None:
                self._last += 1
                call_id = f"{self.prefix}{self._last}"
            call.call_id = call_id
            self._calls[call_id] = call
        return call.call_id

    def find(self, call_id: str) -> HubCall | None:
        """Returns the call with an id; None if there is none or it is over."""
        call = self._calls.get(call_id)
        return None if call is None or call.over else call


def session_info(session: Session, registry: ToolRegistry) -> pb.SessionInfo:
    """Describes a session."""
    info = pb.SessionInfo(
        session_id=session.id,
        tool_count=registry.count(session),
        variable_count=session.variable_count,
        active_operations=session.active + session.watches,
        metadata=session.metadata,
    )
    if session.access is not None:
        info.access.CopyFrom(access_message(session.access))
    set_time(info.created_at, session.created_at)
    set_time(info.last_activity, time.time() - (time.monotonic() - session.last_activity))
    return info


class _Clock:
    """Translates the monotonic clock so that times keep their order, unless the system's clock is set meanwhile."""

    # The clocks are read one after the other, and the process may have to wait in between.
    INEXACT_SECONDS = 0.05

    def __init__(self) -> None:
        self._ahead = time.time() - time.monotonic()

    def time_of(self, moment: float) -> float:
        """Returns the seconds since the epoch at a moment of the monotonic clock."""
        ahead = time.time() - time.monotonic()
        if abs(ahead - self._ahead) > self.INEXACT_SECONDS:
            self._ahead = ahead
        return moment + self._ahead


_clock = _Clock()


def time_of(moment: float) -> float:
    """Returns the seconds since the epoch at a moment of the monotonic clock."""
    return _clock.time_of(moment)


def worker_info(worker: Worker) -> pb.WorkerInfo:
    """Describes a worker."""
    state = "draining" if worker.gone else "silent" if worker.suspect else "connected"
    info = pb.WorkerInfo(
        worker_id=worker.id,
        state=state,
        capacity=worker.capacity,
        active_calls=worker.active,
        tools=heapq.nsmallest(MAX_WORKER_TOOLS, (tool.listed_name for tool in worker.tools)),
        tool_count=len(worker.tools),
        peer=worker.link.peer,
    )
    set_time(info.connected_at, worker.connected_at)
    return info


def is_hub(worker: Worker) -> bool:
    """Returns whether a worker is another hub of the cluster, which offers what its own workers and functions do."""
    return bool(getattr(worker, "is_peer", False))


def runs_here(tool: RegisteredTool) -> bool:
    """Returns whether this hub can run a tool without another hub."""
    return backend_of(tool) is None or not all(map(is_hub, workers_of(tool)))


def offers(registry: ToolRegistry, name: str = "") -> Iterator[tuple[str, str]]:
    """Yields where this hub can run the tools that every session sees without another hub.

    Args:
        registry: The tools.
        name: Only the tool with this name; empty: all.

    Yields:
        The name of a tool and the id of a worker that runs it; an empty id: the hub itself runs it.
    """
    tools = registry.by_name(None)
    for tool in tools.values() if not name else [tools[name]] if name in tools else ():
        if backend_of(tool) is None:
            yield tool.listed_name, ""
        for worker in workers_of(tool):
            if not is_hub(worker):
                yield tool.listed_name, worker.id


def call_info(call: HubCall, ids: CallIds) -> pb.CallInfo:
    """Describes a call that waits or runs, without its arguments."""
    left = max(0, int((call.deadline - time.monotonic()) * 1000))
    state = "waiting" if call.is_waiting else "running"
    return _info_of(call, call.worker, ids, state=state, time_left_ms=left, progress=call.progress)


def started_call_info(call: HubCall, worker: object | None, ids: CallIds) -> pb.CallInfo:
    """Describes a call as it was when it started, perhaps at this worker; it may have gone on since."""
    left = int((call.deadline - call.opened_at) * 1000)
    return _info_of(call, worker, ids, state="running", time_left_ms=left)


def _info_of(call: HubCall, worker: object | None, ids: CallIds, **now: Any) -> pb.CallInfo:
    """Describes a call by what stays the same while it goes on, and by the fields that do not."""
    info = pb.CallInfo(
        call_id=ids.of(call),
        session_id=call.session.id,
        tool_id=call.tool.id,
        request_id=call.known_id,
        parent_id=ids.of(call.parent) if call.parent is not None else "",
        worker_id=worker.id if isinstance(worker, Worker) else "",
        **now,
    )
    set_time(info.started_at, _clock.time_of(call.opened_at))
    return info


def ended_call_info(call: HubCall, ids: CallIds, *, ok: bool, duration_us: int, error: pb.ErrorInfo) -> pb.CallInfo:
    """Describes a call that has ended.

    Args:
        call: The call.
        ids: The ids of calls.
        ok: Whether it succeeded.
        duration_us: Duration in microseconds.
        error: Its error; without a type if its caller has gone.
    """
    info = call_info(call, ids)
    info.time_left_ms, info.duration_us = 0, duration_us
    if ok:
        info.state = "done"
    else:
        info.state = failed_state(error.type)
        info.error.CopyFrom(error if error.type else pb.ErrorInfo(type=CANCELLED))
    return info


def failed_state(error_type: str) -> str:
    """Returns the state of a call that ended with an error of this type; it is empty if its caller has gone."""
    return "cancelled" if error_type in ("", CANCELLED) else "failed"


def error_of(outcome: Any) -> pb.ErrorInfo:
    """Returns the error in an outcome, as for ``CallObserver.ended``; without a type if there is none."""
    if isinstance(outcome, pb.ErrorInfo):
        return outcome
    if isinstance(outcome, asyncio.CancelledError):
        return pb.ErrorInfo(type=CANCELLED)
    if isinstance(outcome, BaseException):
        # A fault is reported to the caller and logged elsewhere.
        return error_info(outcome) if isinstance(outcome, ToolBridgeError) else pb.ErrorInfo(type="InternalError")
    answer = _answer_in(outcome, MAX_ERROR_BYTES)
    return answer.error if answer is not None else pb.ErrorInfo()


def result_of(outcome: Any) -> any_pb2.Any | None:
    """Returns the result in an outcome; None if there is none or it is large."""
    answer = _answer_in(outcome, MAX_VALUE_BYTES)
    if answer is None or not answer.HasField("result") or answer.result.ByteSize() > MAX_VALUE_BYTES:
        return None
    result: any_pb2.Any = answer.result
    return result


def without_texts(error: pb.ErrorInfo) -> pb.ErrorInfo:
    """Returns the parts of an error that cannot quote the call: its type, origin and whether it is retryable."""
    origin = error.details.get("origin", "")
    return pb.ErrorInfo(type=error.type, retryable=error.retryable, details={"origin": origin} if origin else None)


def _answer_in(outcome: Any, max_bytes: int) -> Any:
    if isinstance(outcome, bytes):
        return _read(pb.ToolCallResponse, outcome) if len(outcome) <= max_bytes else None
    return outcome if isinstance(outcome, pb.ToolCallResponse | pb.ToolCallResult) else None


def _read(kind: type[M], data: bytes) -> M | None:
    """Reads a message of a peer; returns None if it is not valid, since a watcher need not know."""
    try:
        return read_message(kind, data, "the message")
    except Exception:  # noqa: BLE001 - the bridge's refusals, and protobuf's DecodeError
        return None


def put_arguments(info: pb.CallInfo, request: Any) -> None:
    """Adds the arguments of a request, or of its bytes, unless they are large."""
    if isinstance(request, bytes):
        # All three kinds of requests have these fields.
        request = _read(pb.ToolCallItem, request) if len(request) <= MAX_VALUE_BYTES else None
    if request is not None and hasattr(request, "kwargs") and request.ByteSize() <= MAX_VALUE_BYTES:
        info.args.extend(request.args)
        for name, value in request.kwargs.items():
            info.kwargs[name].CopyFrom(value)


def put_held_arguments(info: pb.CallInfo, call: HubCall) -> None:
    """Adds the arguments of a call if the hub still holds them encoded, or if all are plain scalars."""
    held = call.forwarded.payload if call.forwarded is not None else call.prepared
    if isinstance(held, bytes):
        put_arguments(info, held)
    elif isinstance(held, tuple):
        args, kwargs = held
        tool = call.tool.tool
        # The context, which the bridge adds, is not an argument of the caller.
        own = tool.context_parameter if tool is not None else None
        packed = [_packed(value) for value in args]
        named = {name: _packed(value) for name, value in kwargs.items() if name != own}
        whole = pb.CallInfo(
            args=[value for value in packed if value is not None],
            kwargs={name: value for name, value in named.items() if value is not None},
        )
        if None not in packed and None not in named.values() and whole.ByteSize() <= MAX_VALUE_BYTES:
            info.MergeFrom(whole)


def _packed(value: Any) -> any_pb2.Any | None:
    """Encodes an argument if that runs no foreign code; otherwise returns None."""
    if isinstance(value, any_pb2.Any):
        return value
    pack = SCALARS.get(type(value))
    if pack is None or (isinstance(value, str | bytes) and len(value) > MAX_VALUE_BYTES):
        return None
    try:
        type_url, payload = pack(value)
    except ToolBridgeError:
        return None
    return any_pb2.Any(type_url=type_url, value=payload)


def run_info(run: Run) -> pb.RunInfo:
    """Describes an agent run."""
    state = "running"
    if run.over:
        state = "done" if run.succeeded else "cancelled" if run.error_type == CANCELLED else "failed"
    info = pb.RunInfo(
        run_id=run.run_id,
        agent_id=run.agent_id,
        session_id=run.session_id,
        state=state,
        chunks=run.due,
        readers=run.readers,
    )
    set_time(info.started_at, run.started_at)
    return info


def set_time(field: Timestamp, seconds: float) -> None:
    """Sets a time to so many seconds since the epoch, to the microsecond."""
    field.seconds, micros = divmod(int(seconds * 1e6), 1_000_000)
    field.nanos = micros * 1_000


def size_of(message: Message | None) -> int:
    """Returns the bytes of a message; 0 for None."""
    return message.ByteSize() if message is not None else 0
