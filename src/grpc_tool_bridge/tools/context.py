"""``ToolContext``: what a running tool can do with its call and its session."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from numbers import Real
from typing import Any, Literal, NamedTuple, Protocol

from grpc_tool_bridge.aio.loops import running_loop
from grpc_tool_bridge.aio.portal import SyncView
from grpc_tool_bridge.config import CALL_TIMEOUT
from grpc_tool_bridge.config.argument_checks import A_NAME, A_TEXT, check_seconds, check_text, check_type
from grpc_tool_bridge.errors import (
    MAX_DETAIL_CHARS,
    MAX_MESSAGE_CHARS,
    CallCancelledError,
    NotFoundError,
    ValidationError,
    wire_text,
)
from grpc_tool_bridge.errors.log_fields import fields_text, log_extra
from grpc_tool_bridge.proto.dspex_bridge_pb2 import Answer as PlainAnswer
from grpc_tool_bridge.proto.dspex_bridge_pb2 import Ask, LogRecord, Progress, VariableInfo
from grpc_tool_bridge.rpc.asks import MAX_QUESTION_CHARS
from grpc_tool_bridge.rpc.authentication import Principal
from grpc_tool_bridge.tools.alone import run_alone
from grpc_tool_bridge.tools.call_context import CallContext
from grpc_tool_bridge.tools.depends import Overrides
from grpc_tool_bridge.tools.lifespan_values import NO_LIFESPAN, LifespanValues
from grpc_tool_bridge.tools.memory_runtime import Answers, MemoryRuntime, portal
from grpc_tool_bridge.tools.questions import Answer, Question, ask_of, checked_answer
from grpc_tool_bridge.tools.tool_calls import ToolCalls
from grpc_tool_bridge.tools.variable import Variable

LogLevel = Literal["debug", "info", "warning", "error"]

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_A_VARIABLE = "the name of a variable, 1 to 256 characters"
_log = logging.getLogger("grpc_tool_bridge.tool")


class ToolRuntime(Protocol):
    """What a context talks to: the hub itself, or a worker's link to it."""

    async def get_variable(self, name: str) -> Any:
        """Returns the value; raises NotFoundError (VariableNotFound)."""

    async def set_variable(self, name: str, value: Any, expected_revision: int | None) -> int:
        """Sets the value and returns its new revision; raises ConflictError."""

    async def delete_variable(self, name: str, expected_revision: int | None) -> None:
        """Deletes the variable; raises NotFoundError, ConflictError."""

    async def list_variables(self, prefix: str) -> list[VariableInfo]:
        """Lists the session's variables by name."""

    async def ask(self, question: Ask) -> PlainAnswer:
        """Asks the caller of the outermost call; returns the answer as received; raises UnimplementedError."""
        ...

    async def call_tool(self, tool_id: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Calls another tool within the caller's deadline and permit; raises ToolExecutionError."""

    def stream_tool(self, tool_id: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> AsyncIterator[Any]:
        """Streams another tool within the caller's deadline and permit; raises ToolExecutionError."""


class ToolContext(CallContext):
    """A running tool's view of its call and its session.

    A parameter annotated ``ToolContext`` is filled in by the bridge. ``progress``, ``log``, ``time_left`` and
    ``cancelled`` may be used from any thread; the awaitable methods from async tools. A tool that runs in a thread
    uses the same methods through ``ctx.sync``, which blocks.

    Attributes:
        session_id: The session that the call belongs to.
        tool_name: The tool's own name.
        metadata: The metadata of the call, over that of its session (``initialize(metadata=…)``), which it overrides.
        lifespan: What the lifespans of the hub or the worker have yielded, by name.
        principal: On whose behalf the tool is called: who has sent the outermost call, as the hub has authenticated it.
            None: the hub does not authenticate, or calls the tool itself.
        via: How the call came from the principal, such as ("agent:planner", "tool:report"), the last one being who has
            made it; empty: the principal has made it itself, or there is none.
    """

    def __init__(
        self,
        *,
        session_id: str,
        tool_name: str,
        request_id: str | Callable[[], str],
        metadata: Mapping[str, str],
        principal: Principal | None = None,
        via: tuple[str, ...] = (),
        deadline: float,
        loop: asyncio.AbstractEventLoop,
        runtime: ToolRuntime,
        emit: Callable[[Progress | LogRecord], None] | None = None,
        lifespan: Mapping[str, Any] = NO_LIFESPAN,
        dependency_overrides: Overrides | None = None,
    ) -> None:
        self.session_id = session_id
        self.tool_name = tool_name
        # Few tools ask for it, and making one takes as long as a tenth of a call.
        self._request_id = request_id
        self.metadata = metadata
        self.principal = principal
        self.via = via
        self.lifespan = lifespan
        self._overrides = dependency_overrides
        self._on_cancelled: list[Callable[[], None]] | None = None
        self._deadline = deadline
        self._loop = loop
        self._runtime = runtime
        self._emit = emit
        self._cancelled = False

    @staticmethod
    def for_test(
        *,
        variables: Mapping[str, Any] | None = None,
        tools: Mapping[str, Any] | Iterable[Callable[..., Any]] | None = None,
        lifespan: Mapping[str, Any] | None = None,
        metadata: Mapping[str, str] | None = None,
        principal: Principal | None = None,
        via: Sequence[str] = (),
        timeout: float = CALL_TIMEOUT,
        answers: Answers | None = None,
        dependency_overrides: Overrides | None = None,
        session_id: str = "test",
        tool_name: str = "tool",
        request_id: str = "request",
    ) -> "RecordedContext":
        """Makes a context for a test that calls a tool's function alone, without a hub.

        Args:
            variables: The variables of the session, by name. They have revisions, and values as they travel.
            tools: The tools that it may call: a dict by name of functions, fixed results, or exceptions to raise; or a
                list of functions.
            lifespan: What the lifespans have yielded: ``ctx.lifespan``.
            metadata: The ``context`` of the request.
            principal: On whose behalf the tool is called; None: nobody was authenticated.
            via: How the call came from the principal.
            timeout: Seconds until the call's deadline.
            answers: Answers to the tool's questions, in order: an Answer, a dict (accept), True, False, None (decline),
                or an exception to raise; or a function that takes the Question. None: nobody can answer.
            dependency_overrides: Providers that replace others in ``run``, by the provider that each replaces.
            session_id: As in ToolContext.
            tool_name: As in ToolContext.
            request_id: As in ToolContext.

        Returns:
            The context, which records what the tool does with it.
        """
        check_seconds("timeout", timeout)
        return RecordedContext(
            MemoryRuntime(tool_name, session_id, variables=variables, tools=tools, answers=answers),
            session_id=session_id,
            tool_name=tool_name,
            request_id=request_id,
            metadata=dict(metadata or {}),
            principal=principal,
            via=tuple(via),
            deadline=time.monotonic() + timeout,
            lifespan=NO_LIFESPAN if lifespan is None else LifespanValues(lifespan),
            dependency_overrides=dependency_overrides,
        )

    # ------------------------------------------------------------------------------------------------ the call

    @property
    def request_id(self) -> str:
        """The id of the call: the caller's, or one that the hub has made; the same as in the hub's log."""
        given = self._request_id
        return given if isinstance(given, str) else given()

    def time_left(self) -> float:
        """Returns the seconds until the call's deadline; 0 if it has passed."""
        return max(0.0, self._deadline - time.monotonic())

    @property
    def cancelled(self) -> bool:
        """Whether the call was cancelled or timed out. A thread tool should check it often."""
        return self._cancelled or self._deadline <= time.monotonic()

    def raise_if_cancelled(self) -> None:
        """Raises CallCancelledError if the call was cancelled or timed out."""
        if self.cancelled:
            raise CallCancelledError(f"{self.tool_name}: the call was cancelled or timed out")

    def mark_cancelled(self) -> None:
        """Tells the tool that its call has ended. Called by the bridge."""
        self._cancelled = True
        for callback in self._on_cancelled or ():
            callback()

    def on_cancelled(self, callback: Callable[[], None]) -> None:
        """Calls ``callback``, in the thread that cancels, when the call is cancelled; at once if it was."""
        if self._on_cancelled is None:
            self._on_cancelled = []
        self._on_cancelled.append(callback)
        if self._cancelled:
            callback()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop of the awaitable methods."""
        return self._loop

    @property
    def dependency_overrides(self) -> Overrides:
        """Providers that replace others in this call, by the provider that each replaces."""
        return self._overrides or {}

    def progress(self, current: float, total: float | None = None, message: str = "") -> None:
        """Reports progress to a caller that asked for events.

        Args:
            current: How far the tool is, in a unit of its choice.
            total: The end, in the same unit; None if not known.
            message: What it is doing.
        """
        for name, number in (("current", current), ("total", total or 0.0)):
            check_type(name, number, Real, "a number")
        check_type("message", message, str, A_TEXT)
        self._send(Progress(current=current, total=total or 0.0, message=wire_text(message, MAX_MESSAGE_CHARS)))

    def log(self, message: str, *, level: LogLevel = "info", **fields: Any) -> None:
        """Writes a line to the log here, and sends it to a caller that asked for events.

        Args:
            message: The line.
            level: "debug", "info", "warning" or "error".
            **fields: Additional fields, sent as text; in the log they follow the line as ``name=value``.
        """
        check_type("message", message, str, A_TEXT)
        if level not in list(_LEVELS):
            raise ValidationError(f"level must be 'debug', 'info', 'warning' or 'error', not {level!r:.60}")
        texts = {name: wire_text(str(value), MAX_DETAIL_CHARS) for name, value in fields.items()}
        if _log.isEnabledFor(_LEVELS[level]):
            event = f"{self.tool_name}: {message}"
            more = {**texts, "session": self.session_id, "request_id": self.request_id}
            extra = log_extra(event, more, session_id=self.session_id)
            _log.log(_LEVELS[level], "%s", f"{event} {fields_text(texts)}" if texts else event, extra=extra)
        record = LogRecord(level=level, logger=self.tool_name, message=wire_text(message, MAX_MESSAGE_CHARS))
        record.fields.update(texts)
        record.timestamp.FromDatetime(datetime.now(UTC))
        self._send(record)

    async def ask(self, message: str, schema: Mapping[str, Any] | None = None) -> Answer:
        """Asks the caller a question, and waits for the answer within the call's deadline.

        If another tool made the call, the question goes to the caller of the outermost tool.

        Args:
            message: For a person to read, 1 to 4,096 characters.
            schema: JSON Schema of the requested content: an object whose properties are strings, numbers, integers,
                booleans, and lists of some of a few strings. None: only ask for acceptance.

        Returns:
            The answer; accepted content fits the schema.

        Raises:
            UnimplementedError: The caller cannot answer: it has no ``on_ask``, made a plain RPC, or has disconnected.
            ValidationError: The schema is not supported, or the answer does not fit it.
            ResourceExhaustedError: 100 questions of the call are waiting.
            CallCancelledError: The call was cancelled or timed out.
        """
        check_text("message", message, f"a text of 1 to {MAX_QUESTION_CHARS:,} characters")
        question = ask_of(message, schema)
        return checked_answer(await self._runtime.ask(question), schema)

    def _send(self, event: Progress | LogRecord) -> None:
        if self._emit is not None:
            self._emit(event)
        # The hub shows it to who watches it, even if the caller did not ask for events.
        told = getattr(self._runtime, "told", None)
        if told is not None:
            told(event)

    # --------------------------------------------------------------------------------------------- the session

    async def get_variable(self, name: str, default: Any = ...) -> Any:
        """Returns the value of a session variable.

        Args:
            name: The variable's name.
            default: Returned if the variable does not exist.

        Raises:
            NotFoundError: There is no such variable and no default.
        """
        check_text("name", name, _A_VARIABLE, may_be_empty=True)
        try:
            return await self._runtime.get_variable(name)
        except NotFoundError as error:
            if default is ... or error.error_type != "VariableNotFound":
                raise
            return default

    async def set_variable(self, name: str, value: Any, *, expected_revision: int | None = None) -> int:
        """Sets a session variable and returns its new revision.

        Args:
            name: The variable's name, 1 to 256 printable characters.
            value: Any value that the bridge can send.
            expected_revision: Set only if this is the current revision (0: if the variable does not exist).

        Raises:
            ConflictError: The current revision is another one.
        """
        check_text("name", name, _A_VARIABLE, may_be_empty=True)
        return await self._runtime.set_variable(name, value, expected_revision)

    async def delete_variable(self, name: str, *, expected_revision: int | None = None) -> None:
        """Deletes a session variable.

        Raises:
            NotFoundError: There is no such variable.
            ConflictError: The current revision is not ``expected_revision``.
        """
        check_text("name", name, _A_VARIABLE, may_be_empty=True)
        await self._runtime.delete_variable(name, expected_revision)

    async def list_variables(self, prefix: str = "") -> list[Variable]:
        """Lists the session's variables whose names start with ``prefix``, sorted by name, without their values."""
        check_text("prefix", prefix, may_be_empty=True)
        return [Variable.of(info) for info in await self._runtime.list_variables(prefix)]

    async def call_tool(self, tool_id: str, /, *args: Any, **kwargs: Any) -> Any:
        """Calls another tool of the session, within this call's deadline.

        Raises:
            ToolExecutionError: The tool failed, or does not exist.
        """
        check_text("tool_id", tool_id, A_NAME)
        return await self._runtime.call_tool(tool_id, args, kwargs)

    def stream_tool(self, tool_id: str, /, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        """Streams another tool of the session, within this call's deadline."""
        check_text("tool_id", tool_id, A_NAME)
        return self._runtime.stream_tool(tool_id, args, kwargs)

    @property
    def sync(self) -> "SyncView[ToolContext]":
        """The same methods for a tool that runs in a thread; each blocks until it has finished."""
        return SyncView(self, self._loop)


class ProgressReport(NamedTuple):
    """What a tool has reported with ``ctx.progress``; ``total`` is None if it was not given."""

    current: float
    total: float | None
    message: str


class LogLine(NamedTuple):
    """What a tool has logged with ``ctx.log``; the fields are texts."""

    level: str
    message: str
    fields: dict[str, str]


class RecordedContext(ToolContext):
    """The context of a tool in a test; made by ``ToolContext.for_test``.

    The awaitable methods work in any event loop. ``sync`` works in a thread, and where no event loop runs.

    Args:
        runtime: The variables, tools and answers of the test.
        **facts: Those of ToolContext.

    Attributes:
        progress_reports: What the tool has reported.
        logs: What it has logged.
        tool_calls: The calls of other tools that it has made.
        questions: The questions that it has asked.
    """

    def __init__(self, runtime: MemoryRuntime, **facts: Any) -> None:
        super().__init__(loop=running_loop() or portal().loop, runtime=runtime, emit=self._record, **facts)
        runtime.run = self.run
        self._memory = runtime
        self.progress_reports: list[ProgressReport] = []
        self.logs: list[LogLine] = []
        self.tool_calls: ToolCalls = runtime.tool_calls
        self.questions: list[Question] = runtime.questions

    @property
    def variables(self) -> dict[str, Any]:
        """The variables of the session as they are now, by name."""
        return self._memory.variables

    async def run(self, tool: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Runs a tool with this context as the bridge does.

        Arguments are checked, dependencies are made and closed, a plain function runs in a thread, and the result is
        converted to its declared type. One with the executor "process" runs in a thread, too.

        Args:
            tool: A tool, or a function that can be one.
            *args: Its arguments by position.
            **kwargs: Its arguments by name.

        Returns:
            Its result; of a stream, the list of its values.

        Raises:
            ValidationError: The arguments do not fit.
            TypeError: It cannot be a tool, or its result does not match its annotation.
            BaseException: What the tool raises.
        """
        return await run_alone(self, tool, args, kwargs)

    def _record(self, event: Progress | LogRecord) -> None:
        if isinstance(event, Progress):
            self.progress_reports.append(ProgressReport(event.current, event.total or None, event.message))
        else:
            self.logs.append(LogLine(event.level, event.message, dict(event.fields)))
