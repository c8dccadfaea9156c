"""What a running tool may ask of the bridge."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from grpc_tool_bridge.errors import CallCancelledError, NotFoundError, ValidationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import Answer, Ask, LogRecord, Progress, VariableInfo
from grpc_tool_bridge.tools.context import ToolContext


class Runtime:
    """Remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.error: NotFoundError | None = None
        self.answer = Answer(action="accept")

    async def get_variable(self, name: str) -> Any:
        if self.error is not None:
            raise self.error
        return f"value of {name}"

    async def set_variable(self, name: str, value: Any, expected_revision: int | None) -> int:
        self.asked.append(("set", name, value, expected_revision))
        return 7

    async def delete_variable(self, name: str, expected_revision: int | None) -> None:
        self.asked.append(("delete", name, expected_revision))

    async def list_variables(self, prefix: str) -> list[VariableInfo]:
        return [VariableInfo(name=f"{prefix}x")]

    async def ask(self, question: Ask) -> Answer:
        self.asked.append(question)
        return self.answer

    async def call_tool(self, tool_id: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        return tool_id, args, dict(kwargs)

    async def stream_tool(self, tool_id: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> AsyncIterator[Any]:
        for item in (tool_id, args, dict(kwargs)):
            yield item


def make(*, seconds: float = 3_600, emitted: list[Any] | None = None, runtime: Runtime | None = None) -> ToolContext:
    return ToolContext(
        session_id="s",
        tool_name="work",
        request_id="r",
        metadata={"k": "v"},
        deadline=time.monotonic() + seconds,
        loop=asyncio.get_running_loop(),
        runtime=runtime or Runtime(),
        emit=emitted.append if emitted is not None else None,
    )


async def test_a_context_names_its_call() -> None:
    ctx = make()
    assert (ctx.session_id, ctx.tool_name, ctx.request_id, ctx.metadata) == ("s", "work", "r", {"k": "v"})


async def test_the_time_left_is_never_negative() -> None:
    assert 3_590 < make().time_left() <= 3_600
    assert make(seconds=-5).time_left() == 0


async def test_a_call_is_over_when_it_is_cancelled_or_its_time_has_passed() -> None:
    ctx = make()
    assert not ctx.cancelled
    ctx.raise_if_cancelled()
    ctx.mark_cancelled()
    assert ctx.cancelled
    for over in (ctx, make(seconds=-1)):
        with pytest.raises(CallCancelledError, match="work: the call was cancelled or timed out"):
            over.raise_if_cancelled()


async def test_progress_is_sent_where_somebody_asked_for_it() -> None:
    emitted: list[Any] = []
    ctx = make(emitted=emitted)
    ctx.progress(1)
    ctx.progress(2, 4, "half")
    assert emitted == [Progress(current=1), Progress(current=2, total=4, message="half")]
    make().progress(1)


async def test_a_hub_is_told_whether_somebody_asked_or_not() -> None:
    told: list[Any] = []

    class Hub(Runtime):
        def told(self, event: Any) -> None:
            told.append(event)

    emitted: list[Any] = []
    make(runtime=Hub()).progress(1)
    make(runtime=Hub(), emitted=emitted).log("it went")
    assert told == [Progress(current=1), *emitted]


async def test_a_log_line_goes_to_the_log_here_and_to_who_asked(caplog: pytest.LogCaptureFixture) -> None:
    emitted: list[Any] = []
    with caplog.at_level(logging.DEBUG, "grpc_tool_bridge.tool"):
        make(emitted=emitted).log("it went", level="warning", rows=5)
        make().log("quietly")
    (record,) = emitted
    assert isinstance(record, LogRecord)
    assert (record.level, record.logger, record.message, dict(record.fields)) == (
        "warning",
        "work",
        "it went",
        {"rows": "5"},
    )
    assert record.HasField("timestamp")
    assert [(line.levelname, line.message) for line in caplog.records] == [
        ("WARNING", "work: it went rows=5"),
        ("INFO", "work: quietly"),
    ]


async def test_texts_that_no_message_can_carry_are_escaped_or_cut() -> None:
    emitted: list[Any] = []
    ctx = make(emitted=emitted)
    ctx.log("\ud800", field="\udfff" + "x" * 10_000)
    ctx.progress(1, message="x" * 100_000)
    assert emitted[0].message == "\\ud800"
    assert emitted[0].fields["field"].startswith("\\udfff")
    assert len(emitted[0].fields["field"]) < 5_000
    assert len(emitted[1].message) < 20_000


async def test_variables_are_the_sessions() -> None:
    runtime = Runtime()
    ctx = make(runtime=runtime)
    assert await ctx.get_variable("x") == "value of x"
    assert await ctx.set_variable("x", 5) == 7
    await ctx.set_variable("x", 6, expected_revision=7)
    await ctx.delete_variable("x")
    await ctx.delete_variable("x", expected_revision=8)
    assert runtime.asked == [
        ("set", "x", 5, None),
        ("set", "x", 6, 7),
        ("delete", "x", None),
        ("delete", "x", 8),
    ]
    assert [info.name for info in await ctx.list_variables("p.")] == ["p.x"]


async def test_a_default_stands_for_a_missing_variable_and_for_nothing_else() -> None:
    runtime = Runtime()
    ctx = make(runtime=runtime)
    runtime.error = NotFoundError("no variable", error_type="VariableNotFound")
    assert await ctx.get_variable("x", default=None) is None
    assert await ctx.get_variable("x", 5) == 5
    with pytest.raises(NotFoundError):
        await ctx.get_variable("x")
    runtime.error = NotFoundError("no session", error_type="SessionNotFound")
    with pytest.raises(NotFoundError, match="no session"):
        await ctx.get_variable("x", default=None)


async def test_other_tools_are_called_and_streamed() -> None:
    ctx = make()
    assert await ctx.call_tool("t", 1, b=2) == ("t", (1,), {"b": 2})
    assert await ctx.call_tool("t", tool_id="an argument of that name") == (
        "t",
        (),
        {"tool_id": "an argument of that name"},
    )
    assert [item async for item in ctx.stream_tool("t", 1)] == ["t", (1,), {}]


async def test_a_thread_uses_the_same_methods_through_a_blocking_view() -> None:
    ctx = make()

    def work() -> Any:
        return [ctx.sync.get_variable("x"), ctx.sync.call_tool("t"), list(ctx.sync.stream_tool("t"))]

    assert await asyncio.to_thread(work) == ["value of x", ("t", (), {}), ["t", (), {}]]


async def test_a_question_is_asked_and_its_answer_checked() -> None:
    runtime = Runtime()
    ctx = make(runtime=runtime)
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    runtime.answer.content.update({"n": 2})
    answer = await ctx.ask("How many?", schema)
    assert (answer.action, answer.content, answer.accepted) == ("accept", {"n": 2}, True)
    assert runtime.asked == [Ask(message="How many?", schema=json.dumps(schema, separators=(",", ":")))]
    runtime.answer.content.update({"n": "two"})
    with pytest.raises(ValidationError, match="'n' is 'two', not an integer"):
        await ctx.ask("How many?", schema)


@pytest.mark.parametrize(
    ("message", "schema", "text"),
    [
        ("", None, "message is ''"),
        (None, None, "message is None"),
        ("x" * 4_097, None, "the message of a question has 4,097 characters"),
        ("?", {"type": "array"}, "must be a JSON Schema of an object"),
        ("?", "{}", "must be a JSON Schema of an object"),
    ],
)
async def test_a_question_that_cannot_be_asked_is_refused_before(message: Any, schema: Any, text: str) -> None:
    runtime = Runtime()
    with pytest.raises(ValidationError) as caught:
        await make(runtime=runtime).ask(message, schema)
    assert text in caught.value.message
    assert not runtime.asked
