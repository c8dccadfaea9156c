"""Questions of tools of a hub in the same process."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

from grpc_tool_bridge.proto.dspex_bridge_pb2 import Ask
from grpc_tool_bridge.rpc.asks import Answered, OpenAsks
from grpc_tool_bridge.rpc.context import RequestContext
from grpc_tool_bridge.transport.stubs import Answerer, Answerers


class LocalAsker:
    """Asks the caller of one call in this process; an ``Asker``.

    If a question fails, the task that awaits the call is cancelled, and the error is raised there in place of the
    cancellation.

    Args:
        answerer: Answers the questions.
        tool_id: The tool that is called; empty if it is not a single tool.

    Attributes:
        failure: The error of a failed question, or None.
    """

    def __init__(self, answerer: Answerer, tool_id: str) -> None:
        self.failure: BaseException | None = None
        self._answering = answerer.of(tool_id, self._fail)
        self._asks = OpenAsks()
        self._task: asyncio.Task[Any] | None = None

    @property
    def can_ask(self) -> bool:
        """See ``Asker``."""
        return self._asks.can_ask

    def ask(self, ask: Ask, answered: Answered) -> Callable[[], object]:
        """See ``Asker``."""
        asked = self._asks.add(ask, answered)
        end = self._answering.take(asked, self._asks.take)

        def withdraw() -> None:
            self._asks.withdraw(asked.id)
            end()

        return withdraw

    def close(self) -> None:
        """Ends the questions: the call is over."""
        self._asks.close()
        self._answering.close()

    async def step(self, make: Callable[[], Awaitable[Any]]) -> Any:
        """Awaits one step of the call, which ``make`` creates."""
        if self.failure is not None:
            raise self.failure
        task = self._task = asyncio.current_task()
        assert task is not None  # noqa: S101 - what may be cancelled is run by a task
        cancelling, result = task.cancelling(), None
        try:
            result = await make()
        except GeneratorExit:
            raise
        except BaseException:
            if self.failure is None:
                raise
        finally:
            self._task = None
        if self.failure is None:
            return result
        # Cancelled here, and perhaps by somebody else as well.
        if task.uncancel() > cancelling:
            raise asyncio.CancelledError
        raise self.failure

    def _fail(self, error: BaseException) -> None:
        if self.failure is None and self.can_ask:
            self.failure = error
            if self._task is not None:
                self._task.cancel()


async def asked_call(answerers: Answerers, function: Callable[..., Any], request: Any) -> Any:
    """Makes a call whose tools may ask questions."""
    here = answerers.here()
    if here is None:
        return await function(request)
    asker = LocalAsker(here, getattr(request, "tool_id", ""))
    try:
        return await asker.step(lambda: function(request, RequestContext(asker=asker)))
    finally:
        asker.close()


async def asked_stream(answerers: Answerers, function: Callable[..., Any], request: Any) -> AsyncGenerator[Any, None]:
    """Makes a streaming call whose tools may ask questions."""
    here = answerers.here()
    if here is None:
        async with aclosing(function(request)) as chunks:
            async for chunk in chunks:
                yield chunk
        return
    asker = LocalAsker(here, getattr(request, "tool_id", ""))
    messages = function(request, RequestContext(asker=asker))
    try:
        async with aclosing(messages):
            while True:
                try:
                    message = await asker.step(lambda: anext(messages))
                except StopAsyncIteration:
                    return
                yield message
    finally:
        asker.close()
        if asker.failure is not None and (cancel := getattr(messages, "cancel", None)) is not None:
            # An agent's run would continue without its reader.
            cancel()
