"""A client's view of what goes on in the hub."""

from datetime import UTC, datetime
from typing import Any

import grpc
import pytest

from grpc_tool_bridge import (
    CallStatus,
    NotFoundError,
    ProtocolError,
    SerializationError,
    ToolBridgeClient,
    ToolCommunicationError,
    UnavailableError,
    ValidationError,
    serialize_value,
)
from grpc_tool_bridge.errors import error_info
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from unit.client.fakes import FakeTransport, Streams, client_of, rpc_error

SERVING = pb.HealthCheckResponse(status=pb.HealthCheckResponse.SERVING)


class LinkLike(FakeTransport):
    """A transport over which watches go on."""

    resumes = True


def started(call_id: str = "1", **fields: Any) -> pb.AdminEvent:
    info = pb.CallInfo(call_id=call_id, state="running", time_left_ms=1_500)
    return pb.AdminEvent(sequence=1, operation="started", call=info, **fields)


def client_with(**answers: Any) -> tuple[ToolBridgeClient, FakeTransport]:
    transport = FakeTransport(**answers)
    return client_of(transport, session_id=None), transport


# ----------------------------------------------------------------------------------------------------------- lists


async def test_lists_are_read_page_by_page_and_need_no_session() -> None:
    client, transport = client_with(
        ListSessions=[
            pb.ListSessionsResponse(sessions=[pb.SessionInfo(session_id="a")], next_page_token="next"),
            pb.ListSessionsResponse(sessions=[pb.SessionInfo(session_id="b")]),
        ],
        ListWorkers=pb.ListWorkersResponse(workers=[pb.WorkerInfo(worker_id="w")]),
        ListRuns=pb.ListRunsResponse(runs=[pb.RunInfo(run_id="r")]),
    )
    assert [session.session_id async for session in client.admin.sessions()] == ["a", "b"]
    assert [request.page_token for request in transport.requests["ListSessions"]] == ["", "next"]
    assert transport.request("ListSessions").page_size == 1_000
    assert [worker.worker_id async for worker in client.admin.workers()] == ["w"]
    assert [run.run_id async for run in client.admin.runs("s")] == ["r"]
    assert transport.request("ListRuns").session_id == "s"


async def test_a_hub_that_never_comes_to_the_last_page_breaks_the_protocol() -> None:
    client, _ = client_with(ListSessions=pb.ListSessionsResponse(next_page_token="same"))
    with pytest.raises(ProtocolError, match="names its own page as the next one"):
        _ = [session async for session in client.admin.sessions()]


async def test_calls_come_with_their_values() -> None:
    info = pb.CallInfo(
        call_id="7",
        session_id="s",
        tool_id="add",
        request_id="r",
        parent_id="6",
        worker_id="w",
        state="running",
        time_left_ms=1_500,
        progress=pb.Progress(current=1),
        args=[serialize_value([1, 2])],
        kwargs={"b": serialize_value("x")},
    )
    info.started_at.FromDatetime(datetime(2026, 1, 2, tzinfo=UTC))
    client, transport = client_with(ListCalls=pb.ListCallsResponse(calls=[info]))
    (call,) = [call async for call in client.admin.calls("s", include_arguments=True)]
    assert call == CallStatus(
        call_id="7",
        session_id="s",
        tool_id="add",
        request_id="r",
        parent_id="6",
        worker_id="w",
        state="running",
        started_at=datetime(2026, 1, 2, tzinfo=UTC),
        time_left=1.5,
        progress=pb.Progress(current=1),
        args=([1, 2],),
        kwargs={"b": "x"},
        duration=None,
        error=None,
    )
    assert transport.request("ListCalls").session_id == "s"
    assert transport.request("ListCalls").include_arguments


async def test_what_cannot_be_read_is_an_error() -> None:
    info = pb.CallInfo(state="running")
    info.started_at.seconds = 2**60
    client, transport = client_with(ListCalls=pb.ListCallsResponse(calls=[info]))
    with pytest.raises(ProtocolError, match="an invalid timestamp"):
        await anext(client.admin.calls())
    info = pb.CallInfo(state="running", args=[serialize_value(1)])
    info.args[0].type_url = "type.googleapis.com/none"
    transport.answer("ListCalls", pb.ListCallsResponse(calls=[info]))
    with pytest.raises(SerializationError):
        await anext(client.admin.calls())


# ---------------------------------------------------------------------------------------------------------- cancel


async def test_a_call_is_cancelled_by_its_id() -> None:
    client, transport = client_with(CancelCall=pb.StatusResponse(success=True))
    await client.admin.cancel_call("7", "why")
    assert transport.request("CancelCall") == pb.CancelCallRequest(call_id="7", reason="why")
    gone = error_info(NotFoundError("no call '7' waits or runs"))
    transport.answer("CancelCall", pb.StatusResponse(error=gone))
    with pytest.raises(NotFoundError, match="no call '7'"):
        await client.admin.cancel_call("7")


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("session_id", lambda admin: admin.calls(1)),
        ("session_id", lambda admin: admin.calls("")),
        ("session_id", lambda admin: admin.runs(b"s")),
        ("session_id", lambda admin: admin.watch(1)),
        ("include_arguments", lambda admin: admin.calls(include_arguments=1)),
        ("include_arguments", lambda admin: admin.watch(include_arguments="no")),
        ("kinds", lambda admin: admin.watch(kinds="call")),
        ("calls_per_second", lambda admin: admin.watch(calls_per_second=0)),
        ("calls_per_second", lambda admin: admin.watch(calls_per_second="50")),
        ("calls_per_second", lambda admin: admin.watch(calls_per_second=2**31)),
        ("one of kinds", lambda admin: admin.watch(kinds=[1])),
        ("one of kinds", lambda admin: admin.watch(kinds=["call", "calls"])),
    ],
)
def test_an_argument_that_cannot_be_is_named(name: str, make: Any) -> None:
    client, _ = client_with()
    with pytest.raises(ValidationError, match=f"^{name} is "):
        make(client.admin)


