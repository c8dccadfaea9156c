"""A call goes on while its client asks the user, and only its own client takes it up again."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    InputRequiredResult,
    ListRootsResult,
)

from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.gateway.mcp.sessions import SessionKey
from grpc_tool_bridge.gateway.mcp.waiting_calls import EventTaker, WaitingCalls
from grpc_tool_bridge.proto.dspex_bridge_pb2 import LogRecord, Progress
from support.waiting import soon, turns, until
from unit.gateway.mcp.fakes import NAME, Session, ask, context

KEY = SessionKey("mine")
ADA = ElicitResult(action="accept", content={"name": "Ada"})
YES = ElicitResult(action="accept", content={})

Work = Callable[[EventTaker | None], Awaitable[dict[str, Any]]]


@pytest.fixture
async def tasks() -> AsyncIterator[TaskSet]:
    tasks = TaskSet()
    yield tasks
    await tasks.aclose()


@pytest.fixture
def calls(tasks: TaskSet) -> WaitingCalls:
    return WaitingCalls(tasks)


def call(
    state: str | None = None, responses: Any = None, *, name: str = "greet", **arguments: object
) -> CallToolRequestParams:
    return CallToolRequestParams(name=name, arguments=arguments or None, request_state=state, input_responses=responses)


def titled(title: str) -> dict[str, Any]:
    return {**NAME, "title": title}


async def greet(events: EventTaker | None) -> dict[str, Any]:
    del events
    answer = await ask("Who?", NAME)
    return {"hello": answer.content["name"]}


async def asking(calls: WaitingCalls, work: Work = greet, params: CallToolRequestParams | None = None) -> Any:
    """Makes a call that asks; returns its questions by key, and its state."""
    result = await soon(calls.run(context(), KEY, params or call(), work))
    assert isinstance(result, InputRequiredResult)
    assert result.request_state is not None
    questions: dict[str, str] = {}
    for key, request in (result.input_requests or {}).items():
        assert isinstance(request, ElicitRequest)
        assert isinstance(request.params, ElicitRequestFormParams)
        questions[key] = request.params.message
    return questions, result.request_state


# ---------------------------------------------------------------------------------------------------- rounds


async def test_a_call_that_asks_nothing_is_answered_at_once(calls: WaitingCalls) -> None:
    async def plain(events: EventTaker | None) -> dict[str, Any]:
        assert events is None
        return {"plain": True}

    assert await soon(calls.run(context(), KEY, call(), plain)) == {"plain": True}
    assert not len(calls)


async def test_the_next_request_answers_and_gets_the_result(calls: WaitingCalls) -> None:
    questions, state = await asking(calls)
    assert questions == {"ask-1": "Who?"}
    assert len(calls) == 1
    assert await soon(calls.run(context(), KEY, call(state, {"ask-1": ADA}), greet)) == {"hello": "Ada"}
    assert not len(calls)


async def test_questions_at_once_are_asked_at_once_and_each_round_has_a_new_state(calls: WaitingCalls) -> None:
    async def work(_: EventTaker | None) -> dict[str, Any]:
        first, second = await asyncio.gather(ask("one", NAME), ask("two"))
        third = await ask("three", NAME)
        return {"all": [first.content["name"], second.action, third.content["name"]]}

    questions, first = await asking(calls, work)
    assert questions == {"ask-1": "one", "ask-2": "two"}
    # One of two: the other one is asked again.
    questions, second = await asking(calls, work, call(first, {"ask-2": YES}))
    assert questions == {"ask-1": "one"}
    questions, third = await asking(calls, work, call(second, {"ask-1": ADA}))
    assert questions == {"ask-3": "three"}
    assert len({first, second, third}) == 3
    for used in (first, second):
        with pytest.raises(MCPError, match="requestState is not one"):
            await calls.run(context(), KEY, call(used, {"ask-1": ADA}), work)
    result = await soon(calls.run(context(), KEY, call(third, {"ask-3": ADA}), work))
    assert result == {"all": ["Ada", "accept", "Ada"]}


async def test_a_question_is_called_by_its_title_and_no_two_have_one_key(calls: WaitingCalls) -> None:
    async def work(_: EventTaker | None) -> dict[str, Any]:
        for title in ("user_name", "user_name", "not a word", "ask"):
            await ask(title, titled(title))
        return {}

    state: str | None = None
    keys: list[str] = []
    for _ in range(4):
        questions, state = await asking(calls, work, call(state, dict.fromkeys(keys[-1:], ADA)))
        keys += questions
    assert keys == ["user_name", "user_name-2", "ask-1", "ask-2"]


async def test_answers_without_a_state_answer_a_new_call_by_key(calls: WaitingCalls) -> None:
    async def work(_: EventTaker | None) -> dict[str, Any]:
        first = await ask("Who?", titled("user_name"))
        second = await ask("And who?", titled("user_name"))
        return {"hello": [first.content["name"], second.content["name"]]}

    given = {"user_name": ADA, "unknown": YES}
    # It answers one question, however often the tool asks.
    questions, state = await asking(calls, work, call(None, given))
    assert questions == {"user_name-2": "And who?"}
    result = await soon(calls.run(context(), KEY, call(state, {"user_name-2": ADA}), work))
    assert result == {"hello": ["Ada", "Ada"]}
    questions, _ = await asking(calls, work, call(None, {"wrong_key": ADA}))
    assert questions == {"user_name": "Who?"}


# ---------------------------------------------------------------------------------------------- whose call it is


@pytest.mark.parametrize("other", ["tool", "arguments", "session", "principal", "tampered", "made up"])
async def test_nobody_else_takes_a_call_up(calls: WaitingCalls, other: str) -> None:
    _, state = await asking(calls, params=call(who="x"))
    made, key, principal = call(state, {"ask-1": ADA}, who="x"), KEY, None
    if other == "tool":
        made.name = "other"
    elif other == "arguments":
        made.arguments = {"who": "y"}
    elif other == "session":
        key = SessionKey("theirs")
    elif other == "principal":
        principal = "eve"
    else:
        made.request_state = f"{state}-TAMPERED" if other == "tampered" else "x"
    with pytest.raises(MCPError, match="requestState is not one") as caught:
        await calls.run(context(principal=principal), key, made, greet)
    assert caught.value.error.code == INVALID_PARAMS
    # The call still waits for its own client.
    assert await soon(calls.run(context(), KEY, call(state, {"ask-1": ADA}, who="x"), greet)) == {"hello": "Ada"}


async def test_the_order_of_arguments_does_not_matter(calls: WaitingCalls) -> None:
    _, state = await asking(calls, params=call(a=1, b=2))
    assert await soon(calls.run(context(), KEY, call(state, {"ask-1": ADA}, b=2, a=1), greet)) == {"hello": "Ada"}


# ------------------------------------------------------------------------------------------------------- answers


async def test_a_response_of_another_kind_is_refused_and_the_call_still_waits(calls: WaitingCalls) -> None:
    _, state = await asking(calls)
    with pytest.raises(MCPError, match="'ask-1' is not a result of elicitation/create"):
        await calls.run(context(), KEY, call(state, {"ask-1": ListRootsResult(roots=[])}), greet)
    assert await soon(calls.run(context(), KEY, call(state, {"ask-1": ADA}), greet)) == {"hello": "Ada"}


@pytest.mark.parametrize("at_once", [True, False])
async def test_an_answer_that_does_not_fit_ends_the_call(calls: WaitingCalls, at_once: bool) -> None:
    state = None if at_once else (await asking(calls))[1]
    wrong = ElicitResult(action="accept", content={"name": 7})
    with pytest.raises(ValidationError, match="'name' is 7, not a string"):
        await soon(calls.run(context(), KEY, call(state, {"ask-1": wrong}), greet))


async def test_a_question_that_the_tool_gave_up_is_not_asked_again(calls: WaitingCalls) -> None:
    give_up = asyncio.Event()

    async def work(_: EventTaker | None) -> dict[str, Any]:
        question = asyncio.create_task(ask("Who?", NAME))
        await give_up.wait()
        question.cancel()
        answer = await ask("Really?")
        return {"really": answer.action}

    questions, state = await asking(calls, work)
    assert questions == {"ask-1": "Who?"}
    give_up.set()
    await turns()
    questions, state = await asking(calls, work, call(state, {"late": ADA}))
    assert questions == {"ask-2": "Really?"}
    assert await soon(calls.run(context(), KEY, call(state, {"ask-2": YES}), work)) == {"really": "accept"}


async def test_a_call_that_ended_meanwhile_gives_its_result(calls: WaitingCalls) -> None:
    go_on = asyncio.Event()

    async def work(_: EventTaker | None) -> dict[str, Any]:
        question = asyncio.create_task(ask("Who?", NAME))
        await go_on.wait()
        question.cancel()
        return {"without": "an answer"}

    _, state = await asking(calls, work)
    go_on.set()
    assert await soon(calls.run(context(), KEY, call(state, {"ask-1": ADA}), work)) == {"without": "an answer"}


# ------------------------------------------------------------------------------------------------- ends and bounds


class Ends:
    """Work that asks, and notes how it ended."""

    def __init__(self) -> None:
        self.cancelled = asyncio.Event()

    async def __call__(self, _: EventTaker | None) -> dict[str, Any]:
        try:
            await ask("Who?")
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return {}


async def test_a_call_that_nobody_takes_up_again_is_cancelled(tasks: TaskSet) -> None:
    calls, work = WaitingCalls(tasks, seconds=0.01), Ends()
    _, state = await asking(calls, work)
    await soon(work.cancelled.wait())
    assert not len(calls)
    with pytest.raises(MCPError, match=r"waited for more than 0\.01 s"):
        await calls.run(context(), KEY, call(state, {"ask-1": YES}), work)


@pytest.mark.parametrize("all_of_them", [True, False])
async def test_a_session_that_ends_ends_its_calls(calls: WaitingCalls, all_of_them: bool) -> None:
    work = Ends()
    await asking(calls, work)
    calls.end_session(SessionKey("another"))
    assert len(calls) == 1
    if all_of_them:
        calls.aclose()
    else:
        calls.end_session(KEY)
    await soon(work.cancelled.wait())
    assert not len(calls)


async def test_a_request_that_is_cancelled_cancels_the_call(calls: WaitingCalls, tasks: TaskSet) -> None:
    began, cancelled = asyncio.Event(), asyncio.Event()

    async def work(_: EventTaker | None) -> dict[str, Any]:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return {}

    request = asyncio.create_task(calls.run(context(), KEY, call(), work))
    await soon(began.wait())
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    await soon(cancelled.wait())
    await until(lambda: not len(tasks), "the task of the call")


@pytest.mark.parametrize(("most", "of_session", "key"), [(1, 9, "another"), (9, 1, "mine")])
async def test_calls_that_wait_are_bounded(tasks: TaskSet, most: int, of_session: int, key: str) -> None:
    calls, refused = WaitingCalls(tasks, most=most, most_of_session=of_session), Ends()
    _, state = await asking(calls)
    result = await soon(calls.run(context(), SessionKey(key), call(), refused))
    assert isinstance(result, dict)
    assert result["isError"]
    assert "ResourceExhausted" in result["content"][0]["text"]
    await soon(refused.cancelled.wait())
    assert await soon(calls.run(context(), KEY, call(state, {"ask-1": ADA}), greet)) == {"hello": "Ada"}


async def test_a_call_that_is_cancelled_from_elsewhere_is_an_error_of_its_request(
    calls: WaitingCalls, tasks: TaskSet
) -> None:
    request = asyncio.create_task(calls.run(context(), KEY, call(), lambda _: asyncio.Event().wait()))  # type: ignore[arg-type,return-value]
    await until(lambda: len(tasks) == 1)
    await tasks.aclose()
    with pytest.raises(MCPError, match="the call of greet was cancelled"):
        await soon(request)


# --------------------------------------------------------------------------------------------------------- events


async def test_events_go_to_the_request_that_waits(calls: WaitingCalls) -> None:
    async def work(events: EventTaker | None) -> dict[str, Any]:
        assert events is not None
        events.progress(Progress(current=1, message="asks"))
        question = asyncio.create_task(ask("Who?", NAME))
        await told.wait()
        # Nobody waits for the call now.
        events.progress(Progress(current=2, message="lost"))
        events.log(LogRecord(level="info", message="lost"))
        silent.set()
        await question
        events.progress(Progress(current=3, message="goes on"))
        return {}

    told, silent = asyncio.Event(), asyncio.Event()
    first, second = Session(), Session()
    result = await soon(calls.run(context(session=first, progress="a"), KEY, call(), work))
    assert isinstance(result, InputRequiredResult)
    told.set()
    await soon(silent.wait())
    await soon(calls.run(context(session=second, progress="b"), KEY, call(result.request_state, {"ask-1": ADA}), work))
    assert (first.progress, second.progress) == ([(1, "asks")], [(3, "goes on")])
