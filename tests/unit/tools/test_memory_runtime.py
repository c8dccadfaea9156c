"""A tool tested alone: variables, other tools, answers, progress and logs in memory."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

import pytest

from grpc_tool_bridge import (
    Answer,
    ArgumentTypeError,
    CallCancelledError,
    ConflictError,
    Depends,
    NotFoundError,
    Question,
    SerializationError,
    ToolContext,
    ToolExecutionError,
    UnimplementedError,
    ValidationError,
    tool,
)
from support.waiting import soon


async def test_variables_have_revisions_and_values_as_they_travel() -> None:
    ctx = ToolContext.for_test(variables={"n": 3, "list": [1]})
    assert await ctx.get_variable("n") == 3
    first = await ctx.set_variable("n", 4)
    assert await ctx.set_variable("n", 5, expected_revision=first) == first + 1
    with pytest.raises(
        ConflictError, match=f"variable 'n' is at revision {first + 1}, not at revision {first}"
    ) as caught:
        await ctx.set_variable("n", 6, expected_revision=first)
    assert caught.value.details == {"revision": str(first + 1), "expected_revision": str(first)}
    with pytest.raises(ConflictError, match="variable 'new' does not exist, not at revision 2"):
        await ctx.set_variable("new", 6, expected_revision=2)
    await ctx.set_variable("new", (1, 2), expected_revision=0)
    with pytest.raises(ConflictError):
        await ctx.set_variable("new", 6, expected_revision=0)
    value = await ctx.get_variable("list")
    value.append(2)
    assert await ctx.get_variable("list") == [1]
    assert ctx.variables == {"n": 5, "list": [1], "new": (1, 2)}
    with pytest.raises(SerializationError):
        await ctx.set_variable("bad", threading.Lock())


async def test_variables_can_be_deleted_and_listed() -> None:
    ctx = ToolContext.for_test(variables={"b": "x", "a.1": 1, "a.2": 2})
    assert [(item.name, item.type) for item in await ctx.list_variables()] == [
        ("a.1", "int"),
        ("a.2", "int"),
        ("b", "str"),
    ]
    assert [item.name for item in await ctx.list_variables("a.")] == ["a.1", "a.2"]
    await ctx.delete_variable("b")
    for missing in (ctx.get_variable("b"), ctx.delete_variable("b")):
        with pytest.raises(NotFoundError, match="session 'test' has no variable 'b'") as caught:
            await missing
        assert caught.value.error_type == "VariableNotFound"
    assert await ctx.get_variable("b", 7) == 7
    with pytest.raises(ConflictError):
        await ctx.delete_variable("a.1", expected_revision=99)
    assert ToolContext.for_test(variables={"x": 1}).variables == {"x": 1}


async def test_tools_are_functions_results_or_errors() -> None:
    def add(a: int, b: int) -> int:
        return a + b

    async def later(a: int) -> int:
        return a

    def broken() -> None:
        raise ValueError("no")

    given = {
        "add": add,
        "later": later,
        "rates": {"EUR": 1.0},
        "broken": broken,
        "gone": NotFoundError("gone", error_type="ToolNotFound"),
    }
    ctx = ToolContext.for_test(tools=given)
    assert await ctx.call_tool("add", 1, b=2) == 3
    assert await ctx.call_tool("later", 4) == 4
    assert await ctx.call_tool("rates") == {"EUR": 1.0}
    for name, error_type, message in (
        ("broken", "ValueError", "no"),
        ("gone", "ToolNotFound", "gone"),
        ("ad", "ToolNotFound", "the test has no tool 'ad'; did you mean add?"),
        ("unlike", "ToolNotFound", "the test has no tool 'unlike'; give it as tools={...}"),
    ):
        with pytest.raises(ToolExecutionError) as caught:
            await ctx.call_tool(name)
        assert (caught.value.tool_name, caught.value.error_type, caught.value.message) == (name, error_type, message)
    assert ctx.tool_calls.tools == ["add", "later", "rates", "broken", "gone", "ad", "unlike"]
    ctx.tool_calls.of("add").assert_called_once_with(1, 2)
    assert ctx.tool_calls[0].result == 3
    assert isinstance(ctx.tool_calls[3].error, ToolExecutionError)


async def test_tools_may_be_a_list_and_tools_have_this_context() -> None:
    @tool
    async def remember(value: int, ctx: ToolContext) -> int:
        return await ctx.set_variable("value", value)

    def twice(a: int) -> int:
        return 2 * a

    ctx = ToolContext.for_test(tools=[remember, twice])
    await ctx.call_tool("remember", 3)
    assert ctx.variables == {"value": 3}
    assert await ctx.call_tool("twice", 3) == 6
    with pytest.raises(ToolExecutionError, match="ValidationError"):
        await ctx.call_tool("remember", "x")
    for wrong in ("add", 3, [3]):
        with pytest.raises(ArgumentTypeError, match="a dict of functions and results by name, or a list of functions"):
            ToolContext.for_test(tools=wrong)  # type: ignore[arg-type]  # that is the point


async def test_tools_can_be_streamed() -> None:
    async def numbers() -> AsyncIterator[int]:
        yield 1
        yield 2

    def letters() -> Iterator[str]:
        yield "a"
        raise ValueError("end")

    ctx = ToolContext.for_test(tools={"numbers": numbers, "letters": letters, "fixed": [1, 2, 3], "one": 1})
    assert [item async for item in ctx.stream_tool("numbers")] == [1, 2]
    assert [item async for item in ctx.stream_tool("fixed")] == [1, 2, 3]
    assert [item async for item in ctx.stream_tool("one")] == [1]
    assert await ctx.call_tool("numbers") == [1, 2]
    stream = ctx.stream_tool("letters")
    assert await anext(stream) == "a"
    with pytest.raises(ToolExecutionError, match="ValueError: end"):
        await anext(stream)
    assert ctx.tool_calls.of("letters")[0].result == ["a"]


SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


async def test_answers_are_given_in_order() -> None:
    ctx = ToolContext.for_test(
        answers=[{"n": 3}, True, None, Answer("cancel"), UnimplementedError("away")], tool_name="t"
    )
    assert await ctx.ask("how many?", SCHEMA) == Answer("accept", {"n": 3})
    assert [(await ctx.ask("sure?")).action for _ in range(3)] == ["accept", "decline", "cancel"]
    with pytest.raises(UnimplementedError, match="away"):
        await ctx.ask("really?")
    with pytest.raises(AssertionError, match="t asks 6 questions, and answers= has 5 answers; it asks: once more"):
        await ctx.ask("once more")
    assert ctx.questions[0].message == "how many?"
    assert ctx.questions[0].schema is not None


async def test_a_function_may_answer_and_wrong_answers_are_refused() -> None:
    async def answer(question: Question) -> Any:
        return {"n": 1} if question.schema else 7

    ctx = ToolContext.for_test(answers=answer)
    assert (await ctx.ask("how many?", SCHEMA)).content == {"n": 1}
    with pytest.raises(ValidationError, match="an answer of the test is 7; it must be a dict"):
        await ctx.ask("sure?")
    with pytest.raises(ValidationError, match="does not fit what was asked for"):
        await ToolContext.for_test(answers=[{"n": "x"}]).ask("how many?", SCHEMA)
    with pytest.raises(UnimplementedError, match="who cannot answer"):
        await ToolContext.for_test().ask("sure?")


async def test_progress_and_logs_are_recorded() -> None:
    ctx = ToolContext.for_test()
    ctx.progress(1)
    ctx.progress(2, 3, "two")
    ctx.log("did", level="warning", i=3)
    assert ctx.progress_reports == [(1, None, ""), (2, 3, "two")]
    assert ctx.logs == [("warning", "did", {"i": "3"})]
    assert ctx.logs[0].fields == {"i": "3"}


async def test_a_context_has_facts_a_deadline_and_can_be_cancelled() -> None:
    ctx = ToolContext.for_test(metadata={"k": "v"}, session_id="s", tool_name="t", request_id="r", lifespan={"db": 1})
    assert (ctx.metadata, ctx.session_id, ctx.tool_name, ctx.request_id) == ({"k": "v"}, "s", "t", "r")
    assert ctx.lifespan["db"] == 1
    assert 20 < ctx.time_left() <= 30
    assert not ctx.cancelled
    told: list[int] = []
    ctx.on_cancelled(lambda: told.append(1))
    ctx.mark_cancelled()
    ctx.on_cancelled(lambda: told.append(2))
    assert told == [1, 2]
    with pytest.raises(CallCancelledError):
        ctx.raise_if_cancelled()
    assert ToolContext.for_test(timeout=0).cancelled
    with pytest.raises(ValidationError, match="timeout"):
        ToolContext.for_test(timeout=-1)


def sync_tool(name: str, ctx: ToolContext) -> Any:
    ctx.sync.set_variable(name, 1)
    return ctx.sync.get_variable(name), list(ctx.sync.stream_tool("fixed"))


def test_the_blocking_view_works_in_a_plain_test() -> None:
    ctx = ToolContext.for_test(tools={"fixed": [1, 2]})
    assert sync_tool("n", ctx) == (1, [1, 2])
    assert ctx.sync.run(sync_tool, "m") == (1, [1, 2])
    assert ctx.variables == {"n": 1, "m": 1}


async def test_the_blocking_view_works_in_a_thread_and_not_in_its_event_loop() -> None:
    ctx = ToolContext.for_test(tools={"fixed": [1, 2]})
    assert await soon(asyncio.to_thread(sync_tool, "n", ctx)) == (1, [1, 2])
    with pytest.raises(RuntimeError, match="use await"):
        ctx.sync.get_variable("n")


# ---------------------------------------------------------------------------------------------------------- run


def get_db(ctx: ToolContext) -> Iterator[str]:
    yield str(ctx.lifespan["db"])
    ctx.log("closed")


def query(words: str, ctx: ToolContext, db: Annotated[str, Depends(get_db)]) -> str:
    ctx.log("runs")
    return f"{words} in {db}"


async def query_async(words: str, db: Annotated[str, Depends(get_db)]) -> str:
    return f"{words} in {db}"


async def test_a_tool_is_run_as_the_bridge_does() -> None:
    ctx = ToolContext.for_test(lifespan={"db": "memory"})
    assert await ctx.run(query, "cats") == "cats in memory"
    assert [line.message for line in ctx.logs] == ["runs", "closed"]
    assert await ctx.run(tool(query_async), words="cats") == "cats in memory"
    assert await ctx.run(tool(executor="process")(query), "cats") == "cats in memory"
    with pytest.raises(ValidationError, match="argument 'words': missing"):
        await ctx.run(query)


async def test_providers_are_replaced() -> None:
    ctx = ToolContext.for_test(dependency_overrides={get_db: lambda: "fake"})
    assert await ctx.run(query, "cats") == "cats in fake"
    assert await ctx.run(query_async, "cats") == "cats in fake"


async def test_results_have_their_declared_types_and_streams_are_lists() -> None:
    def numbers(count: int) -> Iterator[int]:
        yield from range(count)

    async def numbers_async(count: int) -> AsyncIterator[int]:
        for number in range(count):
            yield number

    def items() -> list[int]:
        return (number for number in range(2))  # type: ignore[return-value]  # read as a list

    def wrong() -> int:
        return "x"  # type: ignore[return-value]  # that is the point

    async def plain() -> dict[str, int]:
        return {"a": 1}

    @tool(executor="async")
    def here(db: Annotated[str, Depends(get_db)]) -> Iterator[str]:
        yield db

    def later(db: Annotated[str, Depends(get_db)]) -> AsyncIterator[str]:
        async def values() -> AsyncIterator[str]:
            yield db

        return values()

    ctx = ToolContext.for_test(lifespan={"db": "memory"})
    assert await ctx.run(numbers, 2) == await ctx.run(numbers_async, 2) == await ctx.run(items) == [0, 1]
    assert await ctx.run(plain) == {"a": 1}
    assert await ctx.run(here) == await ctx.run(later) == ["memory"]
    with pytest.raises(TypeError, match="its result should be a valid integer"):
        await ctx.run(wrong)
