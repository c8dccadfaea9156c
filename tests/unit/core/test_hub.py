"""The hub: every method of the service, as messages in and messages out."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from grpc_tool_bridge.aio import turns as turns_module
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.calls import session_ended
from grpc_tool_bridge.core.hub import CAPABILITIES, Hub
from grpc_tool_bridge.core.stored import StoredRun, StoredSession
from grpc_tool_bridge.core.variable import Variable
from grpc_tool_bridge.errors import (
    CallCancelledError,
    NotFoundError,
    ResourceExhaustedError,
    SessionExpiredError,
    SessionNotFoundError,
    StoreError,
    UnavailableError,
    ValidationError,
)
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.context import RequestContext
from grpc_tool_bridge.rpc.methods import SERVICE_NAME
from grpc_tool_bridge.values.serialization import deserialize_value, serialize_value
from support.held_store import HeldStore
from support.waiting import turns


def add(a: int, b: int) -> int:
    return a + b


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


async def endless() -> AsyncGenerator[int, None]:
    while True:
        await asyncio.sleep(0)
        yield 1


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    async with running() as one:
        yield one


class running:
    """A hub that runs, with the session "s"; every settings by name."""

    def __init__(self, **settings: Any) -> None:
        self.hub = Hub(Settings(**settings), [add, forever, endless])

    async def __aenter__(self) -> Hub:
        await self.hub.start()
        await self.hub.store.create_session("s")
        return self.hub

    async def __aexit__(self, *exception: object) -> None:
        await self.hub.drain(0)
        await self.hub.aclose()


async def set_variable(hub: Hub, name: str, value: Any, **fields: Any) -> pb.StatusResponse:
    fields.setdefault("create_if_missing", True)
    return await hub.set_session_variable(
        pb.SetVariableRequest(session_id="s", variable_name=name, value=serialize_value(value), **fields)
    )


# -------------------------------------------------------------------------------------------------------- sessions


async def test_a_new_session_is_told_what_there_is(hub: Hub) -> None:
    request = pb.InitializeSessionRequest(
        session_id="new",
        metadata={"k": "v"},
        callback_address="far:1",
        config=pb.SessionConfig(default_timeout_ms=5_000),
    )
    response = await hub.initialize_session(request)
    assert (response.success, response.session_id, response.resumed, response.tool_count) == (True, "new", False, 3)
    assert [spec.name for spec in response.tools] == ["add", "endless", "forever"]
    assert tuple(response.capabilities) == CAPABILITIES
    session = hub.store.peek("new")
    assert session.metadata == {"k": "v", "callback_address": "far:1"}
    assert session.call_timeout == 5


async def test_a_session_without_an_id_gets_one(hub: Hub) -> None:
    response = await hub.initialize_session(pb.InitializeSessionRequest())
    assert response.success
    assert hub.store.peek(response.session_id).metadata == {}


async def test_a_known_id_attaches_and_an_ended_one_begins_anew(hub: Hub) -> None:
    await set_variable(hub, "x", 1)
    request = pb.InitializeSessionRequest(session_id="s")
    assert (await hub.initialize_session(request)).resumed
    await hub.store.cleanup_session("s")
    response = await hub.initialize_session(request)
    assert (response.success, response.resumed) == (True, False)
    assert hub.store.peek("s").variable_count == 0


@pytest.mark.parametrize(
    ("request_", "error_type"),
    [
        (pb.InitializeSessionRequest(session_id="x" * 10_000), "ValidationError"),
        (pb.InitializeSessionRequest(session_id="a\x00"), "ValidationError"),
        (pb.InitializeSessionRequest(config=pb.SessionConfig(max_concurrent_tools=-1)), "ValidationError"),
    ],
)
async def test_a_session_that_cannot_be_is_refused_in_the_answer(
    hub: Hub, request_: pb.InitializeSessionRequest, error_type: str
) -> None:
    response = await hub.initialize_session(request_)
    assert not response.success
    assert response.error.type == error_type
    assert len(hub.store) == 1


async def test_a_session_is_removed_after_its_calls_unless_forced(hub: Hub) -> None:
    call = asyncio.create_task(hub.execute_tool(pb.ToolCallRequest(session_id="s", tool_id="forever")))
    await turns()
    removal = asyncio.create_task(hub.cleanup_session(pb.CleanupSessionRequest(session_id="s")))
    await turns()
    assert not removal.done()
    refused = await hub.execute_tool(pb.ToolCallRequest(session_id="s", tool_id="add"))
    assert refused.error.type == "SessionExpired"
    forced = await hub.cleanup_session(pb.CleanupSessionRequest(session_id="s", force=True))
    assert (forced.success, forced.message) == (True, "session 's' has ended")
    error = (await call).error
    assert error.type == "Cancelled"
    assert "session 's' has ended: it was removed" in error.message
    assert (await removal).error.type == "SessionExpired"


async def test_a_remover_that_goes_before_the_calls_end_removes_nothing(hub: Hub) -> None:
    call = asyncio.create_task(hub.execute_tool(pb.ToolCallRequest(session_id="s", tool_id="forever")))
    await turns()
    removal = asyncio.create_task(hub.cleanup_session(pb.CleanupSessionRequest(session_id="s")))
    await turns()
    removal.cancel()
    await asyncio.wait([removal])
    call.cancel()
    await asyncio.wait([call])
    args = [serialize_value(1), serialize_value(2)]
    assert (await hub.execute_tool(pb.ToolCallRequest(session_id="s", tool_id="add", args=args))).success


async def test_removing_a_session_that_is_not_there_is_told(hub: Hub) -> None:
    response = await hub.cleanup_session(pb.CleanupSessionRequest(session_id="nobody"))
    assert (response.success, response.error.type) == (False, "SessionNotFound")
    assert response.message == response.error.message


async def test_a_session_is_described_without_counting_as_activity(hub: Hub) -> None:
    await set_variable(hub, "x", 1)
    call = asyncio.create_task(hub.execute_tool(pb.ToolCallRequest(session_id="s", tool_id="forever")))
    await turns()
    session = hub.store.peek("s")
    session.last_activity = time.monotonic() - 100
    info = await hub.get_session_info(pb.GetSessionInfoRequest(session_id="s"))
    assert (info.tool_count, info.variable_count, info.active_operations) == (3, 1, 1)
    assert info.created_at.ToMicroseconds() == int(session.created_at * 1e6)
    assert 99 < time.time() - info.last_activity.ToMicroseconds() / 1e6 < 110
    call.cancel()
    await asyncio.wait([call])
    with pytest.raises(SessionNotFoundError):
        await hub.get_session_info(pb.GetSessionInfoRequest(session_id="nobody"))


async def test_a_heartbeat_keeps_a_session_alive_and_tells_of_one_that_is_not(hub: Hub) -> None:
    session = hub.store.peek("s")
    session.last_activity -= 100
    before = session.last_activity
    response = await hub.heartbeat(pb.HeartbeatRequest(session_id="s"))
    assert response.session_valid
    assert response.HasField("server_time")
    assert session.last_activity > before
    assert not (await hub.heartbeat(pb.HeartbeatRequest(session_id="nobody"))).session_valid


# ------------------------------------------------------------------------------------------------------- execution


async def test_calls_streams_and_batches_reach_the_tools(hub: Hub) -> None:
    args = [serialize_value(1), serialize_value(2)]
    response = await hub.execute_tool(pb.ToolCallRequest(session_id="s", tool_id="add", args=args))
    assert deserialize_value(response.result) == 3
    stream = hub.stream_tool(pb.ToolStreamRequest(session_id="s", tool_id="add", args=args))
    assert [chunk.WhichOneof("content") async for chunk in stream] == ["data", "complete"]
    items = [pb.ToolCallItem(tool_id="add", args=args)] * 2
    batch = await hub.batch_execute_tools(pb.BatchToolCallRequest(session_id="s", items=items))
    assert [deserialize_value(result.result) for result in batch.results] == [3, 3]


async def test_the_transports_deadline_holds(hub: Hub) -> None:
    past = time.monotonic() - 1
    request = pb.ToolCallRequest(session_id="s", tool_id="forever")
    assert (await hub.execute_tool(request, RequestContext(deadline=past))).error.type == "TimeoutError"
    stream = hub.stream_tool(pb.ToolStreamRequest(session_id="s", tool_id="endless"), RequestContext(deadline=past))
    assert [chunk.error.type async for chunk in stream] == ["TimeoutError"]
    batch = pb.BatchToolCallRequest(session_id="s", items=[pb.ToolCallItem(tool_id="forever")])
    assert (await hub.batch_execute_tools(batch, RequestContext(deadline=past))).results[0].error.type == "TimeoutError"


# ------------------------------------------------------------------------------------------------------- variables


async def test_a_variable_is_set_read_listed_and_deleted(hub: Hub) -> None:
    status = await set_variable(hub, "x", [1, 2], metadata=pb.VariableMetadata(tags={"k": "v"}))
    assert status.success
    request = pb.GetVariableRequest(session_id="s", variable_name="x")
    response = await hub.get_session_variable(request)
    assert (response.exists, deserialize_value(response.value), response.HasField("metadata")) == (True, [1, 2], False)
    request.include_metadata = True
    assert str((await hub.get_session_variable(request)).metadata.revision) == status.message
    listed = await hub.list_session_variables(pb.ListVariablesRequest(session_id="s", prefix="x", tags=["k"], limit=5))
    assert [info.name for info in listed.variables] == ["x"]
    deleted = await hub.delete_session_variable(pb.DeleteVariableRequest(session_id="s", variable_name="x"))
    assert (deleted.success, deleted.message) == (True, "variable 'x' was deleted")
    assert not (await hub.get_session_variable(request)).exists


async def test_a_variable_that_a_program_in_the_process_set_is_encoded(hub: Hub) -> None:
    await hub.store.set_variable("s", "x", (1, 2))
    response = await hub.get_session_variable(pb.GetVariableRequest(session_id="s", variable_name="x"))
    assert deserialize_value(response.value) == (1, 2)


async def test_what_is_wrong_with_a_variable_is_in_the_answer(hub: Hub) -> None:
    assert (await set_variable(hub, "x", 1, create_if_missing=False)).error.type == "VariableNotFound"
    assert (await set_variable(hub, "", 1)).error.type == "ValidationError"
    assert (await set_variable(hub, "x", 1, expected_revision=7)).error.type == "RevisionConflict"
    assert (await set_variable(hub, "x", "y" * (11 * 1024 * 1024))).error.type == "MessageTooLarge"
    nothing = await hub.set_session_variable(pb.SetVariableRequest(session_id="s", variable_name="x"))
    assert "variable 'x': the request has no value" in nothing.message
    missing = pb.DeleteVariableRequest(session_id="s", variable_name="x")
    assert (await hub.delete_session_variable(missing)).error.type == "VariableNotFound"
    missing.expected_revision = 1
    await set_variable(hub, "x", 1)
    assert (await hub.delete_session_variable(missing)).error.type == "RevisionConflict"
    unknown = pb.SetVariableRequest(session_id="nobody", variable_name="x", value=serialize_value(1))
    assert (await hub.set_session_variable(unknown)).error.type == "SessionNotFound"


async def test_a_negative_limit_of_a_listing_is_refused(hub: Hub) -> None:
    with pytest.raises(ValidationError, match=r"limit must be 0 \(all\) or more, not -1"):
        await hub.list_session_variables(pb.ListVariablesRequest(session_id="s", limit=-1))


async def test_a_watch_of_variables_tells_changes_with_values_epoch_and_time(hub: Hub) -> None:
    await set_variable(hub, "x", 1)
    watch = hub.watch_session_variables(pb.WatchVariablesRequest(session_id="s", include_initial=True))
    first = await anext(watch)
    assert (first.name, first.operation, deserialize_value(first.value)) == ("x", "set", 1)
    assert first.epoch == hub.store.revisions.epoch
    assert abs(first.timestamp.ToMicroseconds() / 1e6 - time.time()) < 60
    await hub.delete_session_variable(pb.DeleteVariableRequest(session_id="s", variable_name="x"))
    second = await anext(watch)
    assert (second.name, second.operation, second.HasField("value")) == ("x", "delete", False)
    await watch.aclose()
    assert hub.store.peek("s").watches == 0


async def test_one_watch_too_many_is_refused() -> None:
    async with running(max_session_watches=1) as hub:
        request = pb.WatchVariablesRequest(session_id="s", include_initial=True)
        await set_variable(hub, "x", 1)
        first = hub.watch_session_variables(request)
        await anext(first)
        with pytest.raises(ResourceExhaustedError, match="has 1 watches open, which is its limit; end one first"):
            await anext(hub.watch_session_variables(request))
        await first.aclose()
        second = hub.watch_session_variables(request)
        await anext(second)
        await second.aclose()


async def test_watches_of_no_session_or_an_ended_one_are_refused_or_end(hub: Hub) -> None:
    with pytest.raises(SessionNotFoundError):
        await anext(hub.watch_session_variables(pb.WatchVariablesRequest(session_id="nobody")))
    with pytest.raises(SessionNotFoundError):
        await anext(hub.watch_session_tools(pb.WatchSessionToolsRequest(session_id="nobody")))
    pending = [
        asyncio.ensure_future(anext(hub.watch_session_variables(pb.WatchVariablesRequest(session_id="s")))),
        asyncio.ensure_future(anext(hub.watch_session_tools(pb.WatchSessionToolsRequest(session_id="s")))),
    ]
    await turns()
    await hub.cleanup_session(pb.CleanupSessionRequest(session_id="s"))
    for watch in pending:
        with pytest.raises(SessionExpiredError):
            await watch


# ---------------------------------------------------------------------------------------------------- the hub itself


async def test_health_follows_the_hubs_life() -> None:
    hub = Hub(tools=[add])
    told: list[bool] = []
    hub.on_serving(told.append)
    status = pb.HealthCheckResponse

    async def health(service: str = "") -> int:
        return (await hub.health_check(pb.HealthCheckRequest(service=service))).status

    assert await health() == status.NOT_SERVING
    await hub.start()
    assert await health() == await health(SERVICE_NAME) == status.SERVING
    assert await health("dspex.bridge.ToolBridgeAdmin") == status.SERVING
    assert await health("another") == status.UNKNOWN
    await hub.drain(0)
    assert await health() == status.NOT_SERVING
    await hub.aclose()
    assert told == [True, False]


async def test_metrics_tell_of_the_hub_and_its_tools(hub: Hub) -> None:
    args = [serialize_value(1), serialize_value(2)]
    await hub.execute_tool(pb.ToolCallRequest(session_id="s", tool_id="add", args=args))
    metrics = (await hub.get_metrics(pb.GetMetricsRequest())).metrics
    assert metrics["hub.sessions"].integer_value == 1
    assert metrics["hub.active_calls"].integer_value == 0
    assert metrics["hub.epoch"].string_value == hub.store.revisions.epoch
    assert metrics["hub.uptime_seconds"].double_value > 0
    assert metrics["tool.add.calls"].integer_value == 1
    assert metrics["tool.add.active"].integer_value == 0
    some = (await hub.get_metrics(pb.GetMetricsRequest(metric_names=["hub.threads_busy"]))).metrics
    assert list(some) == ["hub.threads_busy"]


async def test_metrics_of_another_time_are_none(hub: Hub) -> None:
    later, earlier = pb.GetMetricsRequest(), pb.GetMetricsRequest()
    later.start_time.FromSeconds(int(time.time()) + 1_000)
    earlier.end_time.FromSeconds(int(time.time()) - 1_000)
    for request in (later, earlier):
        assert not (await hub.get_metrics(request)).metrics


async def test_a_drain_waits_for_calls_in_flight() -> None:
    go = asyncio.Event()

    async def wait() -> str:
        await go.wait()
        return "done"

    hub = Hub(tools=[wait])
    await hub.start()
    await hub.store.create_session("s")
    call = asyncio.create_task(hub.execute_tool(pb.ToolCallRequest(session_id="s", tool_id="wait")))
    await turns()
    drain = asyncio.create_task(hub.drain(60))
    await turns()
    assert not drain.done()
    refused = await hub.initialize_session(pb.InitializeSessionRequest(session_id="new"))
    assert refused.error.type == "WorkerUnavailable"
    with pytest.raises(UnavailableError, match="shutting down; connect again"):
        await anext(hub.watch_session_tools(pb.WatchSessionToolsRequest(session_id="s")))
    go.set()
    await drain
    assert deserialize_value((await call).result) == "done"
    await hub.aclose()


async def test_a_drain_ends_what_does_not_finish_within_the_grace(caplog: pytest.LogCaptureFixture) -> None:
    hub = Hub(tools=[forever])
    await hub.start()
    await hub.store.create_session("s")
    await set_variable(hub, "x", 1)
    call = asyncio.create_task(hub.execute_tool(pb.ToolCallRequest(session_id="s", tool_id="forever")))
    watches = [
        asyncio.ensure_future(anext(hub.watch_session_variables(pb.WatchVariablesRequest(session_id="s")))),
        asyncio.ensure_future(anext(hub.watch_session_tools(pb.WatchSessionToolsRequest(session_id="s")))),
    ]
    await turns()
    await hub.drain(0)
    error = (await call).error
    assert (error.type, error.message) == ("Cancelled", "the call was cancelled: the hub is shutting down")
    for watch in watches:
        with pytest.raises(UnavailableError, match="the hub is shutting down"):
            await watch
    assert "cancelling 1 calls that did not finish within 0 s" in caplog.text
    await hub.aclose()


async def test_idle_sessions_expire_while_the_hub_runs() -> None:
    async with running(session_idle_timeout=0.01) as hub:
        watch = hub.watch_session_variables(pb.WatchVariablesRequest(session_id="s"))
        pending = asyncio.ensure_future(anext(watch))
        await hub.initialize_session(pb.InitializeSessionRequest(session_id="idle"))
        # Who only follows the tools does nothing with the session.
        following = hub.watch_session_tools(pb.WatchSessionToolsRequest(session_id="idle"))
        with pytest.raises(NotFoundError, match="it was idle for"):
            await anext(following)
        hub.store.peek("s")
        assert len(hub.store) == 1
        pending.cancel()
        await asyncio.wait([pending])


async def test_two_tools_of_a_name_are_refused_when_the_hub_is_made() -> None:
    with pytest.raises(ValueError, match="the hub has a tool named 'add' already"):
        Hub(tools=[add, add])


async def test_no_call_that_waits_begins_once_its_session_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = 0

    async def work() -> None:
        nonlocal begun
        begun += 1
        await asyncio.get_running_loop().create_future()

    # Each call is cancelled in a turn of its own: between two, permits become free.
    monkeypatch.setattr(turns_module, "SLICE_SECONDS", 0.0)
    async with running(max_session_calls=1) as hub:
        hub.registry.register_batch("", [work])
        request = pb.ToolCallRequest(session_id="s", tool_id="work")
        calls = [asyncio.create_task(hub.execute_tool(request)) for _ in range(20)]
        await turns()
        assert begun == 1
        await hub.cleanup_session(pb.CleanupSessionRequest(session_id="s", force=True))
        answers = await asyncio.gather(*calls)
        assert {answer.error.type for answer in answers} == {"Cancelled"}
        assert begun == 1


async def test_a_list_of_metrics_and_a_time_that_cannot_be_are_refused(hub: Hub) -> None:
    with pytest.raises(ValidationError, match="metric_names has at most 1,000 entries"):
        await hub.get_metrics(pb.GetMetricsRequest(metric_names=["x"] * 1_001))
    for moment in (Timestamp(seconds=2**62), Timestamp(nanos=-5), Timestamp(seconds=-(2**62))):
        with pytest.raises(ValidationError, match="is not a valid time"):
            await hub.get_metrics(pb.GetMetricsRequest(start_time=moment))


async def test_a_callback_address_is_kept_with_the_metadata_and_never_in_place_of_another(hub: Hub) -> None:
    request = pb.InitializeSessionRequest(
        session_id="new", callback_address="a:1", metadata={"callback_address": "b:2"}
    )
    answer = await hub.initialize_session(request)
    assert answer.error.message == "callback_address is given twice, in its field and in metadata; remove one"
    request.metadata["callback_address"] = "a:1"
    assert (await hub.initialize_session(request)).success
    info = await hub.get_session_info(pb.GetSessionInfoRequest(session_id="new"))
    assert dict(info.metadata) == {"callback_address": "a:1"}


async def test_a_session_that_is_attached_to_keeps_its_metadata_and_limits(hub: Hub) -> None:
    config = pb.SessionConfig(max_concurrent_tools=3, enable_caching=True)
    request = pb.InitializeSessionRequest(session_id="new", metadata={"a": "1"}, config=config)
    await hub.initialize_session(request)
    for again in (
        pb.InitializeSessionRequest(session_id="new"),
        pb.InitializeSessionRequest(session_id="new", metadata={"b": "2"}, config=pb.SessionConfig()),
    ):
        assert (await hub.initialize_session(again)).resumed
        session = hub.store.peek("new")
        assert (dict(session.metadata), session.max_calls, session.caching) == ({"a": "1"}, 3, True)


# ------------------------------------------------------------------------------------------- sessions that move


async def _durable_hub() -> tuple[Hub, HeldStore]:
    store = HeldStore(is_quick=True)
    hub = Hub(durable=store)
    await hub.restore()
    return hub, store


def _stored(**more: Any) -> StoredSession:
    variable = Variable("x", serialize_value(1), "int", 8, 1.0, 1.0, 7, 8)
    return StoredSession("s", 5.0, {"owner": "tests"}, variables=[variable], revision=7, above=500, **more)


async def test_an_adopted_session_is_as_it_was_and_its_revisions_go_on_above() -> None:
    hub, _ = await _durable_hub()
    session = hub.adopt(_stored())
    assert (session.created_at, dict(session.metadata)) == (5.0, {"owner": "tests"})
    assert await hub.store.get_variable("s", "x") == 1
    await hub.store.set_variable("s", "x", 2)
    assert hub.store.variables("s").revision > 500


async def test_a_watch_of_tools_begins_anew_at_a_hub_that_adopted_its_session() -> None:
    hub, _ = await _durable_hub()
    session = hub.adopt(_stored())
    watch = hub.registry.watch(session, 400)
    assert (await anext(watch)).operation == "reset"
    await watch.aclose()


async def test_the_runs_of_an_adopted_session_have_ended_and_its_agents_are_there() -> None:
    hub, _ = await _durable_hub()
    agent = pb.CreateReActAgentRequest(session_id="s", signature="a -> b")
    hub.adopt(_stored(agents={"agent-1": agent}, runs=[StoredRun("run-1", "agent-1", b"", 1.0)]))
    assert hub.agents.definitions("s") == {"agent-1": agent}
    [run] = hub.agents.runs()
    assert run.over
    assert run.error_type == "RunInterrupted"
    await hub.aclose()


async def test_a_damaged_run_leaves_no_half_of_a_session() -> None:
    hub, _ = await _durable_hub()
    run = StoredRun("run-1", "agent-1", b"", 1.0, chunks=[(b"\xff", True)])
    with pytest.raises(StoreError, match="is damaged"):
        hub.adopt(_stored(runs=[run]))
    assert "s" not in hub.store


async def test_a_forgotten_session_is_neither_ended_nor_stored_and_its_watches_can_be_resumed() -> None:
    hub, store = await _durable_hub()
    await hub.store.create_session("s")
    await hub.store.set_variable("s", "x", 1)
    watches = [hub.store.variables("s").watch(), hub.registry.watch(hub.store.find("s"))]
    waiting = [asyncio.ensure_future(anext(watch)) for watch in watches]
    await asyncio.sleep(0)
    done = list(store.done)
    hub.forget("s", UnavailableError("session 's' moved to another hub"))
    for one in waiting:
        with pytest.raises(UnavailableError, match="moved"):
            await one
    assert store.done == done
    with pytest.raises(UnavailableError, match="moved"):
        hub.store.find("s")
    hub.forget("s", UnavailableError("again"))


async def test_a_session_that_is_forgotten_while_it_ends_does_not_come_back() -> None:
    store = HeldStore()
    hub = Hub(durable=store)
    restoring = asyncio.ensure_future(hub.restore())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    store.store()
    await restoring
    creating = asyncio.ensure_future(hub.store.create_session("s"))
    await asyncio.sleep(0)
    store.store()
    session = await creating
    ending = asyncio.ensure_future(hub.store.cleanup_session("s"))
    await asyncio.sleep(0)
    hub.forget("s", UnavailableError("session 's' moved to another hub"))
    store.fail(StoreError("it is another hub's"))
    with pytest.raises(StoreError):
        await ending
    assert "s" not in hub.store
    assert isinstance(session.ended, UnavailableError)


async def test_the_end_of_a_session_at_another_hub_is_remembered() -> None:
    hub, _ = await _durable_hub()
    hub.store.remember_ended("s", "it was removed")
    with pytest.raises(SessionExpiredError, match="it was removed"):
        hub.store.find("s")
    hub.adopt(_stored())
    hub.store.remember_ended("s", "it was removed")
    assert hub.store.find("s").id == "s"


async def test_calls_of_a_session_that_moves_end_with_an_error_that_can_be_retried() -> None:
    error = session_ended(UnavailableError("session 's' moved to another hub"))
    assert type(error) is UnavailableError
    assert error.retryable
    assert isinstance(session_ended(SessionExpiredError("it has ended")), CallCancelledError)
