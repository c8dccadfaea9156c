"""The client against a stub that is a mock: sessions, batches, retries, heartbeats and the blocking view."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from itertools import islice
from typing import Any
from unittest.mock import AsyncMock

import grpc
import pytest

from grpc_tool_bridge import (
    GRPCToolBridge,
    MessageTooLargeError,
    NotFoundError,
    ProtocolError,
    SerializationError,
    SessionConfig,
    SessionExpiredError,
    ToolBridge,
    ToolBridgeClient,
    ToolCommunicationError,
    ToolExecutionError,
    ToolSpec,
    ToolType,
    UnavailableError,
    ValidationError,
    deserialize_value,
    serialize_value,
)
from grpc_tool_bridge.aio.backoff import back_off
from grpc_tool_bridge.client.bridge import is_retryable
from grpc_tool_bridge.client.options import CallOptions
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    BatchToolCallResponse,
    ErrorInfo,
    GetSessionToolsResponse,
    HealthCheckResponse,
    HeartbeatResponse,
    InitializeSessionResponse,
    MetricsResponse,
    MetricValue,
    SessionInfo,
    StatusResponse,
    ToolCallResponse,
    ToolCallResult,
)
from integration.connections import loop_threads
from unit.client.fakes import FakeTransport


def rpc_error(code: grpc.StatusCode, details: str = "") -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details)


def answer(value: object) -> ToolCallResponse:
    return ToolCallResponse(success=True, result=serialize_value(value))


def client_of(transport: FakeTransport, *, session_id: str | None = "s", **options: Any) -> ToolBridgeClient:
    client = ToolBridgeClient(transport, options=CallOptions(**options) if options else None)
    client.session_id = session_id
    return client


OPENED = InitializeSessionResponse(success=True, session_id="s", tools=[ToolSpec(tool_id="id-1", name="add")])
ENDED = StatusResponse(success=True)


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Records what is waited outside heartbeats, and waits none of it."""
    waits: list[float] = []
    sleep = asyncio.sleep

    async def record(seconds: float) -> None:
        task = asyncio.current_task()
        if task is not None and task.get_name() == "heartbeat":
            await sleep(seconds)
        waits.append(seconds)

    monkeypatch.setattr("asyncio.sleep", record)
    return waits


# ------------------------------------------------------------------------------------------------------ the client


def test_nothing_needs_an_event_loop_before_the_first_call() -> None:
    for target in ("127.0.0.1:1", FakeTransport()):
        client = ToolBridgeClient(target)
        assert client.session_id is None
        assert client.tools == {}
    assert GRPCToolBridge("127.0.0.1:1").tools == {}


async def test_a_stub_replaced_before_initialize_is_the_one_that_is_called() -> None:
    bridge = GRPCToolBridge("127.0.0.1:1")
    transport = FakeTransport(InitializeSession=OPENED, CleanupSession=ENDED)
    bridge.client.stub = transport.stub

    assert list(await bridge.initialize("s")) == ["add"]

    assert transport.request("InitializeSession").session_id == "s"
    await bridge.close()


async def test_one_method_of_the_real_stub_can_be_replaced_before_initialize() -> None:
    async with GRPCToolBridge("127.0.0.1:1") as bridge:
        bridge.client.stub.ExecuteTool = AsyncMock(return_value=answer(3))
        bridge.client.session_id = "s"

        assert await bridge.execute_tool("add", 1, 2) == 3


async def test_a_channel_that_was_given_stays_open() -> None:
    channel = grpc.aio.insecure_channel("127.0.0.1:1")
    client = ToolBridgeClient(channel)
    assert client.stub.ExecuteTool is not None

    await client.close()

    assert channel.get_state() is grpc.ChannelConnectivity.IDLE
    await channel.close()


async def test_a_call_without_a_session_says_what_to_do() -> None:
    client = client_of(FakeTransport(), session_id=None)

    for call in (client.session_info, client.heartbeat, client.refresh_tools, client.cleanup_session):
        with pytest.raises(ProtocolError, match="initialize"):
            await call()
    with pytest.raises(ProtocolError, match="initialize"):
        await client.execute_batch([{"tool_id": "add"}])


