"""Which tools of other hubs a hub registers."""

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from grpc_tool_bridge import Settings, tool
from grpc_tool_bridge.cluster.tools.peer_tools import PeerTools
from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.core.sources import HubOffer
from grpc_tool_bridge.core.workers.backend import backend_of
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.tools.tool import as_tool
from support.idle_link import IdleLink
from support.waiting import until


def work(kind: type = int) -> Any:
    """A tool with one of several schemas."""

    async def work(a: int) -> None: ...

    work.__annotations__["a"] = kind
    return work


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    hub = Hub(Settings(worker_grace_period=0))
    yield hub
    await hub.aclose()


@pytest.fixture
async def tools(hub: Hub) -> AsyncIterator[PeerTools]:
    tools = PeerTools(hub)
    yield tools
    tools.close()


async def offered(tools: PeerTools, link: Any, *functions: Any, name: str = "b", **more: Any) -> Any:
    specs = [as_tool(function).spec for function in functions]
    request = pb.RegisterToolsRequest(tools=specs, worker_id=f"hub:{name}", **{"capacity": 5, **more})
    return await tools.register_tools(request, SimpleNamespace(peer=link))  # type: ignore[arg-type]


async def withdrawn(tools: PeerTools, link: Any, *tool_ids: str) -> pb.StatusResponse:
    context: Any = SimpleNamespace(peer=link)
    return await tools.unregister_tools(pb.UnregisterToolsRequest(tool_ids=tool_ids), context)


def own(hub: Hub, link: Any, function: Any) -> None:
    hub.workers.register(link, pb.RegisterToolsRequest(tools=[as_tool(function).spec], worker_id="w"))


def crew(hub: Hub, name: str = "work") -> tuple[int, int]:
    """How many own workers and other hubs offer a tool."""
    found = hub.registry.by_name(None).get(name)
    backend = backend_of(found) if found is not None else None
    return (-1, -1) if backend is None else (len(backend.workers), len(backend.peers))


async def test_a_tool_of_another_hub_is_registered_with_its_room(hub: Hub, tools: PeerTools) -> None:
    link = IdleLink()
    answer = await offered(tools, link, work())
    assert answer.success
    assert answer.tool_ids == {"work": "work"}
    (peer,) = hub.workers.peers()
    found = backend_of(hub.registry.by_name(None)["work"])
    assert peer.room_for(found) == 5
    await offered(tools, link, work(), capacity=0)
    assert peer.room_for(found) == 0
    assert not hub.workers.workers()
    assert not len(hub.workers)


async def test_other_hubs_and_own_workers_share_a_tool_with_one_schema(hub: Hub, tools: PeerTools) -> None:
    await offered(tools, IdleLink(), work())
    await offered(tools, IdleLink(), work(), name="c")
    own(hub, IdleLink(), work())
    assert crew(hub) == (1, 2)


async def test_a_tool_with_another_schema_than_the_own_workers_is_left_out_and_said_once(
    hub: Hub, tools: PeerTools, caplog: pytest.LogCaptureFixture
) -> None:
    own(hub, IdleLink(), work())
    link = IdleLink()

    async def fine() -> None: ...

    answer = await offered(tools, link, work(str), fine)
    assert answer.success
    assert list(answer.tool_ids) == ["fine"]
    await offered(tools, link, work(str), fine)
    assert crew(hub) == (1, 0)
    assert crew(hub, "fine") == (0, 1)
    assert caplog.text.count("the tool work of hub:b is not used here") == 1


async def test_hubs_that_have_the_same_function_say_nothing_of_it(
    hub: Hub, tools: PeerTools, caplog: pytest.LogCaptureFixture
) -> None:
    hub.registry.register_batch("", [work()])
    link = IdleLink()
    answer = await offered(tools, link, work())
    assert answer.success
    assert not answer.tool_ids
    assert not caplog.text
    await offered(tools, link, work(str))
    assert "the tool work of hub:b is not used here" in caplog.text


async def test_what_was_left_out_is_registered_once_the_own_is_gone(hub: Hub, tools: PeerTools) -> None:
    link = IdleLink()
    own(hub, link, work())
    await offered(tools, IdleLink(), work(str))
    hub.workers.unregister(link, "", ["work"])
    await until(lambda: crew(hub) == (0, 1))


async def test_what_was_left_out_and_withdrawn_is_not_registered_later(hub: Hub, tools: PeerTools) -> None:
    worker, link = IdleLink(), IdleLink()

    async def fine() -> None: ...

    own(hub, worker, work())
    own(hub, worker, fine)
    await offered(tools, link, work(str))
    other = IdleLink()
    await offered(tools, other, tool(name="fine")(work(str)), name="c")
    assert (await withdrawn(tools, link, "work", "unknown")).success
    hub.workers.unregister(worker, "", [])
    await until(lambda: crew(hub, "fine") == (0, 1))
    assert crew(hub) == (-1, -1)


