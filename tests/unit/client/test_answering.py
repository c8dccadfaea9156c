"""A program's function answers what tools ask."""

import asyncio
import contextvars
import functools
import threading
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest

from grpc_tool_bridge.client.answering import FunctionAnswerer
from grpc_tool_bridge.errors import CallCancelledError, ProtocolError, ValidationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import Answer as PlainAnswer
from grpc_tool_bridge.proto.dspex_bridge_pb2 import Ask
from grpc_tool_bridge.rpc.asks import MAX_OPEN_ASKS
from grpc_tool_bridge.tools.questions import Answer, Question
from support.waiting import soon, until

SCHEMA = '{"type":"object","properties":{"n":{"type":"integer"}}}'


class World:
    """What becomes of questions."""

    def __init__(self) -> None:
        self.answerers: list[FunctionAnswerer] = []
        self.given: list[PlainAnswer] = []
        self.failures: list[BaseException] = []

    def answering(self, on_ask: Any, tool_id: str = "erase") -> Any:
        self.answerers.append(FunctionAnswerer(on_ask))
        return self.answerers[-1].here().of(tool_id, self.failures.append)

    async def outcome(self) -> Any:
        await until(lambda: self.given or self.failures)
        return self.given[0] if self.given else self.failures[0]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    for answerer in world.answerers:
        await answerer.aclose()


class Answering:
    async def __call__(self, question: Question) -> bool:
        return question.message == "?"


async def awaited(question: Question) -> bool:
    return question.message == "?"


def begin(question: Question) -> Coroutine[Any, Any, bool]:
    return awaited(question)


@pytest.mark.parametrize(
    "on_ask",
    [awaited, Answering(), functools.partial(awaited), begin, lambda _: True],
    ids=["async", "object", "partial", "returns a coroutine", "plain"],
)
async def test_any_function_answers(world: World, on_ask: Any) -> None:
    world.answering(on_ask).take(Ask(id="1", message="?"), world.given.append)
    assert await world.outcome() == PlainAnswer(id="1", action="accept")


async def test_a_plain_function_runs_in_a_thread_and_an_async_one_in_the_loop(world: World) -> None:
    threads: list[threading.Thread] = []

    def plain(_: Question) -> None:
        threads.append(threading.current_thread())

    async def in_loop(_: Question) -> None:
        threads.append(threading.current_thread())

    for on_ask in (plain, in_loop):
        world.answering(on_ask).take(Ask(), world.given.append)
    await until(lambda: len(world.given) == 2)
    assert len(set(threads)) == 2
    assert threading.current_thread() in threads


async def test_the_question_has_its_schema_as_a_dict_and_the_tool(world: World) -> None:
    questions: list[Question] = []
    world.answering(questions.append).take(Ask(message="?", schema=SCHEMA), world.given.append)
    world.answering(questions.append, "").take(Ask(message="!"), world.given.append)
    await until(lambda: len(world.given) == 2)
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    assert Question("?", schema, "erase") in questions
    assert Question("!") in questions


@pytest.mark.parametrize(
    ("returned", "action", "content"),
    [
        (True, "accept", {}),
        ({}, "accept", {}),
        ({"n": 2}, "accept", {"n": 2.0}),
        (Answer("accept", {"n": 2}), "accept", {"n": 2.0}),
        (False, "decline", {}),
        (None, "decline", {}),
        (Answer("cancel"), "cancel", {}),
    ],
)
async def test_what_is_returned_is_the_answer(world: World, returned: Any, action: str, content: Any) -> None:
    world.answering(lambda _: returned).take(Ask(id="7", schema=SCHEMA), world.given.append)
    answer = await world.outcome()
    assert (answer.id, answer.action, dict(answer.content)) == ("7", action, content)


@pytest.mark.parametrize("returned", [1, "accept", ["n"], object(), b"", 0])
async def test_anything_else_is_an_error(world: World, returned: Any) -> None:
    world.answering(lambda _: returned).take(Ask(), world.given.append)
    error = await world.outcome()
    assert isinstance(error, ValidationError)
    assert "it must return a dict (accept, with this content), True (accept), False or None (decline)" in error.message


