"""Tools that come and go while bridges are open, over every transport."""

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from grpc_tool_bridge import (
    BridgeServer,
    GRPCToolBridge,
    LocalToolBridge,
    Settings,
    StreamingGRPCProxyTool,
    ToolBridge,
    ToolExecutionError,
    tool,
)
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    InitializeSessionResponse,
    StatusResponse,
    ToolSpec,
)
from grpc_tool_bridge.testing import MockBridgeServer
from integration.connections import Connect, RemoteBridge, World
from support.patience import PATIENCE
from support.waiting import soon, until


def add(a: int, b: int) -> int:
    """Adds two."""
    return a + b


@tool(name="add")
def add_with_carry(a: int, b: int, carry: bool) -> int:
    """Adds two, and one more where there is a carry."""
    return a + b + carry


def greet(name: str) -> str:
    return f"Hello, {name}"


def count(limit: int) -> list[int]:
    """Gives the list."""
    return list(range(limit))


@tool(name="count")
async def count_one_by_one(limit: int) -> AsyncIterator[int]:
    for number in range(limit):
        yield number


class Changes:
    """Hears of the changes of a bridge's tools, and waits for one."""

    def __init__(self) -> None:
        self._told: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

    def __call__(self, operation: str, name: str) -> None:
        self._told.put_nowait((operation, name))

    async def next(self) -> tuple[str, str]:
        change: tuple[str, str] = await soon(self._told.get())
        return change


async def heard(world: World, **options: Any) -> tuple[ToolBridge, Changes]:
    """Opens a bridge whose changes are heard; the hub has the watch when this is done."""
    changes = Changes()
    bridge = await world.attach(on_tools_changed=changes, **options)
    await followed(world, bridge)
    return bridge, changes


async def followed(world: World, bridge: ToolBridge, clients: int = 1) -> None:
    session = world.hub.store.peek(bridge.client.require_session())
    await until(lambda: session.tool_watches == clients)


def change(world: World, *tools: Callable[..., Any], away: tuple[str, ...] = (), session_id: str = "") -> None:
    """Removes and registers tools, so that no session sees anything between."""
    world.hub.registry.unregister(session_id, away)
    world.hub.registry.register_batch(session_id, tools)


async def refusal(call: Any) -> ToolExecutionError:
    with pytest.raises(ToolExecutionError) as caught:
        await soon(call)
    return caught.value


# ---------------------------------------------------------------------------------------------------- the tools


async def test_tools_that_are_registered_later_can_be_called(connect: Connect) -> None:
    world = await connect(add)
    bridge, changes = await heard(world)
    tools = bridge.tools
    change(world, greet)
    assert await changes.next() == ("added", "greet")
    change(world, count, session_id=bridge.client.require_session())
    assert await changes.next() == ("added", "count")
    assert bridge.tools is tools
    assert await tools["greet"]("you") == "Hello, you"
    assert await tools["count"](2) == [0, 1]


async def test_the_first_tool_that_a_hub_ever_has_is_seen(connect: Connect) -> None:
    for steps in range(20):
        world = await connect()
        for _ in range(steps):
            await asyncio.sleep(0)
        change(world, greet)
        await until(lambda: "greet" in world.tools)  # noqa: B023 - awaited here


async def test_what_is_registered_for_one_session_is_seen_by_no_other(connect: Connect) -> None:
    world = await connect(add)
    bridge, changes = await heard(world)
    other, of_other = await heard(world)
    change(world, count, session_id=bridge.client.require_session())
    assert await changes.next() == ("added", "count")
    change(world, greet)
    assert await changes.next() == await of_other.next() == ("added", "greet")
    assert sorted(other.tools) == ["add", "greet"]


async def test_a_held_tool_takes_on_the_new_signature(connect: Connect) -> None:
    world = await connect(add)
    bridge, changes = await heard(world)
    held = bridge.tools["add"]
    quick = held.with_options(timeout=5)
    assert await held(1, 2) == 3
    change(world, add_with_carry, away=("add",))
    assert await changes.next() == ("changed", "add")
    assert bridge.tools["add"] is held
    for proxy in (held, quick):
        assert list(inspect.signature(proxy).parameters) == ["a", "b", "carry"]
        assert proxy.__doc__ == "Adds two, and one more where there is a carry."
        assert await proxy(1, 2, carry=True) == 4


