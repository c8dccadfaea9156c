"""What a hub tells the others of its tools, and when."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from grpc_tool_bridge import Settings
from grpc_tool_bridge.cluster.tools.guests import new_guest
from grpc_tool_bridge.cluster.tools.offering import Offering, worker_id_of
from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.core.registered_tool import RegisteredTool
from grpc_tool_bridge.core.sources import HubOffer
from grpc_tool_bridge.errors import AlreadyExistsError, UnavailableError, error_info
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.tools.tool import as_tool
from support.idle_link import IdleLink
from support.joined_hubs import Name
from support.waiting import soon, until


async def add(a: int, b: int) -> int:
    return a + b


async def other() -> None: ...


async def count() -> None: ...


class Registrar:
    """Another hub, which notes what it is told.

    Attributes:
        limits: Of the tools that it knows, by session and id.
        requests: How many it got.
        refusal: What it answers, if anything.
        lost: What it raises, if anything.
    """

    def __init__(self, name: str = "b") -> None:
        self.hub = Name(name)
        self.limits: dict[tuple[str, str], int] = {}
        self.requests = 0
        self.refusal: Exception | None = None
        self.lost: Exception | None = None

    async def register(self, request: pb.RegisterToolsRequest) -> pb.RegisterToolsResponse:
        self.requests += 1
        await asyncio.sleep(0)
        if self.lost is not None:
            raise self.lost
        if self.refusal is not None and request.session_id:
            return pb.RegisterToolsResponse(error=error_info(self.refusal))
        assert request.worker_id == "hub:a"
        for spec in request.tools:
            self.limits[request.session_id, spec.tool_id] = request.capacity
        return pb.RegisterToolsResponse(success=True)

    async def unregister(self, request: pb.UnregisterToolsRequest) -> pb.StatusResponse:
        self.requests += 1
        for tool_id in request.tool_ids:
            del self.limits[request.session_id, tool_id]
        return pb.StatusResponse(success=True)


@pytest.fixture
def hub() -> Hub:
    return Hub(Settings(max_link_calls=500), [add])


@pytest.fixture
async def offering(hub: Hub) -> AsyncIterator[Offering]:
    offering = Offering(hub, "a")
    yield offering
    await offering.aclose()
    await hub.aclose()


def register(hub: Hub, link: Any, *functions: Any, capacity: int = 3, worker_id: str = "w", **more: Any) -> None:
    specs = [as_tool(function).spec for function in functions]
    request = pb.RegisterToolsRequest(tools=specs, capacity=capacity, worker_id=worker_id)
    hub.workers.register(link, request, **more)


def test_the_id_of_a_hub_as_a_worker_has_its_incarnation() -> None:
    assert worker_id_of("x") == "hub:x"


async def test_a_hub_is_told_everything_over_each_new_link(offering: Offering) -> None:
    peer = Registrar()
    offering.linked(peer)
    await until(lambda: peer.limits == {("", "add"): 500})
    peer.limits.clear()
    offering.linked(peer)
    await until(lambda: peer.limits == {("", "add"): 500})


async def test_tools_of_workers_are_offered_with_what_these_take_together(hub: Hub, offering: Offering) -> None:
    peer = Registrar()
    offering.linked(peer)
    register(hub, IdleLink(), other, capacity=3)
    await until(lambda: peer.limits.get(("", "other")) == 3)
    second = IdleLink()
    register(hub, second, other, capacity=4, worker_id="v")
    await until(lambda: peer.limits[("", "other")] == 7)
    hub.workers.on_disconnect(second, "it is gone")
    await until(lambda: peer.limits[("", "other")] == 3)


async def test_a_tool_whose_workers_may_come_back_is_offered_without_room(hub: Hub, offering: Offering) -> None:
    peer = Registrar()
    offering.linked(peer)
    link = IdleLink()
    register(hub, link, other)
    await until(lambda: ("", "other") in peer.limits)
    hub.workers.on_disconnect(link, "it is gone")
    await until(lambda: peer.limits[("", "other")] == 0)


async def test_a_tool_that_goes_is_withdrawn(hub: Hub, offering: Offering) -> None:
    peer = Registrar()
    offering.linked(peer)
    link = IdleLink()
    register(hub, link, other)
    await until(lambda: ("", "other") in peer.limits)
    hub.workers.unregister(link, "", ["other"])
    await until(lambda: ("", "other") not in peer.limits)


async def test_a_tool_that_becomes_another_is_withdrawn_first(hub: Hub, offering: Offering) -> None:
    peer = Registrar()
    offering.linked(peer)
    offer = HubOffer(hub.registry)

    async def changing(a: int) -> None: ...

    await offer.replace([as_tool(changing)])
    await until(lambda: ("", "changing") in peer.limits)
    withdrawn: list[str] = []
    unregister = peer.unregister

    async def noted(request: pb.UnregisterToolsRequest) -> pb.StatusResponse:
        withdrawn.extend(request.tool_ids)
        return await unregister(request)

    peer.unregister = noted  # type: ignore[method-assign]

    async def changed(a: str) -> None: ...

    changed.__name__ = "changing"
    await offer.replace([as_tool(changed)])
    await until(lambda: withdrawn == ["changing"] and ("", "changing") in peer.limits)


async def test_what_came_from_a_hub_is_not_offered_on(hub: Hub, offering: Offering) -> None:
    peer = Registrar()
    offering.linked(peer)
    register(hub, IdleLink(), other, worker_id="hub:c", is_peer=True)
    register(hub, IdleLink(), count, worker_id="v")
    await until(lambda: ("", "count") in peer.limits)
    assert ("", "other") not in peer.limits
    # Once an own worker offers it, it is.
    register(hub, IdleLink(), other)
    await until(lambda: peer.limits.get(("", "other")) == 3)


async def test_many_tools_are_told_in_requests_that_fit() -> None:
    def make(number: int) -> Any:
        async def work() -> None: ...

        work.__name__ = f"work_{number}"
        work.__doc__ = "x" * 3_000
        return work

    hub = Hub(Settings(max_message_bytes=64 * 1024), [make(number) for number in range(60)])
    offering, peer = Offering(hub, "a"), Registrar()
    offering.linked(peer)
    await until(lambda: len(peer.limits) == 60)
    assert peer.requests > 3
    await offering.aclose()
    await hub.aclose()


async def test_a_tools_own_limit_is_the_most_that_is_offered() -> None:
    hub = Hub(Settings(max_tool_calls=5), [add])
    offering, peer = Offering(hub, "a"), Registrar()
    offering.linked(peer)
    await until(lambda: peer.limits == {("", "add"): 5})
    await offering.aclose()
    await hub.aclose()


async def test_what_could_not_be_told_is_told_again(
    offering: Offering, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("grpc_tool_bridge.cluster.tools.offering.RETRY_SECONDS", 0.01)
    peer = Registrar()
    peer.lost = UnavailableError("it is busy")
    offering.linked(peer)
    await until(lambda: "was not told" in caplog.text)
    peer.lost = None
    await until(lambda: ("", "add") in peer.limits)


async def test_a_tool_that_was_called_in_vain_is_told_again(offering: Offering) -> None:
    peer = Registrar()
    offering.linked(peer)
    await until(lambda: ("", "add") in peer.limits)
    peer.limits.clear()
    offering.tell_again("s", "add")
    await until(lambda: ("", "add") in peer.limits)
    # Nothing is known of another tool.
    offering.tell_again("s", "unknown")


async def test_a_hub_that_is_gone_is_told_nothing(hub: Hub, offering: Offering) -> None:
    peer = Registrar()
    offering.linked(peer)
    await until(lambda: ("", "add") in peer.limits)
    offering.gone("b")
    offering.gone("b")
    told = peer.requests
    register(hub, IdleLink(), other)
    with pytest.raises(UnavailableError, match="cannot be reached"):
        await offering.offer_session("s", "b")
    assert peer.requests == told


def guest_tool(hub: Hub, session_id: str) -> RegisteredTool:
    hub.store.guests[session_id] = guest = new_guest(session_id)
    link: Any = IdleLink()
    spec = as_tool(other).spec
    hub.workers.register(link, pb.RegisterToolsRequest(session_id=session_id, tools=[spec], worker_id="w", capacity=2))
    assert guest.tools is not None
    return guest.tools["other"]


async def test_tools_for_a_session_are_offered_to_its_owner_alone(hub: Hub, offering: Offering) -> None:
    owner, third = Registrar("b"), Registrar("c")
    offering.linked(owner)
    offering.linked(third)
    guest_tool(hub, "s")
    await soon(offering.offer_session("s", "b"))
    assert owner.limits["s", "other"] == 2
    assert offering.sessions_of("b") == ["s"]
    await until(lambda: ("", "add") in third.limits)
    assert ("s", "other") not in third.limits
    offering.forget_session("s")
    assert offering.sessions_of("b") == []


async def test_a_refusal_of_a_tool_for_a_session_is_raised(hub: Hub, offering: Offering) -> None:
    owner = Registrar("b")
    owner.refusal = AlreadyExistsError("the name is taken")
    offering.linked(owner)
    guest_tool(hub, "s")
    with pytest.raises(AlreadyExistsError, match="taken"):
        await soon(offering.offer_session("s", "b"))


async def test_room_is_what_the_workers_have_left(hub: Hub, offering: Offering) -> None:
    assert offering.room == 0
    link = IdleLink()
    register(hub, link, other, capacity=3)
    link.open_calls = 1
    register(hub, IdleLink(), other, worker_id="hub:c", is_peer=True)
    assert offering.room == 2
