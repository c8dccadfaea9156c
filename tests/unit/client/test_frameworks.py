"""The tools of a bridge for frameworks."""

import inspect
from collections.abc import AsyncIterator
from importlib import import_module

import pytest

from grpc_tool_bridge import LocalToolBridge, ToolContext, ValidationError, tool
from grpc_tool_bridge.client.frameworks import FrameworkTools

ADAPTERS = {
    "dspy_tools": "dspy",
    "langchain_tools": "langchain",
    "openai_tools": "openai",
    "run_openai_tool_calls": "openai",
    "openai_agents_tools": "openai_agents",
    "pydantic_ai_toolset": "pydantic_ai",
    "llama_index_tools": "llama_index",
    "google_adk_toolset": "google_adk",
}


@tool(tags=["read"])
async def add(a: int, b: int, ctx: ToolContext) -> int:
    return a + b + len(ctx.metadata)


@tool(deprecated="use add")
async def sum_up(a: int, b: int) -> int:
    return a + b


@pytest.fixture
async def bridge() -> AsyncIterator[LocalToolBridge]:
    async with LocalToolBridge([add, sum_up]) as bridge:
        await bridge.initialize()
        yield bridge


@pytest.mark.parametrize("name", ADAPTERS)
def test_each_method_takes_what_its_adapter_takes(name: str) -> None:
    method = inspect.signature(getattr(FrameworkTools, name)).parameters
    adapter = inspect.signature(getattr(import_module(f"grpc_tool_bridge.adapters.{ADAPTERS[name]}"), name)).parameters

    missing = adapter.keys() - {"bridge"} - method.keys()
    assert not missing or "options" in method
    assert method.keys() - {"self", "options"} <= adapter.keys()
    assert {"tool_filter", "tags", "search"} <= method.keys()
    assert name == "openai_tools" or "metadata" in method


def test_every_method_is_of_an_adapter() -> None:
    assert {name for name in vars(FrameworkTools) if not name.startswith("_")} == ADAPTERS.keys()


async def test_the_tools_of_an_unknown_api_of_openai_are_refused(bridge: LocalToolBridge) -> None:
    with pytest.raises(ValidationError, match="api must be 'chat' or 'responses'"):
        bridge.openai_tools(api="assistants")  # type: ignore[arg-type]  # as a program without types


async def test_deprecated_tools_are_left_out_unless_they_are_named(bridge: LocalToolBridge) -> None:
    tools = [*bridge.llama_index_tools(), *bridge.openai_agents_tools(), *await bridge.google_adk_toolset().get_tools()]
    assert {tool.metadata.name if hasattr(tool, "metadata") else tool.name for tool in tools} == {"add"}
    (named,) = bridge.openai_agents_tools("sum_up")
    assert named.description.startswith("Deprecated: use add")
    assert [tool.name for tool in bridge.openai_agents_tools(tags=["read"])] == ["add"]


async def test_metadata_of_an_adapter_reaches_the_tools(bridge: LocalToolBridge) -> None:
    (of_llama_index,) = bridge.llama_index_tools(metadata={"user": "ada"})
    assert (await of_llama_index.acall(a=1, b=2)).raw_output == 4