async def test_a_call_that_was_right_before_the_change_is_told_of_it(connect: Connect) -> None:
    world = await connect(add)
    bridge, changes = await heard(world)
    held = bridge.tools["add"]
    change(world, add_with_carry, away=("add",))
    await changes.next()
    expected = (
        "; the tool has changed since its proxy was made: it was add(a: int, b: int), "
        "it is now add(a: int, b: int, carry: bool)"
    )
    (in_batch,) = await bridge.execute_batch([{"tool_id": "add", "args": [1, 2]}])
    in_stream = [await refusal(anext(held.stream(1, 2)))]
    for error in (await refusal(held(1, 2)), await refusal(bridge.call_tool("add", 1, 2)), in_batch, *in_stream):
        assert error.error_type == "ValidationError"
        assert error.message.endswith(expected)
        assert "carry" in error.message.removesuffix(expected)
        assert (error.details["origin"], error.details["changed"]) == ("bridge", "true")


async def test_a_tool_that_is_removed_is_missed_with_the_reason_until_it_is_back(connect: Connect) -> None:
    world = await connect(add, greet)
    bridge, changes = await heard(world)
    held = bridge.tools["add"]
    change(world, away=("add",))
    assert await changes.next() == ("removed", "add")
    assert list(bridge.tools) == ["greet"]
    with pytest.raises(KeyError, match="the session has no tool 'add'"):
        bridge.tools["add"]
    for call in (held(1, 2), anext(held.stream(1, 2))):
        error = await refusal(call)
        assert error.error_type == "ToolNotFound"
        assert error.message.endswith("sees no tool 'add'; it was removed from the session")
    change(world, add)
    assert await changes.next() == ("added", "add")
    assert bridge.tools["add"] is held
    assert await held(1, 2) == 3


async def test_a_held_tool_that_begins_to_yield_gives_its_values(connect: Connect) -> None:
    world = await connect(count)
    bridge, changes = await heard(world)
    held = bridge.tools["count"]
    assert await held(2) == [0, 1]
    change(world, count_one_by_one, away=("count",))
    assert await changes.next() == ("changed", "count")
    assert isinstance(held, StreamingGRPCProxyTool)
    assert [value async for value in held.stream(2)] == await held(2) == [0, 1]


async def test_what_changes_while_a_bridge_opens_its_session_is_not_missed(connect: Connect) -> None:
    world = await connect()
    for number in range(20):
        bridge = world.make_bridge()
        opening = asyncio.create_task(bridge.initialize())
        for _ in range(number):
            await asyncio.sleep(0)
        change(world, greet)
        await soon(opening)
        await until(lambda: "greet" in bridge.tools)  # noqa: B023 - awaited here
        change(world, away=("greet",))
        await until(lambda: "greet" not in bridge.tools)  # noqa: B023 - likewise
        await bridge.close()


# -------------------------------------------------------------------------------------------------- the session


async def test_following_is_no_operation_and_keeps_no_session_from_being_idle(connect: Connect) -> None:
    world = await connect(add)
    bridge, _ = await heard(world)
    assert await world.active_operations(bridge) == 0
    session = world.hub.store.peek(bridge.client.require_session())
    assert not session.watches
    await bridge._tasks.aclose()
    await until(lambda: session.tool_watches == 0)


