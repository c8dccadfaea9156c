"""The same tools through every adapter: what a framework is told of them, and what it gets, is the same."""

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, Literal, Protocol

import pandas as pd
import pytest
from agents.tool_context import ToolContext as AgentsContext
from agents.usage import Usage
from langchain_core.tools import ToolException
from pydantic_ai import ModelRetry, ToolFailed, ToolReturn

from grpc_tool_bridge import ToolBridge, ToolBridgeError, ToolExecutionError, tool
from grpc_tool_bridge.errors import AlreadyExistsError, NotFoundError, ProtocolError
from grpc_tool_bridge.llm.tool_args import tool_args
from grpc_tool_bridge.llm.values import value_text
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec
from integration.connections import Connect
from support.waiting import soon, until


@dataclasses.dataclass
class Place:
    """A place on a map."""

    x: float
    y: float
    label: str | None = None


@tool
def add(a: int, b: int = 10) -> int:
    """Adds two numbers.

    Both are whole.

    Args:
        a: The first number.
        b: The second number.
    """
    return a + b


@tool
def describe(place: Place, tags: list[str], weights: dict[str, float], mode: Literal["short", "long"] = "short") -> str:
    """Describes a place."""
    return f"{place!r} {tags} {weights} {mode}"


@tool
def next_day(moment: datetime) -> datetime:
    """Gives the same time of the next day."""
    assert isinstance(moment, datetime)
    return moment + timedelta(days=1)


@tool
async def count(to: int) -> AsyncIterator[int]:
    """Counts from 1."""
    for number in range(1, to + 1):
        yield number


class OutOfPaperError(ToolBridgeError):
    """The tray is empty."""

    default_type = "OutOfPaper"


@tool
def print_page(page: int) -> None:
    """Prints a page."""
    raise OutOfPaperError(f"no paper for page {page}", details={"tray": "2", "size": "A4"})


@tool
def set_config(config: str, callbacks: str, name: str) -> list[str]:
    """Takes arguments with names that frameworks use themselves."""
    return [config, callbacks, name]


@tool(name="files.size")
def size_of(content: bytes) -> int:
    """Tells how many bytes there are."""
    assert isinstance(content, bytes)
    return len(content)


@tool
def table(rows: int) -> pd.DataFrame:
    """Makes a table."""
    return pd.DataFrame({"n": range(rows)})


TOOLS = (add, describe, next_day, count, print_page, set_config, size_of, table)


class Adapter(Protocol):
    """The tools as a framework has them.

    Attributes:
        gives_values: Whether a call gives the value itself; else, its text for the model.
    """

    gives_values: bool

    async def told(self) -> dict[str, tuple[str, dict[str, Any]]]:
        """Gives each tool's description and the schemas of its arguments, by name."""

    async def call(self, name: str, arguments: Mapping[str, Any]) -> Any:
        """Calls a tool as the framework does."""


class Failed(Exception):
    """What of a tool's error comes through: its type, message and details."""

    @property
    def facts(self) -> tuple[str, str, dict[str, str]]:
        return self.args


def failed(error: BaseException | None) -> Failed:
    assert isinstance(error, ToolExecutionError)
    return Failed(error.error_type, error.message, error.details)


def arguments_in(schema: Any) -> dict[str, Any]:
    return tool_args(ToolSpec(input_schema=json.dumps(schema)))


class DSPy:
    gives_values = True

    def __init__(self, bridge: ToolBridge, *names: str, **options: Any) -> None:
        self.tools = {item.name: item for item in bridge.dspy_tools(*names, **options)}

    async def told(self) -> dict[str, tuple[str, dict[str, Any]]]:
        return {name: (item.desc, item.args) for name, item in self.tools.items()}

    async def call(self, name: str, arguments: Mapping[str, Any]) -> Any:
        try:
            return await self.tools[name].acall(**arguments)
        except ToolExecutionError as error:
            raise failed(error) from error


class DSPySync(DSPy):
    async def call(self, name: str, arguments: Mapping[str, Any]) -> Any:
        try:
            return await asyncio.to_thread(self.tools[name], **arguments)
        except ToolExecutionError as error:
            raise failed(error) from error


