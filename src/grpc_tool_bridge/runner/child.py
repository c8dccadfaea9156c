"""The spawned process: it waits for a call, runs it in its main thread, answers, and waits for the next.

A second thread serves the pipe. When the pipe closes, the parent has gone or no longer needs the process, which then
ends immediately, whatever its tool is doing.
"""

import asyncio
import contextlib
import contextvars
import functools
import io
import itertools
import logging
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from socket import socket
from typing import Any, Never

from google.protobuf.any_pb2 import Any as AnyMessage

from grpc_tool_bridge.aio.portal import Portal
from grpc_tool_bridge.config import MAX_MESSAGE_NODES
from grpc_tool_bridge.errors import (
    MessageTooLargeError,
    SerializationError,
    ToolBridgeError,
    error_info,
)
from grpc_tool_bridge.errors.faults import log_fault
from grpc_tool_bridge.errors.plain_errors import is_of_bridge
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    Envelope,
    ErrorInfo,
    LinkCall,
    LinkEvent,
    LinkStatus,
    LogRecord,
    Progress,
    ToolCallRequest,
)
from grpc_tool_bridge.rpc.callers import PRINCIPAL_KEY, read_caller
from grpc_tool_bridge.runner.error_formatter import ToolRaised
from grpc_tool_bridge.runner.functions import FunctionPath, find_tool
from grpc_tool_bridge.runner.logs import PipeHandler, send_logs
from grpc_tool_bridge.runner.pipe import Pipe
from grpc_tool_bridge.runner.process_context import PipeRuntime
from grpc_tool_bridge.runner.process_surroundings import ChildSurroundings, plain_metadata
from grpc_tool_bridge.runner.process_tracing import traced
from grpc_tool_bridge.tools.context import ToolContext
from grpc_tool_bridge.tools.making import ThreadMaking
from grpc_tool_bridge.tools.results import fitted, has_items, result_writing, streams
from grpc_tool_bridge.tools.tool import Tool
from grpc_tool_bridge.values.plain import ITERATOR_BYTES, least_bytes
from grpc_tool_bridge.values.serialization import deserialize_value, pack_value

# With more unread bytes at the other end, progress and log lines are dropped, but never results.
MAX_EVENT_BACKLOG = 1024 * 1024

_log = logging.getLogger(__name__)
_END = object()


@dataclass(frozen=True, slots=True)
class Job:
    """A call to run.

    Attributes:
        number: The call's number.
        call: The call as received.
        room: Values that a stream may still yield before its reader takes one.
    """

    number: int
    call: LinkCall
    room: threading.Semaphore


