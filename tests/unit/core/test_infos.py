"""What a hub tells of its calls, and what it does not."""

import asyncio
import gc
import itertools
import time
from types import SimpleNamespace
from typing import Any

import pytest

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core import infos
from grpc_tool_bridge.core.calls import HubCall
from grpc_tool_bridge.core.infos import CallIds
from grpc_tool_bridge.core.registered_tool import RegisteredTool
from grpc_tool_bridge.core.workers.worker import Worker
from grpc_tool_bridge.errors import CallCancelledError, ValidationError
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.values.serialization import deserialize_value, serialize_value

CALL: Any = HubCall


def make_call(**fields: Any) -> HubCall:
    """Makes a call that nobody runs, an hour from its deadline."""
    loop_time = asyncio.get_running_loop().time()
    session = SimpleNamespace(id="s", calls=None, ended=None)
    tool = SimpleNamespace(id="add", name="add", tool=None)
    call: HubCall = CALL(
        session, tool, loop_time + 3_600, parent=fields.pop("parent", None), orphaned=None, opened_at=loop_time
    )
    for name, value in fields.items():
        setattr(call, name, value)
    return call


# ------------------------------------------------------------------------------------------------------------ ids


async def test_calls_get_ids_when_they_are_asked_for() -> None:
    ids = CallIds()
    first, second = make_call(), make_call()
    assert first.call_id == ""
    assert [ids.of(second), ids.of(first), ids.of(second)] == ["1", "2", "1"]
    assert ids.find("1") is second
    assert ids.find("3") is None


async def test_a_call_that_has_ended_is_found_no_more() -> None:
    ids = CallIds()
    call = make_call()
    ids.of(call)
    call.over = True
    assert ids.find("1") is None
    del call
    gc.collect()
    assert len(ids._calls) == 0


async def test_a_run_has_its_own_id_unless_another_call_has_it() -> None:
    ids = CallIds()
    first, second = make_call(run_id="r"), make_call(run_id="r")
    assert (ids.of(first), ids.of(second)) == ("r", "1")
    third, fourth = make_call(run_id="2"), make_call()
    assert (ids.of(third), ids.of(fourth)) == ("2", "3")
    first.over = True
    assert ids.of(make_call(run_id="r")) == "r"


# ---------------------------------------------------------------------------------------------------------- calls


async def test_a_call_tells_who_made_it_who_runs_it_and_what_it_waits_for() -> None:
    ids = CallIds()
    link: Any = SimpleNamespace(features=(), peer="far", open_calls=1)
    parent = make_call()
    call = make_call(parent=parent, worker=Worker("w1", link), request_id="r", progress=pb.Progress(current=1))
    info = infos.call_info(call, ids)
    assert (info.session_id, info.tool_id, info.request_id, info.worker_id) == ("s", "add", "r", "w1")
    assert (info.parent_id, info.state, info.progress.current) == (ids.of(parent), "running", 1)
    assert 3_500_000 < info.time_left_ms <= 3_600_000
    call.wait_for("a permit")
    assert infos.call_info(call, ids).state == "waiting"
    call.stop_waiting()
    assert infos.call_info(call, ids).state == "running"


@pytest.mark.parametrize(
    ("ok", "error", "state"), [(True, "", "done"), (False, "ValueError", "failed"), (False, "Cancelled", "cancelled")]
)
async def test_a_call_that_has_ended_tells_how(ok: bool, error: str, state: str) -> None:
    info = infos.ended_call_info(make_call(), CallIds(), ok=ok, duration_us=5, error=pb.ErrorInfo(type=error))
    assert (info.state, info.error.type, info.duration_us, info.time_left_ms) == (state, error, 5, 0)


async def test_a_call_whose_caller_has_gone_was_cancelled() -> None:
    info = infos.ended_call_info(make_call(), CallIds(), ok=False, duration_us=5, error=pb.ErrorInfo())
    assert (info.state, info.error.type) == ("cancelled", "Cancelled")


FAILED = pb.ToolCallResponse(error=pb.ErrorInfo(type="ValueError", message="no"))


@pytest.mark.parametrize(
    ("outcome", "error_type"),
    [
        (FAILED, "ValueError"),
        (pb.ToolCallResult(error=FAILED.error), "ValueError"),
        (FAILED.SerializeToString(), "ValueError"),
        (FAILED.error, "ValueError"),
        (asyncio.CancelledError(), "Cancelled"),
        (CallCancelledError("no"), "Cancelled"),
        (ValidationError("no"), "ValidationError"),
        (RuntimeError("secret"), "InternalError"),
        (None, ""),
        (b"\xff\xff", ""),
        (b"x" * (infos.MAX_ERROR_BYTES + 1), ""),
    ],
)
def test_the_error_is_found_in_whatever_a_call_ended_with(outcome: Any, error_type: str) -> None:
    error = infos.error_of(outcome)
    assert error.type == error_type
    assert "secret" not in error.message


def test_the_result_is_found_where_it_is_not_large() -> None:
    answer = pb.ToolCallResponse(success=True, result=serialize_value(7))
    held: list[Any] = [answer, answer.SerializeToString()]
    for outcome in held:
        result = infos.result_of(outcome)
        assert result is not None
        assert deserialize_value(result) == 7
    large = pb.ToolCallResponse(success=True, result=serialize_value("x" * 100_000))
    none: list[Any] = [large, large.SerializeToString(), FAILED, None, RuntimeError()]
    for outcome in none:
        assert infos.result_of(outcome) is None


