"""What a tool asks of its context over a pipe: both ends of it, on one loop."""

import asyncio
import itertools
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest

from grpc_tool_bridge.errors import (
    CallCancelledError,
    ConflictError,
    InternalError,
    NotFoundError,
    ToolExecutionError,
    ToolTimeoutError,
    UnimplementedError,
    ValidationError,
)
from grpc_tool_bridge.proto.dspex_bridge_pb2 import Answer, Ask, Envelope, LinkEvent, LogRecord, Progress, VariableInfo
from grpc_tool_bridge.runner.pipe import Pipe
from grpc_tool_bridge.runner.process_context import ContextServer, PipeRuntime
from grpc_tool_bridge.tools import questions
from grpc_tool_bridge.tools.context import ToolContext


class Hub:
    """Stands behind the real context."""

    def __init__(self) -> None:
        self.variables: dict[str, Any] = {}
        self.asked: list[Any] = []
        self.made = 0
        self.waits = asyncio.Event()
        self.closed = asyncio.Event()

    async def get_variable(self, name: str) -> Any:
        if name == "broken":
            raise LookupError("a fault")
        if name not in self.variables:
            raise NotFoundError(f"no {name}", error_type="VariableNotFound")
        return self.variables[name]

    async def set_variable(self, name: str, value: Any, expected_revision: int | None) -> int:
        self.asked.append(expected_revision)
        if expected_revision == 9:
            raise ConflictError("revision is 3")
        self.variables[name] = value
        return 4

    async def delete_variable(self, name: str, expected_revision: int | None) -> None:
        self.asked.append(expected_revision)
        del self.variables[name]

    async def list_variables(self, prefix: str) -> list[VariableInfo]:
        return [VariableInfo(name=name) for name in self.variables if name.startswith(prefix)]

    async def ask(self, question: Ask) -> Answer:
        if question.message == "nobody":
            raise UnimplementedError("nobody answers")
        answer = Answer(action=question.message)
        if question.schema:
            answer.content.update({"n": 3})
        return answer

    async def call_tool(self, tool_id: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        if tool_id == "slow":
            raise ToolTimeoutError(tool_id, "TimeoutError", "too slow")
        return [tool_id, *args, kwargs]

    async def stream_tool(self, tool_id: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> AsyncIterator[Any]:
        try:
            for number in range(args[0]):
                self.made += 1
                yield number
            if tool_id == "fails":
                raise ToolExecutionError(tool_id, "KeyError", "k")
            if tool_id == "waits":
                self.waits.set()
                await asyncio.Event().wait()
        finally:
            self.closed.set()


class Both:
    """A pipe with the tool's context at one end and the real one at the other."""

    def __init__(self, tools: Pipe, hubs: Pipe) -> None:
        self.hub = Hub()
        self.events: list[Progress | LogRecord] = []
        self.server = ContextServer(context(self.hub, self.events.append), hubs, 100)
        self.runtime = PipeRuntime(tools, itertools.count(2, 2), 100)
        self.context = context(self.runtime)
        self.pipes = tools, hubs
        self._pumps = [
            asyncio.create_task(self._pump(hubs, self.server.take)),
            asyncio.create_task(self._pump(tools, self.runtime.take)),
        ]

    async def aclose(self) -> None:
        await self.server.aclose()
        for pipe in self.pipes:
            pipe.close()
        await asyncio.gather(*self._pumps)

    async def _pump(self, pipe: Pipe, take: Callable[[Envelope], None]) -> None:
        while (envelope := await pipe.receive()) is not None:
            take(envelope)


def context(runtime: Any, emit: Callable[[Progress | LogRecord], None] | None = None) -> ToolContext:
    return ToolContext(
        session_id="s",
        tool_name="t",
        request_id="",
        metadata={},
        deadline=time.monotonic() + 60,
        loop=asyncio.get_running_loop(),
        runtime=runtime,
        emit=emit,
    )


@pytest.fixture
async def both() -> AsyncIterator[Both]:
    one, other = socket.socketpair()
    made = Both(await Pipe.open(one), await Pipe.open(other))
    yield made
    await made.aclose()


async def test_variables_are_those_of_the_session(both: Both) -> None:
    ctx = both.context
    assert await ctx.set_variable("v", (1, {2}), expected_revision=0) == 4
    assert await ctx.set_variable("w", None) == 4
    assert await ctx.get_variable("v") == (1, {2})
    assert [item.name for item in await ctx.list_variables("v")] == ["v"]
    await ctx.delete_variable("v", expected_revision=2)
    assert both.hub.variables == {"w": None}
    assert both.hub.asked == [0, None, 2]


async def test_errors_keep_their_class_and_their_name(both: Both) -> None:
    with pytest.raises(NotFoundError, match="no v") as missing:
        await both.context.get_variable("v")
    assert missing.value.error_type == "VariableNotFound"
    with pytest.raises(ConflictError, match="revision is 3"):
        await both.context.set_variable("v", 1, expected_revision=9)
    with pytest.raises(ToolTimeoutError, match="too slow") as late:
        await both.context.call_tool("slow")
    assert late.value.tool_name == "slow"


async def test_a_fault_at_the_other_end_is_named_by_its_id_alone(both: Both, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR), pytest.raises(InternalError, match="internal error of the bridge") as fault:
        await both.context.get_variable("broken")
    assert fault.value.details["error_id"] in caplog.text
    assert "LookupError: a fault" in caplog.text


async def test_tools_are_called_with_what_they_are_given(both: Both) -> None:
    assert await both.context.call_tool("x", 1, b=(2,)) == ["x", 1, {"b": (2,)}]


async def test_questions_go_to_whoever_called_and_the_answers_come_back(both: Both) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    assert await both.context.ask("accept", schema) == questions.Answer("accept", {"n": 3})
    assert await both.context.ask("decline") == questions.Answer("decline")
    with pytest.raises(UnimplementedError, match="nobody answers"):
        await both.context.ask("nobody")
    with pytest.raises(ValidationError, match="action must be 'accept', 'decline' or 'cancel', not 'agree'"):
        await both.context.ask("agree")


async def test_requests_are_answered_beside_one_another(both: Both) -> None:
    waiting = both.context.stream_tool("waits", 0)
    task = asyncio.ensure_future(anext(waiting))
    await both.hub.waits.wait()
    assert await both.context.call_tool("x") == ["x", {}]
    task.cancel()
    await asyncio.wait([task])
    await both.hub.closed.wait()


async def test_a_stream_is_made_as_it_is_read(both: Both) -> None:
    values: Any = both.context.stream_tool("n", 1_000)
    assert [await anext(values), await anext(values)] == [0, 1]
    assert both.hub.made == 2
    await values.aclose()
    await both.hub.closed.wait()
    assert [value async for value in both.context.stream_tool("n", 3)] == [0, 1, 2]


async def test_a_streams_error_comes_after_its_values(both: Both) -> None:
    values = both.context.stream_tool("fails", 1)
    assert await anext(values) == 0
    with pytest.raises(ToolExecutionError, match="fails: KeyError: k"):
        await anext(values)


async def test_events_are_told_by_the_real_context(both: Both) -> None:
    tools, _ = both.pipes
    tools.post(Envelope(event=LinkEvent(progress=Progress(current=1, total=3, message="m"))))
    tools.post(Envelope(event=LinkEvent(log=LogRecord(level="error", message="line", fields={"a": "b"}))))
    await both.context.call_tool("x")
    progress, log = both.events
    assert progress == Progress(current=1, total=3, message="m")
    assert isinstance(log, LogRecord)
    assert (log.level, log.logger, log.message, dict(log.fields)) == ("error", "t", "line", {"a": "b"})


async def test_a_tool_whose_call_is_over_gets_no_answers_any_more(both: Both) -> None:
    waiting = asyncio.ensure_future(anext(both.context.stream_tool("waits", 0)))
    await both.hub.waits.wait()
    both.runtime.close()
    with pytest.raises(CallCancelledError, match="the call of this tool was cancelled or timed out"):
        await waiting
    with pytest.raises(CallCancelledError, match="the call of this tool was cancelled or timed out"):
        await both.context.get_variable("v")


async def test_closing_ends_what_the_tool_still_waits_for(both: Both) -> None:
    waiting = asyncio.ensure_future(anext(both.context.stream_tool("waits", 0)))
    await both.hub.waits.wait()
    await both.server.aclose()
    assert both.hub.closed.is_set()
    waiting.cancel()
    await asyncio.wait([waiting])