async def test_the_simple_methods_return_what_the_hub_says() -> None:
    transport = FakeTransport(
        GetSessionInfo=SessionInfo(session_id="s", tool_count=4),
        Heartbeat=HeartbeatResponse(session_valid=True),
        HealthCheck=HealthCheckResponse(status=HealthCheckResponse.SERVING),
        GetMetrics=MetricsResponse(metrics={"calls": MetricValue(integer_value=3)}),
        CleanupSession=ENDED,
    )
    client = client_of(transport)

    assert (await client.session_info()).tool_count == 4
    assert await client.heartbeat() is True
    assert transport.request("Heartbeat").HasField("client_time")
    assert await client.health_check() is True
    assert (await client.get_metrics("calls"))["calls"].integer_value == 3
    assert transport.request("GetMetrics").metric_names == ["calls"]
    await client.cleanup_session(force=True)
    assert transport.request("CleanupSession").force


@pytest.mark.parametrize("status", [HealthCheckResponse.NOT_SERVING, HealthCheckResponse.UNKNOWN])
async def test_a_hub_that_does_not_serve_is_not_healthy(status: Any) -> None:
    assert not await client_of(FakeTransport(HealthCheck=HealthCheckResponse(status=status))).health_check()


async def test_an_error_in_a_response_is_raised_as_its_class() -> None:
    refused = StatusResponse(error=ErrorInfo(type="SessionExpired", message="session 's' has ended"))

    with pytest.raises(SessionExpiredError, match="has ended"):
        await client_of(FakeTransport(CleanupSession=refused)).cleanup_session()


async def test_a_failed_call_names_its_method_and_the_hub() -> None:
    transport = FakeTransport(GetSessionInfo=rpc_error(grpc.StatusCode.UNAVAILABLE, "refused"))

    with pytest.raises(ToolCommunicationError, match=r"GetSessionInfo: UNAVAILABLE: .*the test: refused") as caught:
        await client_of(transport).session_info()

    assert caught.value.code is grpc.StatusCode.UNAVAILABLE


async def test_a_call_that_nobody_answers_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grpc_tool_bridge.client.caller.CLIENT_SLACK", 0.0)

    async def never(request: Any) -> None:
        await asyncio.Event().wait()

    transport = FakeTransport(GetMetrics=never)

    with pytest.raises(ToolCommunicationError) as caught:
        await client_of(transport).call("GetMetrics", MetricsResponse(), timeout=0.01)
    assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_request_over_the_limit_is_not_sent() -> None:
    transport = FakeTransport(BatchExecuteTools=BatchToolCallResponse())
    client = client_of(transport, max_message_bytes=100)

    with pytest.raises(MessageTooLargeError, match="message too large: the request of BatchExecuteTools"):
        await client.execute_batch([{"tool_id": "echo", "args": ["x" * 100]}])
    assert transport.count("BatchExecuteTools") == 0


# -------------------------------------------------------------------------------------------------------- sessions


async def test_a_session_is_opened_with_what_was_given() -> None:
    transport = FakeTransport(InitializeSession=OPENED)
    client = client_of(transport, session_id=None)

    assert await client.initialize_session("s", metadata={"a": "b"}, config=SessionConfig(default_timeout_ms=5)) is True

    request = transport.request("InitializeSession")
    assert (request.session_id, dict(request.metadata), request.config.default_timeout_ms) == ("s", {"a": "b"}, 5)
    assert (client.session_id, client.created_session) == ("s", True)
    assert client.tools["add"].spec.tool_id == "id-1"


async def test_an_id_is_made_up_once_for_all_tries(no_waiting: list[float]) -> None:
    lost = rpc_error(grpc.StatusCode.UNAVAILABLE)
    transport = FakeTransport(InitializeSession=[lost, lost, InitializeSessionResponse(success=True)])
    client = client_of(transport, session_id=None)

    await client.initialize_session()

    ids = {transport.request("InitializeSession", index).session_id for index in range(3)}
    assert ids == {client.session_id}
    assert len(no_waiting) == 2


