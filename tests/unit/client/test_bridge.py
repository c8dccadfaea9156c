"""A bridge over a fake transport: how it calls tools and tries again, its lifetime, and its blocking view."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest

from grpc_tool_bridge import (
    NotFoundError,
    ToolBridge,
    ToolCommunicationError,
    ToolExecutionError,
    ToolSpec,
    ToolType,
    UnavailableError,
    ValidationError,
    deserialize_value,
)
from grpc_tool_bridge.client.bridge import is_retryable
from grpc_tool_bridge.client.caller import Caller
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    ErrorInfo,
    GetSessionToolsResponse,
    HeartbeatResponse,
    InitializeSessionResponse,
    ToolCallResponse,
)
from integration.connections import loop_threads
from support.waiting import soon
from unit.client.fakes import ENDED, OPENED, FakeTransport, answer, client_of, rpc_error


@pytest.mark.parametrize(
    "call",
    [
        lambda bridge: bridge.call_tool("add", 1, b=2),
        lambda bridge: bridge.call_tool("add", args=[1], kwargs={"b": 2}),
        lambda bridge: bridge.client.call_tool("add", 1, b=2),
        # The older name of both.
        lambda bridge: bridge.execute_tool("add", 1, b=2),
        lambda bridge: bridge.client.execute_tool("add", 1, b=2),
        lambda bridge: bridge.call_tool(tool_id="add", args=[1], kwargs={"b": 2}),
        lambda bridge: bridge.call_tool("add", 1, kwargs={"b": 2}),
        lambda bridge: bridge.execute_with_retry("add", 1, b=2),
    ],
)
async def test_every_way_to_call_a_tool_sends_its_arguments(call: Callable[[ToolBridge], Awaitable[Any]]) -> None:
    transport = FakeTransport(ExecuteTool=answer(3))

    assert await call(ToolBridge(client_of(transport))) == 3

    request = transport.request("ExecuteTool")
    assert [deserialize_value(arg) for arg in request.args] == [1]
    assert {name: deserialize_value(value) for name, value in request.kwargs.items()} == {"b": 2}


# --------------------------------------------------------------------------------------------------------- retries


async def test_a_retryable_failure_is_tried_again_with_growing_waits(waits: list[float]) -> None:
    lost = rpc_error(grpc.StatusCode.UNAVAILABLE)
    transport = FakeTransport(ExecuteTool=[lost, lost, lost, answer("done")])

    assert await ToolBridge(client_of(transport)).execute_with_retry("add", 1, max_retries=3) == "done"

    assert transport.count("ExecuteTool") == 4
    assert [0.05 <= waits[0] <= 0.1, 0.1 <= waits[1] <= 0.2, 0.2 <= waits[2] <= 0.4] == [True] * 3


async def test_the_last_error_is_raised_when_no_try_is_left(waits: list[float]) -> None:
    errors = [rpc_error(grpc.StatusCode.UNAVAILABLE, f"try {number}") for number in (1, 2)]
    transport = FakeTransport(ExecuteTool=errors)

    with pytest.raises(ToolCommunicationError, match="try 2"):
        await ToolBridge(client_of(transport)).execute_with_retry("add", max_retries=1)


@pytest.mark.parametrize(
    "failure",
    [
        rpc_error(grpc.StatusCode.UNIMPLEMENTED),
        ToolCallResponse(error=ErrorInfo(type="ValueError", message="no", details={"origin": "tool"})),
        ToolCallResponse(error=ErrorInfo(type="ValidationError", message="no")),
    ],
)
async def test_a_failure_that_would_come_again_is_not_tried_again(failure: Any, waits: list[float]) -> None:
    transport = FakeTransport(ExecuteTool=failure)

    with pytest.raises((ToolExecutionError, ToolCommunicationError)):
        await ToolBridge(client_of(transport)).execute_with_retry("add")

    assert transport.count("ExecuteTool") == 1


async def test_the_time_that_the_answer_names_is_waited(waits: list[float]) -> None:
    busy = ErrorInfo(type="ResourceExhausted", message="busy", details={"retry_after": "2.5"})
    transport = FakeTransport(ExecuteTool=[ToolCallResponse(error=busy), answer(1)])

    assert await ToolBridge(client_of(transport)).execute_with_retry("add") == 1
    assert waits == [2.5]


@pytest.mark.parametrize("waits_to", ["call", "list"])
async def test_a_bridge_that_is_closed_while_it_waits_to_try_again_does_not(
    waits_to: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = asyncio.Event()
    pause = Caller.pause

    async def wait_long(caller: Caller, _: float, method: str = "") -> None:
        asyncio.get_running_loop().call_soon(waiting.set)
        await pause(caller, 3_600, method)

    monkeypatch.setattr(Caller, "pause", wait_long)
    changed = GetSessionToolsResponse(tools=[ToolSpec(name="a")], revision=1, next_page_token="more")
    transport = FakeTransport(
        ExecuteTool=rpc_error(grpc.StatusCode.UNAVAILABLE),
        GetSessionTools=[changed, GetSessionToolsResponse(tools=[ToolSpec(name="b")], revision=2)],
    )
    client = client_of(transport)
    bridge = ToolBridge(client)
    trying = asyncio.create_task(bridge.execute_with_retry("add", 1) if waits_to == "call" else client.refresh_tools())
    await soon(waiting.wait())
    count = transport.count("ExecuteTool"), transport.count("GetSessionTools")
    await client.close()
    with pytest.raises(ToolCommunicationError, match="the bridge was closed"):
        await soon(trying)
    assert (transport.count("ExecuteTool"), transport.count("GetSessionTools")) == count


async def test_the_rule_of_what_is_tried_again_can_be_replaced(waits: list[float]) -> None:
    failed = ToolCallResponse(error=ErrorInfo(type="FlakyError", message="?", details={"origin": "tool"}))
    transport = FakeTransport(ExecuteTool=[failed, answer(1)])
    bridge = ToolBridge(client_of(transport), retry_if=lambda error: error.error_type == "FlakyError")

    assert await bridge.execute_with_retry("add") == 1


def keys(transport: FakeTransport) -> list[str]:
    return [transport.request("ExecuteTool", index).idempotency_key for index in range(transport.count("ExecuteTool"))]


async def test_every_try_has_the_same_key_and_every_call_another(waits: list[float]) -> None:
    lost = rpc_error(grpc.StatusCode.UNAVAILABLE)
    busy = ToolCallResponse(error=ErrorInfo(type="ResourceExhausted", message="busy"))
    transport = FakeTransport(ExecuteTool=[lost, busy, lost, answer(1), answer(2)])
    bridge = ToolBridge(client_of(transport))

    assert [await bridge.execute_with_retry("add"), await bridge.execute_with_retry("add")] == [1, 2]

    *first, second = keys(transport)
    assert len(set(first)) == 1
    assert len(first) == 4
    assert "" not in {*first, second}
    assert second not in first


async def test_a_key_that_the_tool_has_is_that_of_every_try(waits: list[float]) -> None:
    busy = ErrorInfo(type="BusyError", message="?", retryable=True, details={"origin": "tool"})
    failed = ToolCallResponse(error=busy)
    transport = FakeTransport(ExecuteTool=[rpc_error(grpc.StatusCode.UNAVAILABLE), failed, answer(1)])
    client = client_of(transport)

    tool = client.tool("add").with_options(idempotency_key="order-17", timeout=2.5)
    assert await ToolBridge(client).execute_with_retry(tool, 1) == 1

    assert keys(transport) == ["order-17"] * 3
    assert transport.request("ExecuteTool").timeout_ms == 2_500


async def test_what_the_tool_itself_raised_is_tried_again_under_another_key(waits: list[float]) -> None:
    failed = ToolCallResponse(error=ErrorInfo(type="FlakyError", message="?", details={"origin": "tool"}))
    transport = FakeTransport(ExecuteTool=[rpc_error(grpc.StatusCode.UNAVAILABLE), failed, answer(1)])
    bridge = ToolBridge(client_of(transport), retry_if=lambda error: True)

    assert await bridge.execute_with_retry("add") == 1

    first, second, third = keys(transport)
    assert first == second != third != ""


async def test_a_negative_number_of_tries_is_refused() -> None:
    with pytest.raises(ValidationError, match="max_retries is -1"):
        await ToolBridge(client_of(FakeTransport())).execute_with_retry("add", max_retries=-1)


def test_unavailable_answers_are_retryable_and_missing_tools_are_not() -> None:
    assert is_retryable(UnavailableError("no worker"))
    assert not is_retryable(NotFoundError("no tool"))


# ---------------------------------------------------------------------------------------------- a bridge's lifetime


async def test_closing_removes_the_session_that_the_bridge_created() -> None:
    transport = FakeTransport(InitializeSession=OPENED, CleanupSession=ENDED)
    async with ToolBridge(client_of(transport, session_id=None)) as bridge:
        await bridge.initialize("s")

    assert transport.request("CleanupSession").session_id == "s"
    assert transport.request("CleanupSession").force
    assert transport.closed == 1

    await bridge.close()
    assert transport.count("CleanupSession") == 1


@pytest.mark.parametrize(("resumed", "keep"), [(True, False), (False, True)], ids=["attached to it", "told to keep it"])
async def test_closing_leaves_a_session_that_others_use(resumed: bool, keep: bool) -> None:
    opened = InitializeSessionResponse(success=True, session_id="s", resumed=resumed)
    transport = FakeTransport(InitializeSession=opened, CleanupSession=ENDED)
    async with ToolBridge(client_of(transport, session_id=None), keep_session=keep) as bridge:
        await bridge.initialize("s")

    assert transport.count("CleanupSession") == 0
    assert transport.closed == 1


async def test_closing_succeeds_where_the_hub_has_gone() -> None:
    transport = FakeTransport(InitializeSession=OPENED, CleanupSession=rpc_error(grpc.StatusCode.UNAVAILABLE))
    async with ToolBridge(client_of(transport, session_id=None)) as bridge:
        await bridge.initialize("s")

    assert transport.closed == 1


async def test_another_session_ends_the_one_before() -> None:
    other = InitializeSessionResponse(success=True, session_id="other")
    transport = FakeTransport(InitializeSession=[OPENED, other], CleanupSession=ENDED)
    async with ToolBridge(client_of(transport, session_id=None)) as bridge:
        await bridge.initialize("s")
        await bridge.initialize("other")

        assert bridge.session_id == "other"
        assert transport.request("CleanupSession").session_id == "s"


def heartbeats() -> list[asyncio.Task[Any]]:
    return [task for task in asyncio.all_tasks() if task.get_name() == "heartbeat"]


async def test_a_session_is_kept_alive_until_the_hub_says_that_it_has_ended(caplog: pytest.LogCaptureFixture) -> None:
    beats = [HeartbeatResponse(session_valid=True), rpc_error(grpc.StatusCode.UNAVAILABLE, "away"), HeartbeatResponse()]
    transport = FakeTransport(InitializeSession=OPENED, CleanupSession=ENDED, Heartbeat=beats)
    client = client_of(transport, session_id=None)
    client.heartbeat_interval = 0.0
    with caplog.at_level(logging.WARNING):
        async with ToolBridge(client) as bridge:
            await bridge.initialize("s")
            await asyncio.wait(heartbeats())

    assert transport.count("Heartbeat") == 3
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert "away" in caplog.records[0].message
    assert "has ended at the hub; initialize() starts a new one" in caplog.records[1].message


async def test_closing_ends_the_heartbeat() -> None:
    transport = FakeTransport(InitializeSession=OPENED, CleanupSession=ENDED)
    bridge = ToolBridge(client_of(transport, session_id=None))
    await bridge.initialize("s")
    await bridge.initialize("s")
    assert len(heartbeats()) == 1

    await bridge.close()

    assert heartbeats() == []


# ------------------------------------------------------------------------------------------------ the blocking view


def test_a_plain_function_uses_the_bridge_through_its_blocking_view() -> None:
    opened = InitializeSessionResponse(
        success=True, session_id="s", tools=[ToolSpec(name="add", type=ToolType.STANDARD)]
    )
    transport = FakeTransport(InitializeSession=opened, ExecuteTool=answer(3), CleanupSession=ENDED)
    bridge = ToolBridge(client_of(transport, session_id=None))

    with bridge.sync as view:
        tools = view.initialize("s")
        assert tools["add"](1, 2) == 3
        assert view.call_tool("add", 1, 2) == 3
        assert view.session_id == "s"

    assert transport.count("CleanupSession") == 1
    assert transport.closed == 1


def test_views_of_one_bridge_share_one_loop_which_ends_with_close() -> None:
    before = len(loop_threads())
    bridge = ToolBridge(client_of(FakeTransport(), session_id=None))
    first, second = bridge.sync, bridge.sync
    assert len(loop_threads()) == before + 1

    first.close()
    assert len(loop_threads()) == before
    with pytest.raises(RuntimeError, match="was closed"):
        second.initialize("s")

    bridge.sync.close()
    assert len(loop_threads()) == before
