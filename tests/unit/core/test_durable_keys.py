"""Calls with an idempotency key over a durable store: what is stored when, and who has a key meanwhile."""

import asyncio
from typing import Any

import pytest

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.fingerprint import fingerprint
from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.core.idempotency import KeyedCalls
from grpc_tool_bridge.core.stored import StoredCall, StoredSession, StoredState
from grpc_tool_bridge.errors import ConflictError, DeadlineExceededError, StoreError, UnavailableError, error_info
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolCallRequest, ToolCallResponse
from grpc_tool_bridge.values.serialization import serialize_value
from support.held_store import HeldStore
from support.waiting import soon, turns

LATER = float("1e12")


class Stage:
    """Calls of a session whose store takes changes when it is told to."""

    def __init__(self, **settings: Any) -> None:
        self.store = HeldStore()
        self.keyed = KeyedCalls("s", Settings(**settings), durable=self.store)
        self.runs = 0
        self.answer = ToolCallResponse(success=True, result=serialize_value("done"))
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def _run(self) -> ToolCallResponse:
        self.runs += 1
        await self.go_on.wait()
        return self.answer

    def call(self, key: str = "k", *, tool: str = "t", until: float = LATER, again: bool = False) -> Any:
        request = ToolCallRequest(session_id="s", tool_id=tool, idempotency_key=key, request_id=f"for {key}")
        return asyncio.ensure_future(self.keyed.run(request, self._run, until=until, again=again))


def _failed(*, retryable: bool, origin: str = "tool") -> ToolCallResponse:
    error = error_info(StoreError("it is busy", retryable=retryable))
    error.details["origin"] = origin
    return ToolCallResponse(error=error)


async def test_a_tool_runs_once_that_is_stored_and_its_caller_is_answered_once_the_answer_is() -> None:
    stage = Stage()
    call = stage.call()
    await turns()
    assert (stage.store.waiting, stage.runs) == (["begin_call"], 0)
    stage.store.store()
    await turns()
    assert (stage.store.waiting, stage.runs, call.done()) == (["keep_answer"], 1, False)
    stage.store.store()
    assert (await soon(call)).success
    assert (await soon(stage.call())).request_id == "for k"
    assert (stage.runs, stage.store.waiting) == (1, [])


@pytest.mark.parametrize("is_shared", [False, True])
async def test_an_answer_that_is_not_stored_is_given_only_by_a_hub_that_keeps_its_sessions(is_shared: bool) -> None:
    stage = Stage()
    stage.store.is_shared = is_shared
    call = stage.call()
    await turns()
    stage.store.store()
    await turns()
    stage.store.fail(StoreError("another hub has the session"))
    if not is_shared:
        assert (await soon(call)).success
        return
    # Another hub would not know it, and might give another answer.
    with pytest.raises(UnavailableError, match="t: the tool has run, but its answer could not be stored") as refused:
        await soon(call)
    assert refused.value.retryable


async def test_no_answer_is_given_of_a_session_that_moved_while_the_tool_ran() -> None:
    stage = Stage()
    stage.go_on.clear()
    call = stage.call()
    await turns()
    stage.store.store()
    await turns()
    stage.keyed.leave(UnavailableError("the session moved to another hub"))
    stage.go_on.set()
    with pytest.raises(UnavailableError, match="the session moved to another hub"):
        await soon(call)
    assert stage.store.waiting == []


async def test_what_is_not_kept_is_freed_before_its_caller_is_answered() -> None:
    for answer in (_failed(retryable=True), _failed(retryable=False, origin="bridge")):
        stage = Stage()
        stage.answer = answer
        call = stage.call()
        await turns()
        stage.store.store()
        await turns()
        assert (stage.store.waiting, call.done()) == (["free_call"], False)
        stage.store.store()
        await soon(call)
        stage.call()
        await turns()
        assert stage.store.waiting == ["begin_call"]
        stage.store.store()
        await turns()


async def test_a_beginning_that_could_not_be_stored_runs_nothing_and_leaves_the_key_to_others() -> None:
    stage = Stage()
    first, second = stage.call(), stage.call()
    await turns()
    stage.store.fail()
    with pytest.raises(StoreError):
        await soon(first)
    await turns()
    assert (stage.runs, stage.store.waiting) == (0, ["begin_call"])
    stage.store.store()
    await turns()
    stage.store.store()
    assert (await soon(second)).success
    assert stage.runs == 1