async def test_a_session_whose_first_answer_was_lost_is_its_creator_s_all_the_same(no_waiting: list[float]) -> None:
    there = InitializeSessionResponse(success=True, resumed=True)
    transport = FakeTransport(InitializeSession=[rpc_error(grpc.StatusCode.UNAVAILABLE), there])
    client = client_of(transport, session_id=None)

    await client.initialize_session()

    assert client.created_session


async def test_the_session_that_the_hub_names_counts() -> None:
    transport = FakeTransport(InitializeSession=InitializeSessionResponse(success=True, session_id="other"))
    client = client_of(transport, session_id=None)

    await client.initialize_session("mine")

    assert client.session_id == "other"


async def test_a_hub_that_is_not_there_is_an_error_once_the_time_is_over(no_waiting: list[float]) -> None:
    transport = FakeTransport(InitializeSession=rpc_error(grpc.StatusCode.UNAVAILABLE, "refused"))

    with pytest.raises(ToolCommunicationError, match="refused") as caught:
        await client_of(transport).initialize_session("s", connect_timeout=0)

    assert caught.value.__notes__ == [
        f"Does a hub run at {transport.where}? grpc-tool-bridge serve --tools … starts one."
    ]
    assert transport.count("InitializeSession") == 1
    assert no_waiting == []


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.DEADLINE_EXCEEDED])
async def test_only_a_hub_that_is_not_there_is_tried_again(code: grpc.StatusCode, no_waiting: list[float]) -> None:
    transport = FakeTransport(InitializeSession=rpc_error(code))

    with pytest.raises(ToolCommunicationError):
        await client_of(transport).initialize_session("s")

    assert transport.count("InitializeSession") == 1


async def test_a_session_that_is_refused_leaves_the_client_without_one() -> None:
    refusal = InitializeSessionResponse(error=ErrorInfo(type="ValidationError", message="a session id is …"))
    client = client_of(FakeTransport(InitializeSession=refusal), session_id=None)

    with pytest.raises(ValidationError, match="a session id"):
        await client.initialize_session("\n")

    assert client.session_id is None


async def test_the_hub_s_idle_time_sets_the_heartbeat() -> None:
    class Call:
        def __init__(self, trailer: tuple[tuple[str, str], ...] | None) -> None:
            self._trailer = trailer

        def __await__(self) -> Iterator[Any]:
            async def respond() -> InitializeSessionResponse:
                return OPENED

            return respond().__await__()

        async def trailing_metadata(self) -> tuple[tuple[str, str], ...] | None:
            return self._trailer

    async def interval(trailer: tuple[tuple[str, str], ...] | None) -> float:
        transport = FakeTransport(InitializeSession=lambda request: Call(trailer))
        client = client_of(transport)
        await client.initialize_session("s")
        return client.heartbeat_interval

    assert await interval((("other", "1"), ("tool-bridge-idle-timeout-ms", "3000"))) == 1.0
    assert await interval((("tool-bridge-idle-timeout-ms", "soon"),)) == 100.0
    assert await interval(None) == 100.0


async def test_refreshed_tools_replace_the_known_ones() -> None:
    transport = FakeTransport(
        InitializeSession=OPENED, GetSessionTools=GetSessionToolsResponse(tools=[ToolSpec(name="new")])
    )
    client = client_of(transport)
    await client.initialize_session("s")

    assert list(await client.refresh_tools()) == ["new"]
    assert list(client.tools) == ["new"]


# ----------------------------------------------------------------------------------------------------------- calls


async def test_a_tool_is_found_by_name_by_id_or_left_to_the_hub() -> None:
    transport = FakeTransport(InitializeSession=OPENED, ExecuteTool=answer(1))
    client = client_of(transport)
    await client.initialize_session("s")

    for name in ("add", "id-1", "unknown"):
        assert await client.execute_tool(name) == 1

    assert [transport.request("ExecuteTool", index).tool_id for index in range(3)] == ["id-1", "id-1", "unknown"]


