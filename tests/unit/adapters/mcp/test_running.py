from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from mcp_types import (
    ElicitRequestFormParams,
    ElicitRequestURLParams,
    ElicitResult,
    ErrorData,
    LoggingMessageNotificationParams,
)

from grpc_tool_bridge import Answer
from grpc_tool_bridge.adapters.mcp.running import RunningCall, RunningCalls, current_call
from grpc_tool_bridge.errors import UnimplementedError
from grpc_tool_bridge.tools.content_schemas import check_schema


@dataclass
class Context:
    session_id: str
    answer: Any = None
    asked: list[Any] = field(default_factory=list)
    lines: list[Any] = field(default_factory=list)

    async def ask(self, message: str, schema: Any = None) -> Answer:
        self.asked.append((message, schema))
        if isinstance(self.answer, Exception):
            raise self.answer
        return cast("Answer", self.answer)

    def log(self, text: str, **fields: Any) -> None:
        self.lines.append((text, fields))


def running(calls: RunningCalls, session: str, answer: Any = None) -> tuple[RunningCall, Context]:
    context = Context(session, answer)
    call = RunningCall(cast("Any", context))
    calls.add(call)
    return call, context


SCHEMA = {"type": "object", "properties": {"c": {"type": "string", "oneOf": [{"const": "a", "title": "A"}]}}}
FORM = ElicitRequestFormParams(message="Sure?", requested_schema=SCHEMA)
LINE = LoggingMessageNotificationParams(level="critical", logger="l", data={"a": 1})
NOBODY: Any = None


async def test_the_last_call_of_a_single_session_is_meant() -> None:
    calls = RunningCalls("s")
    assert calls.meant() is None
    first, _ = running(calls, "a")
    second, _ = running(calls, "a")
    assert calls.meant() is second
    calls.discard(second)
    assert calls.meant() is first


async def test_nobody_is_meant_if_sessions_differ_and_nothing_says_which(caplog: pytest.LogCaptureFixture) -> None:
    calls = RunningCalls("s")
    _, one = running(calls, "a", Answer("accept", {"c": "a"}))
    _, two = running(calls, "b", Answer("accept", {"c": "a"}))
    found = await calls.on_question(NOBODY, FORM)
    assert isinstance(found, ErrorData)
    assert "several sessions" in found.message
    await calls.on_log(LINE)
    assert one.asked == two.asked == one.lines == two.lines == []
    assert 'MCP server s: {"a": 1}' in caplog.text


async def test_a_call_that_is_known_is_meant_whatever_else_runs() -> None:
    calls = RunningCalls("s")
    call, context = running(calls, "a", Answer("accept", {"c": "a"}))
    running(calls, "b")
    current_call.set(call)
    assert await calls.on_question(NOBODY, FORM) == ElicitResult(action="accept", content={"c": "a"})
    await calls.on_log(LINE)
    assert context.lines == [('{"a": 1}', {"level": "error", "logger": "l"})]
    ((message, schema),) = context.asked
    assert message == "Sure?"
    assert schema["properties"] == SCHEMA["properties"]


@pytest.mark.parametrize("required", [False, True])
async def test_what_cannot_be_asked_is_left_out_if_it_need_not_be_answered(required: bool) -> None:
    properties = {"names": {"type": "array", "items": {"type": "string"}}, "sure": {"type": "boolean"}}
    schema = {"type": "object", "properties": properties, "required": ["sure", *(["names"] if required else [])]}
    calls = RunningCalls("s")
    _, context = running(calls, "a", Answer("decline"))
    await calls.on_question(NOBODY, ElicitRequestFormParams(message="?", requested_schema=schema))
    # What must be answered is asked, and refused with the reason.
    assert context.asked[0][1]["properties"].keys() == ({"sure", "names"} if required else {"sure"})


@pytest.mark.parametrize(
    ("sent", "asked"),
    [
        ({"type": "string", "pattern": "^a+$", "examples": ["a"]}, {"type": "string"}),
        ({"type": "string", "format": "email", "x-order": 1}, {"type": "string", "format": "email"}),
        ({"type": ["integer", "null"], "minimum": 1, "default": None}, {"type": "integer", "minimum": 1}),
        (
            {"anyOf": [{"type": "number", "maximum": 2}, {"type": "null"}], "title": "N", "default": None},
            {"type": "number", "maximum": 2, "title": "N"},
        ),
        ({"enum": ["a", "b"]}, {"type": "string", "enum": ["a", "b"]}),
        ({"type": "string", "const": "a"}, {"type": "string", "enum": ["a"]}),
        (
            {"type": "string", "oneOf": [{"const": "a"}, {"const": "b", "title": "B", "description": "!"}]},
            {"type": "string", "oneOf": [{"const": "a", "title": "a"}, {"const": "b", "title": "B"}]},
        ),
        (
            {"type": "array", "uniqueItems": True, "items": {"anyOf": [{"const": "a"}]}, "maxItems": 1},
            {"type": "array", "items": {"anyOf": [{"const": "a", "title": "a"}]}, "maxItems": 1},
        ),
        (
            {"type": "array", "items": {"type": "string", "enum": ["a"]}, "default": ["a"]},
            {"type": "array", "items": {"type": "string", "enum": ["a"]}, "default": ["a"]},
        ),
    ],
)
async def test_a_property_is_asked_in_the_words_of_the_bridge(sent: dict[str, Any], asked: dict[str, Any]) -> None:
    calls = RunningCalls("s")
    for required in ([], ["it"]):
        _, context = running(calls, "a", Answer("decline"))
        schema = {
            "type": "object", "properties": {"it": sent}, "required": required, "additionalProperties": True,
            "examples": [],
        }  # fmt: skip
        await calls.on_question(NOBODY, ElicitRequestFormParams(message="?", requested_schema=schema))
        ((_, form),) = context.asked
        assert form == {"type": "object", "properties": {"it": asked}, "required": required}
        check_schema(form)


async def test_an_address_is_shown_with_its_question() -> None:
    calls = RunningCalls("s")
    _, context = running(calls, "a", Answer("decline"))
    params = ElicitRequestURLParams(message="Pay", url="https://pay.example", elicitation_id="1")
    assert await calls.on_question(NOBODY, params) == ElicitResult(action="decline")
    assert context.asked == [("Pay\n\nOpen https://pay.example", None)]


async def test_a_question_that_cannot_be_asked_is_an_error_that_the_call_remembers() -> None:
    calls = RunningCalls("s")
    call, _ = running(calls, "a", UnimplementedError("nobody is there"))
    found = await calls.on_question(NOBODY, FORM)
    assert isinstance(found, ErrorData)
    assert found.message == "nobody is there"
    assert call.failure is not None
