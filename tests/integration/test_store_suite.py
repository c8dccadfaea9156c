"""What a hub keeps, over every store and every way in; over those that are durable, also after a restart."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from grpc_tool_bridge import (
    AlreadyExistsError,
    ConflictError,
    NotFoundError,
    ResourceExhaustedError,
    SessionConfig,
    SessionExpiredError,
    SessionNotFoundError,
    ToolBridgeError,
    ToolContext,
    ToolExecutionError,
    VariableChange,
    tool,
)
from grpc_tool_bridge.proto.dspex_bridge_pb2 import CleanupSessionRequest, InitializeSessionRequest
from integration.agent_runtime import SIGNATURE, ObedientAgents
from integration.store_places import PLACES, Place, outcomes
from integration.test_contract_values import VALUES
from support.waiting import soon, until


@pytest.fixture(params=PLACES)
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    async with AsyncExitStack() as stack:
        yield Place(request.param, tmp_path, stack)


async def _take(watch: AsyncGenerator[VariableChange, None], count: int) -> list[tuple[str, str, Any]]:
    changes = [await soon(anext(watch)) for _ in range(count)]
    return [(change.operation, change.name, change.value) for change in changes]


# ---------------------------------------------------------------------------------------------------- sessions


async def test_a_session_keeps_its_id_metadata_age_and_limits(place: Place) -> None:
    config = SessionConfig(default_timeout_ms=1_500, max_concurrent_tools=7, enable_caching=True)
    bridge = await place.start(config=config, metadata={"owner": "tests"})
    before, defaults = await bridge.client.session_info(), place.hub.session_defaults(place.session_id)
    await place.restart()
    info = await place.bridge.client.session_info()
    assert info.created_at == before.created_at
    assert dict(info.metadata) == {"owner": "tests"}
    assert place.hub.session_defaults(place.session_id) == defaults
    session = place.session
    assert (session.call_timeout, session.max_calls, session.caching) == (1.5, 7, True)
    assert not place.bridge.client.created_session or not place.is_durable


async def test_who_attaches_changes_neither_metadata_nor_limits(place: Place) -> None:
    await place.start(config=SessionConfig(default_timeout_ms=1_500), metadata={"owner": "a"})
    await place.restart()
    config = SessionConfig(default_timeout_ms=9)
    other = await place.attach(place.session_id, config=config, metadata={"owner": "b"})
    assert dict((await other.client.session_info()).metadata) == {"owner": "a"}
    assert place.session.call_timeout == 1.5


async def test_a_second_session_of_an_id_is_refused(place: Place) -> None:
    await place.start()
    for _ in range(2):
        with pytest.raises(AlreadyExistsError, match="exists already"):
            await place.hub.store.create_session(place.session_id)
        await place.restart()


async def test_of_many_who_open_a_new_session_at_once_one_creates_it(place: Place) -> None:
    await place.start()
    request = InitializeSessionRequest(session_id="together")
    opened = await soon(asyncio.gather(*(place.hub.initialize_session(request) for _ in range(10))))
    assert sorted(response.resumed for response in opened) == [False, *[True] * 9]
    await place.restart()
    assert (await place.hub.initialize_session(request)).resumed


async def test_a_session_that_was_removed_stays_so(place: Place) -> None:
    bridge = await place.start()
    await bridge.session_context.set_variable("x", 1)
    await bridge.client.cleanup_session(force=True)
    for _ in range(2):
        with pytest.raises(SessionExpiredError, match="it was removed"):
            await place.hub.store.get_session(bridge.session_id or "")
        await place.restart(resume=False)


async def test_of_many_who_remove_a_session_one_does_and_the_others_are_told(place: Place) -> None:
    await place.start()
    request = CleanupSessionRequest(session_id=place.session_id, force=True)
    answers = await soon(asyncio.gather(*(place.hub.cleanup_session(request) for _ in range(5))))
    assert [answer.success for answer in answers] == [True, *[False] * 4]
    assert {answer.error.type for answer in answers[1:]} == {"SessionExpired"}


async def test_an_id_whose_session_has_ended_begins_anew_and_empty(place: Place) -> None:
    bridge = await place.start(metadata={"life": "1"})
    await bridge.session_context.set_variable("x", 1)
    session_id = place.session_id
    for force in (True, False):
        await place.bridge.client.cleanup_session(force=force)
        place.bridge = await place.attach(session_id)
        await place.restart()
        assert dict((await place.bridge.client.session_info()).metadata) == {}
        assert list(await place.variables.list_variables()) == []
        await place.variables.set_variable("x", 2)


async def test_a_session_that_expired_stays_so(place: Place) -> None:
    await place.start(session_idle_timeout=60.0)
    session = place.session
    await place.hub.store.create_session("used")
    session.last_activity -= 100
    session.links = 0
    place.hub.store._sessions.move_to_end(session.id, last=False)
    assert place.hub.store.expire_idle() == 1
    await place.hub.store.settle(session.id)
    for _ in range(2):
        with pytest.raises(SessionExpiredError, match="it was idle for 60 s"):
            await place.hub.store.get_session(session.id)
        assert (await place.hub.store.get_session("used")).id == "used"
        await place.restart(resume=False)


async def test_more_sessions_than_the_limit_stay_and_further_ones_are_refused(place: Place) -> None:
    await place.start(max_sessions=3)
    created = await outcomes([place.hub.store.create_session(f"s{number}") for number in range(5)])
    assert [isinstance(outcome, ResourceExhaustedError) for outcome in created] == [False, False, True, True, True]
    await place.restart(max_sessions=1)
    assert {session.id for session in place.hub.store.sessions()} == {place.session_id, "s0", "s1"}
    with pytest.raises(ResourceExhaustedError, match="3 sessions"):
        await place.hub.store.create_session("more")
    assert "more" not in {session.id for session in place.hub.store.sessions()}


async def test_only_so_many_ended_sessions_are_remembered(place: Place) -> None:
    await place.start(ended_sessions=2)
    for number in range(3):
        await place.hub.store.create_session(f"s{number}")
        await place.hub.store.cleanup_session(f"s{number}")
    for gone in ([0], [0, 1]):
        for number in range(3):
            expected = SessionNotFoundError if number in gone else SessionExpiredError
            with pytest.raises(expected):
                place.hub.store.find(f"s{number}")
        await place.restart(resume=False, ended_sessions=1)
        if not place.is_durable:
            break


async def test_sessions_are_listed_in_the_order_in_which_they_were_created(place: Place) -> None:
    await place.start()
    names = [place.session_id, *(f"{number}" for number in (3, 1, 2))]
    for name in names[1:]:
        await place.hub.store.create_session(name)
    place.hub.store.find("1")
    await place.restart()
    assert [session.id for session in place.hub.store.from_oldest()] == names
    await place.hub.store.cleanup_session("1")
    assert [session.id for session in place.hub.store.from_oldest()] == [names[0], "3", "2"]


async def test_memory_of_what_is_kept_is_charged_once(place: Place) -> None:
    await place.start(metadata={"text": "x" * 10_000})
    await place.variables.set_variable("x", b"x" * 100_000, {"tags": {"a": "b"}})
    await place.variables.set_variable("y", b"y" * 1_000)
    await place.variables.delete_variable("y")
    held = place.session.memory.used
    assert held > 120_000
    await place.restart()
    assert place.session.memory.used == held
    await place.bridge.client.cleanup_session(force=True)
    assert place.session_id not in {session.id for session in place.hub.store.sessions()}
    await until(lambda: place.hub.memory.used < 100_000)


# --------------------------------------------------------------------------------------------------- variables


async def test_values_of_every_kind_are_kept(place: Place) -> None:
    await place.start()
    await asyncio.gather(*(place.variables.set_variable(f"v{n}", value) for n, value in enumerate(VALUES)))
    await place.restart()
    for number, value in enumerate(VALUES):
        kept = await place.variables.get_variable(f"v{number}")
        assert (type(kept), repr(kept)) == (type(value), repr(value)) or kept == value


async def test_a_large_value_is_kept(place: Place) -> None:
    await place.start()
    value = bytes(range(256)) * 16_000
    await place.variables.set_variable("x", value)
    await place.restart()
    assert await place.variables.get_variable("x") == value


async def test_metadata_is_kept(place: Place) -> None:
    await place.start()
    await place.variables.set_variable("x", 1, {"type": "count", "created_by": "a", "tags": {"k": "v", "ü": ""}})
    await place.variables.set_variable("x", 2, {"secret": True, "type": "count"})
    _, before = await place.variables.get_variable_with_metadata("x")
    await place.restart()
    value, after = await place.variables.get_variable_with_metadata("x")
    assert (value, after) == (2, before)
    assert (after.type, after.created_by, dict(after.tags), after.secret) == ("count", "a", {"k": "v", "ü": ""}, True)
    await place.variables.set_variable("x", 3)
    _, later = await place.variables.get_variable_with_metadata("x")
    assert (later.secret, later.created_at, dict(later.tags)) == (True, before.created_at, {"k": "v", "ü": ""})


async def test_what_was_deleted_is_gone(place: Place) -> None:
    await place.start()
    for name in "xy":
        await place.variables.set_variable(name, 1)
    await place.variables.delete_variable("x")
    for _ in range(2):
        with pytest.raises(NotFoundError):
            await place.variables.get_variable("x")
        with pytest.raises(NotFoundError):
            await place.variables.delete_variable("x")
        assert [variable.name for variable in await place.variables.list_variables()] == ["y"]
        await place.restart()
    await place.variables.set_variable("x", 2, expected_revision=0)
    await place.restart()
    assert await place.variables.get_variable("x") == 2


async def test_revisions_rise_with_every_change(place: Place) -> None:
    await place.start()
    last = 0
    for turn in range(2):
        given = await soon(asyncio.gather(*(place.variables.set_variable(f"v{n % 5}", n) for n in range(40))))
        assert len(set(given)) == 40
        assert min(given) > last
        last = max(given)
        held = {variable.name: variable.metadata.revision for variable in await place.variables.list_variables()}
        assert held == {f"v{n}": max(given[n::5]) for n in range(5)}
        if not turn:
            await place.restart()


async def test_compare_and_set_takes_the_present_revision_only(place: Place) -> None:
    await place.start()
    first = await place.variables.set_variable("x", 1, expected_revision=0)
    second = await place.variables.set_variable("x", 2, expected_revision=first)
    for _ in range(2):
        for wrong in (0, first, second + 1):
            with pytest.raises(ConflictError) as caught:
                await place.variables.set_variable("x", 3, expected_revision=wrong)
            assert caught.value.details["revision"] == str(second)
        with pytest.raises(ConflictError):
            await place.variables.delete_variable("x", expected_revision=first)
        await place.restart()
    await place.variables.delete_variable("x", expected_revision=second)


async def test_of_many_who_compare_and_set_one_revision_one_wins(place: Place) -> None:
    await place.start()
    revision = 0
    for turn in range(4):
        writes = [
            place.variables.set_variable("x", number, expected_revision=revision)
            if number or not turn
            else place.variables.delete_variable("x", expected_revision=revision)
            for number in range(12)
        ]
        found = await soon(outcomes(writes))
        winners = [number for number, outcome in enumerate(found) if not isinstance(outcome, ToolBridgeError)]
        lost = [outcome for outcome in found if isinstance(outcome, ToolBridgeError)]
        assert len(winners) == 1, found
        assert all(isinstance(outcome, ConflictError | NotFoundError) for outcome in lost)
        await place.restart()
        if found[winners[0]] is None:
            await place.variables.set_variable("x", winners[0], expected_revision=0)
        value, metadata = await place.variables.get_variable_with_metadata("x")
        assert value == winners[0]
        assert all(outcome.details["revision"] in {str(metadata.revision), "0"} for outcome in lost if outcome.details)
        revision = metadata.revision


async def test_many_who_compare_and_set_lose_no_count(place: Place) -> None:
    await place.start()
    await place.variables.set_variable("n", 0)

    async def add_one() -> None:
        while True:
            value, metadata = await place.variables.get_variable_with_metadata("n")
            with contextlib.suppress(ConflictError):
                await place.variables.set_variable("n", value + 1, expected_revision=metadata.revision)
                return

    await soon(asyncio.gather(*(add_one() for _ in range(12))))
    await place.restart()
    assert await place.variables.get_variable("n") == 12


async def test_what_must_be_there_is_set_once_it_is(place: Place) -> None:
    await place.start()
    for _ in range(2):
        with pytest.raises(NotFoundError):
            await place.variables.set_variable("x", 1, create_if_missing=False)
        await place.restart()
    await place.variables.set_variable("x", 1)
    await place.restart()
    await place.variables.set_variable("x", 2, create_if_missing=False)
    await place.restart()
    assert await place.variables.get_variable("x") == 2


async def test_a_listing_is_by_prefix_and_tags(place: Place) -> None:
    await place.start()
    for name, tags in (("b.2", {"k": "1"}), ("b.1", {"k": "2"}), ("a", {"k": "1", "l": ""}), ("b.3", {})):
        await place.variables.set_variable(name, name, {"tags": tags})
    for _ in range(2):
        names = [variable.name for variable in await place.variables.list_variables(prefix="b.")]
        assert names == ["b.1", "b.2", "b.3"]
        assert [variable.name for variable in await place.variables.list_variables(tags=["k=1"])] == ["a", "b.2"]
        assert [variable.name for variable in await place.variables.list_variables(tags=["k", "l"])] == ["a"]
        await place.restart()


async def test_no_more_variables_are_set_than_the_limit_however_many_at_once(place: Place) -> None:
    await place.start(max_session_variables=3)
    found = await soon(outcomes([place.variables.set_variable(f"v{n}", n) for n in range(9)]))
    assert [isinstance(outcome, ResourceExhaustedError) for outcome in found].count(False) == 3
    await place.restart()
    held = [variable.name for variable in await place.variables.list_variables()]
    assert len(held) == 3
    with pytest.raises(ResourceExhaustedError, match="3 variables"):
        await place.variables.set_variable("more", 1)
    await place.variables.delete_variable(held[0])
    await place.variables.set_variable("more", 1)
    assert place.session.variable_count == 3


async def test_no_more_bytes_are_set_than_the_limit_however_many_at_once(place: Place) -> None:
    await place.start(max_session_variable_bytes=10_000)
    found = await soon(outcomes([place.variables.set_variable(f"v{n}", b"x" * 3_000) for n in range(9)]))
    assert [isinstance(outcome, ResourceExhaustedError) for outcome in found].count(False) == 3
    size = place.session.variables.size
    await place.restart()
    assert place.session.variables.size == size
    with pytest.raises(ResourceExhaustedError, match="10,000"):
        await place.variables.set_variable("more", b"x" * 1_000)


async def test_what_is_over_a_limit_that_was_lowered_stays(place: Place) -> None:
    await place.start(metadata={"text": "x" * 1_000})
    for name in "xyz":
        await place.variables.set_variable(name, b"x" * 10_000)
    await place.restart(max_session_variables=1, max_session_variable_bytes=1_000, max_session_bytes=20_000)
    if place.is_durable:
        with pytest.raises(ResourceExhaustedError):
            await place.variables.set_variable("more", 1)
    assert [variable.name for variable in await place.variables.list_variables()] == ["x", "y", "z"]
    for name in "xyz":
        await place.variables.delete_variable(name)
    await place.variables.set_variable("more", 1)


async def test_tools_set_variables_wherever_they_run(place: Place) -> None:
    await place.start(publish, tool(executor="process")(publish_elsewhere), outer)
    await place.bridge.tools["publish"]("a", 1)
    await place.bridge.tools["publish_elsewhere"]("b", 2)
    await place.bridge.tools["outer"]("c", 3)
    await place.restart()
    assert [await place.variables.get_variable(name) for name in "abc"] == [1, 2, 3]
    await place.bridge.tools["outer"]("c", 4)
    assert await place.hub.store.get_variable(place.session_id, "c") == 4


async def publish(ctx: ToolContext, name: str, value: int) -> None:
    """Sets a variable."""
    await ctx.set_variable(name, value)
    assert await ctx.get_variable(name) == value


def publish_elsewhere(ctx: ToolContext, name: str, value: int) -> None:
    """Sets a variable, and deletes another."""
    ctx.sync.set_variable(name, value)
    ctx.sync.set_variable("gone", value)
    ctx.sync.delete_variable("gone")
    assert ctx.sync.get_variable(name) == value


async def outer(ctx: ToolContext, name: str, value: int) -> None:
    """Calls a tool that sets a variable."""
    await ctx.call_tool("publish", name, value)


async def test_code_of_the_hub_s_process_reads_the_value_that_was_set(place: Place) -> None:
    await place.start()
    store, session_id = place.hub.store, place.session_id
    await store.set_variable(session_id, "by code", {"a": [1, (2, 3)]}, {"tags": {"k": "v"}})
    await place.variables.set_variable("by a client", {"b": 1, "a": 2.5})
    await place.restart()
    assert await place.hub.store.get_variable(session_id, "by code") == {"a": [1, (2, 3)]}
    value, metadata = await place.hub.store.get_variable_with_metadata(session_id, "by a client")
    assert (value, metadata.type) == ({"b": 1, "a": 2.5}, "dict")
    assert await place.variables.get_variable("by code") == {"a": [1, (2, 3)]}
    _, metadata = await place.variables.get_variable_with_metadata("by code")
    assert (metadata.type, dict(metadata.tags)) == ("dict", {"k": "v"})


# ----------------------------------------------------------------------------------------------------- watches


async def test_a_watch_begins_with_the_present_values_in_the_order_of_their_revisions(place: Place) -> None:
    await place.start()
    for name, value in (("x", 1), ("y", 2), ("x", 3)):
        await place.variables.set_variable(name, value)
    await place.restart()
    watch = place.variables.watch_variables()
    assert await _take(watch, 2) == [("set", "y", 2), ("set", "x", 3)]
    await place.variables.set_variable("y", 4)
    assert await _take(watch, 1) == [("update", "y", 4)]
    await watch.aclose()


async def test_a_watch_goes_on_after_a_revision_without_a_gap(place: Place) -> None:
    await place.start()
    await place.variables.set_variable("x", 0)
    watch = place.variables.watch_variables()
    seen = await soon(anext(watch))
    await place.variables.set_variable("x", 1)
    assert await _take(watch, 1) == [("update", "x", 1)]
    await watch.aclose()
    await place.variables.set_variable("y", 2)
    await place.variables.delete_variable("x")
    await place.restart()
    await place.variables.set_variable("x", 3)
    again = place.variables.watch_variables(from_revision=seen.revision, epoch=seen.epoch)
    expected = [("update", "x", 1), ("set", "y", 2), ("delete", "x", None), ("set", "x", 3)]
    assert await _take(again, 4) == expected
    await place.variables.set_variable("x", 4)
    assert await _take(again, 1) == [("update", "x", 4)]
    await again.aclose()


async def test_a_watch_of_names_that_goes_on_is_told_of_no_others(place: Place) -> None:
    await place.start()
    await place.variables.set_variable("x", 0)
    watch = place.variables.watch_variables("x")
    seen = await soon(anext(watch))
    for number in range(3):
        await place.variables.set_variable("y", number)
        await place.variables.set_variable("x", number)
    await watch.aclose()
    await place.restart()
    again = place.variables.watch_variables("x", from_revision=seen.revision, epoch=seen.epoch)
    assert await _take(again, 3) == [("update", "x", number) for number in range(3)]
    await place.variables.set_variable("y", 3)
    await place.variables.set_variable("x", 3)
    assert await _take(again, 1) == [("update", "x", 3)]
    await again.aclose()


async def test_a_watch_after_what_is_no_longer_known_gets_one_reset(place: Place) -> None:
    await place.start(watch_history=3)
    await place.variables.set_variable("x", 0)
    watch = place.variables.watch_variables()
    seen = await soon(anext(watch))
    await watch.aclose()
    for value in range(1, 10):
        await place.variables.set_variable("x", value)
    await place.variables.set_variable("y", value)
    await place.restart()
    for epoch, revision in ((seen.epoch, seen.revision), ("another", 10**6), (seen.epoch, 10**6)):
        again = place.variables.watch_variables(from_revision=revision, epoch=epoch)
        assert await _take(again, 3) == [("reset", "", None), ("set", "x", 9), ("set", "y", 9)]
        await again.aclose()


async def test_what_became_secret_is_so_in_the_history(place: Place) -> None:
    await place.start()
    variables = place.hub.store.variables(place.session_id)
    watch = variables.watch(after=0)
    beginning = asyncio.ensure_future(anext(watch))
    await asyncio.sleep(0)
    first = await place.variables.set_variable("x", "hidden", {"type": "a"})
    await place.variables.set_variable("y", "open")
    await place.variables.set_variable("x", "hidden", {"secret": True})
    await soon(beginning)
    await watch.aclose()
    await place.variables.delete_variable("x")
    await place.restart()
    again = place.hub.store.variables(place.session_id).watch(after=first - 1)
    if first > 1:
        told = [await soon(anext(again)) for _ in range(4)]
        assert [(change.name, change.secret) for change in told] == [
            ("x", True),
            ("y", False),
            ("x", True),
            ("x", True),
        ]
    await again.aclose()


async def test_the_epoch_is_that_of_the_store(place: Place) -> None:
    await place.start()
    epoch = place.hub.store.revisions.epoch
    await place.restart()
    assert place.hub.store.revisions.epoch == epoch


# -------------------------------------------------------------------------------------------------------- keys


class Effects:
    """A tool that counts its effects."""

    def __init__(self) -> None:
        self.count = 0
        self.failure: Exception | None = None
        self.started = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def work(self, number: int) -> str:
        """Has an effect."""
        self.count += 1
        self.started.set()
        await self.go_on.wait()
        if self.failure is not None:
            raise self.failure
        return f"effect {self.count} of {number}"

    @tool(idempotent=True)
    async def repeat(self, number: int) -> str:
        """May be repeated."""
        return await self.work(number)


def _keyed(place: Place, key: str = "k", name: str = "work") -> Any:
    return place.bridge.tools[name].with_options(idempotency_key=key)


async def _all_is_stored(place: Place) -> None:
    """Waits until what became of calls is stored, which nobody waits for whose caller has left."""
    await soon(place.session.keyed.settle())
    await place.variables.set_variable("last", 1)


async def test_the_answer_of_a_key_is_kept(place: Place) -> None:
    effects = Effects()
    await place.start(effects.work)
    assert await _keyed(place)(7) == "effect 1 of 7"
    await place.restart()
    assert await _keyed(place)(7) == "effect 1 of 7"
    assert effects.count == 1
    assert await _keyed(place, "other")(7) == "effect 2 of 7"
    await place.restart()
    assert await _keyed(place)(7) == "effect 1 of 7"
    other = await place.attach()
    assert await other.tools["work"].with_options(idempotency_key="k")(7) == "effect 3 of 7"


async def test_a_key_for_something_else_is_a_conflict(place: Place) -> None:
    effects = Effects()
    await place.start(effects.work)
    await _keyed(place)(7)
    for _ in range(2):
        with pytest.raises(ToolExecutionError, match="use a new key") as caught:
            await _keyed(place)(8)
        assert caught.value.error_type == "IdempotencyConflict"
        await place.restart()
    assert effects.count == 1


async def test_who_calls_with_the_key_of_a_call_that_runs_gets_its_answer(place: Place) -> None:
    effects = Effects()
    effects.go_on.clear()
    await place.start(effects.work)
    other = await place.attach(place.session_id)
    first = asyncio.create_task(_keyed(place)(7))
    await soon(effects.started.wait())
    second = asyncio.create_task(other.tools["work"].with_options(idempotency_key="k")(7))
    await until(lambda: place.session.keyed._waiting)
    effects.go_on.set()
    assert await soon(asyncio.gather(first, second)) == ["effect 1 of 7"] * 2
    await place.restart()
    assert await _keyed(place)(7) == "effect 1 of 7"


async def test_many_calls_with_one_key_at_once_have_one_effect(place: Place) -> None:
    effects = Effects()
    await place.start(effects.work)
    assert set(await soon(asyncio.gather(*(_keyed(place)(7) for _ in range(10))))) == {"effect 1 of 7"}
    await place.restart()
    assert set(await soon(asyncio.gather(*(_keyed(place)(7) for _ in range(10))))) == {"effect 1 of 7"}


async def test_what_a_tool_raised_is_kept(place: Place) -> None:
    effects = Effects()
    effects.failure = LookupError("no such thing")
    await place.start(effects.work)
    for _ in range(2):
        with pytest.raises(ToolExecutionError, match="no such thing") as caught:
            await _keyed(place)(7)
        assert (caught.value.error_type, caught.value.details["origin"]) == ("LookupError", "tool")
        await place.restart()
    assert effects.count == 1


class BusyError(Exception):
    retryable = True


async def test_what_may_succeed_later_is_not_kept(place: Place) -> None:
    effects = Effects()
    effects.failure = BusyError("not now")
    await place.start(effects.work)
    with pytest.raises(ToolExecutionError, match="not now"):
        await _keyed(place)(7)
    await place.restart()
    effects.failure = None
    assert await _keyed(place)(7) == "effect 2 of 7"


async def test_the_key_of_a_call_whose_caller_left_is_free(place: Place) -> None:
    effects = Effects()
    effects.go_on.clear()
    await place.start(effects.work)
    call = asyncio.create_task(_keyed(place)(7))
    await soon(effects.started.wait())
    call.cancel()
    await soon(asyncio.wait([call]))
    await until(lambda: not place.session.active)
    effects.go_on.set()
    await _all_is_stored(place)
    await place.restart()
    assert await soon(_keyed(place)(8)) == "effect 2 of 8"


async def test_the_key_of_a_call_that_timed_out_is_free(place: Place) -> None:
    effects = Effects()
    effects.go_on.clear()
    await place.start(effects.work)
    with pytest.raises(ToolBridgeError):
        await _keyed(place).with_options(timeout=0.05)(7)
    await until(lambda: not place.session.active)
    effects.go_on.set()
    await _all_is_stored(place)
    await place.restart()
    count = effects.count
    assert await soon(_keyed(place)(7)) == f"effect {count + 1} of 7"


async def test_an_answer_that_is_too_large_is_not_kept(place: Place) -> None:
    effects = Effects()
    await place.start(effects.work, max_session_answer_bytes=1)
    assert await _keyed(place)(7) == "effect 1 of 7"
    await place.restart()
    assert await _keyed(place)(7) == "effect 2 of 7"


async def test_a_call_that_ran_when_its_hub_was_lost_is_in_doubt_unless_it_may_be_repeated(place: Place) -> None:
    effects = Effects()
    effects.go_on.clear()
    await place.start(effects.work, effects.repeat)
    calls = [asyncio.create_task(_keyed(place, name, name)(7)) for name in ("work", "repeat")]
    await until(lambda: effects.count == 2)
    await place.restart()
    effects.go_on.set()
    await soon(asyncio.wait(calls))
    if not place.is_durable:
        assert effects.count == 2
    elif place.is_copied:
        for _ in range(2):
            with pytest.raises(ToolExecutionError, match="the hub ended while") as caught:
                await _keyed(place, "work")(7)
            assert caught.value.error_type == "IdempotencyConflict"
            assert (caught.value.details["outcome"], caught.value.retryable) == ("unknown", False)
            assert effects.count == 2
            await place.restart()
        with pytest.raises(ToolExecutionError, match="use a new key"):
            await _keyed(place, "repeat", "repeat")(8)
        assert await _keyed(place, "repeat", "repeat")(7) == "effect 3 of 7"
    else:
        # A hub that shuts down ends its calls, and says so.
        assert await _keyed(place, "work")(7) == "effect 3 of 7"
        assert await _keyed(place, "repeat", "repeat")(7) == "effect 4 of 7"


async def test_a_key_belongs_to_its_session(place: Place) -> None:
    effects = Effects()
    await place.start(effects.work)
    await _keyed(place)(7)
    session_id = place.session_id
    await place.bridge.client.cleanup_session(force=True)
    place.bridge = await place.attach(session_id)
    assert await _keyed(place)(8) == "effect 2 of 8"
    await place.restart()
    assert await _keyed(place)(8) == "effect 2 of 8"


# ------------------------------------------------------------------------------------------------------ agents


@pytest.mark.parametrize("place", [name for name in PLACES if "own hub" not in name], indirect=True)
async def test_agents_are_kept(place: Place) -> None:
    await place.start(publish, agents=ObedientAgents())
    agent_id = await place.bridge.create_react_agent(SIGNATURE, ["publish"])
    await place.restart()
    assert list(place.hub.agents.definitions(place.session_id)) == [agent_id]
    await place.bridge.client.cleanup_session(force=True)
    session_id = place.session_id
    await place.restart(resume=False)
    assert place.hub.agents.definitions(session_id) == {}