@pytest.mark.parametrize(
    "call",
    [
        lambda bridge: bridge.execute_tool("add", 1, b=2),
        lambda bridge: bridge.execute_tool("add", args=[1], kwargs={"b": 2}),
        lambda bridge: bridge.execute_tool(tool_id="add", args=[1], kwargs={"b": 2}),
        lambda bridge: bridge.execute_tool("add", 1, kwargs={"b": 2}),
        lambda bridge: bridge.execute_with_retry("add", 1, b=2),
    ],
)
async def test_every_way_to_call_a_tool_sends_its_arguments(call: Callable[[ToolBridge], Awaitable[Any]]) -> None:
    transport = FakeTransport(ExecuteTool=answer(3))

    assert await call(ToolBridge(client_of(transport))) == 3

    request = transport.request("ExecuteTool")
    assert [deserialize_value(arg) for arg in request.args] == [1]
    assert {name: deserialize_value(value) for name, value in request.kwargs.items()} == {"b": 2}


async def test_a_batch_sends_its_items_and_returns_the_results_in_order() -> None:
    results = [
        ToolCallResult(index=0, success=True, result=serialize_value("a")),
        ToolCallResult(index=1, error=ErrorInfo(type="KeyError", message="'x'", details={"origin": "tool"})),
    ]
    transport = FakeTransport(
        InitializeSession=OPENED, BatchExecuteTools=BatchToolCallResponse(results=results), CleanupSession=ENDED
    )
    bridge = ToolBridge(client_of(transport))
    await bridge.initialize("s")

    first, second = await bridge.execute_batch(
        [{"tool_id": "add", "args": [1], "kwargs": {"b": 2}}, {"tool_id": "find"}],
        parallel=False,
        stop_on_error=True,
        max_parallel=3,
    )

    assert first == "a"
    assert isinstance(second, ToolExecutionError)
    assert (second.tool_name, second.error_type) == ("find", "KeyError")
    request = transport.request("BatchExecuteTools")
    assert [(item.index, item.tool_id) for item in request.items] == [(0, "id-1"), (1, "find")]
    assert deserialize_value(request.items[0].kwargs["b"]) == 2
    config = request.config
    assert (config.parallel, config.stop_on_error, config.max_parallel) == (False, True, 3)
    await bridge.close()


async def test_an_empty_batch_asks_nobody() -> None:
    assert await client_of(FakeTransport()).execute_batch([]) == []


@pytest.mark.parametrize(
    ("item", "text"),
    [
        ({}, "item 1 of the batch is no call"),
        ({"tool_id": 3}, "item 1 of the batch is no call"),
        ({"tool_id": "add", "arguments": []}, r"item 1 of the batch has \['arguments'\]"),
    ],
)
async def test_a_batch_with_an_item_that_is_no_call_is_refused_whole(item: dict[str, Any], text: str) -> None:
    transport = FakeTransport(BatchExecuteTools=BatchToolCallResponse())

    with pytest.raises(ValidationError, match=text):
        await client_of(transport).execute_batch([{"tool_id": "add"}, item])
    assert transport.count("BatchExecuteTools") == 0


async def test_an_argument_of_a_batch_that_cannot_be_represented_is_named() -> None:
    deep: list[Any] = []
    for _ in range(200):
        deep = [deep]

    with pytest.raises(SerializationError, match=r"item 0 of the batch \(add\): argument 0"):
        await client_of(FakeTransport()).execute_batch([{"tool_id": "add", "args": [deep]}])


async def test_a_batch_with_results_missing_breaks_the_protocol() -> None:
    transport = FakeTransport(BatchExecuteTools=BatchToolCallResponse())

    with pytest.raises(ProtocolError, match="a batch of 1 calls was answered with 0 results"):
        await client_of(transport).execute_batch([{"tool_id": "add"}])


# --------------------------------------------------------------------------------------------------------- retries


async def test_a_retryable_failure_is_tried_again_with_growing_waits(no_waiting: list[float]) -> None:
    lost = rpc_error(grpc.StatusCode.UNAVAILABLE)
    transport = FakeTransport(ExecuteTool=[lost, lost, lost, answer("done")])

    assert await ToolBridge(client_of(transport)).execute_with_retry("add", 1, max_retries=3) == "done"

    assert transport.count("ExecuteTool") == 4
    assert [0.05 <= no_waiting[0] <= 0.1, 0.1 <= no_waiting[1] <= 0.2, 0.2 <= no_waiting[2] <= 0.4] == [True] * 3


