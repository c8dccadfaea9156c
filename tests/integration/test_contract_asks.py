"""A tool asks whoever called it, wherever it runs and however it was called."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from grpc_tool_bridge import (
    Answer,
    BridgeServer,
    GRPCToolBridge,
    Question,
    Settings,
    ToolBridge,
    ToolBridgeClient,
    ToolContext,
    ToolExecutionError,
    ToolWorker,
    ValidationError,
    tool,
)
from integration import ask_tools as made
from integration.agent_runtime import SIGNATURE, ObedientAgents
from integration.connections import Connect, RemoteBridge, read
from support.waiting import soon, until

# Opens a bridge with an ``on_ask``.
Asked = Callable[..., Any]

ASYNC_TOOLS = [made.ask, made.ask_blocking, made.confirm, made.outer, made.ask_each, made.ask_each_blocking]
# What runs in a process asks through ``ctx.sync``.
PROCESS_TOOLS = [tool(executor="process")(each) for each in (made.ask_blocking, made.ask_each_blocking)]


@pytest.fixture(params=["local", "link", "worker", "process"])
async def asked(request: pytest.FixtureRequest) -> AsyncIterator[Asked]:
    """Offers the tools where they run in one way or another, and opens bridges with an ``on_ask``."""
    settings = Settings(shutdown_grace=0.0)
    tools: list[Any] = [*PROCESS_TOOLS, made.outer] if request.param == "process" else ASYNC_TOOLS
    async with AsyncExitStack() as stack:
        served = [] if request.param == "worker" else tools
        server = await stack.enter_async_context(BridgeServer(tools=served, settings=settings))
        if request.param == "worker":
            await stack.enter_async_context(ToolWorker(server.address, tools=tools, settings=settings))

        async def asked(on_ask: Any) -> ToolBridge:
            make: Any = server.bridge if request.param == "local" else GRPCToolBridge
            bridge: ToolBridge = make(*([] if request.param == "local" else [server.address]), on_ask=on_ask)
            stack.push_async_callback(bridge.close)
            await bridge.initialize()
            await until(lambda: bridge.tools)
            return bridge

        yield asked
        await until(lambda: not server.hub.admission.active)


# Plain RPCs cannot carry questions.
takes_questions = pytest.mark.parametrize("connect", ["local", "link"], indirect=True)


# ---------------------------------------------------------------------------------------------------- the answer


async def test_a_tool_is_answered_by_whoever_called_it(asked: Asked) -> None:
    questions: list[Question] = []

    async def on_ask(question: Question) -> dict[str, Any]:
        questions.append(question)
        return {"count": 3, "name": "ö", "ratio": 2, "sure": True, "colour": "red"}

    bridge = await asked(on_ask)
    expected = {"count": 3, "name": "ö", "ratio": 2.0, "sure": True, "colour": "red"}
    action, content = await soon(bridge.tools["ask_blocking"]("How many?"))
    assert (action, content) == ("accept", expected)
    assert type(content["count"]) is int
    assert type(content["ratio"]) is float
    assert questions == [Question("How many?", made.FORM, "ask_blocking")]


@pytest.mark.parametrize(
    ("given", "answer"),
    [
        ({"count": 1}, ["accept", {"count": 1}]),
        (Answer("accept", {"count": 2}), ["accept", {"count": 2}]),
        (False, ["decline", {}]),
        (None, ["decline", {}]),
        (Answer("decline"), ["decline", {}]),
        (Answer("cancel"), ["cancel", {}]),
    ],
)
async def test_what_on_ask_returns_is_the_answer(asked: Asked, given: Any, answer: list[Any]) -> None:
    bridge = await asked(lambda _: given)
    assert await soon(bridge.tools["ask_blocking"]()) == answer


async def test_an_on_ask_that_blocks_holds_up_nothing_else(asked: Asked) -> None:
    go_on = threading.Event()
    asked_for = threading.Event()

    def on_ask(_: Question) -> dict[str, int]:
        asked_for.set()
        go_on.wait()
        return {"count": 1}

    bridge = await asked(on_ask)
    call = asyncio.ensure_future(bridge.tools["ask_blocking"]())
    await until(asked_for.is_set)
    assert await soon(bridge.client.health_check())
    go_on.set()
    assert await soon(call) == ["accept", {"count": 1}]


async def test_a_tool_that_a_tool_calls_asks_the_first_caller(asked: Asked) -> None:
    questions: list[Question] = []

    def on_ask(question: Question) -> dict[str, int]:
        questions.append(question)
        return {"count": 9}

    bridge = await asked(on_ask)
    assert await soon(bridge.tools["outer"]("ask_blocking")) == ["accept", {"count": 9}]
    assert questions == [Question("from below", made.FORM, "outer")]


async def test_a_stream_asks_between_its_values(asked: Asked) -> None:
    bridge = await asked(lambda question: not question.message.endswith("1"))
    values = [value async for value in bridge.tools["ask_each_blocking"].stream(3)]
    assert values == [True, False, True]


async def test_one_after_the_other_a_call_asks_as_often_as_it_likes(asked: Asked) -> None:
    bridge = await asked(lambda _: True)
    values = [value async for value in bridge.tools["ask_each_blocking"].stream(150)]
    assert values == [True] * 150


async def test_each_item_of_a_batch_asks(asked: Asked) -> None:
    bridge = await asked(lambda question: {"count": len(question.message)})
    items = [{"tool_id": "ask_blocking", "args": ["?" * size]} for size in (1, 2, 3)]
    results = await soon(bridge.execute_batch(items))
    assert results == [["accept", {"count": size}] for size in (1, 2, 3)]


@takes_questions
async def test_several_questions_of_one_call_are_answered_in_any_order(connect: Connect) -> None:
    answers: dict[str, asyncio.Future[bool]] = {}

    async def ask_all(ctx: ToolContext) -> list[bool]:
        return [answer.accepted for answer in await asyncio.gather(*(ctx.ask(name) for name in "abc"))]

    async def on_ask(question: Question) -> bool:
        answers[question.message] = asyncio.get_running_loop().create_future()
        return await answers[question.message]

    world = await connect(ask_all)
    bridge = await world.attach(on_ask=on_ask)
    call = asyncio.ensure_future(bridge.tools["ask_all"]())
    await until(lambda: len(answers) == 3)
    for name, accepted in (("c", True), ("a", True), ("b", False)):
        answers[name].set_result(accepted)
    assert await soon(call) == [True, False, True]
    await world.quiet()


async def test_a_blocking_bridge_answers_too() -> None:
    async with BridgeServer(tools=[made.confirm]) as server:

        def use() -> bool:
            bridge = GRPCToolBridge(server.address, on_ask=lambda question: question.message == "yes?").sync
            with bridge:
                bridge.initialize()
                return bool(bridge.tools["confirm"]("yes?"))

        assert await soon(asyncio.to_thread(use)) is True


async def test_a_client_of_an_address_answers_over_a_link() -> None:
    async with BridgeServer(tools=[made.confirm]) as server:
        client = ToolBridgeClient(server.address, on_ask=lambda _: True)
        try:
            await client.initialize_session()
            assert client.is_linked
            assert await soon(client.call_tool("confirm", "yes?")) is True
        finally:
            await client.close()


@takes_questions
async def test_a_tool_of_an_agent_asks_whoever_began_the_run(connect: Connect) -> None:
    questions: list[Question] = []

    async def on_ask(question: Question) -> bool:
        questions.append(question)
        return True

    world = await connect(made.confirm)
    async with ToolWorker(world.server.address, agents=ObedientAgents(), settings=Settings(shutdown_grace=0.0)):
        bridge = await world.attach(on_ask=on_ask)
        agent_id = await bridge.create_react_agent(SIGNATURE)
        seen: list[Any] = []
        asked = {"agent_id": agent_id, "input": {"call": "confirm", "arguments": {"message": "Sure?"}}}
        await soon(read(bridge.execute_agent_streaming(asked), seen))
        assert seen[-1]["final_answer"]["Answer"] is True
        assert questions == [Question("Sure?")]


@takes_questions
async def test_an_on_ask_that_fails_ends_the_run_that_asks(connect: Connect) -> None:
    def on_ask(_: Question) -> None:
        raise KeyError("mine")

    world = await connect(made.confirm)
    agents = ObedientAgents()
    async with ToolWorker(world.server.address, agents=agents, settings=Settings(shutdown_grace=0.0)):
        bridge = await world.attach(on_ask=on_ask)
        agent_id = await bridge.create_react_agent(SIGNATURE)
        asked = {"agent_id": agent_id, "input": {"call": "confirm", "arguments": {"message": "Sure?"}}, "run_id": "r"}
        with pytest.raises(KeyError, match="mine"):
            await soon(read(bridge.execute_agent_streaming(asked), []))
        await agents.quiet()


# ------------------------------------------------------------------------------------------------- what is wrong


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"count": "x"}, "'count' is 'x', not an integer"),
        ({"count": 10}, "'count' is 10, not at most 9"),
        ({"name": "n"}, "'count' is missing"),
        ({"count": 1, "size": 2}, "'size' is not asked for"),
        ({"count": 1, "colour": "green"}, "'colour' is 'green', not one of 'red', 'blue'"),
        (True, "'count' is missing"),
        (7, "on_ask returned 7; it must return a dict (accept, with this content), True (accept)"),
    ],
)
async def test_a_wrong_answer_is_an_error_of_whoever_awaits_the_call(asked: Asked, given: Any, text: str) -> None:
    bridge = await asked(lambda _: given)
    with pytest.raises(ValidationError) as caught:
        await soon(bridge.tools["ask_blocking"]())
    assert text in caught.value.message
    with pytest.raises(ValidationError):
        await soon(anext(bridge.tools["ask_blocking"].stream()))


@pytest.mark.parametrize("kind", [KeyError, ValueError, TimeoutError])
async def test_what_on_ask_raises_reaches_whoever_awaits_the_call(asked: Asked, kind: type[Exception]) -> None:
    error = kind("mine")

    def on_ask(_: Question) -> None:
        raise error

    bridge = await asked(on_ask)
    with pytest.raises(kind) as caught:
        await soon(bridge.tools["ask_blocking"]())
    assert caught.value is error
    # And nothing else is harmed.
    assert await soon(bridge.client.health_check())


async def test_a_call_that_is_cancelled_ends_its_on_ask(asked: Asked) -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def on_ask(_: Question) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    bridge = await asked(on_ask)
    call = asyncio.ensure_future(bridge.tools["ask_blocking"]())
    await soon(began.wait())
    call.cancel()
    await soon(ended.wait())
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_the_deadline_of_a_call_goes_on_while_it_waits(asked: Asked) -> None:
    ended = asyncio.Event()

    async def on_ask(question: Question) -> bool:
        try:
            return question.message == "no" and await asyncio.Event().wait()
        finally:
            ended.set()

    bridge = await asked(on_ask)
    # A process that is there already needs none of the next call's time.
    await soon(bridge.tools["ask_blocking"]("yes"))
    ended.clear()
    with pytest.raises(ToolExecutionError) as caught:
        await soon(bridge.tools["ask_blocking"].with_options(timeout=0.5)("no"))
    assert caught.value.error_type == "TimeoutError"
    await soon(ended.wait())


async def test_a_caller_that_cannot_answer_gives_the_tool_an_error_at_once(connect: Connect) -> None:
    world = await connect(made.ask, made.ask_blocking, made.outer)
    for name, args in (("ask", ()), ("ask_blocking", ()), ("outer", ("ask",))):
        with pytest.raises(ToolExecutionError) as caught:
            await soon(world.tools[name](*args))
        assert caught.value.error_type == "Unimplemented"
        assert f"{'ask' if args else name} asked its caller, who cannot answer" in caught.value.message
        assert "on_ask=" in caught.value.message


async def test_a_worker_s_tool_is_told_so_too() -> None:
    async with (
        BridgeServer() as server,
        ToolWorker(server.address, tools=[made.ask]),
        GRPCToolBridge(server.address) as bridge,
    ):
        await bridge.initialize()
        with pytest.raises(ToolExecutionError, match="ask asked its caller, who cannot answer"):
            await soon(bridge.tools["ask"]())


def test_plain_rpcs_take_no_on_ask(remote_bridge: RemoteBridge) -> None:
    if remote_bridge.keywords["transport"] == "link":  # type: ignore[attr-defined]  # it is a partial
        remote_bridge("127.0.0.1:1", on_ask=lambda _: True)
        return
    with pytest.raises(ValidationError, match="plain RPCs cannot carry questions"):
        remote_bridge("127.0.0.1:1", on_ask=lambda _: True)


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "array"}, "must be a JSON Schema of an object"),
        ({"type": "object", "properties": {"a": {"type": "object"}}}, "'a' has the type 'object'"),
        ({"type": "object", "properties": {"a": {"type": "string", "pattern": "x"}}}, "'a' has 'pattern'"),
        ({"type": "object", "required": ["a"]}, "'required' must be a list of names in 'properties'"),
        ({"type": "object", "properties": {}, "description": "x" * 20_000}, "characters as JSON; the limit is 16,384"),
    ],
)
async def test_a_schema_that_a_tool_cannot_ask_by_is_an_error_in_the_tool(
    connect: Connect, schema: Any, text: str
) -> None:
    world = await connect(made.ask_by)
    with pytest.raises(ToolExecutionError) as caught:
        await soon(world.tools["ask_by"](schema))
    assert caught.value.error_type == "ValidationError"
    assert text in caught.value.message


async def test_a_message_that_is_too_long_is_an_error_in_the_tool(connect: Connect) -> None:
    world = await connect(made.confirm)
    with pytest.raises(ToolExecutionError, match="the message of a question has 4,097 characters; the limit is 4,096"):
        await soon(world.tools["confirm"]("x" * 4_097))


@takes_questions
async def test_more_questions_than_a_call_may_have_open_are_refused(connect: Connect) -> None:
    async def ask_many(ctx: ToolContext) -> str:
        waiting = [asyncio.ensure_future(ctx.ask("?")) for _ in range(101)]
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for each in waiting:
            each.cancel()
        return type(done.pop().exception()).__name__

    world = await connect(ask_many)

    async def never(_: Question) -> None:
        await asyncio.Event().wait()

    bridge = await world.attach(on_ask=never)
    assert await soon(bridge.tools["ask_many"]()) == "ResourceExhaustedError"
