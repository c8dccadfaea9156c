"""Tool calls as OpenAI's APIs give them, and the messages that answer them."""

import asyncio
import json
from typing import Any

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionMessage
from openai.types.responses import FunctionToolParam, ResponseFunctionToolCall
from pydantic import TypeAdapter

from grpc_tool_bridge import tool
from grpc_tool_bridge.errors import AlreadyExistsError, ToolCommunicationError, ValidationError
from support.patience import PATIENCE
from support.waiting import soon
from unit.adapters.acting import lost_bridge
from unit.adapters.bridges import bridge_of


@tool
def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


@tool(name="files.read")
def read(path: str = "x") -> str:
    """Reads."""
    return f"text of {path}"


async def answers(calls: Any, *tools: Any) -> list[dict[str, Any]]:
    async with bridge_of(*(tools or (add, read))) as bridge:
        return await asyncio.wait_for(bridge.run_openai_tool_calls(calls), PATIENCE)


async def functions(*tools: Any) -> list[dict[str, Any]]:
    async with bridge_of(*tools) as bridge:
        return bridge.openai_tools()


def call(name: str, arguments: Any, number: int = 1) -> dict[str, Any]:
    return {"id": f"call-{number}", "type": "function", "function": {"name": name, "arguments": arguments}}


CALLS = [call("add", '{"a": 1, "b": 2}', 1), call("files_read", "", 2)]
MESSAGE = {"role": "assistant", "content": None, "tool_calls": CALLS}
COMPLETION = {
    "id": "c", "created": 0, "model": "m", "object": "chat.completion",
    "choices": [{"index": 0, "finish_reason": "tool_calls", "message": MESSAGE}],
}  # fmt: skip


@pytest.mark.parametrize(
    "calls",
    [
        CALLS,
        MESSAGE,
        COMPLETION,
        ChatCompletionMessage.model_validate(MESSAGE),
        ChatCompletionMessage.model_validate(MESSAGE).tool_calls,
        ChatCompletion.model_validate(COMPLETION),
    ],
    ids=["list", "message", "completion", "message object", "list of objects", "completion object"],
)
async def test_calls_are_answered_in_their_order_however_they_are_given(calls: Any) -> None:
    assert await answers(calls) == [
        {"role": "tool", "tool_call_id": "call-1", "content": "3"},
        {"role": "tool", "tool_call_id": "call-2", "content": "text of x"},
    ]


async def test_items_of_the_responses_api_are_answered_as_it_wants_them() -> None:
    asked = ResponseFunctionToolCall(type="function_call", call_id="c1", name="add", arguments='{"a": 1, "b": 2}')

    made = await answers({"output": [{"type": "reasoning", "id": "r1"}, asked]})

    assert made == [{"type": "function_call_output", "call_id": "c1", "output": "3"}]


async def test_calls_run_at_once() -> None:
    both = asyncio.Barrier(2)

    @tool
    async def meet() -> str:
        """Waits for another."""
        await both.wait()
        return "met"

    made = await answers([call("meet", "{}", 1), call("meet", "{}", 2)], meet)

    assert [message["content"] for message in made] == ["met", "met"]


@pytest.mark.parametrize(
    ("name", "arguments", "error_type", "said"),
    [
        ("add", '{"a": 1,', "ValidationError", "are not valid JSON"),
        ("add", "[1, 2]", "ValidationError", "are list, not an object"),
        ("add", "[" * 100_000, "ValidationError", "are not valid JSON"),
        ("add", 3, "ValidationError", "are not valid JSON"),
        ("add", '{"a": "x", "b": 2}', "ValidationError", "'a'"),
        ("ad", "{}", "ToolNotFound", "did you mean add?"),
    ],
    ids=["no JSON", "no object", "too deep", "no text", "wrong type", "unknown tool"],
)
async def test_a_call_that_fails_is_told_to_the_model_and_spoils_no_other(
    name: str, arguments: Any, error_type: str, said: str
) -> None:
    bad, good = await answers([call(name, arguments, 1), call("add", '{"a": 1, "b": 2}', 2)])

    error = json.loads(bad["content"])["error"]
    assert error["type"] == error_type
    assert said in error["message"]
    assert good["content"] == "3"


async def test_a_message_without_calls_is_answered_by_nothing() -> None:
    assert await answers({"role": "assistant", "content": "hello", "tool_calls": None}) == []


