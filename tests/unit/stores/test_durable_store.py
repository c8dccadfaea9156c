"""What a durable store promises to a hub: each verb, over every store that there is."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import any_pb2

from grpc_tool_bridge.cluster.sessions.store import NatsStore
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.interfaces import DurableStore
from grpc_tool_bridge.core.stored import StoredRun, StoredSession, StoredState
from grpc_tool_bridge.core.variable import Change, Variable
from grpc_tool_bridge.errors import StoreError, ToolBridgeError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    AgentExecutionChunk,
    CreateReActAgentRequest,
    SessionConfig,
    ToolCallResponse,
)
from grpc_tool_bridge.stores import make_store
from grpc_tool_bridge.values.serialization import serialize_value
from support.nats_nodes import NatsNode, one_node
from support.stores import STORES
from support.waiting import soon

DURABLE = [name for name, store in STORES.items() if store.is_durable]
NATS = "nats"


class Lives:
    """The lives of a hub with one store, of which one is at a time."""

    def __init__(self, make: Callable[[], DurableStore | None]) -> None:
        self._make = make
        self.store: DurableStore
        self.state: StoredState

    def another(self) -> DurableStore:
        """Returns the same store for another hub."""
        store = self._make()
        assert store is not None
        return store

    async def begin(self, **settings: Any) -> StoredState:
        """Begins one, after the end of the one before."""
        store = self.another()
        self.state = await store.open(Settings(**settings))
        self.store = store
        return self.state

    async def end(self) -> None:
        """Ends one."""
        await self.store.aclose()

    async def again(self, **settings: Any) -> StoredState:
        """Ends one, and begins another."""
        await self.end()
        return await self.begin(**settings)

    async def session(self, session_id: str = "s", created_at: float = 1.5) -> None:
        """Stores a session."""
        await self.store.create_session(StoredSession(session_id, created_at, {"k": "v"}))


@pytest.fixture(scope="module")
def node() -> Iterator[NatsNode]:
    with one_node() as started:
        yield started


def _maker(kind: str, directory: Path, request: pytest.FixtureRequest) -> Callable[[], DurableStore | None]:
    if kind != NATS:
        return partial(make_store, STORES[kind].url(directory))
    node = request.getfixturevalue("node")
    address = f"{node.url}/{uuid.uuid4().hex}"
    return lambda: NatsStore(address, adopt=True)


@pytest.fixture(params=[*DURABLE, NATS])
async def lives(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Lives]:
    async with AsyncExitStack() as stack:
        lives = Lives(_maker(request.param, tmp_path, request))
        await lives.begin()
        stack.push_async_callback(lives.end)
        yield lives


def _variable(name: str, value: Any, revision: int, **facts: Any) -> Variable:
    encoded = serialize_value(value)
    facts = {"type": "t", "size": encoded.ByteSize(), "created_at": 1.25, "updated_at": 2.25, **facts}
    return Variable(name, encoded, revision=revision, held=encoded.ByteSize() + 3, **facts)


def _nobody(error: ToolBridgeError | None) -> None:
    """Told of a change that nobody waits for."""


def _set(lives: Lives, variable: Variable, previous: int = 0, *, hides: bool = False) -> Any:
    return lives.store.set_variable("s", variable, previous=previous, hides=hides, settled=_nobody)


def _delete(lives: Lives, name: str, revision: int, previous: int) -> Any:
    change = Change("delete", name, None, revision, 3.25, previous=previous)
    return lives.store.delete_variable("s", change, settled=_nobody)


# ------------------------------------------------------------------------------------------------------ itself


async def test_a_new_store_is_empty_and_has_an_epoch_that_stays(lives: Lives) -> None:
    first = lives.state
    assert (first.revision, list(first.sessions), first.ended) == (0, [], {})
    assert first.epoch
    assert (await lives.again()).epoch == first.epoch


async def test_it_serves_one_hub_at_a_time(lives: Lives) -> None:
    with pytest.raises(StoreError, match="already"):
        await lives.store.open(Settings())
    with pytest.raises(StoreError, match="another hub"):
        await lives.another().open(Settings())
    await lives.session()
    assert [session.session_id for session in (await lives.again()).sessions] == ["s"]


async def test_what_is_on_its_way_is_stored_before_it_closes(lives: Lives) -> None:
    writes = [lives.store.create_session(StoredSession(f"s{n}", n, {})) for n in range(100)]
    state = await lives.again()
    assert [session.session_id for session in state.sessions] == [f"s{n}" for n in range(100)]
    await soon(asyncio.gather(*writes))


async def test_a_store_that_is_closed_takes_nothing_and_says_so_at_once(lives: Lives) -> None:
    store = lives.store
    await store.aclose()
    await store.aclose()
    told: list[ToolBridgeError | None] = []
    write = store.create_session(StoredSession("s", 1, {}), told.append)
    assert write.is_settled
    assert [type(error) for error in told] == [StoreError]
    with pytest.raises(StoreError, match="nothing was changed"):
        await write
    with pytest.raises(StoreError):
        await store.begin_call("s", "k", b"", again=False)
    assert list((await lives.begin()).sessions) == []


async def test_who_is_told_of_a_change_is_told_before_those_who_wait_go_on(lives: Lives) -> None:
    told: list[Any] = []
    write = lives.store.create_session(StoredSession("s", 1, {}), told.append)
    assert told == []
    assert not write.is_settled
    await write
    assert (told, write.error) == ([None], None)
    await write


async def test_no_revision_up_to_a_reserved_one_is_given_again_until_it_is_given_back(lives: Lives) -> None:
    await lives.session()
    await _set(lives, _variable("x", 1, 7))
    assert (await lives.again()).revision == 7
    await lives.store.reserve_revisions(1_000)
    assert (await lives.again()).revision == 1_000
    await lives.store.reserve_revisions(8)
    assert (await lives.again()).revision == 8


async def test_it_counts_what_it_does(lives: Lives) -> None:
    await lives.session()
    counts = lives.store.counts()
    assert counts
    assert all(name.startswith("store") for name in counts)
    assert lives.store.failure == ""


# ---------------------------------------------------------------------------------------------------- sessions


async def test_a_session_is_kept_as_it_is_the_oldest_first(lives: Lives) -> None:
    config = SessionConfig(max_concurrent_tools=3, enable_caching=True)
    await lives.store.create_session(StoredSession("younger", 2.000001, {"ü": "x" * 1_000}, config))
    await lives.store.create_session(StoredSession("older", 1.999999, {}))
    older, younger = (await lives.again()).sessions
    assert (older.session_id, older.created_at, older.metadata, older.config) == ("older", 1.999999, {}, None)
    assert (younger.session_id, younger.created_at, younger.metadata) == ("younger", 2.000001, {"ü": "x" * 1_000})
    assert younger.config == config
    assert (older.revision, older.deleted_at, older.variables, older.agents, older.runs) == (0, 0, [], {}, [])


async def test_the_end_of_a_session_takes_all_of_it_along(lives: Lives) -> None:
    await lives.session()
    await lives.session("other")
    await _set(lives, _variable("x", 1, 1))
    await lives.store.begin_call("s", "k", b"d", again=False)
    await lives.store.keep_answer("s", "k", ToolCallResponse(success=True))
    await lives.store.add_agent("s", "a", CreateReActAgentRequest(signature="a -> x"))
    await lives.store.begin_run("s", StoredRun("r", "a", b"", 1.0))
    await lives.store.add_chunk("s", "r", 0, b"data", is_last=False)
    told: list[Any] = []
    await lives.store.end_session("s", "it was removed", told.append)
    assert told == [None]
    # Of a call and a run that were going on.
    await lives.store.keep_answer("s", "k", ToolCallResponse(success=True))
    await lives.store.free_call("s", "k")
    await lives.store.add_chunk("s", "r", 1, b"data", is_last=True)
    await lives.store.begin_run("s", StoredRun("r2", "a", b"", 1.0))
    await lives.store.add_agent("s", "b", CreateReActAgentRequest(signature="b -> x"))
    await lives.store.drop_run("s", "r")
    state = await lives.again()
    assert [session.session_id for session in state.sessions] == ["other"]
    assert state.ended == {"s": "it was removed"}
    await lives.session()
    assert await lives.store.begin_call("s", "k", b"other", again=False) is None
    (_, session) = sorted((await lives.again()).sessions, key=lambda session: session.session_id)
    assert (session.variables, session.agents, session.runs, session.revision) == ([], {}, [], 0)
    assert await lives.store.changes_after("s", 0) == []


async def test_the_last_sessions_that_ended_are_remembered_in_their_order(lives: Lives) -> None:
    await lives.again(ended_sessions=3)
    for number in (4, 1, 3, 2, 4):
        await lives.session(f"s{number}")
        await lives.store.end_session(f"s{number}", f"why {number}")
    assert list((await lives.again(ended_sessions=3)).ended.items())[-3:] == [
        ("s3", "why 3"),
        ("s2", "why 2"),
        ("s4", "why 4"),
    ]


# --------------------------------------------------------------------------------------------------- variables


async def test_a_variable_is_kept_with_all_that_is_known_of_it(lives: Lives) -> None:
    await lives.session()
    first = _variable("x", {"b": 1, "a": 2}, 3, created_by="me", secret=False, tags={"k": "v", "ü": ""})
    second = _variable("y", b"\x00\xff", 5, secret=True)
    await _set(lives, first)
    await _set(lives, second)
    (session,) = (await lives.again()).sessions
    assert session.variables == [first, second]
    assert all(isinstance(variable.value, any_pb2.Any) for variable in session.variables)
    assert (session.revision, session.deleted_at) == (5, 0)


async def test_the_last_state_of_a_variable_counts_and_a_deleted_one_is_gone(lives: Lives) -> None:
    await lives.session()
    await _set(lives, _variable("x", 1, 1))
    await _set(lives, _variable("x", 2, 2), 1)
    await _set(lives, _variable("y", 3, 3))
    await _delete(lives, "y", 4, 3)
    last = _variable("z", 5, 5)
    await _set(lives, last)
    (session,) = (await lives.again()).sessions
    assert session.variables == [_variable("x", 2, 2), last]
    assert (session.revision, session.deleted_at) == (5, 4)
    assert lives.state.revision >= 5


async def test_the_changes_after_a_revision_are_those_of_a_session_in_order(lives: Lives) -> None:
    await lives.session()
    await lives.session("other")
    await _set(lives, _variable("x", 1, 1))
    theirs = _variable("x", 2, 2)
    await lives.store.set_variable("other", theirs, previous=0, hides=False, settled=_nobody)
    await _set(lives, _variable("x", 3, 3, secret=True), 1)
    await _delete(lives, "x", 4, 3)
    for _ in range(2):
        changes = await lives.store.changes_after("s", 0)
        assert changes is not None
        told = [(change.operation, change.name, change.revision, change.previous) for change in changes]
        assert told == [("set", "x", 1, 0), ("update", "x", 3, 1), ("delete", "x", 4, 3)]
        assert [change.value for change in changes] == [serialize_value(1), serialize_value(3), None]
        assert [change.timestamp for change in changes] == [2.25, 2.25, 3.25]
        assert [change.secret for change in changes] == [False, True, False]
        assert changes[0].size == serialize_value(1).ByteSize()
        later = await lives.store.changes_after("s", 3)
        assert later == changes[2:]
        assert await lives.store.changes_after("s", 4) == []
        await lives.again()


async def test_what_becomes_secret_is_so_in_what_was_before(lives: Lives) -> None:
    await lives.session()
    await _set(lives, _variable("x", 1, 1))
    await _set(lives, _variable("y", 1, 2))
    await _set(lives, _variable("x", 2, 3, secret=True), 1, hides=True)
    changes = await lives.store.changes_after("s", 0)
    assert changes is not None
    assert [(change.name, change.secret) for change in changes] == [("x", True), ("y", False), ("x", True)]


async def test_a_session_without_changes_has_none_and_no_session_has_no_history(lives: Lives) -> None:
    await lives.session()
    assert await lives.store.changes_after("s", 0) == []
    assert await lives.store.changes_after("missing", 0) is None


async def test_changes_of_one_turn_come_in_their_order(lives: Lives) -> None:
    await lives.session()
    writes = [_set(lives, _variable("x", number, number), number - 1) for number in range(1, 200)]
    writes.append(_delete(lives, "x", 200, 199))
    writes.append(_set(lives, _variable("x", 201, 201)))
    await soon(asyncio.gather(*writes))
    (session,) = (await lives.again()).sessions
    assert [variable.revision for variable in session.variables] == [201]
    changes = await lives.store.changes_after("s", 0)
    assert changes is not None
    assert [change.revision for change in changes] == list(range(1, 202))


# -------------------------------------------------------------------------------------------------------- keys


async def test_a_key_begins_once_and_has_the_answer_that_was_kept(lives: Lives) -> None:
    await lives.session()
    answer = ToolCallResponse(success=True, result=serialize_value([1, 2]))
    assert await lives.store.begin_call("s", "k", b"digest", again=False) is None
    told: list[Any] = []
    await lives.store.keep_answer("s", "k", answer, told.append)
    assert told == [None]
    for again in (False, True):
        for digest in (b"digest", b"another"):
            earlier = await lives.store.begin_call("s", "k", digest, again=again)
            assert earlier is not None
            assert (earlier.used_for, earlier.answer) == (b"digest", answer)
        await lives.again()


async def test_a_key_without_an_answer_begins_again_if_that_does_no_harm(lives: Lives) -> None:
    await lives.session()
    assert await lives.store.begin_call("s", "k", b"digest", again=False) is None
    await lives.again()
    for again, digest in ((False, b"digest"), (False, b"another"), (True, b"another")):
        earlier = await lives.store.begin_call("s", "k", digest, again=again)
        assert earlier is not None
        assert (earlier.used_for, earlier.answer) == (b"digest", None)
    assert await lives.store.begin_call("s", "k", b"digest", again=True) is None


async def test_a_key_that_was_freed_may_be_used_for_anything(lives: Lives) -> None:
    await lives.session()
    await lives.store.begin_call("s", "k", b"digest", again=False)
    # In the order in which they were asked for, though nobody has waited.
    lives.store.free_call("s", "k")
    assert await soon(lives.store.begin_call("s", "k", b"another", again=False)) is None
    await lives.store.keep_answer("s", "k", ToolCallResponse(success=True))
    await lives.store.free_call("s", "k")
    earlier = await lives.store.begin_call("s", "k", b"another", again=False)
    assert earlier is not None
    assert earlier.answer is not None


async def test_of_two_who_begin_a_key_at_once_one_does(lives: Lives) -> None:
    await lives.session()
    found = await soon(asyncio.gather(*(lives.store.begin_call("s", "k", b"", again=False) for _ in range(5))))
    assert found.count(None) == 1


async def test_a_key_is_that_of_its_session(lives: Lives) -> None:
    for session_id in "st":
        await lives.session(session_id)
        assert await lives.store.begin_call(session_id, "k", b"digest", again=False) is None
        await lives.store.keep_answer(session_id, "k", ToolCallResponse(request_id=session_id))
    earlier = await lives.store.begin_call("s", "k", b"digest", again=False)
    assert earlier is not None
    assert earlier.answer == ToolCallResponse(request_id="s")


async def test_an_answer_is_forgotten_when_its_time_is_over(lives: Lives, monkeypatch: pytest.MonkeyPatch) -> None:
    await lives.session()
    await lives.again(answer_ttl=0.001)
    assert await lives.store.begin_call("s", "k", b"digest", again=False) is None
    await lives.store.keep_answer("s", "k", ToolCallResponse(success=True))
    later = time.time() + 1
    monkeypatch.setattr("time.time", lambda: later)
    assert await lives.store.begin_call("s", "k", b"another", again=False) is None


# ---------------------------------------------------------------------------------------------- agents and runs


async def test_agents_are_kept_and_the_first_of_an_id_stays(lives: Lives) -> None:
    await lives.session()
    first = CreateReActAgentRequest(signature="a -> b")
    await lives.store.add_agent("s", "b", first)
    await lives.store.add_agent("s", "a", CreateReActAgentRequest(signature="a -> x"))
    await lives.store.add_agent("s", "b", CreateReActAgentRequest(signature="other -> b"))
    (session,) = (await lives.again()).sessions
    assert list(session.agents) == ["b", "a"]
    assert session.agents["b"] == first


async def test_runs_are_kept_with_their_chunks_the_oldest_first(lives: Lives) -> None:
    await lives.session()
    for run_id in ("r2", "r1"):
        await lives.store.begin_run("s", StoredRun(run_id, "a", b"digest", 1.75))
    chunks = [AgentExecutionChunk(sequence=number).SerializeToString() for number in range(4)]
    for number, chunk in enumerate(chunks):
        lives.store.add_chunk("s", "r2", number, chunk, is_last=number == 3)
    told: list[Any] = []
    await lives.store.add_chunk("s", "r1", 0, b"", is_last=False, settled=told.append)
    assert told == [None]
    second, first = (await lives.again()).sessions[0].runs
    assert second == StoredRun("r2", "a", b"digest", 1.75, 0, [(chunk, n == 3) for n, chunk in enumerate(chunks)])
    assert first == StoredRun("r1", "a", b"digest", 1.75, 0, [(b"", False)])
    await lives.store.drop_chunks("s", "r2", 2)
    await lives.store.drop_run("s", "r1")
    (run,) = (await lives.again()).sessions[0].runs
    assert (run.run_id, run.first, run.chunks) == ("r2", 2, [(chunks[2], False), (chunks[3], True)])
    await lives.store.begin_run("s", StoredRun("r1", "a", b"other", 2.0))
    _, again = (await lives.again()).sessions[0].runs
    assert again == StoredRun("r1", "a", b"other", 2.0)
