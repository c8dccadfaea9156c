"""The hubs of a cluster, and lists of what all of them have."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core import hubs as hubs_module
from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.core.hubs import CUT_OFF, GONE
from grpc_tool_bridge.errors import (
    AccessError,
    NotFoundError,
    SessionExpiredError,
    SessionNotFoundError,
    UnavailableError,
    ValidationError,
)
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.authentication import Principal
from grpc_tool_bridge.rpc.callers import read_caller
from grpc_tool_bridge.rpc.context import RequestContext
from support.hub_directories import FakeCluster
from unit.core.workers.test_pool import FakeLink


async def hang() -> None:
    await asyncio.get_running_loop().create_future()


def only_here() -> int:
    return 1


class World:
    """Three hubs of one cluster, of which h1 is asked."""

    def __init__(self) -> None:
        self.h1, self.h2, self.h3 = Hub(Settings(), [hang, only_here]), Hub(Settings(), [hang]), Hub(Settings(), [hang])
        self.cluster = FakeCluster(h1=self.h1, h2=self.h2, h3=self.h3)
        self.calls: list[asyncio.Task[Any]] = []

    async def call(self, hub: Hub, session: str) -> None:
        request = pb.ToolCallRequest(session_id=session, tool_id="hang")
        self.calls.append(asyncio.ensure_future(hub.execute_tool(request)))
        for _ in range(3):
            await asyncio.sleep(0)

    async def sessions(self, asked_hub: Hub | None = None, **asked: Any) -> list[tuple[str, str]]:
        response = await (asked_hub or self.h1).list_sessions(pb.ListSessionsRequest(**asked))
        return [(info.hub, info.session_id) for info in response.sessions]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    for hub in (made.h1, made.h2, made.h3):
        await hub.start()
    yield made
    for task in made.calls:
        task.cancel()
    await asyncio.gather(*made.calls, return_exceptions=True)
    for hub in (made.h1, made.h2, made.h3):
        await hub.drain(0)
        await hub.aclose()


# -------------------------------------------------------------------------------------------------- a hub without one


async def test_a_hub_without_a_cluster_lists_itself() -> None:
    hub = Hub(Settings(), [only_here])
    hub.address = "here:50051"
    await hub.start()
    await hub.store.create_session("s")
    response = await hub.list_hubs(pb.ListHubsRequest())
    [info] = response.hubs
    assert info.is_self
    assert (info.state, info.sessions, info.tools, info.workers) == ("serving", 1, 1, 0)
    assert info.name
    assert info.version
    assert info.address == "here:50051"
    sessions = (await hub.list_sessions(pb.ListSessionsRequest(hub=info.name))).sessions
    assert [session.hub for session in sessions] == [""]
    with pytest.raises(NotFoundError, match="no hub 'other'"):
        await hub.list_sessions(pb.ListSessionsRequest(hub="other"))
    await hub.drain(0)
    [info] = (await hub.list_hubs(pb.ListHubsRequest())).hubs
    assert (info.state, info.reason) == ("not serving", "the hub is starting or shutting down")
    await hub.aclose()


# ------------------------------------------------------------------------------------------------ the list of hubs


async def test_each_hub_tells_of_itself(world: World) -> None:
    await world.h2.store.create_session("a")
    await world.call(world.h2, "a")
    response = await world.h1.list_hubs(pb.ListHubsRequest())
    h1, h2, h3 = response.hubs
    assert [(hub.name, hub.is_self, hub.link) for hub in (h1, h2, h3)] == [
        ("h1", True, ""),
        ("h2", False, "linked"),
        ("h3", False, "linked"),
    ]
    assert (h2.sessions, h2.active_calls, h2.tools, h2.room) == (1, 1, 1, 7)
    assert (h1.tools, h3.sessions) == (2, 0)
    assert h2.HasField("started_at")
    assert h2.version == h1.version
    assert abs(h2.clock_ahead_us) < 60e6
    assert not response.missing_hubs


async def test_a_hub_that_is_silent_is_named_and_one_that_is_cut_off_or_gone_is_not_asked(world: World) -> None:
    world.cluster.silent.add("h2-life")
    world.cluster.states["h3-life"] = CUT_OFF
    response = await world.h1.list_hubs(pb.ListHubsRequest())
    assert response.missing_hubs == ["h2"]
    assert [(hub.state, hub.reason) for hub in response.hubs][1:] == [
        ("serving", ""),
        ("cut off", "it cannot reach NATS"),
    ]
    world.cluster.states["h3-life"] = GONE
    response = await world.h1.list_hubs(pb.ListHubsRequest(hub="h3"))
    assert [hub.state for hub in response.hubs] == ["gone"]
    assert {hub for hub, _ in world.cluster.asked} == {"h2-life"}


async def test_hubs_of_one_name_are_told_apart_by_their_incarnation(world: World) -> None:
    world.cluster.rename("h3-life", "h2")
    with pytest.raises(ValidationError, match="2 hubs are named 'h2'; choose one by its incarnation: h2-life, h3-life"):
        await world.sessions(hub="h2")
    await world.h3.store.create_session("c")
    assert await world.sessions(hub="h3-life") == [("h2", "c")]


async def test_a_hub_that_began_anew_is_found_by_its_name(world: World) -> None:
    world.cluster.rename("h3-life", "h2")
    world.cluster.states["h2-life"] = GONE
    response = await world.h1.list_hubs(pb.ListHubsRequest(hub="h2"))
    assert [hub.incarnation for hub in response.hubs] == ["h3-life"]


# ------------------------------------------------------------------------------------------- lists of all of them


async def test_lists_have_the_entries_of_all_hubs_by_age_whoever_is_asked(world: World) -> None:
    for hub, name in ((world.h3, "c"), (world.h1, "a"), (world.h2, "b")):
        await hub.store.create_session(name)
    assert await world.sessions() == [("h3", "c"), ("h1", "a"), ("h2", "b")]
    assert await world.sessions(world.h2) == [("h3", "c"), ("h1", "a"), ("h2", "b")]


async def test_a_list_of_one_hub_is_answered_by_it(world: World) -> None:
    await world.h1.store.create_session("a")
    await world.h2.store.create_session("b")
    request = pb.ListSessionsRequest(hub="h2")
    assert [info.session_id for info in (await world.h1.list_sessions(request)).sessions] == ["b"]
    world.cluster.silent.add("h2-life")
    with pytest.raises(UnavailableError):
        await world.h1.list_sessions(request)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 100])
async def test_pages_have_each_entry_once_though_another_hub_answers_each(world: World, size: int) -> None:
    made = []
    for hub, count in ((world.h1, 5), (world.h2, 0), (world.h3, 4)):
        for number in range(count):
            name = f"{id(hub)}-{number}"
            await hub.store.create_session(name)
            made.append(name)
    token, found, pages = "", [], 0
    while True:
        asked = (world.h1, world.h2, world.h3)[pages % 3]
        page = await asked.list_sessions(pb.ListSessionsRequest(page_token=token, page_size=size))
        assert len(page.sessions) <= size
        found += [info.session_id for info in page.sessions]
        pages += 1
        token = page.next_page_token
        if not token:
            break
    assert sorted(found) == sorted(made)
    assert pages <= len(made) // size + 2


async def test_pages_go_on_after_the_hub_where_they_stopped_has_gone(world: World) -> None:
    # Those of the other hub are older than where the page ends.
    for hub in (world.h2, world.h1):
        for number in range(3):
            await hub.store.create_session(f"{number}")
    first = await world.h3.list_sessions(pb.ListSessionsRequest(page_size=2))
    assert [info.hub for info in first.sessions] == ["h1", "h1"]
    world.cluster.states["h1-life"] = GONE
    rest = await world.h3.list_sessions(pb.ListSessionsRequest(page_size=10, page_token=first.next_page_token))
    assert [info.hub for info in rest.sessions] == ["h2"] * 3
    assert not rest.next_page_token


async def test_a_page_token_of_another_list_is_refused(world: World) -> None:
    with pytest.raises(ValidationError, match="not from a list of all hubs"):
        await world.sessions(page_token="none")
    with pytest.raises(ValidationError, match="not from the list of sessions"):
        await world.sessions(page_token="h1-life.none")
    with pytest.raises(ValidationError, match="page_size"):
        await world.sessions(page_size=-1)


async def test_hubs_that_do_not_answer_are_named(world: World) -> None:
    await world.h1.store.create_session("a")
    world.cluster.silent.add("h2-life")
    world.cluster.states["h3-life"] = CUT_OFF
    response = await world.h1.list_sessions(pb.ListSessionsRequest())
    assert [info.session_id for info in response.sessions] == ["a"]
    assert response.missing_hubs == ["h2", "h3"]


async def test_a_hub_that_never_answers_is_waited_for_no_longer_than_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hubs_module, "ASK_SECONDS", 0.01)

    async def never(*_: Any) -> bytes:
        await asyncio.get_running_loop().create_future()
        return b""

    monkeypatch.setattr(world.h1.directory, "ask", never)
    async with asyncio.timeout(30):
        response = await world.h1.list_sessions(pb.ListSessionsRequest())
    assert response.missing_hubs == ["h2", "h3"]


async def test_an_answer_that_is_no_message_is_none(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def garbage(*_: Any) -> bytes:
        return b"\xff\xff"

    monkeypatch.setattr(world.h1.directory, "ask", garbage)
    assert (await world.h1.list_hubs(pb.ListHubsRequest())).missing_hubs == ["h2", "h3"]
    assert (await world.h1.list_sessions(pb.ListSessionsRequest())).missing_hubs == ["h2", "h3"]


async def test_calls_of_a_session_are_listed_at_any_hub(world: World) -> None:
    await world.h2.store.create_session("a")
    await world.call(world.h2, "a")
    for hub in (world.h1, world.h2, world.h3):
        [call] = (await hub.list_calls(pb.ListCallsRequest(session_id="a"))).calls
        assert (call.hub, call.session_id) == ("h2", "a")
    with pytest.raises(SessionNotFoundError):
        await world.h1.list_calls(pb.ListCallsRequest(session_id="none"))
    await world.h3.store.create_session("old")
    await world.h3.store.cleanup_session("old")
    with pytest.raises(SessionExpiredError):
        await world.h1.list_runs(pb.ListRunsRequest(session_id="old"))
    # It may have the session.
    world.cluster.silent.add("h3-life")
    assert (await world.h1.list_runs(pb.ListRunsRequest(session_id="old"))).missing_hubs == ["h3"]


async def test_other_hubs_are_asked_on_behalf_of_who_asks(world: World) -> None:
    context = RequestContext(principal=Principal("ann", method="token"))
    await world.h1.list_calls(pb.ListCallsRequest(), context)
    await world.h1.list_runs(pb.ListRunsRequest(hub="h2"), context)
    await world.h1.cancel_call(pb.CancelCallRequest(call_id="none"), context)
    await world.h1.cancel_call(pb.CancelCallRequest(call_id="none", hub="h3"), context)
    assert len(world.cluster.callers) == 2 + 1 + 2 + 1
    assert {read_caller(text)[0].name for text in world.cluster.callers} == {"ann"}
    world.cluster.callers.clear()
    await world.h1.list_calls(pb.ListCallsRequest())
    assert world.cluster.callers == ["", ""]


async def test_who_may_not_see_a_session_of_another_hub_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(request: Any) -> Any:
        raise AccessError("not shown to you")

    await world.h2.store.create_session("a")
    monkeypatch.setattr(world.h2, "list_calls", refuse)
    with pytest.raises(AccessError, match="not shown to you"):
        await world.h1.list_calls(pb.ListCallsRequest(session_id="a"))


async def test_workers_are_listed_with_their_hub_and_hubs_are_no_workers(world: World) -> None:
    for hub, name in ((world.h1, "w1"), (world.h2, "w2"), (world.h1, "hub:h2-life")):
        link: Any = FakeLink(hub.workers)
        request = pb.RegisterToolsRequest(worker_id=name, tools=[pb.ToolSpec(name="far")])
        hub.workers.register(link, request)
    for worker in world.h1.workers.workers():
        worker.is_peer = worker.id.startswith("hub:")
    response = await world.h3.list_workers(pb.ListWorkersRequest())
    assert [(worker.hub, worker.worker_id) for worker in response.workers] == [("h1", "w1"), ("h2", "w2")]
    h1 = (await world.h3.list_hubs(pb.ListHubsRequest())).hubs[0]
    assert (h1.workers, h1.tools) == (1, 3)
    offers = (await world.h3.list_offers(pb.ListOffersRequest(tool="far"))).offers
    assert [(offer.tool, offer.hub, offer.worker_id) for offer in offers] == [("far", "h1", "w1"), ("far", "h2", "w2")]


async def test_offers_tell_where_each_tool_is_run(world: World) -> None:
    found = (await world.h2.list_offers(pb.ListOffersRequest())).offers
    assert [(offer.tool, offer.hub, offer.worker_id) for offer in found] == [
        ("hang", "h1", ""),
        ("hang", "h2", ""),
        ("hang", "h3", ""),
        ("only_here", "h1", ""),
    ]
    assert not (await world.h2.list_offers(pb.ListOffersRequest(tool="none"))).offers


# ------------------------------------------------------------------------------------------------------------ cancel


async def test_a_call_is_cancelled_through_any_hub(world: World) -> None:
    for name in ("a", "b"):
        await world.h2.store.create_session(name)
        await world.call(world.h2, name)
    first, second = (await world.h1.list_calls(pb.ListCallsRequest())).calls
    named = await world.h1.cancel_call(pb.CancelCallRequest(call_id=first.call_id, hub="h2"))
    unnamed = await world.h3.cancel_call(pb.CancelCallRequest(call_id=second.call_id, reason="enough"))
    assert named.success
    assert unnamed.success
    answers = await asyncio.gather(*world.calls)
    assert [answer.error.type for answer in answers] == ["Cancelled", "Cancelled"]
    assert "enough" in answers[1].error.message


async def test_calls_of_two_hubs_never_have_one_id(world: World) -> None:
    for hub in (world.h1, world.h2, world.h3):
        await hub.store.create_session("s")
        await world.call(hub, "s")
    calls = (await world.h1.list_calls(pb.ListCallsRequest())).calls
    assert len({call.call_id for call in calls}) == 3


async def test_a_call_that_no_hub_has_is_not_found_and_silent_hubs_are_named(world: World) -> None:
    answer = await world.h1.cancel_call(pb.CancelCallRequest(call_id="1"))
    assert "no call '1'" in answer.error.message
    assert "did not answer" not in answer.error.message
    world.cluster.silent.add("h3-life")
    answer = await world.h1.cancel_call(pb.CancelCallRequest(call_id="1"))
    assert "These hubs did not answer, and may have it: h3" in answer.error.message
    for hub, said in (("h2", "no call '1'"), ("none", "no hub 'none'"), ("h3", "no link")):
        assert said in (await world.h1.cancel_call(pb.CancelCallRequest(call_id="1", hub=hub))).error.message
