"""What tools run in, and how a process is told of it."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

import pytest

from grpc_tool_bridge import ArgumentTypeError, Depends, LocalToolBridge, UnavailableError, tool
from grpc_tool_bridge.aio.portal import Portal
from grpc_tool_bridge.runner.process_surroundings import ChildSurroundings, plain_metadata, put_surroundings
from grpc_tool_bridge.runner.surroundings import Surroundings


async def lifespan(given: Any) -> AsyncIterator[dict[str, Any]]:
    assert given is None
    yield {"n": 1}


async def broken(given: Any) -> AsyncIterator[None]:
    raise OSError("no disk")
    yield


def provider() -> int:
    return 1


def other() -> int:
    return 2


@tool
def work(n: Annotated[int, Depends(provider)]) -> int:
    return n


@tool
def plain(n: int) -> int:
    return n


def test_overrides_are_a_dict_that_can_be_replaced() -> None:
    bridge = LocalToolBridge()
    bridge.dependency_overrides[provider] = other
    assert bridge.hub.executor.surroundings.dependency_overrides == {provider: other}
    bridge.dependency_overrides = {}
    assert bridge.hub.executor.surroundings.dependency_overrides == {}
    with pytest.raises(ArgumentTypeError, match="a dict of providers by the provider that each replaces"):
        bridge.dependency_overrides = [provider]  # type: ignore[assignment]  # that is the point


def test_a_process_finds_what_a_call_names() -> None:
    given = Surroundings(dependency_overrides={provider: other})
    given.live_in(lifespan, [work])
    metadata = {"tool": "work"}
    put_surroundings(given, work, metadata)
    assert plain_metadata(metadata) == {"tool": "work"}
    portal = Portal()
    child = ChildSurroundings(portal.loop)
    assert not child.values
    child.enter(metadata)
    child.enter(metadata)
    assert child.values["n"] == 1
    assert child.overrides(metadata) == {provider: other}
    assert child.overrides(metadata) is child.overrides(metadata)
    assert child.overrides({}) == {}
    asyncio.run_coroutine_threadsafe(child.leave(), portal.loop).result()
    assert not child.values
    portal.close()


def test_a_call_names_only_what_there_is() -> None:
    metadata: dict[str, str] = {}
    put_surroundings(Surroundings(), work, metadata)
    put_surroundings(Surroundings(dependency_overrides={provider: other}), plain, metadata)
    assert metadata == {}


def test_what_a_process_cannot_find_or_enter_is_a_clear_error() -> None:
    given = Surroundings(dependency_overrides={provider: lambda: 3})
    with pytest.raises(UnavailableError, match=r"work: its dependency's provider .*<lambda> cannot be found"):
        put_surroundings(given, work, {})
    failing = Surroundings()
    failing.live_in(broken, [])
    metadata: dict[str, str] = {}
    put_surroundings(failing, plain, metadata)
    assert len(json.loads(metadata["lifespans"])) == 1
    portal = Portal()
    child = ChildSurroundings(portal.loop)
    with pytest.raises(UnavailableError, match=r"cannot enter the lifespan .*:broken: OSError: no disk"):
        child.enter(metadata)
    asyncio.run_coroutine_threadsafe(child.leave(), portal.loop).result()
    portal.close()
