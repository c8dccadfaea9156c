"""The methods of the service for tools, as messages in and messages out."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.core.tool_methods import MAX_NAMED, ToolMethods
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from support.waiting import turns


def add(a: int, b: int) -> int:
    return a + b


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    """A hub that runs, with one tool and the session "s"."""
    one = Hub(Settings(), [add])
    await one.start()
    await one.store.create_session("s")
    yield one
    await one.drain(0)
    await one.aclose()


def methods_of(hub: Hub) -> ToolMethods:
    return ToolMethods(hub.store, hub.registry, hub.workers, hub.admission)


async def test_tools_are_listed_with_their_revision(hub: Hub) -> None:
    request = pb.GetSessionToolsRequest(session_id="s")
    before = await methods_of(hub).page(request)
    assert [spec.name for spec in before.tools] == ["add"]
    hub.registry.register_batch("s", [pb.ToolSpec(name="own")])
    after = await methods_of(hub).page(request)
    assert [spec.name for spec in after.tools] == ["add", "own"]
    assert after.revision > before.revision


async def test_tools_are_registered_over_a_link_only(hub: Hub) -> None:
    response = await methods_of(hub).register(pb.RegisterToolsRequest(session_id="s", tools=[pb.ToolSpec(name="own")]))
    assert (response.success, response.error.type) == (False, "ValidationError")
    assert "1 tools were not registered: RegisterTools works over a link" in response.error.message


async def test_tools_of_a_sessions_own_are_removed_all_or_none(hub: Hub) -> None:
    hub.registry.register_batch("s", [pb.ToolSpec(name="one"), pb.ToolSpec(name="two")])

    async def remove(*names: str, session_id: str = "s") -> pb.StatusResponse:
        return await methods_of(hub).unregister(pb.UnregisterToolsRequest(session_id=session_id, tool_ids=names))

    response = await remove("one", "add")
    assert (response.error.type, "no tools of its own called 'add'" in response.message) == ("ToolNotFound", True)
    assert (await remove("one", session_id="")).error.type == "ValidationError"
    assert (await remove("one", session_id="nobody")).error.type == "SessionNotFound"
    assert hub.registry.count(hub.store.peek("s")) == 3
    response = await remove("one", "two")
    assert (response.success, response.message) == (True, "2 tools removed")
    assert hub.registry.count(hub.store.peek("s")) == 1


async def test_a_watch_of_tools_tells_changes_with_the_epoch_and_counts_while_it_is_open(hub: Hub) -> None:
    watch = methods_of(hub).watch(pb.WatchSessionToolsRequest(session_id="s"))
    pending = asyncio.ensure_future(anext(watch))
    await turns()
    assert hub.store.peek("s").tool_watches == 1
    hub.registry.register_batch("", [pb.ToolSpec(name="new")])
    update = await pending
    assert (update.tool.name, update.operation, update.epoch) == ("new", "added", hub.store.revisions.epoch)
    await watch.aclose()
    assert hub.store.peek("s").tool_watches == 0


async def test_a_reset_of_a_watch_of_tools_names_no_tool(hub: Hub) -> None:
    watch = methods_of(hub).watch(pb.WatchSessionToolsRequest(session_id="s", from_revision=1_000))
    update = await anext(watch)
    assert (update.operation, update.HasField("tool")) == ("reset", False)
    await watch.aclose()


async def test_an_error_names_some_of_many_tools_that_are_missing(hub: Hub) -> None:
    names = [f"gone{number}" for number in range(MAX_NAMED + 2)]
    response = await methods_of(hub).unregister(pb.UnregisterToolsRequest(session_id="s", tool_ids=names))
    assert f"'{names[MAX_NAMED - 1]}' and 2 more" in response.message
