"""The context of a tool in another process: sends its requests through the pipe, and answers them."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.errors import (
    CallCancelledError,
    ToolBridgeError,
    ToolExecutionError,
    error_from_info,
    error_info,
)
from grpc_tool_bridge.errors.faults import log_fault
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    Answer,
    Ask,
    DeleteVariableRequest,
    Envelope,
    GetVariableRequest,
    LinkCall,
    LinkCancel,
    LinkEvent,
    LinkStatus,
    ListVariablesRequest,
    ListVariablesResponse,
    SetVariableRequest,
    StatusResponse,
    ToolCallRequest,
    ToolCallResponse,
    ToolStreamRequest,
    VariableInfo,
    VariableResponse,
)
from grpc_tool_bridge.runner.pipe import Pipe
from grpc_tool_bridge.tools.content_schemas import read_schema
from grpc_tool_bridge.tools.context import ToolContext
from grpc_tool_bridge.tools.questions import plain_answer
from grpc_tool_bridge.values.offload import read_value, written
from grpc_tool_bridge.values.serialization import deserialize_value, serialize_value

_log = logging.getLogger(__name__)


class PipeRuntime:
    """The runtime of a tool's context in the process that runs the tool.

    Args:
        pipe: The pipe to the parent; everything except ``__init__`` happens on its event loop.
        numbers: Numbers for the requests; never reused on a pipe.
        max_depth: Levels of nested containers in a value.
    """

    def __init__(self, pipe: Pipe, numbers: Iterator[int], max_depth: int) -> None:
        self._pipe = pipe
        self._numbers = numbers
        self._max_depth = max_depth
        self._waiting: dict[int, asyncio.Queue[Envelope | None]] = {}
        self._over = False

    def take(self, envelope: Envelope) -> None:
        """Takes an answer; drops it if nothing waits for it."""
        answers = self._waiting.get(envelope.id)
        if answers is not None:
            answers.put_nowait(envelope)

    def close(self) -> None:
        """Fails the tool's pending and later requests, because its call is over."""
        self._over = True
        for answers in self._waiting.values():
            answers.put_nowait(None)

    async def get_variable(self, name: str) -> Any:
        """Returns the value; raises NotFoundError."""
        answer = await self._ask("GetSessionVariable", GetVariableRequest(variable_name=name))
        return self._read(VariableResponse.FromString(answer).value)

    async def set_variable(self, name: str, value: Any, expected_revision: int | None) -> int:
        """Sets the value and returns its new revision; raises ConflictError."""
        request = SetVariableRequest(
            variable_name=name, value=self._written(value), expected_revision=expected_revision
        )
        return int(StatusResponse.FromString(await self._ask("SetSessionVariable", request)).message)

    async def delete_variable(self, name: str, expected_revision: int | None) -> None:
        """Deletes the variable; raises NotFoundError, ConflictError."""
        request = DeleteVariableRequest(variable_name=name, expected_revision=expected_revision)
        await self._ask("DeleteSessionVariable", request)

    async def list_variables(self, prefix: str) -> list[VariableInfo]:
        """Lists the session's variables by name."""
        answer = await self._ask("ListSessionVariables", ListVariablesRequest(prefix=prefix))
        return list(ListVariablesResponse.FromString(answer).variables)

    async def ask(self, question: Ask) -> Answer:
        """Asks the caller of the outermost call; raises UnimplementedError."""
        return Answer.FromString(await self._ask("Ask", question))

    async def call_tool(self, tool_id: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Calls another tool; raises ToolExecutionError."""
        request = ToolCallRequest(tool_id=tool_id, **self._arguments(args, kwargs))
        return self._read(ToolCallResponse.FromString(await self._ask("ExecuteTool", request)).result)

    async def stream_tool(
        self, tool_id: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> AsyncGenerator[Any, None]:
        """Streams another tool, a value on each request; raises ToolExecutionError."""
        request = ToolStreamRequest(tool_id=tool_id, **self._arguments(args, kwargs))
        number, answers = self._begin()
        ended = False
        try:
            await self._pipe.send(_call(number, "StreamTool", request))
            while True:
                self._pipe.post(Envelope(id=number, credit=1))
                envelope = await answers.get()
                ended = envelope is None or envelope.HasField("end")
                _check(envelope)
                if ended or envelope is None:
                    return
                yield self._read(AnyMessage.FromString(envelope.chunk))
        finally:
            del self._waiting[number]
            if not ended:
                self._pipe.post(Envelope(id=number, cancel=LinkCancel()))

    async def _ask(self, method: str, request: Message) -> bytes:
        number, answers = self._begin()
        try:
            await self._pipe.send(_call(number, method, request))
            envelope = await answers.get()
        finally:
            del self._waiting[number]
        _check(envelope)
        assert envelope is not None  # noqa: S101 - else _check has raised
        return envelope.reply

    def _begin(self) -> "tuple[int, asyncio.Queue[Envelope | None]]":
        if self._over:
            raise _call_is_over()
        number = next(self._numbers)
        answers = self._waiting[number] = asyncio.Queue()
        return number, answers

    def _arguments(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "args": [self._written(value) for value in args],
            "kwargs": {name: self._written(value) for name, value in kwargs.items()},
        }

    def _written(self, value: Any) -> AnyMessage:
        return serialize_value(value, max_depth=self._max_depth)

    def _read(self, value: AnyMessage) -> Any:
        return deserialize_value(value, max_depth=self._max_depth)


class ContextServer:
    """Answers the requests of a tool in another process, with the context of its call.

    Args:
        context: The context.
        pipe: The pipe to that process.
        max_depth: Levels of nested containers in a value.
    """

    def __init__(self, context: ToolContext, pipe: Pipe, max_depth: int) -> None:
        self._context = context
        self._pipe = pipe
        self._max_depth = max_depth
        self._tasks = TaskSet()
        # For each stream, the task that reads it, and the number of requested values.
        self._streams: dict[int, tuple[asyncio.Task[None], asyncio.Semaphore]] = {}
        self._methods: Mapping[str, Callable[[bytes], Awaitable[Message]]] = {
            "GetSessionVariable": self._get_variable,
            "SetSessionVariable": self._set_variable,
            "DeleteSessionVariable": self._delete_variable,
            "ListSessionVariables": self._list_variables,
            "ExecuteTool": self._call_tool,
            "Ask": self._ask_caller,
        }

    def take(self, envelope: Envelope) -> None:
        """Takes a request, or a later envelope of one."""
        number = envelope.id
        kind = envelope.WhichOneof("kind")
        if kind == "event":
            self._tell(envelope.event)
        elif kind == "call":
            self._start(number, envelope.call)
        elif number in self._streams:
            task, wanted = self._streams[number]
            if kind == "credit":
                wanted.release()
            else:
                task.cancel()

    async def aclose(self) -> None:
        """Cancels pending requests."""
        await self._tasks.aclose()

    def _tell(self, event: LinkEvent) -> None:
        if event.HasField("progress"):
            progress = event.progress
            self._context.progress(progress.current, progress.total, progress.message)
        else:
            log: Any = event.log
            self._context.log(log.message, level=log.level, **log.fields)

    def _start(self, number: int, call: LinkCall) -> None:
        if call.method != "StreamTool":
            self._tasks.spawn(self._answer(number, self._reply(number, call)), call.method)
            return
        wanted = asyncio.Semaphore(0)
        work = self._stream(number, ToolStreamRequest.FromString(call.payload), wanted)
        task = self._tasks.spawn(self._answer(number, work), call.method)
        self._streams[number] = task, wanted
        task.add_done_callback(lambda _: self._streams.pop(number))

    async def _answer(self, number: int, work: Awaitable[Envelope]) -> None:
        try:
            answer = await work
        except (asyncio.CancelledError, GeneratorExit):
            raise
        except BaseException as error:  # noqa: BLE001 - every failure is an answer
            answer = Envelope(id=number, end=_status(error))
        try:
            await self._pipe.send(answer)
        except ConnectionError:
            # The process has ended, and the task that runs its call knows.
            return

    async def _reply(self, number: int, call: LinkCall) -> Envelope:
        return Envelope(id=number, reply=(await self._methods[call.method](call.payload)).SerializeToString())

    async def _stream(self, number: int, request: ToolStreamRequest, wanted: asyncio.Semaphore) -> Envelope:
        args, kwargs = await self._arguments(request)
        values: Any = self._context.stream_tool(request.tool_id, *args, **kwargs)
        try:
            while True:
                await wanted.acquire()
                value = await anext(values, _END)
                if value is _END:
                    return Envelope(id=number, end=LinkStatus())
                await self._pipe.send(Envelope(id=number, chunk=(await self._written(value)).SerializeToString()))
        finally:
            close = getattr(values, "aclose", None)
            if close is not None:
                await close()

    async def _get_variable(self, payload: bytes) -> Message:
        value = await self._context.get_variable(GetVariableRequest.FromString(payload).variable_name)
        return VariableResponse(exists=True, value=await self._written(value))

    async def _set_variable(self, payload: bytes) -> Message:
        request = SetVariableRequest.FromString(payload)
        value = await read_value(request.value, max_depth=self._max_depth)
        expected = request.expected_revision if request.HasField("expected_revision") else None
        revision = await self._context.set_variable(request.variable_name, value, expected_revision=expected)
        return StatusResponse(success=True, message=str(revision))

    async def _delete_variable(self, payload: bytes) -> Message:
        request = DeleteVariableRequest.FromString(payload)
        expected = request.expected_revision if request.HasField("expected_revision") else None
        await self._context.delete_variable(request.variable_name, expected_revision=expected)
        return StatusResponse(success=True)

    async def _list_variables(self, payload: bytes) -> Message:
        prefix = ListVariablesRequest.FromString(payload).prefix
        return ListVariablesResponse(variables=[item.message() for item in await self._context.list_variables(prefix)])

    async def _call_tool(self, payload: bytes) -> Message:
        request = ToolCallRequest.FromString(payload)
        args, kwargs = await self._arguments(request)
        value = await self._context.call_tool(request.tool_id, *args, **kwargs)
        return ToolCallResponse(success=True, result=await self._written(value))

    async def _ask_caller(self, payload: bytes) -> Message:
        question = Ask.FromString(payload)
        return plain_answer(await self._context.ask(question.message, read_schema(question.schema)))

    async def _arguments(self, request: ToolCallRequest | ToolStreamRequest) -> tuple[list[Any], dict[str, Any]]:
        depth = self._max_depth
        args = [await read_value(value, max_depth=depth) for value in request.args]
        return args, {name: await read_value(value, max_depth=depth) for name, value in request.kwargs.items()}

    async def _written(self, value: Any) -> AnyMessage:
        # A tool's process has no limit of nodes.
        return await written(value, max_depth=self._max_depth, max_nodes=None)


_END = object()


def _call(number: int, method: str, request: Message) -> Envelope:
    return Envelope(id=number, call=LinkCall(method=method, payload=request.SerializeToString()))


def _check(envelope: Envelope | None) -> None:
    if envelope is None:
        raise _call_is_over()
    if envelope.end.HasField("error"):
        raise error_from_info(envelope.end.error, envelope.end.message or None)


def _status(error: BaseException) -> LinkStatus:
    """Returns an error for the tool, with the name of the tool that it is about, if any."""
    info = error_info(error)
    if not isinstance(error, ToolBridgeError):
        log_fault(_log, "fault %s in what a tool asked", info.details["error_id"], error=error)
    return LinkStatus(error=info, message=error.tool_name if isinstance(error, ToolExecutionError) else "")


def _call_is_over() -> CallCancelledError:
    return CallCancelledError("the call of this tool was cancelled or timed out, and it may make no more requests")