class LangChain:
    gives_values = True

    def __init__(self, bridge: ToolBridge, *names: str, **options: Any) -> None:
        self.tools = {item.name: item for item in bridge.langchain_tools(*names, **options)}

    async def told(self) -> dict[str, tuple[str, dict[str, Any]]]:
        return {name: (item.description, arguments_in(item.tool_call_schema)) for name, item in self.tools.items()}

    async def call(self, name: str, arguments: Mapping[str, Any]) -> Any:
        asked = {"type": "tool_call", "id": "call-1", "name": name, "args": dict(arguments)}
        try:
            message = await self.invoke(self.tools[name], asked)
        except ToolException as error:
            said = json.loads(str(error))["error"]
            of_cause = failed(error.__cause__)
            assert (said["type"], said["message"], said["details"]) == of_cause.facts
            raise of_cause from error
        assert message.tool_call_id == "call-1"
        assert message.status == "success"
        return message.artifact

    async def invoke(self, item: Any, asked: dict[str, Any]) -> Any:
        return await item.ainvoke(asked)


class LangChainSync(LangChain):
    async def invoke(self, item: Any, asked: dict[str, Any]) -> Any:
        return await asyncio.to_thread(item.invoke, asked)


class OpenAI:
    gives_values = False

    def __init__(self, bridge: ToolBridge, *names: str, **options: Any) -> None:
        self.bridge = bridge
        self.names = names
        self.options = options

    async def told(self) -> dict[str, tuple[str, dict[str, Any]]]:
        functions = [item["function"] for item in self.bridge.openai_tools(*self.names, **self.options)]
        return {item["name"]: (item["description"], arguments_in(item["parameters"])) for item in functions}

    async def call(self, name: str, arguments: Mapping[str, Any]) -> Any:
        function = {"name": name, "arguments": json.dumps(arguments)}
        calls = [{"id": "call-1", "type": "function", "function": function}]
        (message,) = await self.bridge.run_openai_tool_calls({"role": "assistant", "tool_calls": calls}, **self.options)
        assert (message["role"], message["tool_call_id"]) == ("tool", "call-1")
        content: str = message["content"]
        if content.startswith('{"error"'):
            said = json.loads(content)["error"]
            raise Failed(said["type"], said["message"], said["details"])
        return content


class PydanticAI:
    gives_values = True

    def __init__(self, bridge: ToolBridge, *names: str, **options: Any) -> None:
        self.toolset = bridge.pydantic_ai_toolset(*names, **options)
        self.context: Any = SimpleNamespace(max_retries=1, deps=None)

    async def told(self) -> dict[str, tuple[str, dict[str, Any]]]:
        defined = [item.tool_def for item in (await self.toolset.get_tools(self.context)).values()]
        return {item.name: (item.description, arguments_in(item.parameters_json_schema)) for item in defined}

    async def call(self, name: str, arguments: Mapping[str, Any]) -> Any:
        tools = await self.toolset.get_tools(self.context)
        checked = tools[name].args_validator.validate_json(json.dumps(arguments))
        try:
            answer = await self.toolset.call_tool(name, checked, self.context, tools[name])
        except ToolFailed as told:
            raise failed(told.__cause__) from told
        except ModelRetry as retry:
            _, _, details = failed(retry.__cause__).facts
            raise Failed("ValidationError", retry.message, details) from retry
        return answer.metadata if isinstance(answer, ToolReturn) else answer


class OpenAIAgents:
    gives_values = False

    def __init__(self, bridge: ToolBridge, *names: str, **options: Any) -> None:
        self.tools = {
            item.name: item for item in bridge.openai_agents_tools(*names, failure_error_function=None, **options)
        }

    async def told(self) -> dict[str, tuple[str, dict[str, Any]]]:
        return {name: (item.description, arguments_in(item.params_json_schema)) for name, item in self.tools.items()}

    async def call(self, name: str, arguments: Mapping[str, Any]) -> Any:
        sent = json.dumps(arguments)
        try:
            return await self.tools[name].on_invoke_tool(AgentsContext(None, Usage(), name, "call-1", sent), sent)
        except ToolExecutionError as error:
            raise failed(error) from error