async def test_the_last_error_is_raised_when_no_try_is_left(no_waiting: list[float]) -> None:
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
async def test_a_failure_that_would_come_again_is_not_tried_again(failure: Any, no_waiting: list[float]) -> None:
    transport = FakeTransport(ExecuteTool=failure)

    with pytest.raises((ToolExecutionError, ToolCommunicationError)):
        await ToolBridge(client_of(transport)).execute_with_retry("add")

    assert transport.count("ExecuteTool") == 1


async def test_the_time_that_the_answer_names_is_waited(no_waiting: list[float]) -> None:
    busy = ErrorInfo(type="ResourceExhausted", message="busy", details={"retry_after": "2.5"})
    transport = FakeTransport(ExecuteTool=[ToolCallResponse(error=busy), answer(1)])

    assert await ToolBridge(client_of(transport)).execute_with_retry("add") == 1
    assert no_waiting == [2.5]


async def test_the_rule_of_what_is_tried_again_can_be_replaced(no_waiting: list[float]) -> None:
    failed = ToolCallResponse(error=ErrorInfo(type="FlakyError", message="?", details={"origin": "tool"}))
    transport = FakeTransport(ExecuteTool=[failed, answer(1)])
    bridge = ToolBridge(client_of(transport), retry_if=lambda error: error.error_type == "FlakyError")

    assert await bridge.execute_with_retry("add") == 1


def keys(transport: FakeTransport) -> list[str]:
    return [transport.request("ExecuteTool", index).idempotency_key for index in range(transport.count("ExecuteTool"))]


async def test_every_try_has_the_same_key_and_every_call_another(no_waiting: list[float]) -> None:
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


async def test_a_key_that_the_tool_has_is_that_of_every_try(no_waiting: list[float]) -> None:
    busy = ErrorInfo(type="BusyError", message="?", retryable=True, details={"origin": "tool"})
    failed = ToolCallResponse(error=busy)
    transport = FakeTransport(ExecuteTool=[rpc_error(grpc.StatusCode.UNAVAILABLE), failed, answer(1)])
    client = client_of(transport)

    tool = client.tool("add").with_options(idempotency_key="order-17", timeout=2.5)
    assert await ToolBridge(client).execute_with_retry(tool, 1) == 1

    assert keys(transport) == ["order-17"] * 3
    assert transport.request("ExecuteTool").timeout_ms == 2_500


async def test_what_the_tool_itself_raised_is_tried_again_under_another_key(no_waiting: list[float]) -> None:
    failed = ToolCallResponse(error=ErrorInfo(type="FlakyError", message="?", details={"origin": "tool"}))
    transport = FakeTransport(ExecuteTool=[rpc_error(grpc.StatusCode.UNAVAILABLE), failed, answer(1)])
    bridge = ToolBridge(client_of(transport), retry_if=lambda error: True)

    assert await bridge.execute_with_retry("add") == 1

    first, second, third = keys(transport)
    assert first == second != third != ""


async def test_a_negative_number_of_tries_is_refused() -> None:
    with pytest.raises(ValidationError, match="max_retries is -1"):
        await ToolBridge(client_of(FakeTransport())).execute_with_retry("add", max_retries=-1)


def test_the_waits_double_up_to_five_seconds_and_are_shortened_at_random() -> None:
    for wait, longest in zip(islice(back_off(), 8), (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0), strict=True):
        assert longest / 2 <= wait <= longest


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
        assert view.execute_tool("add", 1, 2) == 3
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


def test_a_target_of_bytes_is_refused_without_what_may_be_secret_in_it() -> None:
    target: Any = b"user:s3cr3t@h:1"
    with pytest.raises(ValueError, match="is no address") as caught:
        ToolBridgeClient(target)
    assert "s3cr3t" not in str(caught.value)
