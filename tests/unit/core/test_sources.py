from typing import Any

import pytest

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.registry import ToolRegistry
from grpc_tool_bridge.core.sessions import SessionStore
from grpc_tool_bridge.core.sources import HubOffer
from grpc_tool_bridge.errors import ProtocolError, ResourceExhaustedError
from grpc_tool_bridge.tools.external import external_tool
from grpc_tool_bridge.tools.tool import Tool, tool


async def run(*_: Any) -> None:
    """Does nothing."""


def named(name: str, description: str = "") -> Tool:
    return external_tool(name, description, run, input_schema={})


@pytest.fixture
def registry() -> ToolRegistry:
    made = ToolRegistry()
    made.register_batch("", [tool(name="mine")(lambda: None)])
    return made


def names(registry: ToolRegistry) -> list[str]:
    return [item.name for item in registry.visible(None)]


async def test_tools_come_and_go_as_one_change_each(registry: ToolRegistry) -> None:
    offer = HubOffer(registry)
    a, b, c = named("a"), named("b"), named("c")
    assert await offer.replace([a, b]) == []
    first = {item.name: item for item in registry.visible(None)}
    revision = registry.revision(None)
    await offer.replace([b, c])
    assert names(registry) == ["b", "c", "mine"]
    # What stays is not touched, and the rest is one revision.
    assert next(item for item in registry.visible(None) if item.name == "b") is first["b"]
    assert registry.revision(None) == revision + 1
    await offer.replace([b, c])
    assert registry.revision(None) == revision + 1
    changed = named("b", "other")
    await offer.replace([changed])
    assert names(registry) == ["b", "mine"]
    assert registry.store.tools["b"].tool is changed
    await offer.replace([])
    assert names(registry) == ["mine"]


async def test_a_taken_name_is_refused_and_the_others_are_offered(registry: ToolRegistry) -> None:
    one, two = HubOffer(registry), HubOffer(registry)
    await one.replace([named("a")])
    refused = await two.replace([named("a"), named("mine"), named("b"), named("b")])
    assert [(item.name, item.reason) for item in refused] == [
        ("b", "another tool of the same source has this name"),
        ("a", "the hub has another tool named 'a'"),
        ("mine", "the hub has another tool named 'mine'"),
    ]
    assert names(registry) == ["a", "b", "mine"]
    # As soon as the name is free, it can be taken.
    await one.replace([])
    assert await two.replace([named("a")]) == []


async def test_too_many_change_nothing() -> None:
    registry = ToolRegistry(SessionStore(Settings(max_tools=2)))
    offer = HubOffer(registry)
    a = named("a")
    await offer.replace([a])
    with pytest.raises(ResourceExhaustedError):
        await offer.replace([named("x"), named("y"), named("z")])
    assert names(registry) == ["a"]
    await offer.replace([a, named("b")])
    assert names(registry) == ["a", "b"]


async def test_a_closed_one_has_withdrawn_all_and_takes_none(registry: ToolRegistry) -> None:
    offer = HubOffer(registry)
    await offer.replace([named("a")])
    offer.close()
    assert names(registry) == ["mine"]
    with pytest.raises(ProtocolError, match="the hub has stopped"):
        await offer.replace([named("a")])


async def test_a_watch_that_resumes_hears_of_what_was_replaced_and_is_gone(registry: ToolRegistry) -> None:
    offer = HubOffer(registry)
    session = await registry.store.create_session("s", {})
    await offer.replace([named("a")])
    before = registry.revision(session)
    await offer.replace([named("b")])
    watch = registry.watch(session, after=before)
    assert (await anext(watch)).operation == "reset"
    await watch.aclose()