class Child:
    """Runs one call after another.

    Args:
        portal: The thread that serves the pipe.
        max_depth: Levels of nested containers in a value.
        max_message_bytes: Maximum bytes of a result, or of one value of a stream.
        max_message_nodes: Elements, keys, texts and numbers of a result. Arguments may have more: reading them blocks
            nobody here.
    """

    def __init__(
        self, portal: Portal, *, max_depth: int, max_message_bytes: int, max_message_nodes: int = MAX_MESSAGE_NODES
    ) -> None:
        self._loop = portal.loop
        self._process = os.getpid()
        self._max_depth = max_depth
        self._max_message_bytes = max_message_bytes
        self._max_message_nodes = max_message_nodes
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._tools: dict[FunctionPath, Tool] = {}
        self._surroundings = ChildSurroundings(self._loop)
        # Even, like a hub's on a link; the parent uses odd numbers.
        self._numbers = itertools.count(2, 2)
        # For the portal's thread: the last received call, and the runtime of the running call's context.
        self._job: Job | None = None
        self._runtime: PipeRuntime | None = None

    def serve(self, end: socket, log_level: int) -> Never:
        """Serves the calls from a pipe until it closes; log lines are sent through it too."""
        opened = asyncio.run_coroutine_threadsafe(Pipe.open(end), self._loop)
        self._pipe = opened.result()
        send_logs(PipeHandler(self._loop, self._log), log_level)
        self._send(Envelope())
        asyncio.run_coroutine_threadsafe(self._read(), self._loop)
        while True:
            # Context variables that a tool sets do not last until the next call.
            contextvars.copy_context().run(self._run, self._jobs.get())

    # ------------------------------------------------------------------------------------- in the portal's thread

    async def _read(self) -> None:
        try:
            while (envelope := await self._pipe.receive()) is not None:
                self._take(envelope)
        finally:
            _end_process()

    def _take(self, envelope: Envelope) -> None:
        kind = envelope.WhichOneof("kind")
        if kind == "call" and envelope.call.method == "SetPath":
            paths: Any = deserialize_value(AnyMessage.FromString(envelope.call.payload))
            sys.path[:] = [os.fsdecode(item) for item in paths]
        elif kind == "call" and envelope.call.method == "Leave":
            self._leaving = self._loop.create_task(self._leave(), name="leave lifespans")
        elif kind == "call":
            self._job = Job(envelope.id, envelope.call, threading.Semaphore(envelope.call.initial_credit))
            self._jobs.put(self._job)
        elif self._job is not None and envelope.id == self._job.number:
            self._job.room.release(envelope.credit)
        elif self._runtime is not None:
            self._runtime.take(envelope)

    async def _leave(self) -> None:
        """Leaves the lifespans, and ends the process."""
        try:
            await self._surroundings.leave()
        except BaseException as error:  # noqa: BLE001 - the process ends
            log_fault(_log, "a lifespan failed at the end of a process for tools", error=error)
        finally:
            # What was logged is sent before.
            with contextlib.suppress(ConnectionError):
                await self._pipe.send(Envelope())
            _end_process()

    def _log(self, record: LogRecord) -> None:
        if self._pipe.backlog < MAX_EVENT_BACKLOG:
            self._pipe.post(Envelope(event=LinkEvent(log=record)))

    # ------------------------------------------------------------------------------------------ in the main thread

    def _run(self, job: Job) -> None:
        answer = Envelope(id=job.number)
        runtime = PipeRuntime(self._pipe, self._numbers, self._max_depth)
        self._runtime = runtime
        try:
            self._surroundings.enter(job.call.metadata)
            if job.call.method == "FindTool":
                self._find(job)
                answer.reply = b""
            else:
                with traced(job.call.metadata):
                    self._serve(job, runtime, answer)
        except BaseException as failure:  # noqa: BLE001 - every failure is an answer
            answer.end.CopyFrom(LinkStatus(error=_error_info_of(failure)))
        # Before the answer, so that late requests of the call's threads are not taken for the next call's.
        self._loop.call_soon_threadsafe(runtime.close)
        self._send(answer)

    def _serve(self, job: Job, runtime: PipeRuntime, answer: Envelope) -> None:
        """Runs the tool, and puts its result into the answer."""
        tool, args, kwargs, context = self._prepared(job, runtime)
        if tool.dependencies is None or context is None:
            failure = self._failure(job, tool, functools.partial(tool.function, *args, **kwargs), answer)
        else:
            failure = None
            try:
                with ThreadMaking(tool.dependencies, context) as made:
                    function = functools.partial(tool.function, *args, **kwargs, **made)
                    failure = self._failure(job, tool, function, answer)
                    _raise_own(failure)
            except BaseException as error:
                if failure is None or error is not _own(failure):
                    # Of a provider, or what one has made of the tool's.
                    raise ToolRaised(error) from error
        if failure is not None:
            raise failure

    def _failure(self, job: Job, tool: Tool, function: Callable[[], Any], answer: Envelope) -> BaseException | None:
        """Calls the function and puts its result into the answer; returns why that failed, if it did."""
        try:
            if job.call.method == "StreamTool":
                self._stream(job, tool, function)
                answer.end.SetInParent()
            else:
                answer.reply = self._result(tool, function)
        except BaseException as error:  # noqa: BLE001 - every failure is an answer
            return _as_tools(error)
        return None

    def _find(self, job: Job) -> Tool:
        path = FunctionPath(**plain_metadata(job.call.metadata))
        tool = self._tools.get(path)
        if tool is None:
            tool = self._tools[path] = find_tool(path)
        return tool

    def _prepared(
        self, job: Job, runtime: PipeRuntime
    ) -> tuple[Tool, Sequence[Any], dict[str, Any], ToolContext | None]:
        """Finds the tool, and binds its arguments; returns its context too, if it needs one."""
        tool = self._find(job)
        request = ToolCallRequest.FromString(job.call.payload)
        args, kwargs = tool.bind_request(request, len(job.call.payload), self._max_depth, None)
        context = self._context(job, request, runtime) if tool.needs_context else None
        if tool.context_parameter is not None:
            kwargs[tool.context_parameter] = context
        return tool, args, kwargs, context

    def _context(self, job: Job, request: ToolCallRequest, runtime: PipeRuntime) -> ToolContext:
        def emit(event: Progress | LogRecord) -> None:
            self._loop.call_soon_threadsafe(self._tell, job, event)

        caller = job.call.metadata.get(PRINCIPAL_KEY)
        principal, via = (None, ()) if caller is None else read_caller(caller)
        return ToolContext(
            session_id=request.session_id,
            tool_name=request.tool_id,
            request_id=request.request_id,
            metadata=dict(request.context),
            principal=principal,
            via=via,
            deadline=time.monotonic() + job.call.timeout_ms / 1000,
            loop=self._loop,
            runtime=runtime,
            emit=emit,
            lifespan=self._surroundings.values,
            dependency_overrides=self._surroundings.overrides(job.call.metadata),
        )

    def _tell(self, job: Job, event: Progress | LogRecord) -> None:
        """Sends an event, in the portal's thread."""
        if self._pipe.backlog < MAX_EVENT_BACKLOG:
            link_event = LinkEvent(progress=event) if isinstance(event, Progress) else LinkEvent(log=event)
            self._pipe.post(Envelope(id=job.number, event=link_event))

    def _result(self, tool: Tool, function: Callable[[], Any]) -> bytes:
        value = _call_tool(function)
        if not tool.is_stream:
            return self._packed(tool, _read(value) if issubclass(type(value), AsyncIterator) else value)
        if not has_items(value):
            return self._encoded(tool, [value])
        values: list[Any] = []
        size = 0
        for item in _Items(value):
            packed = AnyMessage.FromString(self._packed(tool, item))
            size += len(packed.value)
            if size > self._max_message_bytes:
                raise MessageTooLargeError.of(f"the result of {tool.spec.name}", size, self._max_message_bytes)
            values.append(deserialize_value(packed))
        return self._encoded(tool, values)

    def _stream(self, job: Job, tool: Tool, function: Callable[[], Any]) -> None:
        value = _call_tool(function)
        yields = has_items(value) if tool.is_stream else tool.result is None and streams(value)
        if not yields and issubclass(type(value), AsyncIterator):
            value = _read(value)
        values: Iterator[Any] = _Items(value) if yields else iter([value])
        while True:
            job.room.acquire()
            item = next(values, _END)
            if item is _END:
                return
            self._send(Envelope(id=job.number, chunk=self._packed(tool, item)))

    def _packed(self, tool: Tool, value: Any) -> bytes:
        """Converts a value to the tool's declared type, and encodes it."""
        if tool.result is not None:
            try:
                value = fitted(tool.result, value, max_bytes=self._max_message_bytes)
            except BaseException as error:
                raise _as_tools(error) from error
        return self._encoded(tool, value)

    def _encoded(self, tool: Tool, value: Any) -> bytes:
        how = result_writing(
            tool.spec,
            max_depth=self._max_depth,
            max_bytes=self._max_message_bytes,
            max_nodes=self._max_message_nodes,
        )
        what = f"the result of {tool.spec.name}"
        try:
            type_url, data = pack_value(value, how)
        except BaseException as error:
            # What an iterator in the value raises is the tool's.
            if isinstance(error, SerializationError | MessageTooLargeError) and is_of_bridge(error):
                raise type(error)(f"{what}: {error.message}", details=error.details) from None
            raise _as_tools(error) from error
        if len(data) > self._max_message_bytes:
            raise MessageTooLargeError.of(what, len(data), self._max_message_bytes)
        return AnyMessage(type_url=type_url, value=data).SerializeToString()

    def _send(self, envelope: Envelope) -> None:
        if os.getpid() != self._process:
            # A fork of the tool that has returned: it has nothing to do, and no thread that sends.
            os._exit(1)
        try:
            asyncio.run_coroutine_threadsafe(self._pipe.send(envelope), self._loop).result()
        except ConnectionError:
            _end_process()


