"""Answers questions of tools with a function of the calling program."""

import asyncio
import contextvars
import inspect
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.aio.threads import ToolThreads
from grpc_tool_bridge.aio.timeouts import was_cancelled
from grpc_tool_bridge.config.argument_checks import check_callable
from grpc_tool_bridge.errors import CallCancelledError, ProtocolError, ValidationError
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.asks import MAX_OPEN_ASKS, check_answer_size, check_ask
from grpc_tool_bridge.tools.content_schemas import fitting_content, read_schema
from grpc_tool_bridge.tools.questions import Answer, Question, answer_of, plain_answer

# Blocking functions that run concurrently; further questions wait.
MAX_THREADS = 32

OnAsk = Callable[[Question], Any]


class FunctionAnswerer:
    """Answers with a function; an ``Answerer``.

    Args:
        on_ask: Given a Question, returns a dict (accept, with this content), True (accept), False or None (decline), or
            an Answer. An async one is awaited; any other is called in a thread, so that it may block. It has the
            context variables of the caller of the tool.
    """

    def __init__(self, on_ask: OnAsk) -> None:
        check_callable("on_ask", on_ask, "a function that answers a tool's question")
        self._on_ask = on_ask
        call = getattr(on_ask, "__call__", None)  # noqa: B004 - it may be async, which only the method tells
        self._is_async = inspect.iscoroutinefunction(on_ask) or inspect.iscoroutinefunction(call)
        self._tasks = TaskSet()
        self._threads = ToolThreads(MAX_THREADS)

    async def aclose(self) -> None:
        """Cancels answers in progress; a blocking function is left running in its thread."""
        await self._tasks.aclose()

    def here(self) -> "CallerAnswerer":
        """See ``Answerers``: one function answers for all callers, each in its own context."""
        return CallerAnswerer(self._tasks, self._answer, contextvars.copy_context())

    async def _answer(self, ask: pb.Ask, tool_id: str) -> pb.Answer:
        question = question_of(ask, tool_id)
        ask_it = partial(self._on_ask, question)
        given = ask_it() if self._is_async else await self._threads.run(ask_it)
        if isinstance(given, Awaitable):
            given = await given
        return checked_answer(answer_of(given, "on_ask returned"), question, ask.id)


def question_of(ask: pb.Ask, tool_id: str) -> Question:
    """Reads a question as received from a hub.

    Raises:
        ProtocolError: It is not a valid question.
    """
    try:
        check_ask(ask)
        return Question(ask.message, read_schema(ask.schema), tool_id)
    except ValidationError as error:
        raise ProtocolError(f"the hub asked an invalid question: {error.message}") from None


def checked_answer(answer: Answer, question: Question, ask_id: str) -> pb.Answer:
    """Writes the answer to a question for the wire.

    Raises:
        ValidationError: Its content does not fit the question, or it is too large.
    """
    fitting = Answer("accept", fitting_content(answer.content, question.schema)) if answer.accepted else answer
    written = plain_answer(fitting, ask_id)
    check_answer_size(written)
    return written


class CallerAnswerer:
    """Answers the questions of the tools that one caller calls; an ``Answerer``.

    Args:
        tasks: Owner of the answers in progress.
        answer: Answers a question of a tool.
        context: The caller's.
    """

    __slots__ = ("_answer", "_context", "_tasks")

    def __init__(
        self, tasks: TaskSet, answer: Callable[[pb.Ask, str], Awaitable[pb.Answer]], context: contextvars.Context
    ) -> None:
        self._tasks = tasks
        self._answer = answer
        self._context = context

    def of(self, tool_id: str, fail: Callable[[BaseException], None]) -> "CallAnswers":
        """See ``Answerer``."""
        return CallAnswers(self._tasks, lambda ask: self._answer(ask, tool_id), fail, self._context)


class CallAnswers:
    """Answers the questions of one call; an ``Answering``.

    Args:
        tasks: Owner of the answers in progress.
        answer: Answers one question.
        fail: Called with the error of the first question that cannot be answered.
        context: In which each answer is made; None: that of the question.
    """

    def __init__(
        self,
        tasks: TaskSet,
        answer: Callable[[pb.Ask], Awaitable[pb.Answer]],
        fail: Callable[[BaseException], None],
        context: contextvars.Context | None = None,
    ) -> None:
        self._tasks = tasks
        self._answer = answer
        self._fail = fail
        self._context = context
        self._open: set[asyncio.Task[None]] = set()

    def take(self, ask: pb.Ask, give: Callable[[pb.Answer], None]) -> Callable[[], object]:
        """See ``Answering``."""
        if len(self._open) >= MAX_OPEN_ASKS:
            self._fail(ProtocolError(f"the hub asks more than {MAX_OPEN_ASKS} concurrent questions for one call"))
            return _nothing
        context = None if self._context is None else self._context.copy()
        task = self._tasks.spawn(self._run(ask, give), "on_ask", context=context)
        self._open.add(task)
        task.add_done_callback(self._open.discard)
        return task.cancel

    def close(self) -> None:
        """See ``Answering``."""
        for task in list(self._open):
            task.cancel()

    async def _run(self, ask: pb.Ask, give: Callable[[pb.Answer], None]) -> None:
        try:
            answer = await self._answer(ask)
        except asyncio.CancelledError:
            if was_cancelled():
                raise
            self._fail(CallCancelledError("on_ask cancelled itself, and with it the call"))
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001 - it is raised where the call is awaited
            self._fail(error)
        else:
            give(answer)


def _nothing() -> None:
    """Does nothing: there is no question to withdraw."""
