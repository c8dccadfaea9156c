"""Opening, sharing, keeping and ending sessions, over every transport."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from grpc_tool_bridge import (
    ProtocolError,
    SessionConfig,
    SessionExpiredError,
    ToolExecutionError,
)
from integration.connections import Connect


def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


async def test_a_new_session_gets_an_id_and_sees_the_tools(connect: Connect) -> None:
    world = await connect(add)
    assert world.bridge.session_id
    assert set(world.tools) == {"add"}
    assert await world.tools["add"](2, 3) == 5


async def test_a_session_keeps_the_id_and_the_metadata_that_its_creator_gave(connect: Connect) -> None:
    world = await connect(add)
    bridge = await world.attach("report 7", metadata={"owner": "tests"})
    info = await bridge.client.session_info()
    assert bridge.session_id == info.session_id == "report 7"
    assert dict(info.metadata) == {"owner": "tests"}
    assert info.tool_count == 1


async def test_session_info_counts_variables_and_tells_when_the_session_was_used(connect: Connect) -> None:
    world = await connect(add)
    await world.variables.set_variable("x", 1)
    info = await world.bridge.client.session_info()
    assert info.variable_count == 1
    assert info.active_operations == 0
    now = datetime.now(UTC)
    created, used = info.created_at.ToDatetime(UTC), info.last_activity.ToDatetime(UTC)
    assert now - timedelta(minutes=1) < created <= used + timedelta(milliseconds=50) <= now + timedelta(seconds=1)


async def test_a_known_id_attaches_to_the_same_session(connect: Connect) -> None:
    world = await connect(add)
    first = await world.attach("shared")
    await first.session_context.set_variable("x", [1, 2])
    second = await world.attach("shared")
    assert (first.client.created_session, second.client.created_session) == (True, False)
    assert await second.session_context.get_variable("x") == [1, 2]


async def test_closing_the_creator_ends_the_session_for_all(connect: Connect) -> None:
    world = await connect(add)
    first = await world.attach("shared")
    second = await world.attach("shared")
    await first.close()
    with pytest.raises(ToolExecutionError) as caught:
        await second.tools["add"](1, 2)
    assert caught.value.error_type == "SessionExpired"
    with pytest.raises(SessionExpiredError):
        await second.session_context.get_variable("x")


async def test_closing_one_that_attached_leaves_the_session(connect: Connect) -> None:
    world = await connect(add)
    first = await world.attach("shared")
    second = await world.attach("shared")
    await second.close()
    assert await first.tools["add"](1, 2) == 3


async def test_keep_session_leaves_the_session_to_others(connect: Connect) -> None:
    world = await connect(add)
    first = await world.attach("kept", keep_session=True)
    await first.session_context.set_variable("x", "still here")
    await first.close()
    second = await world.attach("kept")
    assert not second.client.created_session
    assert await second.session_context.get_variable("x") == "still here"


async def test_async_with_ends_the_session_that_was_opened_inside(connect: Connect) -> None:
    world = await connect(add)
    async with world.make_bridge() as bridge:
        await bridge.initialize("inside")
        assert await bridge.call_tool("add", 1, 1) == 2
    assert "inside" not in {session.id for session in world.hub.store.sessions()}


async def test_initialize_with_another_id_leaves_the_first_session(connect: Connect) -> None:
    world = await connect(add)
    bridge = await world.attach("first")
    await bridge.initialize("second")
    ids = {session.id for session in world.hub.store.sessions()}
    assert "second" in ids
    assert "first" not in ids


async def test_a_session_that_is_initialized_twice_still_ends_with_its_creator(connect: Connect) -> None:
    world = await connect(add)
    async with world.make_bridge() as bridge:
        await bridge.initialize("twice")
        await bridge.initialize("twice")
    assert "twice" not in {session.id for session in world.hub.store.sessions()}


async def test_closing_twice_is_no_error(connect: Connect) -> None:
    world = await connect(add)
    bridge = await world.attach()
    await bridge.close()
    await bridge.close()


async def test_an_id_whose_session_has_ended_begins_anew_and_empty(connect: Connect) -> None:
    world = await connect(add)
    first = await world.attach("again")
    await first.session_context.set_variable("x", 1)
    await first.close()
    second = await world.attach("again")
    assert second.client.created_session
    assert await second.session_context.get_variable("x", None) is None


async def test_the_config_of_a_session_sets_its_own_limits(connect: Connect) -> None:
    world = await connect(add, config=SessionConfig(max_concurrent_tools=3, default_timeout_ms=1500))
    (session,) = world.hub.store.sessions()
    assert (session.max_calls, session.call_timeout) == (3, 1.5)


async def test_heartbeat_tells_whether_the_session_lives(connect: Connect) -> None:
    world = await connect(add)
    assert await world.bridge.client.heartbeat() is True
    await world.bridge.client.cleanup_session()
    assert await world.bridge.client.heartbeat() is False


async def test_without_a_session_a_call_says_to_initialize_first(connect: Connect) -> None:
    world = await connect(add)
    bridge = world.make_bridge()
    with pytest.raises(ProtocolError, match="initialize"):
        await bridge.call_tool("add", 1, 2)
    with pytest.raises(ProtocolError, match="initialize"):
        await bridge.session_context.get_variable("x")
    await bridge.initialize()
    assert await bridge.call_tool("add", 1, 2) == 3


async def test_sessions_do_not_see_each_others_variables_and_tools(connect: Connect) -> None:
    world = await connect(add)
    one, two = await world.attach("one"), await world.attach("two")
    world.hub.registry.register_batch("one", [_only_here])
    await one.client.refresh_tools()
    await two.client.refresh_tools()
    await one.session_context.set_variable("x", 1)
    assert set(one.tools) == {"_only_here", "add"}
    assert set(two.tools) == {"add"}
    assert await two.session_context.get_variable("x", "nothing") == "nothing"
    with pytest.raises(ToolExecutionError, match="sees no tool"):
        await two.call_tool("_only_here")


async def test_a_tool_of_the_session_shadows_the_one_of_the_hub(connect: Connect) -> None:
    world = await connect(add)
    world.hub.registry.register_batch(world.session_id, [_shadow()])
    await world.bridge.client.refresh_tools()
    assert await world.tools["add"](1, 2) == "shadow"
    other = await world.attach()
    assert await other.tools["add"](1, 2) == 3


def _only_here() -> str:
    return "here"


def _shadow() -> Callable[..., str]:
    def add(a: int, b: int) -> str:
        return "shadow"

    return add
