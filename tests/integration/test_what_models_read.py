"""What a model reads of a call, and what it may send, is the same through every framework and the hub's agents."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import dspy
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from agents.tool_context import ToolContext as AgentsContext
from agents.usage import Usage
from pydantic_ai import Agent, ModelMessage, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from grpc_tool_bridge import ToolBridge, ToolBridgeError, ToolWorker, tool
from grpc_tool_bridge.testing import ScriptedLM
from grpc_tool_bridge.testing.model_script import fields
from integration.connections import Connect, World
from support.waiting import soon

NAN, INF = float("nan"), float("inf")

# What a tool gives, and what a model reads of it.
RESULTS: dict[str, tuple[Any, str]] = {
    "text": ("as it is", "as it is"),
    "integer": (4, "4"),
    "big integer": (2**100, "1267650600228229401496703205376"),
    "float": (1.5, "1.5"),
    "true": (True, "true"),
    "nothing": (None, "null"),
    "nan": (NAN, "NaN"),
    "infinity": (INF, "Infinity"),
    "minus infinity": (-INF, "-Infinity"),
    "nan in a list": ([NAN, 1.0], "[NaN,1.0]"),
    "infinity in a dict": ({"a": {"b": -INF}}, '{"a":{"b":-Infinity}}'),
    "nan in an array": (np.array([NAN, INF, 1.0]), "[NaN,Infinity,1.0]"),
    "nan of NumPy": (np.float64(NAN), "NaN"),
    "nan in a large array": (
        np.array([NAN, INF] * 600),
        "array of shape (1200,), float64: [     NaN Infinity      NaN ... Infinity      NaN Infinity]",
    ),
    "nan in a frame": (pd.DataFrame({"a": [NAN, -INF], "b": [1, 2]}), "a,b\nNaN,1\n-Infinity,2\n"),
    "nan in a series": (pd.Series([NAN, 1.0], name="s"), "s\nNaN\n1.0\n"),
    "nan in an index": (pd.Index([NAN, 1.0]), "[NaN,1.0]"),
    "nan in a polars frame": (pl.DataFrame({"a": [NAN, INF], "b": [None, 1]}), "a,b\nNaN,\nInfinity,1\n"),
    "nan in an Arrow table": (pa.table({"a": [NAN, -INF]}), '[{"a":NaN},{"a":-Infinity}]'),
    "list": ([1, None, True, "x"], '[1,null,true,"x"]'),
    "list of one": ([1], "[1]"),
    "empty list": ([], "[]"),
    "dict": ({"a": 1, "b": [2]}, '{"a":1,"b":[2]}'),
    "tuple": ((1, (2, 3)), "[1,[2,3]]"),
    "set": ({3}, "[3]"),
    "frozenset": (frozenset({3}), "[3]"),
    "keys": ({1: 2, None: 3}, '{"1":2,"None":3}'),
    "keys of NumPy": ({np.int64(1): NAN}, '{"1":NaN}'),
    "bytes": (b"\x00\xff\xfe", '"AP_-"'),
    "bytes in a list": ([b"a"], '["YQ=="]'),
    "datetime": (datetime(2024, 1, 2, 3, 4, tzinfo=UTC), '"2024-01-02T03:04:00Z"'),
    "date": ({"on": date(2024, 1, 2)}, '{"on":"2024-01-02"}'),
    "time": (time(1, 2), '"01:02:00"'),
    "timedelta": ([timedelta(seconds=5)], '["PT5S"]'),
    "decimal": (Decimal("1.50"), '"1.50"'),
    "decimal nan": ([Decimal("NaN")], '["NaN"]'),
    "uuid": (UUID(int=5), '"00000000-0000-0000-0000-000000000005"'),
    "complex": (1 + 2j, '"1+2j"'),
    "integer of NumPy": (np.int64(3), "3"),
    "small float of NumPy": (np.float32(0.1), "0.1"),
    "bool of NumPy": ([np.bool_(True)], "[true]"),
    "moments of NumPy": (np.array(["2024-01-02T03:04:05", "NaT"], dtype="M8[ns]"), '["2024-01-02T03:04:05",null]'),
    "days of NumPy": (np.array(["2024-01-02"], dtype="M8[D]"), '["2024-01-02"]'),
}


@tool
def give(what: str) -> Any:
    """Gives a value."""
    return RESULTS[what][0]


@tool
def ping() -> str:
    """Takes nothing."""
    return "pong"


@tool
def add(a: int, b: int = 10) -> int:
    """Adds."""
    return a + b


class OutOfPaperError(ToolBridgeError):
    """The tray is empty."""

    default_type = "OutOfPaper"


@tool
def print_page(page: int) -> None:
    """Prints a page."""
    if page < 0:
        raise KeyError(page)
    raise OutOfPaperError(f"no paper for page {page}", details={"tray": "7b"})


TOOLS = (give, ping, add, print_page)
ANSWER = fields(reasoning="so", answer="done")
FINISH = fields(next_thought="done", next_tool_name="finish", next_tool_args={})

# Calls a tool with what a model sent, and gives what the model reads of it.
Read = Callable[[World, str, Any], Awaitable[str]]


def observation(prompt: str) -> str:
    found = re.search(r"\[\[ ## observation_0 ## \]\]\n(.*?)\n\n(?:\[\[ ## |Respond with)", prompt, re.DOTALL)
    assert found is not None, prompt
    return found[1]


def script(name: str, sent: Any) -> ScriptedLM:
    said = fields(next_thought="I look.", next_tool_name=name, next_tool_args=sent)
    return ScriptedLM([said, FINISH, ANSWER])


async def through_dspy(world: World, name: str, sent: Any) -> str:
    lm = script(name, sent)
    with dspy.context(lm=lm):
        await dspy.ReAct("question -> answer", tools=world.bridge.dspy_tools()).acall(question="?")
    return stripped(observation(lm.prompts[1].user))


async def through_dspy_in_a_thread(world: World, name: str, sent: Any) -> str:
    lm = script(name, sent)
    react = dspy.ReAct("question -> answer", tools=world.bridge.dspy_tools())

    def run() -> None:
        with dspy.context(lm=lm):
            react(question="?")

    await asyncio.to_thread(run)
    return stripped(observation(lm.prompts[1].user))


async def through_the_hub(world: World, name: str, sent: Any) -> str:
    lm = script(name, sent)
    async with ToolWorker(world.server.address, agents={"lm": lm}):
        await ran(world.bridge)
    return stripped(observation(lm.prompts[1].user))


async def ran(bridge: ToolBridge, max_iters: int = 5) -> list[dict[str, Any]]:
    agent_id = await bridge.create_react_agent("question -> answer", max_iters=max_iters)
    request = {"agent_id": agent_id, "input": {"question": "?"}, "stream": True}
    return [chunk async for chunk in bridge.execute_agent_streaming(request)]


def stripped(text: str) -> str:
    return text.removeprefix("Execution error in ")


async def through_langchain(world: World, name: str, sent: Any) -> str:
    return await langchain(world, name, sent, awaited=True)


async def through_langchain_in_a_thread(world: World, name: str, sent: Any) -> str:
    return await langchain(world, name, sent, awaited=False)


async def langchain(world: World, name: str, sent: Any, *, awaited: bool) -> str:
    (made,) = world.bridge.langchain_tools(name)
    made.handle_tool_error = True
    call = {"type": "tool_call", "id": "c1", "name": name, "args": sent}
    message = await (made.ainvoke(call) if awaited else asyncio.to_thread(made.invoke, call))
    return line(name, str(message.content))


def line(name: str, content: str) -> str:
    """Writes the JSON of an error as the line that other frameworks have."""
    if not content.startswith('{"error"'):
        return content
    said = json.loads(content)["error"]
    details = {key: value for key, value in said["details"].items() if key != "origin" and value not in said["message"]}
    more = f" ({', '.join(f'{key}: {value}' for key, value in details.items())})" if details else ""
    return f"{name}: {said['type']}: {said['message'].removeprefix(f'{name}: ')}{more}"


async def through_openai(world: World, name: str, sent: Any) -> str:
    call = {"id": "c1", "type": "function", "function": {"name": name, "arguments": sent}}
    (message,) = await world.bridge.run_openai_tool_calls([call])
    return line(name, message["content"])


async def through_openais_responses(world: World, name: str, sent: Any) -> str:
    call = {"type": "function_call", "call_id": "c1", "name": name, "arguments": sent}
    (message,) = await world.bridge.run_openai_tool_calls([call])
    return line(name, message["output"])


async def through_openai_agents(world: World, name: str, sent: Any) -> str:
    (made,) = world.bridge.openai_agents_tools(name)
    # The SDK always has a text.
    text = sent if isinstance(sent, str) else "" if sent is None else json.dumps(sent)
    return line(name, await made.on_invoke_tool(AgentsContext(None, Usage(), name, "c1", text), text))


async def through_llama_index(world: World, name: str, sent: dict[str, Any]) -> str:
    (made,) = world.bridge.llama_index_tools(name)
    return line(name, (await made.acall(**sent)).content)


async def through_pydantic_ai(world: World, name: str, sent: Any) -> str:
    told: list[str] = []

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        for part in messages[-1].parts:
            if isinstance(part, ToolReturnPart):
                text = part.model_response_str()
                told.append(text if part.outcome == "success" else json.loads(text)["error"])
        return ModelResponse(parts=[TextPart("done") if told else ToolCallPart(name, sent)])

    agent = Agent(FunctionModel(answer), toolsets=[world.bridge.pydantic_ai_toolset()])
    await agent.run("go")
    return told[0]


FRAMEWORKS: tuple[Read, ...] = (
    through_dspy,
    through_dspy_in_a_thread,
    through_llama_index,
    through_the_hub,
    through_langchain,
    through_langchain_in_a_thread,
    through_openai,
    through_openais_responses,
    through_openai_agents,
    through_pydantic_ai,
)
# DSPy's own modules and LlamaIndex read what a model sends themselves.
READERS = FRAMEWORKS[3:]


@pytest.mark.parametrize("read", FRAMEWORKS)
async def test_a_result_reads_the_same(connect: Connect, read: Read) -> None:
    world = await connect(*TOOLS)

    texts = {what: await soon(read(world, "give", {"what": what})) for what in RESULTS}

    assert texts == {
        what: text.rstrip("\n") if "dspy" in read.__name__ or "hub" in read.__name__ else text
        for what, (_, text) in RESULTS.items()
    }


@pytest.mark.parametrize("read", FRAMEWORKS)
async def test_an_error_reads_as_one_line_without_a_traceback(connect: Connect, read: Read) -> None:
    world = await connect(*TOOLS, show_tracebacks=True)

    of_bridge = await soon(read(world, "print_page", {"page": 7}))
    of_python = await soon(read(world, "print_page", {"page": -1}))
    refused = await soon(read(world, "add", {"b": 1}))

    assert of_bridge.startswith("print_page: OutOfPaper: no paper for page 7")
    assert of_bridge.endswith(" (tray: 7b)")
    assert of_python == "print_page: KeyError: -1"
    assert refused.startswith("add: ValidationError: ")
    assert "'a': missing" in refused
    assert not any("Traceback" in text or "\n" in text for text in (of_bridge, of_python, refused))


@pytest.mark.parametrize("sent", [None, "", " ", "null", '""', "{}", {}, '"{}"'], ids=repr)
@pytest.mark.parametrize("read", READERS)
async def test_a_tool_that_takes_nothing_is_called_by_whatever_says_so(connect: Connect, read: Read, sent: Any) -> None:
    world = await connect(*TOOLS)

    assert await soon(read(world, "ping", sent)) == "pong"
    # Where there are arguments, it is their names that the model is told.
    assert "'a': missing" in await soon(read(world, "add", sent))


@pytest.mark.parametrize("sent", ['{"a": 1, "b": 2}', '"{\\"a\\": 1, \\"b\\": 2}"', {"a": 1, "b": 2}], ids=repr)
@pytest.mark.parametrize("read", READERS)
async def test_arguments_are_read_from_an_object_and_from_its_json(connect: Connect, read: Read, sent: Any) -> None:
    assert await soon(read(await connect(*TOOLS), "add", sent)) == "3"


@pytest.mark.parametrize(
    ("sent", "problem"),
    [("[1, 2]", "are list, not an object"), ("7", "are int, not an object"), ("true", "are bool, not an object")],
)
@pytest.mark.parametrize("read", READERS)
async def test_arguments_that_are_no_object_are_told_to_the_model(
    connect: Connect, read: Read, sent: str, problem: str
) -> None:
    said = await soon(read(await connect(*TOOLS), "add", sent))

    assert said == f"add: ValidationError: the arguments {problem}; give one JSON object with the arguments by name"


@pytest.mark.parametrize("read", READERS)
async def test_arguments_that_are_no_json_are_told_to_the_model(connect: Connect, read: Read) -> None:
    said = await soon(read(await connect(*TOOLS), "add", "a is 1"))

    assert said.startswith("add: ValidationError: the arguments are not valid JSON (")


@pytest.mark.parametrize("read", FRAMEWORKS)
async def test_null_where_the_schema_has_none_is_refused_by_the_arguments_name(connect: Connect, read: Read) -> None:
    said = await soon(read(await connect(*TOOLS), "add", {"a": 1, "b": None}))

    assert said.startswith("add: ValidationError: ")
    assert "'b'" in said


@pytest.mark.parametrize("read", FRAMEWORKS)
async def test_null_where_the_schema_has_it_is_passed_on(connect: Connect, read: Read) -> None:
    @tool
    def first(limit: int | None = 3) -> str:
        """Takes a limit, or none."""
        return f"limit {limit}"

    world = await connect(first)

    assert await soon(read(world, "first", {"limit": None})) == "limit None"
    assert await soon(read(world, "first", {})) == "limit 3"