def main() -> Never:
    """Serves the pipe with the descriptor in the first argument; limits and the log level follow."""
    descriptor, max_depth, max_message_bytes, max_message_nodes, log_level = map(int, sys.argv[1:6])
    del sys.argv[1:]
    for stream in (sys.stdout, sys.stderr):
        # The process may be killed at any time, and the tool's output must not be lost.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)
    # The parent logs the lines of a tool, because it knows the session.
    logging.getLogger("grpc_tool_bridge.tool").disabled = True
    end = socket(fileno=descriptor)
    end.set_inheritable(False)
    child = Child(
        Portal(), max_depth=max_depth, max_message_bytes=max_message_bytes, max_message_nodes=max_message_nodes
    )
    child.serve(end, log_level)


def _own(failure: BaseException) -> BaseException:
    """Returns what a tool has raised, as its dependencies see it; or another failure as it is."""
    return failure.error if type(failure) is ToolRaised else failure


def _raise_own(failure: BaseException | None) -> None:
    if failure is not None:
        raise _own(failure)


def _call_tool(function: Callable[[], Any]) -> Any:
    """Calls a tool's function, and awaits what it returns as long as that is awaitable."""
    result = _by_tool(function)
    while issubclass(type(result), Awaitable):
        result = _by_tool(functools.partial(asyncio.run, _awaited(result)))
    return result