@pytest.mark.parametrize("kind", [int, str])
async def test_an_own_worker_takes_the_place_of_another_tool_of_a_peer(hub: Hub, tools: PeerTools, kind: type) -> None:
    await offered(tools, IdleLink(), work())
    own(hub, IdleLink(), work(kind))
    assert crew(hub) == ((1, 1) if kind is int else (1, 0))


@pytest.mark.parametrize("kind", [int, str])
async def test_an_own_source_takes_the_place_of_any_tool_of_a_peer(hub: Hub, tools: PeerTools, kind: type) -> None:
    await offered(tools, IdleLink(), work())
    refused = await HubOffer(hub.registry).replace([as_tool(work(kind))])
    assert refused == []
    assert hub.registry.by_name(None)["work"].tool is not None
    assert crew(hub) == (-1, -1)


async def test_versions_of_an_own_worker_stand_beside_those_of_a_peer(hub: Hub, tools: PeerTools) -> None:
    await offered(tools, IdleLink(), tool(version="1")(work()))
    own(hub, IdleLink(), tool(version="2")(work(str)))
    assert sorted(hub.registry.by_name(None)) == ["work", "work@1"]


async def test_the_own_function_is_kept(hub: Hub, tools: PeerTools) -> None:
    await HubOffer(hub.registry).replace([as_tool(work())])
    answer = await offered(tools, IdleLink(), work())
    assert answer.success
    assert not answer.tool_ids
    assert hub.registry.by_name(None)["work"].tool is not None


async def test_a_hub_that_comes_back_takes_its_tools_over_even_if_they_are_others(hub: Hub, tools: PeerTools) -> None:
    await offered(tools, IdleLink(), work())
    link = IdleLink()
    await offered(tools, link, work(str))
    assert crew(hub) == (0, 1)
    assert [peer.link for peer in hub.workers.peers()] == list[object]([link])


async def test_tools_of_a_peer_are_withdrawn(hub: Hub, tools: PeerTools) -> None:
    link = IdleLink()
    await offered(tools, link, work())
    assert (await withdrawn(tools, link, "work")).message == "1 tools removed"
    assert crew(hub) == (-1, -1)
    # Of a hub that has registered nothing.
    assert (await withdrawn(tools, IdleLink(), "work")).success


async def test_a_tool_of_a_session_is_refused_if_its_name_is_taken_or_the_session_is_not_here(
    hub: Hub, tools: PeerTools
) -> None:
    answer = await offered(tools, IdleLink(), work(), session_id="s")
    assert answer.error.type == "SessionNotFound"
    await hub.store.create_session("s")
    worker: Any = IdleLink()
    spec = as_tool(work()).spec
    hub.workers.register(worker, pb.RegisterToolsRequest(tools=[spec], worker_id="w", session_id="s"))
    assert (await offered(tools, IdleLink(), work(), session_id="s")).success
    answer = await offered(tools, IdleLink(), work(str), session_id="s", name="c")
    assert answer.error.type == "AlreadyExists"


async def test_tools_are_registered_over_a_link_alone_and_not_while_the_hub_shuts_down(
    hub: Hub, tools: PeerTools
) -> None:
    assert (await offered(tools, None, work())).error.type == "ValidationError"
    hub.admission.draining = True
    assert (await offered(tools, IdleLink(), work())).error.type == "WorkerUnavailable"


async def test_a_hub_that_drains_gets_nothing_of_what_was_left_out(hub: Hub, tools: PeerTools) -> None:
    worker, link = IdleLink(), IdleLink()

    async def marker() -> None: ...

    own(hub, worker, work())
    await offered(tools, link, work(str), marker)
    hub.workers.peers()[0].gone = True
    hub.workers.unregister(worker, "", ["work"])
    tools._try_again()
    assert crew(hub) == (-1, -1)


async def test_a_worker_with_the_id_of_another_hub_does_not_take_its_place(hub: Hub, tools: PeerTools) -> None:
    link = IdleLink()
    await offered(tools, link, work(), name="b")
    request = pb.RegisterToolsRequest(tools=[as_tool(work()).spec], worker_id="hub:b")
    hub.workers.register(IdleLink(), request)
    assert crew(hub) == (1, 1)
    assert hub.workers.worker_of(link) is not None
    # A hub that comes back still takes the place of its former link.
    await offered(tools, IdleLink(), work(), name="b")
    assert crew(hub) == (1, 1)
    assert hub.workers.worker_of(link) is None
