"""Variables on their way into a durable store: what is seen, what is checked, and what is undone."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.revisions import Revisions
from grpc_tool_bridge.core.sessions import SessionStore
from grpc_tool_bridge.core.variable import Change, Variable
from grpc_tool_bridge.core.variables import Variables
from grpc_tool_bridge.errors import (
    ConflictError,
    NotFoundError,
    ResourceExhaustedError,
    SessionExpiredError,
    StoreError,
    ToolBridgeError,
)
from grpc_tool_bridge.proto.dspex_bridge_pb2 import VariableMetadata
from grpc_tool_bridge.rpc.budgets import Budget
from grpc_tool_bridge.values.serialization import serialize_value
from support.held_store import HeldStore
from support.waiting import soon, turns


class Stage:
    """Variables with a store that stores when it is told to."""

    def __init__(self, **settings: Any) -> None:
        self.store = HeldStore()
        self.memory = Budget(10_000_000, owner="the test", setting="none")
        self.revisions = Revisions()
        self.variables = Variables("s", self.revisions, Settings(**settings), self.memory, self.store)

    def set(self, name: str, value: Any = 1, size: int = 10, **options: Any) -> Variable:
        return self.variables.set(name, value, size=size, **options)

    def delete(self, name: str) -> str:
        self.variables.delete(name)
        return name

    @property
    def facts(self) -> tuple[Any, ...]:
        """All that a change that is undone must leave as it was."""
        variables = self.variables
        return (dict(variables._items), variables.size, variables._count, variables._pending, self.memory.used)


async def test_a_change_is_seen_once_it_is_stored() -> None:
    stage = Stage()
    variable = stage.set("x")
    with pytest.raises(NotFoundError):
        stage.variables.get("x")
    assert (len(stage.variables), stage.variables.revision, await stage.variables.select()) == (0, 0, [])
    stage.store.store()
    assert stage.variables.get("x") is variable
    assert stage.variables.revision == variable.revision
    stage.variables.delete("x")
    assert stage.variables.get("x") is variable
    stage.store.store()
    with pytest.raises(NotFoundError):
        stage.variables.get("x")


async def test_a_watch_is_told_of_a_change_once_it_is_stored() -> None:
    stage = Stage()
    watch = stage.variables.watch()
    first = asyncio.ensure_future(anext(watch))
    await turns()
    stage.set("x", 1)
    stage.set("x", 2)
    await turns()
    assert not first.done()
    stage.store.store()
    assert (await soon(first)).value == 1
    assert (await soon(anext(watch))).value == 2
    await watch.aclose()


async def test_a_change_is_made_to_what_is_about_to_be() -> None:
    stage = Stage()
    first = stage.set("x", 1, metadata=VariableMetadata(created_by="me", secret=True))
    second = stage.set("x", 2, expected_revision=first.revision)
    assert (second.created_by, second.secret, second.created_at) == ("me", True, first.created_at)
    stage.variables.delete("x", expected_revision=second.revision)
    third = stage.set("x", 3, expected_revision=0)
    assert third.created_by == ""
    verbs = [(verb, args[2] if verb == "set_variable" else args[1].previous) for verb, args, _ in stage.store.held]
    assert verbs == [
        ("set_variable", 0),
        ("set_variable", first.revision),
        ("delete_variable", second.revision),
        ("set_variable", 0),
    ]
    stage.store.store()
    assert stage.variables.get("x") is third


CHANGES: dict[str, Callable[[Stage], object]] = {
    "a new one": lambda stage: stage.set("new"),
    "another value": lambda stage: stage.set("x", 2, size=500),
    "a smaller value": lambda stage: stage.set("x", 2, size=1),
    "a deletion": lambda stage: stage.delete("x"),
    "some of one": lambda stage: [stage.set("x", n, size=n) for n in (3, 900, 5)],
    "one that was deleted and is new": lambda stage: (stage.delete("x"), stage.set("x", 5, size=70)),
    "a new one that is deleted": lambda stage: (stage.set("new", 5, size=70), stage.delete("new")),
    "some of many": lambda stage: (
        stage.set("new"),
        stage.delete("y"),
        stage.set("x", size=3),
        stage.set("y"),
        stage.delete("x"),
        stage.set("more", size=100),
        stage.set("new", size=7),
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
async def test_what_could_not_be_stored_is_undone_exactly(change: Callable[[Stage], object]) -> None:
    stage = Stage()
    for name in "xy":
        stage.set(name, size=50, metadata=VariableMetadata(tags={"k": "v"}))
    stage.store.store()
    before, revision = stage.facts, stage.variables.revision
    change(stage)
    stage.store.fail()
    assert stage.facts == before
    assert stage.variables.revision == revision
    with pytest.raises(StoreError):
        await stage.variables.last_write
    # And later ones are as if it had never been.
    for name in "xy":
        stage.set(name, size=50, metadata=VariableMetadata(tags={"k": "v"}), create=False)
    stage.store.store()
    assert stage.facts[1:] == before[1:]


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("stored", [1, 2, 3])
async def test_what_was_stored_of_many_stays_and_the_rest_is_undone(
    change: Callable[[Stage], object], stored: int
) -> None:
    some, others = Stage(), Stage()
    for stage in (some, others):
        for name in "xy":
            stage.set(name, size=50)
        stage.store.store()
        change(stage)
    some.store.store(stored)
    some.store.fail()
    # The same without those that failed: a store that has only the first ones.
    expected = {variable.name: variable.value for variable in some.variables._items.values()}
    replayed: dict[str, Any] = {"x": 1, "y": 1}
    for verb, args, _ in others.store.held[:stored]:
        if verb == "set_variable":
            replayed[args[1].name] = args[1].value
        else:
            del replayed[args[1].name]
    assert expected == replayed
    variables = some.variables
    assert variables.size == sum(variable.held for variable in variables._items.values())
    assert variables._count == len(variables)
    assert variables._pending == {}
    assert some.memory.used == variables.size + 1024 * len(variables)


async def test_limits_count_what_is_on_its_way_and_not_what_failed() -> None:
    stage = Stage(max_session_variables=2, max_session_variable_bytes=100)
    stage.set("x", size=60)
    with pytest.raises(ResourceExhaustedError, match="100"):
        stage.set("y", size=60)
    stage.set("y", size=40)
    with pytest.raises(ResourceExhaustedError, match="2 variables"):
        stage.set("z", size=0)
    assert stage.store.waiting == ["set_variable"] * 2
    stage.store.fail()
    stage.set("z", size=100)
    stage.variables.delete("z")
    stage.set("x", size=60)
    stage.store.store()
    assert stage.variables.size == 60


@pytest.mark.parametrize("names", [(), ("x",)])
async def test_a_history_that_goes_further_back_is_read_from_the_store(names: tuple[str, ...]) -> None:
    stage = Stage()
    stage.revisions.resume("kept", 9, stage.store.reserve_revisions)
    stage.variables.restore([Variable("x", 5, "", 1, 1.0, 1.0, 9, 1)], 9, 7)
    told = [Change("set", "x", 4, 5, 1.0), Change("delete", "y", None, 7, 1.0), Change("update", "x", 5, 9, 1.0)]
    stage.store.history = told
    watch = stage.variables.watch(names, after=5, epoch="kept")
    expected = [change for change in told[1:] if not names or change.name in names]
    assert [await soon(anext(watch)) for _ in expected] == expected
    following = asyncio.ensure_future(anext(watch))
    await turns()
    assert not following.done()
    stage.set("x", 6, metadata=VariableMetadata(secret=True))
    stage.store.store()
    assert (await soon(following)).value == 6
    await watch.aclose()
    # What has become secret meanwhile is so for who comes later.
    watch = stage.variables.watch(names, after=4, epoch="kept")
    found = [await soon(anext(watch)) for _ in (told[0], *expected)]
    assert [change.secret for change in found] == [change.name == "x" for change in found]
    await watch.aclose()


@pytest.mark.parametrize(
    ("settings", "history"),
    [
        ({}, None),
        ({"watch_history": 2}, [6, 7, 8]),
        ({"watch_history_bytes": 29}, [7, 8, 9]),
    ],
)
async def test_a_watch_gets_a_reset_where_the_store_has_forgotten_or_might_have(
    settings: dict[str, int], history: list[int] | None
) -> None:
    stage = Stage(**settings)
    if history is not None:
        stage.store.history = [Change("update", "x", 4, revision, 1.0, 10) for revision in history]
    variable = Variable("x", 5, "", 1, 1.0, 1.0, 9, 1)
    stage.variables.restore([variable], 9, 0)
    watch = stage.variables.watch(after=5)
    assert [(await soon(anext(watch))).operation for _ in range(2)] == ["reset", "set"]
    await watch.aclose()


# --------------------------------------------------------------------------- who is refused by what is not stored


class Writers:
    """A session whose variables a store takes when it is told to."""

    def __init__(self) -> None:
        self.held = HeldStore()
        self.store = SessionStore()
        self.store.durable = self.held

    async def begin(self) -> None:
        creating = asyncio.ensure_future(self.store.create_session("s"))
        await turns()
        self.held.store()
        await creating

    def set(self, value: int, **options: Any) -> "asyncio.Future[Variable]":
        return asyncio.ensure_future(self.store.set_encoded("s", "x", serialize_value(value), **options))

    def delete(self, **options: Any) -> "asyncio.Future[None]":
        return asyncio.ensure_future(self.store.delete_variable("s", "x", **options))


@pytest.fixture
async def writers() -> Writers:
    writers = Writers()
    await writers.begin()
    return writers


async def _settled(*writes: "asyncio.Future[Any]") -> list[bool]:
    await turns()
    return [write.done() for write in writes]


async def test_who_loses_against_a_change_on_its_way_is_told_once_it_is_stored(writers: Writers) -> None:
    winner, loser = writers.set(1, expected_revision=0), writers.set(2, expected_revision=0)
    assert await _settled(winner, loser) == [False, False]
    writers.held.store()
    won = await soon(winner)
    with pytest.raises(ConflictError) as caught:
        await soon(loser)
    assert caught.value.details["revision"] == str(won.revision)
    assert writers.held.waiting == []


async def test_who_would_have_lost_against_a_change_that_failed_wins(writers: Writers) -> None:
    first, second, third = (writers.set(number, expected_revision=0) for number in range(3))
    await turns()
    writers.held.fail()
    assert await _settled(first, second, third) == [True, False, False]
    with pytest.raises(StoreError):
        await first
    writers.held.store()
    assert (await soon(second)).value == serialize_value(1)
    with pytest.raises(ConflictError):
        await soon(third)


async def test_who_must_find_it_waits_for_a_deletion_on_its_way(writers: Writers) -> None:
    created = writers.set(1)
    await turns()
    writers.held.store()
    await created
    deleting = writers.delete()
    await turns()
    updating, again = writers.set(2, create=False), writers.delete()
    assert await _settled(updating, again) == [False, False]
    writers.held.fail()
    await turns()
    assert writers.held.waiting == ["set_variable", "delete_variable"]
    writers.held.store()
    await soon(updating)
    await soon(again)
    with pytest.raises(StoreError):
        await deleting


async def test_who_is_refused_by_what_is_stored_is_told_at_once_whatever_is_on_its_way(writers: Writers) -> None:
    first = writers.set(1)
    await turns()
    writers.held.store()
    stored = (await first).revision
    pending = writers.set(2)
    await turns()
    stale = writers.set(3, expected_revision=stored - 1)
    assert await _settled(stale, pending) == [True, False]
    with pytest.raises(ConflictError) as caught:
        await stale
    assert caught.value.details["revision"] == str(stored)
    writers.held.store()


async def test_the_session_of_one_who_waits_may_end(writers: Writers) -> None:
    first, second = writers.set(1, expected_revision=0), writers.set(2, expected_revision=0)
    await turns()
    ending = asyncio.ensure_future(writers.store.cleanup_session("s"))
    await turns()
    writers.held.store(1)
    await soon(first)
    with pytest.raises(SessionExpiredError, match="is being removed"):
        await soon(second)
    writers.held.store()
    await soon(ending)


async def test_a_change_whose_caller_leaves_is_made_all_the_same(writers: Writers) -> None:
    leaving = writers.set(1)
    await turns()
    leaving.cancel()
    await turns()
    writers.held.store()
    assert await writers.store.get_variable("s", "x") == 1


async def test_the_error_of_a_store_reaches_each_who_waits(writers: Writers) -> None:
    writes = [asyncio.ensure_future(writers.store.set_variable("s", f"v{n}", n)) for n in range(3)]
    await turns()
    full = ResourceExhaustedError("nothing was changed: the disk is full", details={"retry_after": "5"})
    writers.held.fail(full)
    found: list[Any] = await asyncio.gather(*writes, return_exceptions=True)
    assert all(isinstance(each, ToolBridgeError) and each.retry_after == 5 for each in found)
    assert len(writers.store.variables("s")) == 0


FULL = ResourceExhaustedError("nothing was changed: the store has reached its limit")


@pytest.mark.parametrize("refused", ["the same variable", "another one", "a deletion of it"])
async def test_a_change_that_a_store_refuses_at_once_leaves_what_is_on_its_way_before_it(refused: str) -> None:
    # Otherwise two would win the compare-and-set from one revision.
    stage = Stage()
    first = stage.set("x", 1)
    stage.set("y", 1)
    stage.store.store()
    winner = stage.set("x", 2, expected_revision=first.revision)
    stage.store.refusing = FULL
    if refused == "a deletion of it":
        stage.delete("x")
    else:
        stage.set("x" if refused == "the same variable" else "y", 3)
    stage.store.refusing = None
    with pytest.raises(ConflictError):
        stage.set("x", 4, expected_revision=first.revision)
    # Who waits to know whether it may be made waits for what decides that, and for nothing that is over: awaiting what
    # is over does not let anybody else run.
    decides = stage.variables.in_the_way("x", create=True, expected=first.revision)
    assert decides is stage.store.held[0][2]
    stage.store.store()
    assert stage.variables.get("x") is winner
    assert stage.variables._pending == {}