class LlamaIndex:
    gives_values = True

    def __init__(self, bridge: ToolBridge, *names: str, **options: Any) -> None:
        self.tools = {item.metadata.name: item for item in bridge.llama_index_tools(*names, **options)}

    async def told(self) -> dict[str, tuple[str, dict[str, Any]]]:
        return {
            name: (item.metadata.description, arguments_in(item.metadata.get_parameters_dict()))
            for name, item in self.tools.items()
        }

    async def call(self, name: str, arguments: Mapping[str, Any]) -> Any:
        output = await self.invoke(self.tools[name], arguments)
        if output.is_error:
            raise failed(output.exception) from output.exception
        return output.raw_output

    async def invoke(self, item: Any, arguments: Mapping[str, Any]) -> Any:
        return await item.acall(**arguments)


class LlamaIndexSync(LlamaIndex):
    async def invoke(self, item: Any, arguments: Mapping[str, Any]) -> Any:
        return await asyncio.to_thread(item, **arguments)


class GoogleADK:
    gives_values = False

    def __init__(self, bridge: ToolBridge, *names: str, **options: Any) -> None:
        self.toolset = bridge.google_adk_toolset(*names, **options)

    async def told(self) -> dict[str, tuple[str, dict[str, Any]]]:
        declared = [item._get_declaration() for item in await self.toolset.get_tools()]
        return {item.name: (item.description, arguments_in(item.parameters_json_schema)) for item in declared}

    async def call(self, name: str, arguments: Mapping[str, Any]) -> Any:
        tools = {item.name: item for item in await self.toolset.get_tools()}
        answer = await tools[name].run_async(args=dict(arguments), tool_context=None)
        if isinstance(answer, dict) and "error" in answer:
            said = answer["error"]
            raise Failed(said["type"], said["message"], said["details"])
        # Plain JSON is given as it is.
        return value_text(answer)


ADAPTERS: tuple[Callable[..., Adapter], ...] = (
    DSPy,
    DSPySync,
    LangChain,
    LangChainSync,
    OpenAI,
    OpenAIAgents,
    PydanticAI,
    LlamaIndex,
    LlamaIndexSync,
    GoogleADK,
)
Start = Callable[..., Awaitable[Adapter]]


@pytest.fixture(params=ADAPTERS)
def start(request: pytest.FixtureRequest, connect: Connect) -> Start:
    """Starts a hub with the tools and gives them to a framework."""

    async def begin(*names: str, **options: Any) -> Adapter:
        made: Adapter = request.param((await connect(*TOOLS)).bridge, *names, **options)
        return made

    return begin


async def test_names_descriptions_and_schemas_arrive_whole(start: Start) -> None:
    adapter = await start()
    told = await adapter.told()

    # The APIs of models allow no dots.
    assert set(told) == {item.spec.name.replace(".", "_") for item in TOOLS}
    assert told["add"] == (
        "Adds two numbers.\n\nBoth are whole.",
        {
            "a": {"type": "integer", "description": "The first number."},
            "b": {"type": "integer", "description": "The second number.", "default": 10},
        },
    )
    assert told["next_day"][1] == {"moment": {"type": "string", "format": "date-time"}}
    assert told["describe"][1]["mode"] == {"enum": ["short", "long"], "type": "string", "default": "short"}
    assert told["describe"][1]["place"]["required"] == ["x", "y"]
    assert told["files_size"][1] == {"content": {"type": "string", "contentEncoding": "base64"}}
    for item in TOOLS:
        assert told[item.spec.name.replace(".", "_")] == (item.spec.description, tool_args(item.spec))


