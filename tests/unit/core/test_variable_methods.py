"""The methods of the service for the variables of sessions."""

import asyncio
from typing import Any

import pytest

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.executor import Executor
from grpc_tool_bridge.core.registry import ToolRegistry
from grpc_tool_bridge.core.sessions import SessionStore
from grpc_tool_bridge.core.variable_methods import VariableMethods
from grpc_tool_bridge.errors import ResourceExhaustedError, SessionNotFoundError, ValidationError
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.values.serialization import deserialize_value, serialize_value
from support.held_store import HeldStore
from support.waiting import soon, turns


class Stage:
    """The methods, and the session "s"."""

    def __init__(self, **settings: Any) -> None:
        self.store = SessionStore(Settings(**settings))
        self.admission = Executor(self.store, ToolRegistry(self.store)).admission
        self.methods = VariableMethods(self.store, self.admission)

    async def set(self, name: str, value: Any = 1, **fields: Any) -> pb.StatusResponse:
        fields = {"create_if_missing": True, **fields}
        request = pb.SetVariableRequest(session_id="s", variable_name=name, value=serialize_value(value), **fields)
        return await self.methods.set(request)

    async def get(self, name: str, **fields: Any) -> pb.VariableResponse:
        return await self.methods.get(pb.GetVariableRequest(session_id="s", variable_name=name, **fields))

    async def delete(self, name: str, **fields: Any) -> pb.StatusResponse:
        return await self.methods.delete(pb.DeleteVariableRequest(session_id="s", variable_name=name, **fields))


@pytest.fixture
async def stage() -> Stage:
    stage = Stage()
    await stage.store.create_session("s")
    return stage


async def test_a_variable_is_set_read_and_deleted(stage: Stage) -> None:
    status = await stage.set("x", [1, 2])
    assert (status.success, status.message) == (True, str(stage.store.variables("s").get("x").revision))
    found = await stage.get("x")
    assert (found.exists, deserialize_value(found.value), found.HasField("metadata")) == (True, [1, 2], False)
    assert (await stage.get("x", include_metadata=True)).metadata.type == "list"
    assert (await stage.delete("x")).message == "variable 'x' was deleted"
    assert not (await stage.get("x")).exists


async def test_what_code_has_set_without_encoding_is_encoded_for_readers_and_watches(stage: Stage) -> None:
    stage.store.variables("s").set("x", {"a": 1})
    assert deserialize_value((await stage.get("x")).value) == {"a": 1}
    watch = stage.methods.watch(pb.WatchVariablesRequest(session_id="s", include_initial=True))
    update = await soon(anext(watch))
    assert (update.operation, deserialize_value(update.value)) == ("set", {"a": 1})
    await watch.aclose()


async def test_what_is_wrong_is_in_the_answer_of_a_change(stage: Stage) -> None:
    assert (await stage.set("x", create_if_missing=False)).error.type == "VariableNotFound"
    assert (await stage.set("x", expected_revision=3)).error.type == "RevisionConflict"
    assert (await stage.delete("x")).error.type == "VariableNotFound"
    assert (await stage.set("")).error.type == "ValidationError"
    without = await stage.methods.set(pb.SetVariableRequest(session_id="s", variable_name="x"))
    assert (without.success, without.error.type) == (False, "ValidationError")
    assert "has no value" in without.message
    other = await stage.methods.set(pb.SetVariableRequest(session_id="t", variable_name="x", value=serialize_value(1)))
    assert other.error.type == "SessionNotFound"
    await stage.set("x")
    assert (await stage.set("x", expected_revision=0)).error.details["revision"] == "1"