@pytest.mark.parametrize(("name", "given"), [("call_id", ("",)), ("call_id", (7,)), ("reason", ("7", None))])
async def test_what_cannot_be_cancelled_is_refused_here(name: str, given: Any) -> None:
    client, _ = client_with()
    with pytest.raises(ValidationError, match=f"^{name} is "):
        await client.admin.cancel_call(*given)


# ----------------------------------------------------------------------------------------------------------- watch


async def test_events_come_with_what_they_are_of() -> None:
    ended = pb.AdminEvent(sequence=9, dropped=7, omitted_calls=5, operation="ended", result=serialize_value((1, 2)))
    ended.call.CopyFrom(pb.CallInfo(call_id="1", state="failed", duration_us=500_000, error=pb.ErrorInfo(type="E")))
    ended.timestamp.FromDatetime(datetime(2026, 1, 2, tzinfo=UTC))
    worker = pb.AdminEvent(operation="connected", worker=pb.WorkerInfo(worker_id="w"))
    session = pb.AdminEvent(operation="ended", session=pb.SessionInfo(session_id="s"))
    line = pb.AdminEvent(log=pb.LogRecord(message="hello"))
    client, transport = client_with(WatchEvents=Streams([started(), ended, worker, session, line]))
    watch = client.admin.watch("s", ["call", "log"], include_arguments=True, calls_per_second=50)
    events = [event async for event in watch]
    asked = transport.request("WatchEvents")
    assert asked.calls_per_second == 50
    assert (asked.session_id, list(asked.kinds), asked.include_arguments) == ("s", ["call", "log"], True)
    assert [event.kind for event in events] == ["call", "call", "worker", "session", "log"]
    first, last = events[:2]
    assert isinstance(first.subject, CallStatus)
    assert isinstance(last.subject, CallStatus)
    assert (first.omitted_calls, last.omitted_calls) == (0, 5)
    assert (first.subject.time_left, first.subject.duration, first.result, first.dropped) == (1.5, None, None, 0)
    assert (last.sequence, last.dropped, last.result, last.subject.duration) == (9, 7, (1, 2), 0.5)
    assert last.subject.error == pb.ErrorInfo(type="E")
    assert last.timestamp == datetime(2026, 1, 2, tzinfo=UTC)
    assert [event.subject for event in events[2:]] == [worker.worker, session.session, line.log]


async def test_an_event_that_says_nothing_breaks_the_protocol() -> None:
    client, _ = client_with(WatchEvents=Streams([pb.AdminEvent(operation="started")]))
    with pytest.raises(ProtocolError, match="has no subject"):
        await anext(client.admin.watch())


@pytest.mark.parametrize("lost", [rpc_error(grpc.StatusCode.UNAVAILABLE, "lost"), UnavailableError("it drains")])
async def test_over_a_link_a_watch_goes_on(waits: list[float], lost: Exception) -> None:
    transport = LinkLike(WatchEvents=Streams([started("1"), lost], [started("2")]), HealthCheck=SERVING)
    client = client_of(transport, session_id=None)
    events = [event async for event in client.admin.watch(kinds=["call"])]
    assert [event.subject.call_id for event in events if isinstance(event.subject, CallStatus)] == ["1", "2"]
    assert transport.count("HealthCheck") == 1
    assert [list(request.kinds) for request in transport.requests["WatchEvents"]] == [["call"], ["call"]]
    assert len(waits) == 1


async def test_over_plain_rpc_a_watch_ends_with_its_connection() -> None:
    lost = rpc_error(grpc.StatusCode.UNAVAILABLE, "lost")
    client, _ = client_with(WatchEvents=Streams([started(), lost]))
    watch = client.admin.watch()
    await anext(watch)
    with pytest.raises(ToolCommunicationError, match="lost"):
        await anext(watch)


async def test_a_watch_that_is_refused_is_not_asked_for_again() -> None:
    refused = rpc_error(grpc.StatusCode.UNIMPLEMENTED, "no such service")
    transport = LinkLike(WatchEvents=Streams([refused]))
    with pytest.raises(ToolCommunicationError, match="UNIMPLEMENTED"):
        await anext(client_of(transport).admin.watch())


async def test_a_hub_that_does_not_come_back_is_told_as_the_watchs_own_end(
    waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grpc_tool_bridge.client.admin.CALL_TIMEOUT", 0.0)
    monkeypatch.setattr("grpc_tool_bridge.client.resume.CALL_TIMEOUT", 0.0)
    lost = rpc_error(grpc.StatusCode.UNAVAILABLE, "lost")
    transport = LinkLike(WatchEvents=Streams([lost]), HealthCheck=rpc_error(grpc.StatusCode.UNAVAILABLE, "gone"))
    with pytest.raises(ToolCommunicationError, match=r"WatchEvents.*gone"):
        await anext(client_of(transport).admin.watch())