@pytest.mark.parametrize(
    ("name", "arguments", "value", "text"),
    [
        ("add", {"a": 1}, 11, "11"),
        ("add", {"a": 1, "b": 2}, 3, "3"),
        (
            "describe",
            {"place": {"x": 1.5, "y": 2}, "tags": ["a", "b"], "weights": {"k": 0.5}, "mode": "long"},
            "Place(x=1.5, y=2.0, label=None) ['a', 'b'] {'k': 0.5} long",
            "Place(x=1.5, y=2.0, label=None) ['a', 'b'] {'k': 0.5} long",
        ),
        (
            "next_day",
            {"moment": "2024-02-28T12:30:00Z"},
            datetime(2024, 2, 29, 12, 30, tzinfo=UTC),
            '"2024-02-29T12:30:00Z"',
        ),
        ("count", {"to": 3}, [1, 2, 3], "[1,2,3]"),
        ("set_config", {"config": "a", "callbacks": "b", "name": "c"}, ["a", "b", "c"], '["a","b","c"]'),
        ("files_size", {"content": "AAEC"}, 3, "3"),
    ],
    ids=["default", "both", "dataclass", "datetime", "stream", "names", "bytes"],
)
async def test_a_result_arrives_as_it_is(
    start: Start, name: str, arguments: dict[str, Any], value: Any, text: str
) -> None:
    adapter = await start()

    answer = await soon(adapter.call(name, arguments))

    assert answer == (value if adapter.gives_values else text)
    assert type(answer) is (type(value) if adapter.gives_values else str)


async def test_a_frame_arrives_as_it_is_and_a_model_reads_it_as_csv(start: Start) -> None:
    adapter = await start()

    answer = await soon(adapter.call("table", {"rows": 3}))

    if adapter.gives_values:
        pd.testing.assert_frame_equal(answer, pd.DataFrame({"n": range(3)}))
    else:
        assert answer == "n\n0\n1\n2\n"


async def test_a_tools_error_arrives_with_class_message_and_details(start: Start) -> None:
    adapter = await start()

    with pytest.raises(Failed) as caught:
        await soon(adapter.call("print_page", {"page": 7}))

    assert caught.value.facts == (
        "OutOfPaper",
        "no paper for page 7",
        {"tray": "2", "size": "A4", "origin": "tool"},
    )


async def test_arguments_that_the_hub_refuses_are_named_one_by_one(start: Start) -> None:
    adapter = await start()

    with pytest.raises(Failed) as caught:
        await soon(adapter.call("describe", {"tags": [], "lengths": 1}))

    error_type, message, details = caught.value.facts
    assert error_type == "ValidationError"
    assert set(details) == {"place", "weights", "lengths", "origin"}
    assert "'lengths': unknown" in message


async def test_a_framework_gets_only_the_tools_that_are_named(start: Start) -> None:
    adapter = await start("count", "add")

    assert list(await adapter.told()) == ["count", "add"]


async def test_a_name_that_no_tool_has_is_refused_with_those_that_are_like_it(start: Start) -> None:
    with pytest.raises(NotFoundError, match="no tool 'cuont'; did you mean count"):
        await (await start("add", "cuont")).told()


@pytest.mark.parametrize("adapter", [*ADAPTERS])
async def test_a_bridge_without_a_session_says_so(connect: Connect, adapter: Callable[..., Adapter]) -> None:
    world = await connect(*TOOLS)

    with pytest.raises(ProtocolError, match="no session yet"):
        await adapter(world.make_bridge()).told()


# ---------------------------------------------------------------------------------------- some of the tools, and search


async def test_only_the_tools_that_pass_the_filter_are_given(start: Start) -> None:
    given = [
        await (await start(tool_filter="files.")).told(),
        await (await start("add", "count", "table", tool_filter=["co*", "add"])).told(),
        await (await start(tool_filter=lambda spec: "place" in spec.description)).told(),
    ]
    assert [list(told) for told in given] == [["files_size"], ["add", "count"], ["describe"]]


async def test_with_search_two_tools_stand_for_all(start: Start) -> None:
    adapter = await start(search=True)
    told = await adapter.told()
    assert list(told) == ["search_tools", "call_tool"]
    assert list(told["search_tools"][1]) == ["query", "limit"]

    found = await adapter.call("search_tools", {"query": "sum of two numbers", "limit": 1})
    assert found.startswith("1 tool, the best match first:\n\nadd\nAdds two numbers.")
    assert '"description":"The first number."' in found
    value = await adapter.call("call_tool", {"name": "add", "arguments": {"a": 2, "b": 3}})
    assert value == (5 if adapter.gives_values else "5")
    assert await adapter.call("call_tool", {"name": "files.size", "arguments": '{"content": "YWJj"}'}) == (
        3 if adapter.gives_values else "3"
    )
    counted = await adapter.call("call_tool", {"name": "count", "arguments": {"to": 3}})
    assert counted == ([1, 2, 3] if adapter.gives_values else "[1,2,3]")


