"""Toolsets, marks and versions of tools, as those who list and call them meet them: over every transport."""

import warnings
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from grpc_tool_bridge import (
    AlreadyExistsError,
    BridgeServer,
    GRPCToolBridge,
    LocalToolBridge,
    NotFoundError,
    Settings,
    ToolBridge,
    ToolContext,
    ToolExecutionError,
    Toolset,
    ToolWorker,
    ValidationError,
    pipeline,
    step,
    tool,
)
from grpc_tool_bridge.testing import ScriptedLM
from grpc_tool_bridge.testing.model_script import fields
from grpc_tool_bridge.testing.model_script import step as react_step
from integration.connections import Connect
from support.waiting import soon, until


class Orders:
    def __init__(self, shop: str) -> None:
        self.shop = shop

    @tool(tags=["read"], idempotent=True)
    async def get(self, number: int) -> str:
        """Gets an order."""
        return f"{self.shop} {number}"

    @tool(tags=["write"])
    async def cancel(self, number: int) -> str:
        """Cancels an order."""
        return f"{self.shop} without {number}"


@tool(hidden=True, tags=["read"])
async def reset(what: str = "all") -> str:
    """Resets things."""
    return f"reset {what}"


@tool(hidden=True)
async def count(to: int) -> AsyncIterator[int]:
    for number in range(to):
        yield number


@tool(deprecated="use plus", tags=["math"])
async def sum_up(a: int, b: int) -> int:
    """Adds two numbers.

    Args:
        a: The one.
        b: The other.
    """
    return a + b


