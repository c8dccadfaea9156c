"""A tool's question, from its call to whoever made it."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from grpc_tool_bridge.errors import CallCancelledError, ResourceExhaustedError, UnimplementedError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import Answer, Ask
from grpc_tool_bridge.rpc.asks import Answered
from grpc_tool_bridge.runner.asking import ask
from support.waiting import soon, until


class Caller:
    """Is asked, and keeps what it is to answer."""

    def __init__(self) -> None:
        self.can_ask = True
        self.asked: list[tuple[Ask, Answered]] = []
        self.withdrawn = 0
        self.refusal: Exception | None = None

    def ask(self, question: Ask, answered: Answered) -> Callable[[], object]:
        if self.refusal is not None:
            raise self.refusal
        self.asked.append((question, answered))
        return self._withdraw

    def _withdraw(self) -> None:
        self.withdrawn += 1


class Call:
    """A call, as far as its questions see it."""

    def __init__(self, asker: Caller | None) -> None:
        self.asker: Any = asker
        self.nested: set[Any] | None = None
        self.over = False
        self.tool: Any = SimpleNamespace(name="erase")

    def hold(self, nested: Any) -> None:
        self.nested = (self.nested or set()) | {nested}


async def asking(call: Call, caller: Caller) -> "asyncio.Task[Answer]":
    task = asyncio.create_task(ask(call, Ask(message="?")))
    await until(lambda: caller.asked)
    return task


async def test_the_answer_comes_and_nothing_is_left() -> None:
    caller = Caller()
    call = Call(caller)
    task = await asking(call, caller)
    assert call.nested
    question, answered = caller.asked[0]
    assert question.message == "?"
    answered(Answer(action="accept"))
    answered(Answer(action="decline"))
    assert await soon(task) == Answer(action="accept")
    assert (call.nested, caller.withdrawn) == (set(), 1)


async def test_a_caller_that_is_not_there_is_an_error_at_once() -> None:
    with pytest.raises(UnimplementedError, match="erase asked its caller, who cannot answer"):
        await ask(Call(None), Ask())
    caller = Caller()
    caller.can_ask = False
    with pytest.raises(UnimplementedError, match="who cannot answer"):
        await ask(Call(caller), Ask())
    assert not caller.asked


async def test_a_caller_that_leaves_is_an_error() -> None:
    caller = Caller()
    task = await asking(Call(caller), caller)
    caller.asked[0][1](None)
    with pytest.raises(UnimplementedError, match="who cannot answer"):
        await soon(task)


async def test_the_end_of_the_call_ends_the_question() -> None:
    caller = Caller()
    call = Call(caller)
    task = await asking(call, caller)
    assert call.nested is not None
    for nested in call.nested:
        nested.cancel(CallCancelledError("it ended"))
        nested.cancel(CallCancelledError("it ended again"))
    caller.asked[0][1](Answer())
    with pytest.raises(CallCancelledError, match=r"it ended$"):
        await soon(task)
    assert caller.withdrawn == 1


async def test_a_tool_that_waits_no_more_withdraws_its_question() -> None:
    caller = Caller()
    call = Call(caller)
    task = await asking(call, caller)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (call.nested, caller.withdrawn) == (set(), 1)


async def test_a_call_that_is_over_asks_nothing() -> None:
    caller = Caller()
    call = Call(caller)
    call.over = True
    with pytest.raises(CallCancelledError, match="erase was cancelled or timed out, and may ask no more questions"):
        await ask(call, Ask())
    assert not caller.asked


async def test_a_refusal_leaves_nothing() -> None:
    caller = Caller()
    caller.refusal = ResourceExhaustedError("full")
    call = Call(caller)
    with pytest.raises(ResourceExhaustedError, match="full"):
        await ask(call, Ask())
    assert not call.nested