@pytest.mark.parametrize("content", [{"n": "x"}, {"m": 1}, {"n": 2**60}])
async def test_content_that_does_not_fit_is_an_error(world: World, content: Any) -> None:
    world.answering(lambda _: content).take(Ask(schema=SCHEMA), world.given.append)
    assert "the answer does not fit what was asked for" in (await world.outcome()).message


async def test_content_that_is_too_large_is_an_error(world: World) -> None:
    schema = '{"type":"object","properties":{"s":{"type":"string"}}}'
    world.answering(lambda _: {"s": "x" * 70_000}).take(Ask(schema=schema), world.given.append)
    assert "the limit is 65,536" in (await world.outcome()).message


@pytest.mark.parametrize("ask", [Ask(message="x" * 5_000), Ask(schema="{"), Ask(schema='{"type":"array"}')])
async def test_a_question_that_is_none_is_an_error_of_the_hub(world: World, ask: Ask) -> None:
    asked: list[Question] = []
    world.answering(asked.append).take(ask, world.given.append)
    error = await world.outcome()
    assert isinstance(error, ProtocolError)
    assert "the hub asked an invalid question" in error.message
    assert not asked


@pytest.mark.parametrize("error", [KeyError("k"), SystemExit(3), KeyboardInterrupt()])
@pytest.mark.parametrize("is_async", [True, False])
async def test_what_it_raises_is_handed_on_as_it_is(world: World, error: BaseException, is_async: bool) -> None:
    def plain(_: Question) -> None:
        raise error

    async def in_loop(_: Question) -> None:
        raise error

    world.answering(in_loop if is_async else plain).take(Ask(), world.given.append)
    assert await world.outcome() is error


async def test_one_that_cancels_itself_is_an_error(world: World) -> None:
    async def on_ask(_: Question) -> None:
        raise asyncio.CancelledError

    world.answering(on_ask).take(Ask(), world.given.append)
    assert isinstance(await world.outcome(), CallCancelledError)


async def test_the_end_of_the_call_cancels_what_is_under_way_and_says_nothing(world: World) -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def on_ask(_: Question) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    answering = world.answering(on_ask)
    answering.take(Ask(), world.given.append)
    await soon(began.wait())
    answering.close()
    await soon(ended.wait())
    assert not world.given
    assert not world.failures


async def test_a_hub_that_asks_too_much_at_once_is_an_error(world: World) -> None:
    async def on_ask(_: Question) -> None:
        await asyncio.Event().wait()

    answering = world.answering(on_ask)
    for _ in range(MAX_OPEN_ASKS):
        answering.take(Ask(), world.given.append)
    assert not world.failures
    answering.take(Ask(), world.given.append)()
    assert isinstance(world.failures[0], ProtocolError)


@pytest.mark.parametrize("on_ask", [1, "f", {"a": 1}])
def test_what_cannot_be_called_is_refused(on_ask: Any) -> None:
    with pytest.raises(ValidationError, match="on_ask"):
        FunctionAnswerer(on_ask)


async def test_the_function_has_the_context_of_the_call_and_not_of_the_question(world: World) -> None:
    user: contextvars.ContextVar[str] = contextvars.ContextVar("user", default="nobody")

    async def awaited_user(question: Question) -> dict[str, str]:
        return {"user": user.get()}

    def blocking_user(question: Question) -> dict[str, str]:
        return {"user": user.get()}

    schema = '{"type":"object","properties":{"user":{"type":"string"}}}'
    for on_ask in (awaited_user, blocking_user):
        world.given.clear()
        user.set("caller")
        answering = world.answering(on_ask)
        user.set("another")
        answering.take(Ask(id="1", message="?", schema=schema), world.given.append)
        given = await world.outcome()
        assert dict(given.content) == {"user": "caller"}
