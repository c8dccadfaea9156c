"""Finding a tool among many: by a client over every transport, by agents, and on the command line."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from grpc_tool_bridge import BridgeServer, LocalToolBridge, NotFoundError, Settings, ToolBridge, tool
from grpc_tool_bridge.errors import AlreadyExistsError, ProtocolError, ValidationError
from grpc_tool_bridge.testing import ScriptedLM
from grpc_tool_bridge.testing.model_script import Prompt, fields, step
from integration.connections import Connect, RemoteBridge
from support.waiting import soon, until


@tool
def weather_now(city: str) -> str:
    """Says how the weather is in a city.

    Args:
        city: Name of the city.
    """
    return f"sunny in {city}"


@tool
def weather_alerts(region: str) -> list[str]:
    """Lists the storms that are expected in a region."""
    return [f"a storm in {region}"]


@tool(name="files.delete")
def delete(path: str) -> str:
    """Deletes a file."""
    return path


@tool
async def count(to: int) -> AsyncIterator[int]:
    """Counts from one."""
    for number in range(1, to + 1):
        yield number


@tool(name="finish")
def finish() -> str:
    """Finishes the weather."""
    return "done"


@tool
def search_tools(shed: str) -> str:
    """Searches for tools in a shed."""
    return f"a spade in {shed}"


TOOLS = [weather_now, weather_alerts, delete, count]


async def found(bridge: ToolBridge, query: str, **options: Any) -> list[str]:
    return [proxy.name for proxy in await bridge.search_tools(query, **options)]


# -------------------------------------------------------------------------------------------------------------- clients


async def test_the_best_tool_is_found_and_can_be_called(connect: Connect) -> None:
    bridge = (await connect(*TOOLS)).bridge
    weather, *_ = await bridge.search_tools("how is the weather in a city?")
    assert weather is bridge.tools["weather_now"]
    assert await weather(city="Rome") == "sunny in Rome"
    assert await found(bridge, "weather", limit=1, prefix="weather_a") == ["weather_alerts"]
    assert await found(bridge, "file region", tool_filter=["files.", "count"]) == ["files.delete"]
    assert await bridge.client.search_tools("weather", limit=1) == [bridge.tools["weather_now"]]


async def test_what_is_found_follows_the_tools(connect: Connect) -> None:
    world = await connect(weather_now)
    assert await found(world.bridge, "region of storms") == []
    world.hub.registry.register_batch("", [weather_alerts])
    await until(lambda: "weather_alerts" in world.bridge.tools)
    assert await found(world.bridge, "region of storms") == ["weather_alerts"]

    @tool(name="weather_alerts")
    def changed(lake: str) -> str:
        """Says how deep it is."""
        return lake

    world.hub.registry.unregister("", ("weather_alerts",))
    world.hub.registry.register_batch("", [changed])
    await until(lambda: "deep" in world.bridge.tools["weather_alerts"].spec.description)
    assert (await found(world.bridge, "storms"), await found(world.bridge, "lake")) == ([], ["weather_alerts"])
    world.hub.registry.unregister("", ("weather_alerts",))
    await until(lambda: "weather_alerts" not in world.bridge.tools)
    assert await found(world.bridge, "lake") == []


async def test_wrong_arguments_are_refused(connect: Connect) -> None:
    bridge = (await connect(weather_now)).bridge
    wrong: Any
    for wrong in ({"limit": 0}, {"limit": True}, {"prefix": None}, {"tool_filter": []}):
        with pytest.raises(ValidationError):
            await bridge.search_tools("x", **wrong)
    with pytest.raises(ValidationError, match="query is 5; it must be a text, such as"):
        await bridge.search_tools(5)  # type: ignore[arg-type] # as a user may


async def test_before_there_is_a_session_nothing_is_searched(remote_bridge: RemoteBridge) -> None:
    bridge = remote_bridge("127.0.0.1:1")
    with pytest.raises(ProtocolError, match="initialize"):
        await bridge.search_tools("x")
    await bridge.close()


def test_the_blocking_bridge_finds_tools_that_block(capsys: pytest.CaptureFixture[str]) -> None:
    with LocalToolBridge(TOOLS).sync as blocking:
        blocking.initialize()
        (weather,) = blocking.search_tools("the weather in a city", limit=1)
        assert weather(city="Rome") == "sunny in Rome"
        assert list(weather.stream("Oslo")) == ["sunny in Oslo"]
        assert blocking.search_tools("nothing such") == []


# --------------------------------------------------------------------------------------------------------------- agents

ANSWER = fields(reasoning="So it is.", Answer="sunny")
DONE = step("I know it.", "finish")


class Runs:
    """A hub whose agents have this model."""

    def __init__(self, *answers: Any, tools: Any = TOOLS) -> None:
        self.lm = ScriptedLM([*answers, DONE, ANSWER])
        self._tools = tools

    @contextlib.asynccontextmanager
    async def bridge(self) -> AsyncIterator[ToolBridge]:
        settings = Settings(shutdown_grace=0.0)
        async with (
            BridgeServer(tools=self._tools, agents={"lm": self.lm}, settings=settings) as server,
            server.bridge() as bridge,
        ):
            await bridge.initialize()
            yield bridge

    async def run(self, **options: Any) -> list[dict[str, Any]]:
        async with self.bridge() as bridge:
            agent_id = await bridge.create_react_agent("Question -> Answer", **options)
            chunks = bridge.execute_agent_streaming({"agent_id": agent_id, "input": {"Question": "How is it?"}})
            return [chunk async for chunk in chunks]

    def told(self, number: int) -> Prompt:
        """What the model read before its answer of this number."""
        return self.lm.prompts[number]


def outputs(chunks: list[dict[str, Any]]) -> list[Any]:
    return [chunk["output"] for chunk in chunks if chunk["type"] == "observation"]


async def test_an_agent_that_is_given_the_search_alone_calls_what_it_has_found() -> None:
    runs = Runs(
        step("I search.", "search_tools", query="weather in a city", limit=1),
        step("I ask.", "weather_now", city="Rome"),
    )
    chunks = await soon(runs.run(tool_names=["search_tools"]))
    first, second, _ = outputs(chunks)
    assert first.startswith("1 tool, the best match first:\n\nweather_now\nSays how the weather is in a city.")
    assert second == "sunny in Rome"
    assert chunks[-1]["stop_reason"] == "finished"
    # It is told of the search alone, then also of the tool that it has found.
    assert "weather_now" not in runs.told(0).system
    assert "search_tools" in runs.told(0).system
    assert "weather_now" in runs.told(1).system
    assert "weather_alerts" not in runs.told(1).text


async def test_an_agent_calls_nothing_that_it_has_not_found() -> None:
    runs = Runs(
        step("I guess.", "weather_now", city="Rome"),
        step("I search.", "search_tools", query="storms"),
        step("I guess again.", "weather_now", city="Rome"),
    )
    chunks = await soon(runs.run(tool_names=["search_tools", "count"]))
    before, _, after, _ = outputs(chunks)
    assert "there is no tool 'weather_now'; there are search_tools, count, finish; search_tools finds more" in before
    assert "there are search_tools, count, weather_alerts, finish" in after


async def test_a_filter_limits_what_an_agent_finds() -> None:
    for tool_filter in ("weather_", ["weather_*", "nothing"], lambda spec: spec.name.startswith("weather_")):
        runs = Runs(step("I search.", "search_tools", query="delete the weather of a file", limit=50))
        (listed, _) = outputs(await soon(runs.run(tool_names=["search_tools"], tool_filter=tool_filter)))
        names = [part.partition("\n")[0] for part in listed.split("\n\n")[1:]]
        assert sorted(names) == ["weather_alerts", "weather_now"]


async def test_wrong_arguments_of_the_search_are_told_to_the_model() -> None:
    wrong: list[dict[str, Any]] = [{}, {"query": "x", "words": 1}, {"query": 5}, {"query": "x", "limit": 1_000}]
    runs = Runs(*(step("I search.", "search_tools", **given) for given in wrong))
    seen = outputs(await soon(runs.run(tool_names=["search_tools"], max_iters=9)))
    for text, problem in zip(seen, ["needs a query", "not words", "query is 5", "up to 100"], strict=False):
        assert text.startswith("Execution error in search_tools: ValidationError: ")
        assert problem in text


async def test_a_tool_called_finish_is_not_found() -> None:
    runs = Runs(step("I search.", "search_tools", query="finish the weather", limit=9), tools=[*TOOLS, finish])
    (listed, _) = outputs(await soon(runs.run(tool_names=["search_tools"])))
    assert "\n\nfinish\n" not in listed
    assert "weather_now" in listed


async def test_a_tool_of_the_session_called_search_tools_is_meant_by_its_name(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "grpc_tool_bridge")
    runs = Runs(step("I look.", "search_tools", shed="the garden"), tools=[*TOOLS, search_tools])
    (seen, _) = outputs(await soon(runs.run(tool_names=["search_tools"])))
    assert seen == "a spade in the garden"
    assert "the session has a tool called search_tools, which the agent is given instead of the search" in caplog.text


async def test_a_search_of_some_tools_beside_a_tool_of_its_name_is_refused() -> None:
    async with Runs(tools=[*TOOLS, search_tools]).bridge() as bridge:
        with pytest.raises(AlreadyExistsError, match="rename that tool"):
            await bridge.create_react_agent("Question -> Answer", tool_names=["search_tools:weather_*"])


async def test_an_agent_is_given_the_tools_that_pass_a_filter() -> None:
    runs = Runs()
    await soon(runs.run(tool_filter="weather_*"))
    assert "weather_now" in runs.told(0).system
    assert "weather_alerts" in runs.told(0).system
    assert "files.delete" not in runs.told(0).system
    some = Runs()
    await soon(some.run(tool_names=["count", "weather_now"], tool_filter=lambda spec: "city" in spec.description))
    assert "weather_now" in some.told(0).system
    assert "count" not in some.told(0).system


async def test_a_filter_that_leaves_an_agent_without_a_tool_is_an_error() -> None:
    async with Runs().bridge() as bridge:
        for names in (None, ["count"], ["search_tools"]):
            with pytest.raises(NotFoundError, match="no tool that passes tool_filter, 'wether_\\*'"):
                await bridge.create_react_agent("Question -> Answer", names, tool_filter="wether_*")
        with pytest.raises(NotFoundError, match="no tool coutn; did you mean count"):
            await bridge.create_react_agent("Question -> Answer", ["coutn"], tool_filter="*")


async def test_the_definition_of_an_agent_counts_what_it_may_call(connect: Connect) -> None:
    async with Runs().bridge() as bridge:
        stub = bridge.client.stub
        counts = []
        for names in ([], ["count"], ["search_tools"], ["search_tools:weather_", "count"]):
            request = await _request(bridge, names)
            counts.append((await stub.CreateReActAgent(request)).tool_count)
    assert counts == [4, 1, 4, 4]


async def test_a_pattern_that_is_not_valid_is_refused_when_the_agent_is_created() -> None:
    async with Runs().bridge() as bridge:
        names = [f"search_tools:*{number}" for number in range(101)]
        with pytest.raises(ValidationError, match="101 patterns with wildcards"):
            await bridge.create_react_agent("Question -> Answer", tool_names=names)


async def _request(bridge: ToolBridge, names: list[str]) -> Any:
    from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb

    return pb.CreateReActAgentRequest(
        session_id=bridge.client.require_session(), signature="Question -> Answer", tool_names=names
    )