@tool(tags=["math", "read"])
async def plus(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


def made(version: str, *, name: str = "add") -> Any:
    async def add(a: int, b: int) -> str:
        return f"{version}: {a + b}"

    return tool(add, name=name, version=version)


def names(bridge: ToolBridge) -> list[str]:
    return sorted(bridge.tools)


# ------------------------------------------------------------------------------------------------------------ toolsets


async def test_one_class_is_offered_twice_under_two_prefixes(connect: Connect) -> None:
    world = await connect(Toolset(Orders("a"), "a."), Toolset(Orders("b"), "b.", tags=["new"]), plus.renamed("add"))
    assert names(world.bridge) == ["a.cancel", "a.get", "add", "b.cancel", "b.get"]
    assert await world.tools["a.get"](1) == "a 1"
    assert await world.bridge.call_tool("b.get", number=2) == "b 2"
    assert await world.tools["add"](1, 2) == 3
    assert list(world.bridge.tools.tagged("new")) == ["b.cancel", "b.get"]
    assert world.tools["a.get"].spec.idempotent
    with pytest.raises(ToolExecutionError, match="argument 'number': should be a valid integer"):
        await world.tools["a.get"]("x")


async def test_two_tools_of_a_name_are_refused_whatever_set_they_come_from() -> None:
    with pytest.raises(AlreadyExistsError, match=r"a tool named 'o\.get' already"):
        LocalToolBridge([Toolset(Orders("a"), "o."), Toolset(Orders("b"), "o.")])
    with pytest.raises(AlreadyExistsError, match=r"this worker has a tool named 'o\.get' already"):
        ToolWorker("127.0.0.1:1", [Toolset(Orders("a"), "o."), Toolset(Orders("b"), "o.")])
    with pytest.raises(AlreadyExistsError, match="this worker has a tool named 'add' already, and only one of the two"):
        ToolWorker("127.0.0.1:1", [made("1"), made("")])


async def test_a_worker_offers_its_tools_under_a_prefix() -> None:
    async with (
        BridgeServer(tools=[plus], settings=Settings(shutdown_grace=0)) as server,
        ToolWorker(server.address, [plus, Toolset(Orders("w"), "orders.")], prefix="w."),
        GRPCToolBridge(server.address) as bridge,
    ):
        await bridge.initialize()
        assert names(bridge) == ["plus", "w.orders.cancel", "w.orders.get", "w.plus"]
        assert await soon(bridge.tools["w.orders.get"](3)) == "w 3"
        assert await soon(bridge.tools["w.plus"](3, 4)) == 7


@pytest.mark.parametrize("prefix", ["two words", "a@", "x" * 129, None, 3])
async def test_a_prefix_that_names_cannot_begin_with_is_refused(prefix: Any) -> None:
    with pytest.raises(ValidationError, match=r"prefix is .*; it must be the beginning of names"):
        ToolWorker("127.0.0.1:1", [plus], prefix=prefix)
    with pytest.raises(ValidationError, match="prefix is"):
        Toolset(Orders("a"), prefix)


# --------------------------------------------------------------------------------------------------------------- marks


async def test_a_hidden_tool_is_in_no_list_and_no_search_and_is_called_by_its_name(connect: Connect) -> None:
    world = await connect(reset, plus, count)
    bridge = world.bridge
    assert names(bridge) == ["plus"]
    assert "reset" not in bridge.tools
    assert [found.name for found in await bridge.search_tools("resets things")] == []
    assert [found.name for found in await bridge.search_tools("", tags=["read"])] == ["plus"]
    assert await bridge.call_tool("reset", "disk") == "reset disk"
    assert await bridge.execute_batch([{"tool_id": "reset"}]) == ["reset all"]
    assert await bridge.call_tool("count", 2) == [0, 1]


async def test_a_hidden_tool_has_its_whole_proxy_by_its_name() -> None:
    async with LocalToolBridge([reset, plus, count, pipeline("both", "Both.", [step("reset")])]) as bridge:
        await bridge.initialize()
        assert str(bridge.tools["reset"]).startswith("<AsyncGRPCProxyTool reset(what: str = 'all')")
        assert [number async for number in bridge.tools["count"].stream(2)] == [0, 1]
        assert list(bridge.tools.hidden) == ["count", "reset"]
        assert await bridge.tools["both"]() == "reset all"
        with pytest.raises(KeyError, match="no tool 'nothing'"):
            bridge.tools["nothing"]


async def test_a_tool_that_becomes_hidden_leaves_the_lists() -> None:
    changes: list[tuple[str, str]] = []
    async with LocalToolBridge([plus], on_tools_changed=lambda *change: changes.append(change)) as bridge:
        await bridge.initialize()
        proxy = bridge.tools["plus"]
        bridge.hub.registry.unregister("", ["plus"])
        bridge.hub.registry.register_batch("", [tool(plus.function, name="plus", hidden=True)])
        await until(lambda: "plus" in bridge.tools.hidden)
        assert changes == [("removed", "plus")]
        assert bridge.tools["plus"] is proxy
        bridge.hub.registry.unregister("", ["plus"])
        bridge.hub.registry.register_batch("", [plus])
        await until(lambda: "plus" in bridge.tools)
        assert changes == [("removed", "plus"), ("added", "plus")]
        assert bridge.tools["plus"] is proxy


async def test_a_deprecated_tool_says_so_wherever_it_is_seen_and_warns_once(connect: Connect) -> None:
    world = await connect(sum_up)
    proxy = world.tools["sum_up"]
    assert str(proxy.__doc__).startswith("Deprecated: use plus\n\nAdds two numbers.")
    assert repr(proxy).endswith(", deprecated: use plus>")
    with pytest.warns(DeprecationWarning, match="^the tool sum_up is deprecated: use plus$") as caught:
        assert await proxy(1, 2) == 3
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert await proxy(1, 2) == 3
        assert await world.bridge.call_tool("sum_up", 1, 2) == 3
        assert await proxy.with_options(timeout=5)(1, 2) == 3
        assert [value async for value in proxy.stream(1, 2)] == [3]


async def streamed(bridge: ToolBridge) -> Any:
    return [value async for value in bridge.tools["sum_up"].stream(1, 2)]


async def with_options(bridge: ToolBridge) -> Any:
    return [await bridge.tools["sum_up"].with_options(metadata={"a": "b"})(1, 2)]


async def executed(bridge: ToolBridge) -> Any:
    return [await bridge.call_tool("sum_up", 1, 2)]


async def in_a_batch(bridge: ToolBridge) -> Any:
    return await bridge.execute_batch([{"tool_id": "sum_up", "args": [1, 2]}])


@pytest.mark.parametrize("call", [streamed, with_options, executed, in_a_batch])
async def test_every_way_to_call_a_deprecated_tool_warns(call: Any) -> None:
    async with LocalToolBridge([sum_up]) as bridge:
        await bridge.initialize()
        with pytest.warns(DeprecationWarning, match="sum_up is deprecated: use plus") as caught:
            assert await call(bridge) == [3]
        assert caught[0].filename == __file__


async def test_tags_choose_in_lists_and_in_searches(connect: Connect) -> None:
    world = await connect(Toolset(Orders("a"), "o.", tags=["shop"]), plus, sum_up)
    bridge = world.bridge
    assert list(bridge.tools.tagged("read")) == ["o.get", "plus"]
    assert list(bridge.tools.tagged("read", "shop")) == ["o.get"]
    assert [found.name for found in await bridge.search_tools("order", tags=["write"])] == ["o.cancel"]
    assert [found.name for found in await bridge.search_tools("", tool_filter="tag:shop+read")] == ["o.get"]
    assert [found.name for found in await bridge.search_tools("", tool_filter=["plus", "tag:write"])] == [
        "o.cancel",
        "plus",
    ]
    assert [found.name for found in await bridge.search_tools("", tool_filter="o.", tags=["read"])] == ["o.get"]
    with pytest.raises(ValidationError, match="a tag is 1 to 64 letters"):
        await bridge.search_tools("", tags=["a b"])
    with pytest.raises(ValidationError, match="tags is 'read'; it must be a list of texts"):
        await bridge.search_tools("", tags="read")


# ----------------------------------------------------------------------------------------------- frameworks and agents


def function_names(bridge: ToolBridge, *names: str, **options: Any) -> list[str]:
    return [item["function"]["name"] for item in bridge.openai_tools(*names, **options)]


async def test_a_framework_is_given_what_is_for_models_and_the_rest_by_name() -> None:
    async with LocalToolBridge([reset, plus, sum_up, made("1"), made("2")]) as bridge:
        await bridge.initialize()
        assert function_names(bridge) == ["add", "plus"]
        assert function_names(bridge, "reset", "add@1", "sum_up") == ["reset", "add_1", "sum_up"]
        assert function_names(bridge, tags=["math"]) == ["plus"]
        assert function_names(bridge, tool_filter=["sum_up", "add*"]) == ["add", "sum_up"]
        assert function_names(bridge, "reset", "plus", tags=["read"]) == ["reset", "plus"]
        (told,) = bridge.openai_tools("sum_up")
        assert told["function"]["description"].startswith("Deprecated: use plus")
        with pytest.raises(NotFoundError, match="no tool that passes tool_filter, 'tag:nothing'"):
            bridge.openai_tools(tags=["nothing"])
        calls = [
            {"id": "1", "type": "function", "function": {"name": "add_1", "arguments": '{"a": 1, "b": 2}'}},
            {"id": "2", "type": "function", "function": {"name": "reset", "arguments": "{}"}},
        ]
        answers = await bridge.run_openai_tool_calls(calls)
        assert [answer["content"] for answer in answers] == ["1: 3", "reset all"]


async def test_the_search_of_a_model_finds_what_is_for_models() -> None:
    async with LocalToolBridge([reset, plus, sum_up, made("1"), made("2")]) as bridge:
        await bridge.initialize()
        search = {"id": "1", "type": "function", "function": {"name": "search_tools", "arguments": '{"query": ""}'}}
        (all_of_them,) = await bridge.run_openai_tool_calls([search], search=True)
        (tagged,) = await bridge.run_openai_tool_calls([search], search=True, tags=["math"])
        assert all_of_them["content"].startswith("2 tools")
        assert "add@1" not in all_of_them["content"]
        assert tagged["content"].startswith("1 tool,")
        assert "plus" in tagged["content"]


async def told(tool_names: list[str] | None = None, *answers: Any, **options: Any) -> tuple[str, str]:
    """Runs an agent; returns what its model was told at first, and at last."""
    lm = ScriptedLM([*answers, react_step("I know.", "finish"), fields(reasoning="So it is.", Answer="yes")])
    tools = [reset, plus, sum_up, made("1"), made("2")]
    async with (
        BridgeServer(tools=tools, agents={"lm": lm}, settings=Settings(shutdown_grace=0)) as server,
        server.bridge() as bridge,
    ):
        await bridge.initialize()
        agent_id = await bridge.create_react_agent("Question -> Answer", tool_names, **options)
        run = bridge.execute_agent_streaming({"agent_id": agent_id, "input": {"Question": "Is it?"}})
        assert [chunk["type"] async for chunk in run][-1] == "result"
    return lm.prompts[0].system, lm.prompts[-2].text


async def test_an_agent_is_given_what_is_for_models_and_the_rest_by_name() -> None:
    first, _ = await soon(told())
    assert "plus" in first
    assert "add@1" not in first
    assert "sum_up" not in first
    assert "reset" not in first
    named, _ = await soon(told(["reset", "sum_up", "add@1"]))
    assert "plus " not in named.replace("use plus", "")
    assert "Deprecated: use plus" in named
    assert "reset" in named
    assert "add@1" in named
    tagged, _ = await soon(told(tags=["math"]))
    assert "plus" in tagged
    assert "'add'" not in tagged


async def test_an_agent_finds_what_has_a_tag_and_is_for_models() -> None:
    search = react_step("I search.", "search_tools", query="reset or add numbers", limit=50)
    _, last = await soon(told(["search_tools"], search, tags=["math"]))
    assert "1 tool, the best match first" in last
    _, last = await soon(told(["search_tools"], search))
    assert "2 tools, the best match first" in last


# ------------------------------------------------------------------------------------------------------------- versions


async def test_two_versions_stand_side_by_side_and_the_plain_name_is_the_newest(connect: Connect) -> None:
    world = await connect(made("1.10"), made("1.9"))
    bridge = world.bridge
    assert names(bridge) == ["add", "add@1.9"]
    assert await bridge.tools["add"](1, 2) == "1.10: 3"
    assert await bridge.tools["add@1.9"](1, 2) == "1.9: 3"
    assert await bridge.tools["add@1.10"](1, 2) == "1.10: 3"
    assert [await bridge.call_tool(name, 1, 2) for name in ("add", "add@1.9", "add@1.10")] == [
        "1.10: 3",
        "1.9: 3",
        "1.10: 3",
    ]
    items = [{"tool_id": name, "args": [1, 2]} for name in ("add@1.9", "add@1.10")]
    assert await bridge.execute_batch(items) == ["1.9: 3", "1.10: 3"]
    assert [value async for value in bridge.tools["add@1.9"].stream(1, 2)] == ["1.9: 3"]
    with pytest.raises(ToolExecutionError, match=r"sees no tool 'add@2'; did you mean add"):
        await bridge.call_tool("add@2", 1, 2)
    assert [found.name for found in await bridge.search_tools("add")] == ["add"]


async def test_watches_tell_what_each_name_means_now(connect: Connect) -> None:
    world = await connect(made("1"))
    changes: list[tuple[str, str]] = []
    bridge = await world.attach(on_tools_changed=lambda *change: changes.append(change))
    pinned = bridge.tools["add@1"]
    world.hub.registry.register_batch("", [made("2")])
    await until(lambda: changes == [("changed", "add"), ("added", "add@1")])
    assert bridge.tools["add@1"] is pinned
    assert await pinned(1, 2) == "1: 3"
    assert await bridge.tools["add"](1, 2) == "2: 3"
    world.hub.registry.unregister("", ["add"])
    await until(lambda: sorted(changes[2:]) == [("changed", "add"), ("removed", "add@1")])
    assert names(bridge) == ["add"]
    assert await bridge.tools["add"](1, 2) == "1: 3"


async def test_a_watch_that_resumes_learns_of_the_version_that_has_become_older(connect: Connect) -> None:
    world = await connect(made("1"))
    registry, session = world.hub.registry, world.hub.store.find(world.session_id)
    before = registry.revision(session)
    registry.register_batch("", [made("2")])
    changes = registry.watch(session, before)
    told = [await soon(anext(changes)) for _ in range(2)]
    assert sorted((change.operation, change.tool.name, change.tool.version) for change in told if change.tool) == [
        ("added", "add", "2"),
        ("added", "add@1", "1"),
    ]
    await changes.aclose()


async def test_a_session_s_own_tool_hides_all_versions_of_the_hub_s(connect: Connect) -> None:
    world = await connect(made("1"), made("2"))
    bridge = world.bridge
    world.hub.registry.register_batch(world.session_id, [made("mine")])
    await until(lambda: names(bridge) == ["add"])
    assert await bridge.call_tool("add", 1, 2) == "mine: 3"
    with pytest.raises(ToolExecutionError, match="ToolNotFound"):
        await bridge.call_tool("add@1", 1, 2)
    assert world.hub.registry.count(world.hub.store.find(world.session_id)) == 1
    world.hub.registry.unregister(world.session_id, ["add"])
    await until(lambda: names(bridge) == ["add", "add@1"])
    assert await bridge.call_tool("add@1", 1, 2) == "1: 3"


@pytest.fixture
async def fleet() -> AsyncIterator[Any]:
    """Starts workers of one hub, and gives a bridge to it."""
    async with AsyncExitStack() as stack:
        settings = Settings(shutdown_grace=0, worker_grace_period=0.01)
        server = await stack.enter_async_context(BridgeServer(settings=settings))

        async def start(*tools: Any) -> ToolWorker:
            return await stack.enter_async_context(ToolWorker(server.address, tools, settings=settings))

        bridge = await stack.enter_async_context(GRPCToolBridge(server.address))
        await bridge.initialize()
        yield start, bridge


async def test_workers_of_two_versions_and_a_worker_of_both_are_each_called_for_what_they_run(fleet: Any) -> None:
    start, bridge = fleet
    await start(made("1"))
    newest = await start(made("2"))
    await until(lambda: names(bridge) == ["add", "add@1"])
    # What it registers is there already, so that its calls are shared out among the workers of each version.
    await start(made("2"), made("1"))
    for _ in range(4):
        assert [await bridge.call_tool(name, 1, 2) for name in ("add", "add@1", "add@2")] == [
            "2: 3",
            "1: 3",
            "2: 3",
        ]
        assert [value async for value in bridge.tools["add@1"].stream(1, 2)] == ["1: 3"]
    large = "x" * 100_000
    with pytest.raises(ToolExecutionError, match="argument 'a'"):
        await bridge.call_tool("add@1", large, 2)
    await newest.close()
    assert await soon(bridge.call_tool("add", 1, 2)) == "2: 3"


async def test_a_worker_runs_what_the_plain_name_means_at_the_hub(fleet: Any) -> None:
    start, bridge = fleet
    others = [await start(made("spring")), await start(made("autumn"))]
    # Of versions that do not compare the last one is the newest: for this worker alone, that would be the other one.
    await start(made("autumn"), made("spring"))
    for other in others:
        await other.close()
    await until(lambda: names(bridge) == ["add", "add@spring"])
    assert [await soon(bridge.call_tool(name, 1, 2)) for name in ("add", "add@autumn", "add@spring")] == [
        "autumn: 3",
        "autumn: 3",
        "spring: 3",
    ]
    assert [value async for value in bridge.tools["add"].stream(1, 2)] == ["autumn: 3"]
    assert await soon(bridge.execute_batch([{"tool_id": "add", "args": [1, 2]}])) == ["autumn: 3"]


async def test_without_the_newest_version_s_workers_the_plain_name_is_the_one_before(fleet: Any) -> None:
    start, bridge = fleet
    await start(made("1"))
    newest = await start(made("2"))
    await until(lambda: names(bridge) == ["add", "add@1"])
    await newest.close()
    await until(lambda: names(bridge) == ["add"])
    assert await soon(bridge.call_tool("add", 1, 2)) == "1: 3"
    assert bridge.tools["add"].spec.version == "1"


async def test_one_version_with_another_schema_is_refused_and_the_same_one_is_a_replica(fleet: Any) -> None:
    start, bridge = fleet

    @tool(name="add", version="1")
    async def other(a: int) -> str:
        return str(a)

    await start(made("1"))
    with pytest.raises(AlreadyExistsError, match="from 1 other workers, with another schema"):
        await start(other)
    with pytest.raises(AlreadyExistsError, match="only one of the two has a version"):
        await start(tool(other.function, name="add"))
    await start(made("1"))
    assert await soon(bridge.call_tool("add@1", 1, 2)) == "1: 3"


async def test_marks_of_a_replica_may_differ(fleet: Any) -> None:
    start, bridge = fleet

    async def add(a: int, b: int) -> int:
        return a + b

    await start(tool(add, tags=["old"]))
    await start(tool(add, tags=["new"], deprecated="use plus"))
    assert await soon(bridge.call_tool("add", 1, 2)) == 3


async def test_answers_that_are_kept_are_those_of_the_version_that_gave_them(connect: Connect) -> None:
    world = await connect(made("1"))
    keyed = {"idempotency_key": "k"}
    assert await world.tools["add"].with_options(**keyed)(1, 2) == "1: 3"
    world.hub.registry.register_batch("", [made("2")])
    # It is the answer to the same call, though another version would run now.
    assert await world.tools["add"].with_options(**keyed)(1, 2) == "1: 3"
    assert await world.bridge.call_tool("add", 1, 2) == "2: 3"


async def test_what_is_counted_is_told_apart_by_the_name_that_was_called(connect: Connect) -> None:
    world = await connect(made("1"), made("2"))
    for name in ("add", "add", "add@1"):
        await world.bridge.call_tool(name, 1, 2)
    await world.quiet()
    counted = await world.bridge.client.get_metrics("tool.add*")
    assert {name: metric.integer_value for name, metric in counted.items() if name.endswith(".calls")} == {
        "tool.add.calls": 2,
        "tool.add@1.calls": 1,
    }


async def test_each_version_has_limits_and_a_breaker_of_its_own() -> None:
    @tool(name="add", version="1", breaker={"failures": 1, "seconds": 60})
    async def failing() -> str:
        raise LookupError("no")

    async with LocalToolBridge([failing, tool(name="add", version="2")(lambda: "fine")]) as bridge:
        await bridge.initialize()
        for _ in range(2):
            with pytest.raises(ToolExecutionError):
                await bridge.call_tool("add@1")
        assert await bridge.call_tool("add") == "fine"
        held = await bridge.client.get_metrics("breaker.*")
        assert held["breaker.add@1.state"].string_value == "open"
        assert "breaker.add.state" not in held


async def test_a_tool_calls_a_version_of_another_and_a_pipeline_does() -> None:
    @tool
    async def ask(context: ToolContext) -> str:
        return str(await context.call_tool("add@1", 1, 2))

    both = pipeline("both", "Calls an old one.", [step("add@1", a=1, b=2)])
    async with LocalToolBridge([made("1"), made("2"), both, ask]) as bridge:
        await bridge.initialize()
        assert await bridge.tools["both"]() == "1: 3"
        assert await bridge.tools["ask"]() == "1: 3"


async def test_a_nested_call_of_itself_under_its_version_does_not_wait_for_itself(connect: Connect) -> None:
    @tool(version="1", limits={"max_concurrent_calls": 1})
    async def dig(depth: int, context: ToolContext) -> int:
        return 0 if not depth else 1 + int(await context.call_tool("dig@1" if depth % 2 else "dig", depth - 1))

    world = await connect(dig)
    assert await soon(world.tools["dig"](3)) == 3