async def test_an_answer_that_could_not_be_stored_is_given_and_kept_in_memory(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage()
    call = stage.call()
    await turns()
    stage.store.store()
    await turns()
    stage.store.fail()
    assert (await soon(call)).success
    assert "kept in memory only" in caplog.text
    assert (await soon(stage.call())).success
    assert stage.runs == 1


async def test_a_caller_that_leaves_before_its_call_has_begun_leaves_the_key_free() -> None:
    stage = Stage()
    leaving = stage.call()
    await turns()
    leaving.cancel()
    await turns()
    assert leaving.done()
    # Nobody has the key before it is known whether the call has begun.
    next_one = stage.call()
    await turns()
    assert stage.store.waiting == ["begin_call"]
    stage.store.store()
    await turns()
    assert stage.store.waiting == ["free_call", "begin_call"]
    stage.store.store()
    await turns()
    stage.store.store()
    assert (await soon(next_one)).success
    assert stage.runs == 1


async def test_a_caller_that_leaves_does_not_free_what_an_earlier_life_has_begun() -> None:
    stage = Stage()
    stage.store.known["k"] = StoredCall(b"another", None)
    leaving = stage.call()
    await turns()
    leaving.cancel()
    stage.store.store()
    await turns()
    assert stage.store.waiting == []
    await soon(stage.keyed.settle())


async def test_a_beginning_that_fails_after_its_caller_has_left_leaves_the_key_free() -> None:
    stage = Stage()
    leaving = stage.call()
    await turns()
    leaving.cancel()
    stage.store.fail()
    await soon(stage.keyed.settle())
    assert stage.store.waiting == []


async def test_a_call_does_not_wait_for_the_store_beyond_its_time() -> None:
    stage = Stage()
    with pytest.raises(DeadlineExceededError, match="could not store in time") as caught:
        await soon(stage.call(until=0))
    assert caught.value.details["started"] == "false"
    stage.store.store()
    await turns()
    assert stage.store.waiting == ["free_call"]
    assert stage.runs == 0


async def test_a_caller_that_leaves_while_its_call_runs_leaves_the_key_free() -> None:
    stage = Stage()
    stage.go_on.clear()
    leaving = stage.call()
    await turns()
    stage.store.store()
    await turns()
    leaving.cancel()
    await turns()
    assert (leaving.cancelled(), stage.store.waiting) == (True, ["free_call"])


async def test_a_caller_that_leaves_while_its_answer_is_stored_leaves_it_to_others_once_it_is() -> None:
    stage = Stage()
    leaving = stage.call()
    await turns()
    stage.store.store()
    await turns()
    leaving.cancel()
    await turns()
    next_one = stage.call()
    await turns()
    # What is not stored could be lost, so nobody gets it.
    assert (leaving.done(), next_one.done(), stage.store.waiting) == (True, False, ["keep_answer"])
    stage.store.store()
    assert (await soon(next_one)).success
    assert stage.runs == 1


async def test_an_earlier_life_s_answer_is_given_and_then_known() -> None:
    stage = Stage()
    first = stage.call()
    await turns()
    used_for = stage.store.held[0][1][2]
    first.cancel()
    stage.store.store()
    await turns()
    stage.store.store()
    stage.store.known["k"] = StoredCall(used_for, stage.answer)
    for held in (["begin_call"], []):
        call = stage.call()
        await turns()
        assert stage.store.waiting == held
        stage.store.store()
        assert (await soon(call)).result == stage.answer.result
    assert stage.runs == 0


@pytest.mark.parametrize("used_otherwise", [True, False])
async def test_an_earlier_life_s_call_that_has_no_answer_is_in_doubt(used_otherwise: bool) -> None:
    stage = Stage()
    call = stage.call()
    await turns()
    used_for = b"another" if used_otherwise else stage.store.held[0][1][2]
    stage.store.known["k"] = StoredCall(used_for, None)
    stage.store.store()
    with pytest.raises(ConflictError) as caught:
        await soon(call)
    error = caught.value
    assert (error.error_type, error.retryable) == ("IdempotencyConflict", False)
    assert error.details == ({} if used_otherwise else {"outcome": "unknown"})
    assert ("use a new key" if used_otherwise else "'k'") in error.message
    assert (stage.runs, stage.store.waiting) == (0, [])
    await soon(stage.keyed.settle())


async def test_whether_a_tool_may_run_again_is_told_to_the_store() -> None:
    stage = Stage()
    for again in (True, False):
        stage.call(f"k {again}", again=again)
    await turns()
    assert [args[3] for _, args, _ in stage.store.held] == [True, False]


async def test_a_session_that_ends_writes_nothing_more() -> None:
    stage = Stage()
    stage.go_on.clear()
    running = stage.call()
    await turns()
    stage.store.store()
    await turns()
    waiting = stage.call()
    await turns()
    stage.keyed.durable = None
    stage.answer = _failed(retryable=False, origin="bridge")
    stage.go_on.set()
    await soon(running)
    await soon(waiting)
    assert stage.store.waiting == []


async def test_a_call_in_doubt_whose_tool_is_not_there_yet_is_told_that_and_stays_in_doubt() -> None:
    # Its worker may not be back after a restart, and whether it may run again is known with it.
    request = ToolCallRequest(session_id="s", tool_id="add", idempotency_key="k")
    store = HeldStore(StoredState("e", 0, [StoredSession("s", 1.0, {})], {}), is_quick=True)
    store.known["k"] = StoredCall(fingerprint(request), None)
    hub = Hub(durable=store)
    await hub.restore()
    answer = await soon(hub.execute_tool(request))
    assert (answer.error.type, "sees no tool 'add'" in answer.error.message) == ("ToolNotFound", True)
    assert "free_call" not in store.done
    # Another call with this key is refused as ever.
    other = ToolCallRequest(session_id="s", tool_id="add", idempotency_key="k", timeout_ms=1)
    other.args.add().CopyFrom(serialize_value(1))
    assert (await soon(hub.execute_tool(other))).error.type == "IdempotencyConflict"
