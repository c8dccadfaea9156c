"""One spawned process, seen from the process that has it run tools."""

import asyncio
import contextlib
import functools
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage

from grpc_tool_bridge.config import MAX_MESSAGE_NODES
from grpc_tool_bridge.errors import ResourceExhaustedError, ToolBridgeError, UnavailableError, error_from_info
from grpc_tool_bridge.proto.dspex_bridge_pb2 import Envelope, LinkCall, ToolCallRequest
from grpc_tool_bridge.rpc.callers import PRINCIPAL_KEY, whole_caller_text
from grpc_tool_bridge.runner.aging import Age, AgeLimits
from grpc_tool_bridge.runner.error_formatter import FormattedError
from grpc_tool_bridge.runner.functions import path_of
from grpc_tool_bridge.runner.logs import log_here
from grpc_tool_bridge.runner.memory import MemoryWatch
from grpc_tool_bridge.runner.pipe import Pipe
from grpc_tool_bridge.runner.process_context import ContextServer
from grpc_tool_bridge.runner.process_surroundings import put_surroundings
from grpc_tool_bridge.runner.process_tracing import put_trace
from grpc_tool_bridge.runner.surroundings import Surroundings
from grpc_tool_bridge.tools.context import ToolContext
from grpc_tool_bridge.tools.tool import Tool
from grpc_tool_bridge.tools.tool_versions import versioned
from grpc_tool_bridge.values.scalars import PackedValue
from grpc_tool_bridge.values.serialization import serialize_value

# The search path comes first: without it the child may not find even the bridge.
_START = "import sys; sys.path[:] = sys.argv[6:]; from grpc_tool_bridge.runner.child import main; main()"
_MAX_TIMEOUT_MS = 2**32 - 1
# Seconds that a process has to leave its lifespans.
LEAVE_SECONDS = 10.0

_log = logging.getLogger(__name__)

# The detail of the error for a call whose process held too much memory.
MEMORY_DETAIL = "max_memory_bytes"


class RaisedElsewhereError(FormattedError):
    """What a tool raised in another process."""


@dataclass(slots=True)
class _Running:
    """The call that the process is running.

    Attributes:
        number: The call's number.
        tool_name: For error texts.
        server: Serves the tool's context; None for a tool without a context.
        limit: Bytes of memory that the process may hold; 0: unlimited.
        answers: Envelopes for the call; None if the process has died.
        held: Bytes that it held when it was killed for that; else 0.
    """

    number: int
    tool_name: str
    server: ContextServer | None
    limit: int
    answers: "asyncio.Queue[Envelope | None]" = field(default_factory=asyncio.Queue)
    held: int = 0


