"""A hub serves to the others what it owns, and refuses the rest before anything of it has begun."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from grpc_tool_bridge.cluster.forwarding.moved import is_elsewhere
from grpc_tool_bridge.cluster.members import certainty
from grpc_tool_bridge.errors import ToolBridgeError, UnavailableError
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.context import RequestContext
from support.memory_cluster import MemoryCluster, MemoryHub
from support.waiting import soon

REQUESTS: dict[str, Any] = {
    "initialize_session": pb.InitializeSessionRequest,
    "cleanup_session": pb.CleanupSessionRequest,
    "get_session_info": pb.GetSessionInfoRequest,
    "heartbeat": pb.HeartbeatRequest,
    "get_session_tools": pb.GetSessionToolsRequest,
    "get_session_variable": pb.GetVariableRequest,
    "set_session_variable": pb.SetVariableRequest,
    "delete_session_variable": pb.DeleteVariableRequest,
    "list_session_variables": pb.ListVariablesRequest,
    "create_react_agent": pb.CreateReActAgentRequest,
    "cancel_agent_run": pb.CancelAgentRunRequest,
    "execute_tool": pb.ToolCallRequest,
    "batch_execute_tools": pb.BatchToolCallRequest,
    "stream_tool": pb.ToolStreamRequest,
    "execute_agent": pb.ExecuteAgentRequest,
    "watch_session_tools": pb.WatchSessionToolsRequest,
    "watch_session_variables": pb.WatchVariablesRequest,
}


@pytest.fixture
async def hub() -> AsyncIterator[MemoryHub]:
    async with MemoryCluster("a") as cluster:
        await cluster["a"].front.initialize_session(pb.InitializeSessionRequest(session_id="s"))
        yield cluster["a"]


async def _asked(hub: MemoryHub, method: str, session_id: str) -> Any:
    answer = getattr(hub.owned, method)(REQUESTS[method](session_id=session_id))
    return await soon(anext(answer) if hasattr(answer, "__anext__") else answer)


@pytest.mark.parametrize("method", REQUESTS)
async def test_a_session_that_is_not_here_is_refused_by_each_method(hub: MemoryHub, method: str) -> None:
    with pytest.raises(UnavailableError, match="not at this hub") as raised:
        await _asked(hub, method, "t")
    assert is_elsewhere(raised.value)


async def test_a_session_of_this_hub_is_served(hub: MemoryHub) -> None:
    assert (await _asked(hub, "heartbeat", "s")).session_valid
    assert (await _asked(hub, "get_session_info", "s")).session_id == "s"


async def test_while_the_hub_drains_its_sessions_are_about_to_move(hub: MemoryHub) -> None:
    hub.hub.admission.draining = True
    with pytest.raises(UnavailableError, match="about to move") as raised:
        await _asked(hub, "execute_tool", "s")
    assert is_elsewhere(raised.value)


async def test_nested_calls_of_what_still_runs_are_taken_while_the_hub_drains(hub: MemoryHub) -> None:
    hub.hub.admission.draining = True
    await soon(hub.owned.require("s", RequestContext(parent=object())))


async def test_a_hub_that_is_cut_off_refuses_what_it_may_not_own(
    hub: MemoryHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certainty, "MAX_WAIT_SECONDS", 0.05)
    hub.store.become(False)
    with pytest.raises(UnavailableError, match="cut off") as raised:
        await _asked(hub, "get_session_info", "s")
    assert not is_elsewhere(raised.value)


async def test_a_session_that_was_lost_meanwhile_is_elsewhere(hub: MemoryHub) -> None:
    hub.store.become(False)
    asking = asyncio.ensure_future(_asked(hub, "heartbeat", "s"))
    await asyncio.sleep(0)
    hub.store.lose(["s"], "its lease ran out")
    hub.store.become(True)
    with pytest.raises(ToolBridgeError, match="no longer at this hub"):
        await soon(asking)


async def test_the_link_of_a_hub_keeps_no_session_alive(hub: MemoryHub) -> None:
    hold = hub.owned.hold_session("s")
    assert not hold.is_needed
    hold.release()
    assert not hub.hub.store.peek("s").links


async def test_tools_of_a_session_are_removed_for_a_client_at_another_hub(hub: MemoryHub) -> None:
    request = pb.UnregisterToolsRequest(session_id="s", tool_ids=["none"])
    answer = await soon(hub.owned.unregister_tools(request, RequestContext()))
    assert answer.error.type == "ToolNotFound"
    with pytest.raises(UnavailableError):
        await soon(hub.owned.unregister_tools(pb.UnregisterToolsRequest(session_id="t"), RequestContext()))