# Over a link, the link itself shows that somebody is there.
@pytest.mark.parametrize("connect", ["local", "grpc"], indirect=True)
async def test_a_session_that_only_follows_its_tools_expires(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    world = await connect(add, session_idle_timeout=0.5)
    bridge = world.bridge
    session = world.hub.store.peek(world.session_id)
    assert bridge._beating is not None
    bridge._beating.cancel()
    await until(lambda: world.hub.store.sessions() == [])
    await until(lambda: not session.tool_watches)
    assert list(bridge.tools) == ["add"]
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


async def test_more_clients_of_a_session_than_may_watch_it_go_on_without(connect: Connect) -> None:
    world = await connect(add, max_session_watches=2)
    (first, of_first), second = await heard(world, session_id="s"), await world.attach("s")
    await followed(world, second, clients=2)
    third = await world.attach("s")
    assert third._following is not None
    await soon(third._following)
    change(world, greet)
    assert await of_first.next() == ("added", "greet")
    await until(lambda: "greet" in second.tools)
    assert list(third.tools) == ["add"]
    assert await third.tools["add"](1, 2) == await first.tools["add"](1, 2) == 3


async def test_another_session_of_a_bridge_is_followed_in_place_of_the_one_before(connect: Connect) -> None:
    world = await connect(add)
    bridge, changes = await heard(world, session_id="first", keep_session=True)
    tools, held = bridge.tools, bridge.tools["add"]
    await bridge.initialize("second")
    first, second = world.hub.store.peek("first"), world.hub.store.peek("second")
    await until(lambda: (first.tool_watches, second.tool_watches) == (0, 1))
    change(world, greet, session_id="first")
    change(world, count, session_id="second")
    assert await changes.next() == ("added", "count")
    assert (bridge.tools, bridge.tools["add"]) == (tools, held)
    assert sorted(tools) == ["add", "count"]


async def test_a_bridge_that_does_not_follow_leaves_its_tools_as_they_were(connect: Connect) -> None:
    world = await connect(add)
    bridge = await world.attach(follow_tools=False)
    held = bridge.tools["add"]
    change(world, add_with_carry, greet, away=("add",))
    error = await refusal(held(1, 2))
    assert error.error_type == "ValidationError"
    assert "changed since" not in error.message
    assert list(bridge.tools) == ["add"]
    assert not world.hub.store.peek(bridge.client.require_session()).tool_watches
    assert sorted(await bridge.client.refresh_tools()) == ["add", "greet"]
    assert "it was add(a: int, b: int), it is now" in (await refusal(held(1, 2))).message


async def test_a_bridge_that_is_closed_at_once_leaves_nothing_behind(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    world = await connect(add)
    for steps in range(12):
        bridge = await world.attach()
        for _ in range(steps):
            await asyncio.sleep(0)
        await bridge.close()
    await until(lambda: len(world.hub.store) == 1)
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


# ------------------------------------------------------------------------------------------------------ the hub


async def test_a_bridge_follows_at_the_hub_that_comes_next(remote_bridge: RemoteBridge) -> None:
    changes = Changes()
    settings = Settings(shutdown_grace=0)
    async with BridgeServer(tools=[add, greet], settings=settings) as server:
        bridge = remote_bridge(server.address, on_tools_changed=changes)
        await bridge.initialize("s")
        await until(lambda: server.hub.store.peek("s").tool_watches == 1)
    tools, held = bridge.tools, bridge.tools["add"]
    async with BridgeServer(server.address, [add_with_carry, count], settings=settings) as server:
        # A bridge over plain RPC does not begin its session anew, but another client of it may.
        async with server.bridge(keep_session=True) as other:
            await other.initialize("s")
        assert [await changes.next() for _ in range(3)] == [
            ("removed", "greet"),
            ("changed", "add"),
            ("added", "count"),
        ]
        await until(lambda: server.hub.store.peek("s").tool_watches == 1)
        server.hub.registry.register_batch("", [greet])
        assert await changes.next() == ("added", "greet")
        assert bridge.tools is tools
        assert await held(1, 2, carry=True) == 4
        await bridge.close()


async def test_a_hub_within_the_program_is_followed() -> None:
    changes = Changes()
    async with LocalToolBridge([add], on_tools_changed=changes) as bridge:
        await bridge.initialize()
        bridge.hub.registry.register_batch("", [greet])
        assert await changes.next() == ("added", "greet")
        assert await bridge.tools["greet"]("you") == "Hello, you"


async def test_a_hub_that_offers_no_watch_is_used_as_before(
    remote_bridge: RemoteBridge, caplog: pytest.LogCaptureFixture
) -> None:
    with MockBridgeServer() as server:
        opened = InitializeSessionResponse(success=True, session_id="s", tools=[ToolSpec(name="add")])
        server.set_response("InitializeSession", opened)
        server.set_response("CleanupSession", StatusResponse(success=True))
        async with remote_bridge(server.address) as bridge:
            await bridge.initialize()
            assert bridge._following is not None
            await soon(bridge._following)
            assert list(bridge.tools) == ["add"]
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


def test_a_caller_without_an_event_loop_sees_the_tools_as_they_are_now() -> None:
    with LocalToolBridge([add]).sync as bridge:
        bridge.initialize()
        held = bridge.tools["add"]

        async def change_it() -> None:
            added = asyncio.Event()
            target: Any = bridge._target
            target.client.on_tools_changed = lambda operation, name: added.set()
            target.hub.registry.unregister("", ["add"])
            target.hub.registry.register_batch("", [add_with_carry])
            await soon(added.wait())

        asyncio.run_coroutine_threadsafe(change_it(), bridge._loop).result(PATIENCE)
        assert held(1, 2, carry=True) == 4
        assert bridge.tools["add"](1, 2, carry=False) == 3


async def test_a_bridge_that_was_closed_keeps_the_tools_that_it_had() -> None:
    async with BridgeServer(tools=[add]) as server:
        bridge = GRPCToolBridge(server.address)
        await bridge.initialize()
        await bridge.close()
        server.hub.registry.register_batch("", [greet])
        assert list(bridge.tools) == ["add"]
