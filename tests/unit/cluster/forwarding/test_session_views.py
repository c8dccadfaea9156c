"""What a hub shows of a session of another hub."""

from grpc_tool_bridge import tool
from grpc_tool_bridge.cluster.forwarding.session_views import SessionViews
from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.core.session_access import SessionAccess
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb


@tool
def shared() -> int:
    return 1


@tool
def own() -> int:
    return 2


async def test_it_has_the_tools_of_the_other_hub_in_place_of_those_of_this_one() -> None:
    here, there = Hub(tools=[shared]), Hub(tools=[shared])
    await there.store.create_session("s")
    await there.store.register_tools("s", [own])
    asked: list[str] = []

    async def page(request: pb.GetSessionToolsRequest) -> pb.GetSessionToolsResponse:
        asked.append(request.page_token)
        request.page_size = 1
        return await there.get_session_tools(request)

    there.store.peek("s").access = SessionAccess("ann")
    views = SessionViews(here, page, there.get_session_info)
    view = await views.view("s")
    assert view.id == "s"
    assert view.access == SessionAccess("ann"), "who may use it decides what is shown of it"
    assert list(here.registry.listed(view)) == ["own", "shared"]
    assert here.registry.find(view, "own").session_id == "s"
    assert view.tools is not None
    assert list(view.tools) == ["own"]
    assert len(asked) == 2
    assert await views.view("s") is view
    assert len(asked) == 2