class ToolProcess:
    """A process that runs one call at a time. Created with ``start``.

    Attributes:
        free: Whether it can take a call: it is alive, and has answered the last one.
        loop: The event loop that serves it.
        reader: The task that reads its answers.
        age: Its age; None: it is never replaced.
        tools: The tools that it has run, by name, if it can be replaced.
        is_due: Whether it is going to be replaced.
        retired: Whether it was replaced, and takes no further call.
        has_lifespans: Whether it has entered lifespans, which it leaves before it ends.
    """

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        pipe: Pipe,
        max_depth: int,
        surroundings: Surroundings | None = None,
    ) -> None:
        self.free = True
        self._process = process
        self._pipe = pipe
        self._max_depth = max_depth
        self._path = list(sys.path)
        self._number = -1
        self._running: _Running | None = None
        # Set when it waits for calls, or has ended.
        self._ready = asyncio.Event()
        self.age: Age | None = None
        self.tools: dict[str, Tool] = {}
        self.is_due = self.retired = self.has_lifespans = self._leaves = False
        self._surroundings = surroundings
        self.loop = asyncio.get_running_loop()
        self.reader = self.loop.create_task(self._read(), name="tool process")

    @classmethod
    async def start(
        cls,
        *,
        max_depth: int,
        max_message_bytes: int,
        max_message_nodes: int = MAX_MESSAGE_NODES,
        surroundings: Surroundings | None = None,
    ) -> "ToolProcess":
        """Starts a process.

        Args:
            max_depth: Levels of nested containers in a value.
            max_message_bytes: Maximum bytes of a result, or of one value of a stream.
            max_message_nodes: Maximum elements, keys, texts and numbers of it.
            surroundings: As for ``ToolProcesses``.

        Raises:
            UnavailableError: The system refuses another process.
        """
        ours, theirs = socket.socketpair()
        numbers = (max_depth, max_message_bytes, max_message_nodes, logging.getLogger().level)
        with theirs:
            pipe = await Pipe.open(ours)
            try:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-c",
                    _START,
                    *map(str, (theirs.fileno(), *numbers)),
                    *sys.path,
                    stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    # Ctrl-C at a terminal is for this process, which decides about the other; and processes that a tool
                    # has started can be killed with it.
                    start_new_session=True,
                )
            except OSError as error:
                pipe.close()
                raise UnavailableError(f"the system cannot start another process for a tool: {error}") from error
            except BaseException:
                pipe.close()
                raise
        return cls(process, pipe, max_depth, surroundings)

    async def run(
        self,
        tool: Tool,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        context: ToolContext | None,
        begin: Callable[[], object] | None = None,
    ) -> PackedValue:
        """Runs a call to its result; arguments and errors as for ``ToolProcesses.run``."""
        async with self._call("ExecuteTool", tool, args, kwargs, context, begin) as running:
            return _packed((await self._answer(running)).reply)

    async def iterate(
        self,
        tool: Tool,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        context: ToolContext | None,
        buffer: int,
        begin: Callable[[], object] | None = None,
    ) -> AsyncGenerator[PackedValue, None]:
        """Runs a generator; arguments and errors as for ``ToolProcesses.iterate``."""
        taken = 0
        async with self._call("StreamTool", tool, args, kwargs, context, begin, credit=buffer) as running:
            while (envelope := await self._answer(running)).WhichOneof("kind") == "chunk":
                taken += 1
                # Not for each value: half the buffer is enough to continue with.
                if taken * 2 >= buffer:
                    self._pipe.post(Envelope(id=running.number, credit=taken))
                    taken = 0
                yield _packed(envelope.chunk)

    def limit_age(self, limits: AgeLimits) -> None:
        """Has it replaced when it reaches one of the limits."""
        self.age = Age(limits, self._process.pid)

    async def load(self, tools: Iterable[Tool]) -> None:
        """Waits until it is ready, and has it import the functions of these tools if it can."""
        await self._ready.wait()
        for tool in tools:
            with contextlib.suppress(ToolBridgeError):
                async with self._call("FindTool", tool, (), {}, None, None) as running:
                    await self._answer(running)

    async def leave(self) -> None:
        """Has the process leave its lifespans, if it has entered any and is free; waits until it has ended."""
        if self.has_lifespans and self.free:
            self.free, self._leaves = False, True
            self._number += 2
            with contextlib.suppress(ConnectionError):
                await self._pipe.send(Envelope(id=self._number, call=LinkCall(method="Leave")))
        if self._leaves:
            # The process ends, and with it the pipe.
            await asyncio.wait([self.reader], timeout=LEAVE_SECONDS)
            if not self.reader.done():
                _log.warning("a process for tools did not leave its lifespans in %g s, and is killed", LEAVE_SECONDS)

    def kill(self) -> None:
        """Kills the process, and the processes that its tools have started."""
        self.free = False
        # Its event loop may have ended.
        with contextlib.suppress(RuntimeError):
            self._pipe.close()
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def ended(self) -> None:
        """Waits until the process has ended."""
        await asyncio.wait([self.reader])
        await self._process.wait()

    @contextlib.asynccontextmanager
    async def _call(
        self,
        method: str,
        tool: Tool,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        context: ToolContext | None,
        begin: Callable[[], object] | None,
        *,
        credit: int = 0,
    ) -> AsyncIterator[_Running]:
        """Sends a call once the process is ready; kills the process if the call is left unanswered."""
        call = self._link_call(method, tool, credit)
        if context is not None and context.principal is not None:
            call.metadata[PRINCIPAL_KEY] = whole_caller_text(context.principal, context.via)
        call.payload = self._request(args, kwargs, context).SerializeToString()
        server = ContextServer(context, self._pipe, self._max_depth) if context is not None else None
        self._number += 2
        limit = tool.spec.limits.max_memory_bytes
        running = self._running = _Running(self._number, tool.spec.name, server, limit)
        self.free = False
        watch: MemoryWatch | None = None
        try:
            await self._ready.wait()
            if self.reader.done():
                raise await self._death(running)
            if context is not None:
                call.timeout_ms = min(int(context.time_left() * 1000), _MAX_TIMEOUT_MS)
            if begin is not None:
                begin()
            if self._path != sys.path:
                self._path = list(sys.path)
                self._pipe.post(_set_path(self._path))
            if limit:
                watch = MemoryWatch(self._process.pid, limit, functools.partial(self._exceed, running))
            with contextlib.suppress(ConnectionError):
                await self._pipe.send(Envelope(id=running.number, call=call))
            yield running
        finally:
            self._running = None
            if watch is not None:
                watch.stop()
            if not self.free:
                self.kill()
            if server is not None:
                await server.aclose()

    def _link_call(self, method: str, tool: Tool, credit: int) -> LinkCall:
        """Makes a call that names the function, and what it runs in."""
        call = LinkCall(method=method, metadata=asdict(path_of(tool)), initial_credit=credit)
        put_trace(call.metadata)
        if self._surroundings is not None:
            put_surroundings(self._surroundings, tool, call.metadata)
            self.has_lifespans = bool(self._surroundings.lifespans)
        if self.age is not None:
            self.tools[versioned(tool.spec.name, tool.spec.version)] = tool
        return call

    async def _answer(self, running: _Running) -> Envelope:
        envelope = await running.answers.get()
        if envelope is None:
            raise await self._death(running)
        if envelope.end.HasField("error"):
            info = envelope.end.error
            raise RaisedElsewhereError(info) if info.details.get("origin") == "tool" else error_from_info(info)
        return envelope

    def _request(self, args: Sequence[Any], kwargs: Mapping[str, Any], context: ToolContext | None) -> ToolCallRequest:
        request = ToolCallRequest(args=[self._written(value) for value in args])
        for name, value in kwargs.items():
            request.kwargs[name].CopyFrom(self._written(value))
        if context is not None:
            request.session_id, request.tool_id = context.session_id, context.tool_name
            request.request_id = context.request_id
            request.context.update(context.metadata)
        return request

    def _written(self, value: Any) -> AnyMessage:
        return value if isinstance(value, AnyMessage) else serialize_value(value, max_depth=self._max_depth)

    async def _read(self) -> None:
        """Dispatches envelopes until the process has ended."""
        try:
            while (envelope := await self._pipe.receive()) is not None:
                if envelope.WhichOneof("kind") == "event" and not envelope.id:
                    log_here(envelope.event.log, self._process.pid)
                elif not envelope.id:
                    self._ready.set()
                elif self._running is not None:
                    self._take(envelope, self._running)
        finally:
            self.kill()
            self._ready.set()
            if self._running is not None:
                self._running.answers.put_nowait(None)

    def _take(self, envelope: Envelope, running: _Running) -> None:
        kind = envelope.WhichOneof("kind")
        if envelope.id == running.number and kind != "event":
            self.free = kind != "chunk"
            running.answers.put_nowait(envelope)
        # A thread that an earlier call left running may still send events.
        elif running.server is not None and (kind != "event" or envelope.id == running.number):
            running.server.take(envelope)

    def _exceed(self, running: _Running, held: int) -> None:
        running.held = held
        self.kill()

    async def _death(self, running: _Running) -> ToolBridgeError:
        if running.held:
            limit = running.limit
            return ResourceExhaustedError(
                f"{running.tool_name}: its process held {running.held:,} bytes of memory, and its limit is {limit:,} "
                "(max_memory_bytes), so it was killed; nothing else ran in it, and the next call gets another",
                details={MEMORY_DETAIL: str(limit), "held_bytes": str(running.held)},
            )
        code = await self._process.wait()
        how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        return UnavailableError(
            f"{running.tool_name}: the process that ran it died ({how}); nothing else ran in it, and the next call "
            "gets another"
        )


def _packed(data: bytes) -> PackedValue:
    message = AnyMessage.FromString(data)
    return PackedValue(message.type_url, message.value)


def _set_path(path: Sequence[str]) -> Envelope:
    # As bytes: a path need not be valid text.
    paths = serialize_value([os.fsencode(item) for item in path])
    return Envelope(call=LinkCall(method="SetPath", payload=paths.SerializeToString()))