async def _awaited(value: Awaitable[Any]) -> Any:
    return await value


class _Items:
    """Iterates over what a tool yields, or over the iterable it returned; errors in it are the tool's."""

    def __init__(self, values: Any) -> None:
        self._async = issubclass(type(values), AsyncIterable)
        self._values: Any = _by_tool(lambda: aiter(values) if self._async else iter(values))
        self._runner = asyncio.Runner()

    def __iter__(self) -> "_Items":
        return self

    def __next__(self) -> Any:
        if self._async:
            item = _by_tool(lambda: self._runner.run(_next_of(self._values)))
        else:
            item = _by_tool(lambda: next(self._values, _END))
        if item is _END:
            self._runner.close()
            raise StopIteration
        return item


def _by_tool(function: Callable[[], Any]) -> Any:
    try:
        return function()
    except BaseException as error:
        raise ToolRaised(error) from error


def _as_tools(error: BaseException) -> BaseException:
    """Wraps an error of a result's own code as the tool's; the bridge's refusals stay as they are."""
    return error if type(error) is ToolRaised or is_of_bridge(error) else ToolRaised(error)


def _error_info_of(failure: BaseException) -> ErrorInfo:
    if type(failure) is ToolRaised:
        return error_info(failure.error, raised_by_tool=True, show_traceback=True)
    if not issubclass(type(failure), Exception):
        # The bridge never raises such an exception.
        return error_info(failure, raised_by_tool=True, show_traceback=True)
    info = error_info(failure)
    if not issubclass(type(failure), ToolBridgeError):
        log_fault(_log, "fault %s in a call", info.details["error_id"], error=failure)
    return info


def _read(values: AsyncIterator[Any]) -> list[Any]:
    """Collects an asynchronous iterator of a tool that is not declared as a stream."""
    items: list[Any] = []
    size = 0
    for item in _Items(values):
        size += least_bytes(item)
        if size > ITERATOR_BYTES:
            raise MessageTooLargeError.of("what an asynchronous iterator yields", size, ITERATOR_BYTES)
        items.append(item)
    return items


async def _next_of(iterator: AsyncIterator[Any]) -> Any:
    return await anext(iterator, _END)


def _end_process() -> Never:
    """Ends this process, and the processes that its tools have started."""
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)