class TestDurable:
    @pytest.fixture
    async def held(self, stage: Stage) -> HeldStore:
        stage.store.durable = HeldStore()
        return stage.store.durable

    def _begin(self, stage: Stage, name: str = "x", **fields: Any) -> Any:
        request = pb.SetVariableRequest(
            session_id="s", variable_name=name, value=serialize_value(1), create_if_missing=True, **fields
        )
        return stage.methods.set(request)

    async def test_a_change_begins_at_once_and_is_answered_when_it_is_stored(
        self, stage: Stage, held: HeldStore
    ) -> None:
        answer, told = self._begin(stage), list[Any]()
        answer.on_end(lambda status, error: told.append((status.success, status.message, error)))
        assert (len(held.held), answer.is_over, told) == (1, False, [])
        held.store()
        revision = stage.store.variables("s").get("x").revision
        assert (answer.is_over, told) == (True, [(True, str(revision), None)])
        awaited = asyncio.ensure_future(stage.set("y"))
        await turns()
        assert not awaited.done()
        held.store()
        assert (await soon(awaited)).success
        assert (await self._stored(stage, held)).success

    async def _stored(self, stage: Stage, held: HeldStore) -> pb.StatusResponse:
        """Returns the answer of who awaits a change that is stored already."""
        answer = self._begin(stage)
        held.store()
        status: pb.StatusResponse = await answer
        return status

    async def test_a_change_that_cannot_be_stored_fails_whoever_waits_for_it(
        self, stage: Stage, held: HeldStore
    ) -> None:
        answer, told = self._begin(stage), list[Any]()
        answer.on_end(lambda status, error: told.append((status.success, status.message, error)))
        awaited = asyncio.ensure_future(stage.set("y"))
        await turns()
        held.fail()
        assert told == [(False, "nothing was changed: the disk is gone", None)]
        assert (await soon(awaited)).message == "nothing was changed: the disk is gone"

    async def test_who_cancels_or_leaves_is_told_nothing_more_and_the_change_is_stored(
        self, stage: Stage, held: HeldStore
    ) -> None:
        cancelled, left, told = self._begin(stage), self._begin(stage, "y"), list[Any]()
        for answer in (cancelled, left):
            answer.on_end(lambda status, error: told.append((status, type(error))))
        cancelled.cancel()
        cancelled.cancel()
        left.close()
        held.store()
        assert told == [(None, asyncio.CancelledError)]
        assert len(stage.store.variables("s")) == 2

    async def test_a_change_that_one_on_its_way_refuses_waits_for_it(self, stage: Stage, held: HeldStore) -> None:
        self._begin(stage)
        waiting = asyncio.ensure_future(self._begin(stage, expected_revision=0))
        await turns()
        assert len(held.held) == 1
        held.fail()
        await turns()
        held.store()
        assert (await soon(waiting)).success


async def test_what_is_too_large_is_refused() -> None:
    stage = Stage(max_message_bytes=1_000)
    await stage.store.create_session("s")
    refused = await stage.set("x", "v" * 1_000)
    assert (refused.error.type, "variable 'x'" in refused.message) == ("MessageTooLarge", True)
    assert not (await stage.get("x")).exists


async def test_a_listing_is_chosen_by_prefix_tags_and_limit(stage: Stage) -> None:
    for name in ("b", "a2", "a1"):
        await stage.set(name, metadata=pb.VariableMetadata(tags={"k": name}))
    listed = await stage.methods.select(pb.ListVariablesRequest(session_id="s", prefix="a"))
    assert [variable.name for variable in listed.variables] == ["a1", "a2"]
    listed = await stage.methods.select(pb.ListVariablesRequest(session_id="s", tags=["k=b"]))
    assert [variable.name for variable in listed.variables] == ["b"]
    listed = await stage.methods.select(pb.ListVariablesRequest(session_id="s", limit=1))
    assert [variable.name for variable in listed.variables] == ["a1"]
    with pytest.raises(ValidationError, match="limit must be"):
        await stage.methods.select(pb.ListVariablesRequest(session_id="s", limit=-1))


async def test_a_watch_tells_changes_with_their_epoch_and_counts_while_it_is_open() -> None:
    stage = Stage(max_session_watches=1)
    session = await stage.store.create_session("s")
    await stage.set("x", 1, metadata=pb.VariableMetadata(secret=True))
    watch = stage.methods.watch(pb.WatchVariablesRequest(session_id="s", include_initial=True))
    update = await soon(anext(watch))
    assert (update.name, update.operation, update.revision, update.secret) == ("x", "set", 1, True)
    assert update.epoch == stage.store.revisions.epoch
    assert session.watches == 1
    with pytest.raises(ResourceExhaustedError, match="1 watches"):
        await anext(stage.methods.watch(pb.WatchVariablesRequest(session_id="s")))
    await stage.delete("x")
    update = await soon(anext(watch))
    assert (update.operation, update.HasField("value")) == ("delete", False)
    await watch.aclose()
    assert session.watches == 0
    with pytest.raises(SessionNotFoundError):
        await anext(stage.methods.watch(pb.WatchVariablesRequest(session_id="t")))
