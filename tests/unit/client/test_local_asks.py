"""Questions of a hub in the same process."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from grpc_tool_bridge.client.local_asks import LocalAsker, asked_call, asked_stream
from grpc_tool_bridge.proto.dspex_bridge_pb2 import Answer, Ask
from grpc_tool_bridge.rpc.context import LOCAL, RequestContext
from support.waiting import soon, until


class Answering:
    """Answers with what its text says: "yes", "never", or an error."""

    def __init__(self, tool_id: str, fail: Callable[[BaseException], None]) -> None:
        self.tool_id = tool_id
        self.fail = fail
        self.asked: list[str] = []
        self.ended: list[str] = []
        self.closed = False

    def take(self, ask: Ask, give: Callable[[Answer], None]) -> Callable[[], object]:
        self.asked.append(ask.message)
        if ask.message == "yes":
            asyncio.get_running_loop().call_soon(give, Answer(id=ask.id, action="accept"))
        elif ask.message != "never":
            asyncio.get_running_loop().call_soon(self.fail, KeyError(ask.message))
        return lambda: self.ended.append(ask.message)

    def close(self) -> None:
        self.closed = True


class Answerer:
    """Keeps what it makes."""

    def __init__(self) -> None:
        self.made: list[Answering] = []

    def here(self) -> "Answerer":
        return self

    def of(self, tool_id: str, fail: Callable[[BaseException], None]) -> Answering:
        self.made.append(Answering(tool_id, fail))
        return self.made[-1]


async def question(context: RequestContext, text: str) -> Answer | None:
    """Asks as a tool does."""
    assert context.asker is not None
    answer: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()
    withdraw = context.asker.ask(Ask(message=text), answer.set_result)
    try:
        return await answer
    finally:
        withdraw()


async def unary(request: str, context: RequestContext) -> str:
    answer = await question(context, request)
    return "nobody" if answer is None else answer.action


async def streaming(request: str, context: RequestContext) -> AsyncIterator[str]:
    yield "first"
    yield await unary(request, context)


async def test_a_call_is_answered() -> None:
    answerer = Answerer()
    assert await soon(asked_call(answerer, unary, "yes")) == "accept"
    (answering,) = answerer.made
    assert (answering.tool_id, answering.ended, answering.closed) == ("", ["yes"], True)


async def test_a_stream_is_answered() -> None:
    answerer = Answerer()
    assert [value async for value in asked_stream(answerer, streaming, "yes")] == ["first", "accept"]
    assert answerer.made[0].closed


@pytest.mark.parametrize("streams", [False, True])
async def test_what_a_question_fails_with_is_raised_where_the_call_is_awaited(streams: bool) -> None:
    answerer = Answerer()

    async def read() -> Any:
        return [value async for value in asked_stream(answerer, streaming, "mine")]

    task = asyncio.ensure_future(read() if streams else asked_call(answerer, unary, "mine"))
    with pytest.raises(KeyError, match="mine"):
        await soon(task)
    assert not task.cancelling()
    assert answerer.made[0].closed


async def test_a_tool_that_answers_its_cancellation_does_not_hide_the_failure() -> None:
    async def stubborn(request: str, context: RequestContext) -> str:
        try:
            return await unary(request, context)
        except asyncio.CancelledError:
            return "went on"

    with pytest.raises(KeyError, match="mine"):
        await soon(asked_call(Answerer(), stubborn, "mine"))


async def test_a_question_that_fails_between_two_values_is_raised_with_the_next() -> None:
    answerer, ended = Answerer(), asyncio.Event()

    async def ahead(_: str, context: RequestContext) -> AsyncIterator[int]:
        assert context.asker is not None
        context.asker.ask(Ask(message="mine"), lambda _: None)
        try:
            yield 1
            yield 2
        finally:
            ended.set()

    stream = asked_stream(answerer, ahead, "")
    assert await anext(stream) == 1
    await until(lambda: answerer.made[0].asked)
    await asyncio.sleep(0)
    with pytest.raises(KeyError, match="mine"):
        await anext(stream)
    assert ended.is_set()


async def test_a_cancellation_from_outside_stays_one() -> None:
    answerer = Answerer()
    task = asyncio.ensure_future(asked_call(answerer, unary, "never"))
    await until(lambda: answerer.made and answerer.made[0].asked)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert answerer.made[0].closed


async def test_a_cancellation_from_outside_beside_a_failure_stays_one() -> None:
    answerer = Answerer()
    task = asyncio.ensure_future(asked_call(answerer, unary, "never"))
    await until(lambda: answerer.made and answerer.made[0].asked)
    answerer.made[0].fail(KeyError("mine"))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_what_the_hub_raises_goes_through() -> None:
    async def fails(_: str, __: RequestContext) -> None:
        raise ValueError("the hub's")

    with pytest.raises(ValueError, match="the hub's"):
        await asked_call(Answerer(), fails, "")


async def test_what_goes_on_without_its_reader_is_told_that_nobody_answers() -> None:
    asker = LocalAsker(Answerer(), "")
    context = RequestContext(asker=asker)
    task = asyncio.ensure_future(unary("never", context))
    await asyncio.sleep(0)
    asker.close()
    assert await soon(task) == "nobody"
    assert not asker.can_ask


async def test_an_agent_s_run_ends_with_a_question_that_fails() -> None:
    cancelled: list[bool] = []

    class Run:
        """A run's reader, which the run outlives."""

        def __init__(self, request: str, context: RequestContext) -> None:
            self._chunks = streaming(request, context)

        def __aiter__(self) -> "Run":
            return self

        async def __anext__(self) -> str:
            return await anext(self._chunks)

        async def aclose(self) -> None:
            """Reads no more."""

        def cancel(self) -> None:
            cancelled.append(True)

    with pytest.raises(KeyError):
        [chunk async for chunk in asked_stream(Answerer(), Run, "mine")]
    assert cancelled
    assert [chunk async for chunk in asked_stream(Answerer(), Run, "yes")] == ["first", "accept"]
    assert len(cancelled) == 1


class Nobody:
    """A client whose callers cannot answer."""

    def here(self) -> None:
        return None


async def test_a_caller_that_cannot_answer_is_not_asked() -> None:
    async def tool(request: str, context: RequestContext = LOCAL) -> str:
        assert context.asker is None
        return request

    async def stream(request: str, context: RequestContext = LOCAL) -> AsyncIterator[str]:
        yield await tool(request, context)

    assert await asked_call(Nobody(), tool, "mine") == "mine"
    assert [chunk async for chunk in asked_stream(Nobody(), stream, "mine")] == ["mine"]


async def test_a_stream_without_an_answerer_is_closed_with_its_reader() -> None:
    closed = asyncio.Event()

    async def stream(request: str) -> AsyncIterator[str]:
        try:
            while True:
                yield request
        finally:
            closed.set()

    chunks = asked_stream(Nobody(), stream, "mine")
    assert await anext(chunks) == "mine"
    await chunks.aclose()
    assert closed.is_set()