def test_an_error_without_texts_keeps_what_quotes_nothing() -> None:
    error = pb.ErrorInfo(
        type="ValueError",
        message="7 is secret",
        stacktrace="secret",
        retryable=True,
        details={"origin": "tool", "value": "secret"},
    )
    bare = infos.without_texts(error)
    assert bare == pb.ErrorInfo(type="ValueError", retryable=True, details={"origin": "tool"})
    assert infos.without_texts(pb.ErrorInfo(type="E")) == pb.ErrorInfo(type="E")


# ------------------------------------------------------------------------------------------------------ arguments


def told(info: pb.CallInfo) -> tuple[list[Any], dict[str, Any]]:
    return [*map(deserialize_value, info.args)], {name: deserialize_value(item) for name, item in info.kwargs.items()}


REQUEST = pb.ToolCallRequest(session_id="s", args=[serialize_value([1])], kwargs={"b": serialize_value("x")})


@pytest.mark.parametrize(
    "held",
    [
        REQUEST.SerializeToString(),
        pb.ToolStreamRequest(
            args=REQUEST.args, kwargs=REQUEST.kwargs, config=pb.StreamConfig(buffer_size=1), context={"é": "ü"}
        ).SerializeToString(),
        ([serialize_value([1])], {"b": serialize_value("x")}),
    ],
)
async def test_arguments_that_are_held_as_they_came_are_told(held: Any) -> None:
    info = pb.CallInfo()
    infos.put_held_arguments(info, make_call(prepared=held))
    assert told(info) == ([[1]], {"b": "x"})


async def test_arguments_of_a_call_that_was_passed_on_are_told() -> None:
    info = pb.CallInfo()
    forwarded: Any = SimpleNamespace(payload=REQUEST.SerializeToString())
    infos.put_held_arguments(info, make_call(forwarded=forwarded))
    assert told(info) == ([[1]], {"b": "x"})


async def test_of_a_function_of_the_hub_plain_scalars_are_told_without_its_context() -> None:
    call = make_call(prepared=([1, "x", None, 1.5, True, b"b"], {"ctx": object(), "n": 2**70}))
    call.tool.tool = SimpleNamespace(context_parameter="ctx")  # type: ignore[assignment]  # what is asked of it
    info = pb.CallInfo()
    infos.put_held_arguments(info, call)
    assert told(info) == ([1, "x", None, 1.5, True, b"b"], {"n": 2**70})


@pytest.mark.parametrize(
    "held",
    [
        None,
        b"",
        b"\xff",
        ([1, object()], {}),
        ([[1]], {}),
        (["\ud800"], {}),
        (["x" * 100_000], {}),
        ([], {str(number): "x" * 1_000 for number in range(100)}),
        pb.ToolCallRequest(args=[serialize_value("x" * 100_000)]).SerializeToString(),
    ],
)
async def test_other_arguments_are_not_told_at_all(held: Any) -> None:
    info = pb.CallInfo()
    infos.put_held_arguments(info, make_call(prepared=held))
    assert info == pb.CallInfo()


def test_of_a_request_the_arguments_are_told_unless_they_are_large() -> None:
    info = pb.CallInfo()
    infos.put_arguments(info, REQUEST)
    assert told(info) == ([[1]], {"b": "x"})
    for request in (None, pb.ExecuteAgentRequest(), pb.ToolCallRequest(args=[serialize_value("x" * 100_000)])):
        info = pb.CallInfo()
        infos.put_arguments(info, request)
        assert info == pb.CallInfo()


# ------------------------------------------------------------------------------------------------- workers, runs


def test_a_worker_tells_its_state_and_some_of_its_tools() -> None:
    link: Any = SimpleNamespace(features=(), peer="far", open_calls=3)
    worker = Worker("w1", link)
    specs = [pb.ToolSpec(name=f"t{number:03}") for number in range(250)]
    worker.tools = {RegisteredTool(spec, None, 0, Settings()) for spec in specs}
    info = infos.worker_info(worker)
    assert (info.worker_id, info.state, info.peer) == ("w1", "connected", "far")
    assert (info.active_calls, info.capacity) == (3, 100)
    assert (list(info.tools), info.tool_count) == ([f"t{number:03}" for number in range(100)], 250)
    worker.suspect = True
    assert infos.worker_info(worker).state == "silent"
    worker.gone = True
    assert infos.worker_info(worker).state == "draining"


@pytest.mark.parametrize(
    ("over", "succeeded", "error_type", "state"),
    [
        (False, False, "", "running"),
        (True, True, "", "done"),
        (True, False, "ValueError", "failed"),
        (True, False, "Cancelled", "cancelled"),
    ],
)
async def test_a_run_tells_how_far_it_is(over: bool, succeeded: bool, error_type: str, state: str) -> None:
    run: Any = SimpleNamespace(
        run_id="r",
        agent_id="a",
        session_id="s",
        started_at=1.5,
        over=over,
        succeeded=succeeded,
        error_type=error_type,
        due=3,
        readers=2,
    )
    info = infos.run_info(run)
    assert (info.run_id, info.agent_id, info.session_id, info.chunks, info.readers) == ("r", "a", "s", 3, 2)
    assert (info.state, info.started_at.ToMicroseconds()) == (state, 1_500_000)


def test_the_bounds_leave_room_for_what_stands_beside_them() -> None:
    assert Settings().max_message_bytes > infos.MAX_VALUE_BYTES * 2


def test_times_keep_the_order_of_the_monotonic_clock_and_follow_a_clock_that_is_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = infos._Clock()
    # The process waits between two readings, now and then.
    waits = itertools.cycle([0.0, 0.004, 0.001])
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + next(waits))
    begun = time.monotonic()
    moments = [begun + number / 1_000_000 for number in range(10)]
    assert [clock.time_of(moment) for moment in moments] == sorted(clock.time_of(moment) for moment in moments)
    monkeypatch.setattr(time, "time", lambda: now + 3_600)
    assert clock.time_of(begun) > now + 3_500