async def test_one_call_by_itself_is_answered() -> None:
    of_responses = {"type": "function_call", "call_id": "c1", "name": "add", "arguments": '{"a": 1, "b": 2}'}
    untyped = {"id": "c2", "function": {"name": "add", "arguments": {"a": 1, "b": 3}}}
    assert await answers(of_responses) == [{"type": "function_call_output", "call_id": "c1", "output": "3"}]
    assert await answers(untyped) == [{"role": "tool", "tool_call_id": "c2", "content": "4"}]
    assert await answers([untyped]) == await answers(untyped)


async def test_a_call_of_no_function_is_answered_too() -> None:
    of_chat, of_responses = await answers(
        [
            {"id": "c1", "type": "custom", "custom": {"name": "add", "input": "1 + 2"}},
            {"call_id": "c2", "type": "custom_tool_call", "name": "add", "input": "1 + 2"},
        ]
    )
    assert (of_chat["role"], of_chat["tool_call_id"]) == ("tool", "c1")
    assert (of_responses["type"], of_responses["call_id"]) == ("custom_tool_call_output", "c2")
    for content in (of_chat["content"], of_responses["output"]):
        error = json.loads(content)["error"]
        assert error["type"] == "ValidationError"
        assert error["message"].startswith("add: the arguments are text, as those of a custom tool")


async def test_a_call_without_arguments_may_say_so_by_null() -> None:
    (message,) = await answers([call("files_read", "null")])
    assert message["content"] == "text of x"


async def test_calls_may_be_given_as_any_collection() -> None:
    assert await answers({item["id"]: item for item in CALLS}.values()) == await answers(CALLS)


async def test_calls_of_openais_older_form_are_refused_with_what_took_their_place() -> None:
    older = {"role": "assistant", "content": None, "function_call": {"name": "add", "arguments": "{}"}}
    for given in (older, ChatCompletionMessage.model_validate(older)):
        with pytest.raises(ValidationError, match=r"a function_call, which OpenAI has replaced; send tools="):
            await answers(given)


async def test_the_responses_api_is_told_of_tools_in_its_own_form() -> None:
    async with bridge_of(add) as bridge:
        ((told,), (of_chat,)) = bridge.openai_tools(api="responses"), bridge.openai_tools()
    assert told == {"type": "function", **of_chat["function"]}
    TypeAdapter(FunctionToolParam).validate_python(told)


async def test_a_tool_of_the_very_name_is_meant_before_one_that_would_be_called_so() -> None:
    @tool(name="files_read")
    def other() -> str:
        """Reads, too."""
        return "other"

    (message,) = await answers([call("files_read", "{}")], read, other)
    assert message["content"] == "other"


async def test_a_name_that_could_mean_two_tools_calls_neither() -> None:
    ran: list[str] = []
    tools = [tool(name=name)(lambda name=name: ran.append(name)) for name in ("a.b_c", "a_b.c")]
    (message,) = await answers([call("a_b_c", "{}")], *tools)
    assert json.loads(message["content"])["error"]["type"] == "ToolNotFound"
    assert ran == []


async def test_a_name_longer_than_the_api_takes_is_cut_and_known_again() -> None:
    @tool(name="n" * 70)
    def long() -> str:
        """Has a long name."""
        return "long"

    (made,) = await functions(long)
    assert made["function"]["name"] == "n" * 64
    (message,) = await answers([call("n" * 64, "{}")], long)
    assert message["content"] == "long"


@pytest.mark.parametrize("calls", [{"role": "user"}, 3, [3], {"choices": []}, {"choices": [{"message": MESSAGE}] * 2}])
async def test_what_holds_no_calls_is_refused(calls: Any) -> None:
    with pytest.raises(ValidationError, match=r"tool call|choices"):
        await answers(calls)


async def test_only_a_tool_whose_schema_fits_is_strict() -> None:
    fits, optional = await functions(add, read)

    assert fits["function"]["strict"] is True
    assert optional["function"]["strict"] is False
    assert optional["function"]["name"] == "files_read"


async def test_two_tools_that_would_have_one_name_are_refused() -> None:
    @tool(name="files_read")
    def other() -> None:
        """Reads, too."""

    with pytest.raises(AlreadyExistsError, match=r"'files.read' and 'files_read'|'files_read' and 'files.read'"):
        await functions(read, other)


async def test_a_hub_that_is_gone_is_an_exception() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1, "b": 2}'}}
    async with lost_bridge() as bridge:
        with pytest.raises(ToolCommunicationError):
            await soon(bridge.run_openai_tool_calls([call, {**call, "id": "2"}]))