async def test_errors_of_a_found_tool_arrive_as_those_of_one_that_was_given(start: Start) -> None:
    adapter = await start(search=True)
    with pytest.raises(Failed) as caught:
        await adapter.call("call_tool", {"name": "print_page", "arguments": {"page": 7}})
    assert caught.value.facts[:2] == ("OutOfPaper", "no paper for page 7")
    with pytest.raises(Failed, match="did you mean print_page"):
        await adapter.call("call_tool", {"name": "print_pag"})
    with pytest.raises(Failed, match="name is missing"):
        await adapter.call("call_tool", {})
    with pytest.raises(Failed, match="limit is 0; it must be"):
        await adapter.call("search_tools", {"query": "x", "limit": 0})


async def test_what_the_filter_keeps_out_is_neither_found_nor_called(start: Start) -> None:
    adapter = await start("count", tool_filter=["count", "files."], search=True)
    assert list(await adapter.told()) == ["count", "search_tools", "call_tool"]
    found = await adapter.call("search_tools", {"query": "numbers bytes count", "limit": 100})
    assert [part.partition("\n")[0] for part in found.split("\n\n")][1:] == ["count", "files.size"]
    with pytest.raises(Failed, match="there is no tool 'add'; search_tools finds"):
        await adapter.call("call_tool", {"name": "add", "arguments": {"a": 1}})


@pytest.mark.parametrize("adapter", [DSPy, LangChain, OpenAI, OpenAIAgents, PydanticAI, LlamaIndex, GoogleADK])
async def test_a_tool_of_the_session_with_a_name_of_the_search_is_told_of(connect: Connect, adapter: Any) -> None:
    @tool
    def call_tool(number: str) -> str:
        """Calls somebody."""
        return number

    bridge = (await connect(add, call_tool)).bridge
    with pytest.raises(AlreadyExistsError, match="has a tool called 'call_tool', as one of the two that search would"):
        await adapter(bridge, search=True).told()
    assert "call_tool" in await adapter(bridge).told()


@pytest.mark.parametrize("adapter", [DSPy, LangChain, OpenAI, OpenAIAgents, LlamaIndex])
async def test_a_filter_that_nothing_passes_is_an_error(connect: Connect, adapter: Any) -> None:
    bridge = (await connect(add)).bridge
    with pytest.raises(NotFoundError, match="no tool that passes tool_filter, 'ad'; "):
        await adapter(bridge, tool_filter="ad").told()


@pytest.mark.parametrize("make", [PydanticAI, GoogleADK])
async def test_a_toolset_takes_tools_that_pass_the_filter_later(connect: Connect, make: Callable[..., Adapter]) -> None:
    world = await connect(add)
    adapter = make(world.bridge, tool_filter="count")
    assert await adapter.told() == {}
    world.hub.registry.register_batch("", [count])
    await until(lambda: "count" in world.bridge.tools)
    assert list(await adapter.told()) == ["count"]


async def test_toolsets_of_one_agent_have_ids_of_their_own(connect: Connect) -> None:
    bridge = (await connect(add)).bridge
    options: list[dict[str, Any]] = [{}, {"tool_filter": "a"}, {"tool_filter": lambda _: True}, {"search": True}]
    assert len({bridge.pydantic_ai_toolset(**chosen).id for chosen in options}) == 4


async def test_a_model_that_was_given_no_search_has_none(connect: Connect) -> None:
    adapter = OpenAI((await connect(add)).bridge)
    with pytest.raises(Failed, match="no tool 'search_tools'"):
        await adapter.call("search_tools", {"query": "add"})


async def test_calls_of_openai_are_held_to_the_filter(connect: Connect) -> None:
    adapter = OpenAI((await connect(add, count)).bridge, tool_filter="count")
    with pytest.raises(Failed, match="no tool 'add'"):
        await adapter.call("add", {"a": 1})
    assert await adapter.call("count", {"to": 1}) == "[1]"
