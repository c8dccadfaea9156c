"""A session's variables: revisions, compare-and-set, bounds, and watches that miss nothing."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.names import clip
from grpc_tool_bridge.core.revisions import Revisions
from grpc_tool_bridge.core.variable import Change, type_name
from grpc_tool_bridge.core.variables import Variables
from grpc_tool_bridge.errors import (
    ConflictError,
    NotFoundError,
    ResourceExhaustedError,
    SessionExpiredError,
    ValidationError,
)
from grpc_tool_bridge.proto.dspex_bridge_pb2 import VariableMetadata
from support.soak import examples


def make(**limits: int) -> Variables:
    return Variables("s", Revisions(), Settings(**limits))  # type: ignore[arg-type]  # the limits are numbers


async def told(watch: AsyncGenerator[Change, None], count: int) -> list[tuple[str, str, Any]]:
    return [(change.operation, change.name, change.value) for change in [await anext(watch) for _ in range(count)]]


async def reader(watch: AsyncGenerator[Change, None]) -> "asyncio.Task[Change]":
    """Begins to read the next change and waits until there is nothing to read."""
    task: asyncio.Task[Change] = asyncio.ensure_future(anext(watch))
    for _ in range(3):
        await asyncio.sleep(0)
    assert not task.done()
    return task


# ------------------------------------------------------------------------------------------------- set, get, delete


def test_a_variable_that_was_set_is_there() -> None:
    variables = make()
    variables.set("x", 5, type_name="int", size=8)
    variable = variables.get("x")
    assert (variable.value, variable.type, variable.size) == (5, "int", 8)
    assert len(variables) == 1


def test_a_missing_variable_is_named() -> None:
    with pytest.raises(NotFoundError, match="session 's' has no variable 'x'") as got:
        make().get("x")
    assert got.value.error_type == "VariableNotFound"


def test_revisions_rise_with_every_change_and_through_all_sessions_of_a_hub() -> None:
    revisions = Revisions()
    one, two = Variables("1", revisions, Settings()), Variables("2", revisions, Settings())
    seen = [one.set("x", 1).revision, two.set("x", 1).revision, one.set("x", 2).revision]
    one.delete("x")
    seen.append(one.revision)
    assert seen == sorted(set(seen))


def test_setting_anew_keeps_creation_and_metadata_and_moves_the_rest() -> None:
    variables = make()
    before = variables.set("x", 1, metadata=VariableMetadata(created_by="me", tags={"a": "1"}, secret=True, type="T"))
    created, revision = before.created_at, before.revision
    after = variables.set("x", 2, type_name="int")
    assert (after.created_at, after.created_by, after.tags, after.secret) == (created, "me", {"a": "1"}, True)
    assert (after.type, after.value) == ("int", 2)
    assert after.revision > revision
    assert after.updated_at >= created


def test_what_new_metadata_does_not_mention_stays_as_it_was() -> None:
    variables = make()
    variables.set("x", 1, metadata=VariableMetadata(created_by="me", tags={"a": "1"}, secret=True))
    variable = variables.set("x", 1, metadata=VariableMetadata(tags={"b": "2"}))
    assert (variable.created_by, variable.tags, variable.secret) == ("me", {"b": "2"}, True)
    variable = variables.set("x", 1, metadata=VariableMetadata(created_by="you"))
    assert (variable.created_by, variable.tags, variable.secret) == ("you", {"b": "2"}, True)


def test_a_variable_is_secret_until_it_is_deleted() -> None:
    variables = make()
    variables.set("x", 1, metadata=VariableMetadata(secret=True))
    for metadata in (None, VariableMetadata(), VariableMetadata(secret=False), VariableMetadata(type="int")):
        assert variables.set("x", 2, metadata=metadata).secret
    variables.set("y", 1)
    assert variables.set("y", 2, metadata=VariableMetadata(secret=True)).secret
    variables.delete("x")
    assert not variables.set("x", 3).secret


def test_no_text_of_a_variable_or_of_its_change_shows_the_value() -> None:
    variable = make().set("x", "hunter2")
    assert "hunter2" not in repr(variable)
    assert "hunter2" not in repr(Change("set", "x", "hunter2", 1, 0.0))


async def test_a_list_of_variables_stays_what_it_was() -> None:
    variables = make()
    variables.set("x", 1)
    before = await variables.select()
    variables.set("x", 2)
    assert [variable.value for variable in before] == [1]


def test_the_messages_of_a_variable_say_what_it_is() -> None:
    variables = make()
    variable = variables.set(
        "x", 1, size=9, metadata=VariableMetadata(created_by="me", tags={"a": "1"}), type_name="int"
    )
    info = variable.info()
    assert (info.name, info.type, info.size_bytes) == ("x", "int", 9)
    assert (info.metadata.created_by, dict(info.metadata.tags), info.metadata.revision) == (
        "me",
        {"a": "1"},
        variable.revision,
    )
    assert info.metadata.created_at.ToMicroseconds() == int(variable.created_at * 1e6)
    assert info.metadata.updated_at.ToMicroseconds() == int(variable.updated_at * 1e6)


def test_metadata_that_names_the_type_only_leaves_the_rest_as_it_was() -> None:
    variables = make()
    variables.set("x", 1, metadata=VariableMetadata(created_by="me", tags={"a": "1"}, secret=True))
    variable = variables.set("x", 2, metadata=VariableMetadata(type="number"))
    assert (variable.type, variable.created_by, variable.tags, variable.secret) == ("number", "me", {"a": "1"}, True)


def test_a_long_type_is_clipped() -> None:
    assert len(make().set("x", 1, metadata=VariableMetadata(type="T" * 10_000)).type) < 100


def test_create_false_sets_only_what_is_there() -> None:
    variables = make()
    with pytest.raises(NotFoundError):
        variables.set("x", 1, create=False)
    assert len(variables) == 0
    variables.set("x", 1)
    assert variables.set("x", 2, create=False).value == 2


def test_compare_and_set_takes_the_present_revision_only() -> None:
    variables = make()
    revision = variables.set("x", 1, expected_revision=0).revision
    with pytest.raises(ConflictError, match=rf"'x' is at revision {revision}, not at revision 0; read it again") as got:
        variables.set("x", 2, expected_revision=0)
    assert got.value.details == {"revision": str(revision), "expected_revision": "0"}
    assert variables.set("x", 3, expected_revision=revision).value == 3
    with pytest.raises(ConflictError, match="'y' does not exist, not at revision 7"):
        variables.set("y", 1, expected_revision=7)


def test_delete_removes_the_present_revision_only() -> None:
    variables = make()
    revision = variables.set("x", 1).revision
    with pytest.raises(ConflictError):
        variables.delete("x", expected_revision=revision + 1)
    variables.delete("x", expected_revision=revision)
    assert len(variables) == 0
    with pytest.raises(NotFoundError):
        variables.delete("x")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("", r"1 to 256 characters; this one has 0 \(empty\)"),
        ("x" * 257, r"this one has 257 \('x+'…\)"),
        ("a\nb", r"must have only printable characters; 'a\\nb' has U\+000A"),
        ("a\x00", r"U\+0000"),
    ],
)
def test_a_name_that_cannot_be_used_is_refused_and_shown_safely(name: str, text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        make().set(name, 1)


def test_names_of_256_characters_and_of_any_script_are_fine() -> None:
    variables = make()
    for name in ("x" * 256, "x", "größe", "値", "a b"):
        assert variables.set(name, 1).name == name


def test_a_long_name_is_clipped_in_texts() -> None:
    assert clip("x" * 256) == "x" * 256
    assert clip("x" * 257) == "x" * 64 + "…"


def test_types_are_named_as_python_names_them() -> None:
    assert type_name("type.googleapis.com/google.protobuf.StringValue") == "str"
    assert type_name("type.googleapis.com/pandas.DataFrame") == "pandas.DataFrame"
    assert type_name("") == ""


# ---------------------------------------------------------------------------------------------------------- bounds


def test_one_variable_too_many_is_refused_and_others_can_still_be_set() -> None:
    variables = make(max_session_variables=2)
    variables.set("a", 1)
    variables.set("b", 1)
    with pytest.raises(ResourceExhaustedError, match="has 2 variables, which is its limit; delete some"):
        variables.set("c", 1)
    variables.set("a", 2)
    variables.delete("b")
    variables.set("c", 1)


def test_bytes_are_counted_through_sets_and_deletes() -> None:
    variables = make(max_session_variable_bytes=100)
    variables.set("a", 1, size=60)
    with pytest.raises(ResourceExhaustedError, match="would take 120 bytes, the limit is 100; delete some"):
        variables.set("b", 1, size=60)
    variables.set("a", 1, size=40)
    variables.set("b", 1, size=60)
    variables.delete("a")
    variables.set("b", 1, size=100)


def test_a_refused_set_changes_nothing() -> None:
    variables = make(max_session_variable_bytes=100)
    revision = variables.set("a", "old", size=60).revision
    with pytest.raises(ResourceExhaustedError):
        variables.set("a", "new", size=101)
    assert (variables.get("a").value, variables.get("a").revision, variables.revision) == ("old", revision, revision)


def test_what_a_writer_says_of_a_variable_counts_as_bytes_too() -> None:
    variables = make(max_session_variable_bytes=200)
    with pytest.raises(ResourceExhaustedError, match="bytes"):
        variables.set("a", 1, size=1, metadata=VariableMetadata(tags={"t": "x" * 200}))
    with pytest.raises(ResourceExhaustedError, match="bytes"):
        variables.set("a", 1, size=1, metadata=VariableMetadata(tags={"t": "", "u": ""}))
    variables.set("a", 1, size=1, metadata=VariableMetadata(tags={"t": "x" * 50}))
    with pytest.raises(ResourceExhaustedError):
        variables.set("a", 1, size=60)
    variables.set("a", 1, size=60, metadata=VariableMetadata(tags={"t": ""}))
    assert variables.get("a").size == 60
    variables.delete("a")
    variables.set("b", 1, size=200)


# --------------------------------------------------------------------------------------------------------- listing


async def test_a_listing_is_by_name_prefix_and_tags() -> None:
    variables = make()
    for name, tags in (("b.2", {"k": "1"}), ("a", {}), ("b.1", {"k": "2", "l": ""}), ("c", {"k": "1"})):
        variables.set(name, 0, metadata=VariableMetadata(tags=tags))

    async def names(**choice: Any) -> list[str]:
        return [variable.name for variable in await variables.select(**choice)]

    assert await names() == ["a", "b.1", "b.2", "c"]
    assert await names(prefix="b.") == ["b.1", "b.2"]
    assert await names(tags=["k"]) == ["b.1", "b.2", "c"]
    assert await names(tags=["k=1"]) == ["b.2", "c"]
    assert await names(tags=["k", "l="]) == ["b.1"]
    assert await names(tags=["none"]) == []
    assert await names(limit=2) == ["a", "b.1"]


# --------------------------------------------------------------------------------------------------------- watches


async def test_a_watch_tells_changes_from_now_on_in_order() -> None:
    variables = make()
    variables.set("x", 0)
    watch = variables.watch()
    first = await reader(watch)
    variables.set("x", 1)
    variables.set("y", 2)
    variables.delete("x")
    change = await first
    assert (change.operation, change.name, change.value) == ("update", "x", 1)
    assert await told(watch, 2) == [("set", "y", 2), ("delete", "x", None)]


async def test_a_watch_of_names_tells_of_no_others() -> None:
    variables = make()
    watch = variables.watch(["x"])
    first = await reader(watch)
    variables.set("y", 1)
    variables.set("x", 2)
    assert (await first).name == "x"


async def test_a_watch_can_begin_with_the_present_values_in_the_order_of_their_revisions() -> None:
    variables = make()
    variables.set("b", 1)
    variables.set("a", 2)
    watch = variables.watch(initial=True)
    assert await told(watch, 2) == [("set", "b", 1), ("set", "a", 2)]
    variables.set("b", 3)
    assert await told(watch, 1) == [("update", "b", 3)]


async def test_a_change_during_the_present_values_is_told_after_them() -> None:
    variables = make()
    variables.set("a", 1)
    variables.set("b", 2)
    watch = variables.watch(initial=True)
    assert await told(watch, 1) == [("set", "a", 1)]
    variables.set("a", 3)
    assert await told(watch, 2) == [("set", "b", 2), ("update", "a", 3)]


async def test_a_watch_goes_on_after_a_revision_that_the_history_reaches() -> None:
    variables = make()
    watch = variables.watch()
    pending = await reader(watch)
    after = variables.set("a", 1).revision
    await pending
    variables.set("b", 2)
    resumed = variables.watch(after=after)
    assert await told(resumed, 1) == [("set", "b", 2)]


async def test_a_watch_after_a_forgotten_revision_begins_anew_with_one_reset() -> None:
    variables = make(watch_history=2)
    watch = variables.watch()
    pending = await reader(watch)
    after = variables.set("a", 1).revision
    await pending
    for value in range(3):
        variables.set("b", value)
    resumed = variables.watch(after=after)
    assert await told(resumed, 3) == [("reset", "", None), ("set", "a", 1), ("set", "b", 2)]


async def test_a_watch_after_a_revision_from_before_the_first_watch_begins_anew() -> None:
    variables = make()
    after = variables.set("a", 1).revision
    variables.set("a", 2)
    assert await told(variables.watch(after=after), 2) == [("reset", "", None), ("set", "a", 2)]


async def test_what_the_history_has_lost_of_other_variables_is_no_loss_for_a_watch_of_names() -> None:
    variables = make(watch_history=2)
    pending = await reader(variables.watch())
    after = variables.set("a", 1).revision
    await pending
    for value in range(3):
        variables.set("b", value)
    resumed = variables.watch(["a"], after=after)
    going_on = await reader(resumed)
    variables.set("a", 2)
    assert (await going_on).value == 2


@pytest.mark.parametrize("watched_before", [True, False])
async def test_a_lost_delete_of_any_variable_is_a_loss_for_a_watch_of_names(watched_before: bool) -> None:
    variables = make(watch_history=2)
    pending = await reader(variables.watch()) if watched_before else None
    after = variables.set("a", 1).revision
    if pending is not None:
        await pending
    variables.set("b", 1)
    # It may have been that of the variable, which nothing shows that it was ever there.
    variables.delete("b")
    for value in range(3):
        variables.set("c", value)
    assert await told(variables.watch(["a"], after=after), 2) == [("reset", "", None), ("set", "a", 1)]


async def test_a_watch_of_another_epoch_or_of_the_future_begins_anew() -> None:
    revisions = Revisions()
    variables = Variables("s", revisions, Settings())
    revision = variables.set("a", 1).revision
    for watch in (
        variables.watch(after=revision, epoch="of another hub"),
        variables.watch(after=revision + 10, epoch=revisions.epoch),
    ):
        assert await told(watch, 2) == [("reset", "", None), ("set", "a", 1)]
    same = variables.watch(after=revision, epoch=revisions.epoch)
    pending = await reader(same)
    variables.set("a", 2)
    assert (await pending).operation == "update"


async def test_a_reader_slower_than_the_history_gets_one_reset_and_the_present_values() -> None:
    variables = make(watch_history=3)
    watch = variables.watch()
    pending = await reader(watch)
    variables.set("x", 0)
    await pending
    for value in range(1, 10):
        variables.set("x", value)
    assert await told(watch, 2) == [("reset", "", None), ("set", "x", 9)]
    variables.set("x", 10)
    assert await told(watch, 1) == [("update", "x", 10)]


async def test_the_history_is_bounded_by_bytes_but_keeps_the_last_change() -> None:
    variables = make(watch_history_bytes=100)
    watch = variables.watch()
    pending = await reader(watch)
    variables.set("x", 0, size=1)
    await pending
    variables.set("x", 1, size=500)
    assert await told(watch, 1) == [("update", "x", 1)]
    variables.set("x", 2, size=80)
    variables.set("x", 3, size=80)
    assert (await anext(watch)).operation == "reset"


async def test_what_left_the_history_makes_room_for_what_comes() -> None:
    variables = make(watch_history_bytes=100)
    watch = variables.watch()
    pending = await reader(watch)
    for value in range(10):
        variables.set("x", value, size=30)
    await pending
    resumed = variables.watch(after=variables.revision - 3)
    assert await told(resumed, 3) == [("update", "x", 7), ("update", "x", 8), ("update", "x", 9)]


async def test_the_end_of_a_session_ends_its_watches_after_what_was_pending() -> None:
    variables = make()
    watch = variables.watch()
    pending = await reader(watch)
    variables.set("x", 1)
    variables.close(SessionExpiredError("the session has ended"))
    assert (await pending).value == 1
    with pytest.raises(SessionExpiredError, match="has ended"):
        await anext(watch)


async def test_a_waiting_watch_ends_with_its_session() -> None:
    variables = make()
    pending = await reader(variables.watch())
    variables.close(SessionExpiredError("the session has ended"))
    with pytest.raises(SessionExpiredError):
        await pending


async def test_a_reader_that_leaves_is_not_waited_for_any_more() -> None:
    variables = make()
    watch = variables.watch()
    pending, other = await reader(watch), await reader(variables.watch())
    pending.cancel()
    await asyncio.wait([pending])
    assert len(variables._waiters) == 1
    other.cancel()
    variables.set("x", 1)
    await asyncio.wait([other])
    assert len(variables._waiters) == 0


class Watcher:
    """A reader that takes changes when it is told to, and what it knows from them."""

    def __init__(self, variables: Variables) -> None:
        self.variables = variables
        self.watch = variables.watch(initial=True)
        self.pending: asyncio.Task[Change] | None = None
        self.known: dict[str, int] = {}
        self.position = -1

    async def read(self, count: int, log: list[int]) -> None:
        if self.position < 0:
            # The present values, which come first, are those of now.
            self.position = self.variables.revision
        for _ in range(count):
            task = self.pending or asyncio.ensure_future(anext(self.watch))
            for _ in range(3):
                await asyncio.sleep(0)
            self.pending = None if task.done() else task
            if self.pending is not None:
                return
            self.apply(task.result(), log)

    def apply(self, change: Change, log: list[int]) -> None:
        assert change.revision >= self.position or change.operation == "set"
        if change.operation == "reset":
            self.known.clear()
        elif change.operation == "delete":
            del self.known[change.name]
        else:
            assert (change.name in self.known) == (change.operation == "update")
            self.known[change.name] = change.value
        if change.operation == "update":
            assert not [revision for revision in log if self.position < revision < change.revision]
        self.position = max(self.position, change.revision)

    async def close(self) -> None:
        if self.pending is not None:
            self.pending.cancel()
            await asyncio.wait([self.pending])
        await self.watch.aclose()


class WatchedVariables(RuleBasedStateMachine):
    """Against a dict: each watch tells every change in order, or one reset and the values as they are then."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.variables = make(watch_history=4, watch_history_bytes=60, max_session_variable_bytes=200)
        self.model: dict[str, int] = {}
        self.revisions: dict[str, int] = {}
        self.log: list[int] = []
        self.watchers: list[Watcher] = []

    def teardown(self) -> None:
        for watcher in self.watchers:
            self.loop.run_until_complete(watcher.close())
        self.loop.close()

    @rule(name=st.sampled_from("abc"), size=st.integers(0, 40))
    def set(self, name: str, size: int) -> None:
        self.model[name] = len(self.log)
        self.revisions[name] = self.variables.set(name, len(self.log), size=size).revision
        self.log.append(self.revisions[name])

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.model)))
        self.variables.delete(name, expected_revision=self.revisions[name])
        self.log.append(self.variables.revision)
        del self.model[name], self.revisions[name]

    @rule(name=st.sampled_from("abc"))
    def set_at_a_wrong_revision(self, name: str) -> None:
        with pytest.raises(ConflictError):
            self.variables.set(name, -1, expected_revision=self.revisions.get(name, 0) + 1)

    @precondition(lambda self: len(self.watchers) < 4)
    @rule()
    def watch(self) -> None:
        self.watchers.append(Watcher(self.variables))

    @precondition(lambda self: self.watchers)
    @rule(data=st.data(), count=st.integers(1, 8))
    def read_some(self, data: st.DataObject, count: int) -> None:
        self.loop.run_until_complete(data.draw(st.sampled_from(self.watchers)).read(count, self.log))

    @precondition(lambda self: self.watchers)
    @rule(data=st.data())
    def read_all(self, data: st.DataObject) -> None:
        watcher = data.draw(st.sampled_from(self.watchers))
        self.loop.run_until_complete(watcher.read(1_000, self.log))
        assert watcher.known == self.model

    @invariant()
    def the_variables_are_those_of_the_model(self) -> None:
        present = self.loop.run_until_complete(self.variables.select())
        assert {variable.name: variable.value for variable in present} == self.model
        assert {variable.name: variable.revision for variable in present} == self.revisions


WatchedVariables.TestCase.settings = settings(
    max_examples=examples(50), stateful_step_count=30, deadline=None, phases=(Phase.generate,)
)
TestWatchedVariables = pytest.mark.seeded(WatchedVariables.TestCase)


async def test_a_waiting_reader_that_the_history_outruns_before_its_turn_gets_a_reset() -> None:
    variables = make(watch_history=2)
    watch = variables.watch()
    pending = await reader(watch)
    for name in "abc":
        variables.set(name, 1)
    assert (await pending).operation == "reset"
    assert await told(watch, 3) == [("set", "a", 1), ("set", "b", 1), ("set", "c", 1)]


# ----------------------------------------------------------------------------------------------------------- secrets

SECRET = VariableMetadata(secret=True)


async def secrets_told(watch: AsyncGenerator[Change, None], count: int) -> list[tuple[str, str, bool]]:
    return [(change.operation, change.name, change.secret) for change in [await anext(watch) for _ in range(count)]]


async def test_a_change_says_whether_its_variable_is_secret() -> None:
    variables = make()
    variables.set("open", 1)
    variables.set("key", 1, metadata=SECRET)
    watch = variables.watch(initial=True)
    assert await secrets_told(watch, 2) == [("set", "open", False), ("set", "key", True)]
    variables.set("key", 2)
    variables.set("open", 2)
    variables.delete("key")
    variables.set("key", 3)
    expected = [("update", "key", True), ("update", "open", False), ("delete", "key", True), ("set", "key", False)]
    assert await secrets_told(watch, 4) == expected


async def test_earlier_changes_of_a_variable_that_becomes_secret_are_those_of_a_secret() -> None:
    variables = make()
    await reader(variables.watch())
    begun = variables.set("first", 0).revision
    variables.set("key", 1)
    variables.set("key", 2, metadata=SECRET)
    expected = [("set", "key", True), ("update", "key", True)]
    assert await secrets_told(variables.watch(after=begun), 2) == expected
    variables.delete("key")
    assert await secrets_told(variables.watch(after=begun), 3) == [*expected, ("delete", "key", True)]


async def test_a_reader_that_is_slow_learns_that_a_variable_has_become_secret_meanwhile() -> None:
    variables = make()
    for name in ("a", "b"):
        variables.set(name, 1)
    begun = variables.watch(initial=True)
    assert await secrets_told(begun, 1) == [("set", "a", False)]
    variables.set("b", 2, metadata=SECRET)
    assert await secrets_told(begun, 2) == [("set", "b", True), ("update", "b", True)]
    for name in ("c", "d"):
        variables.set(name, 1)
    assert await secrets_told(begun, 1) == [("set", "c", False)]
    variables.set("d", 2, metadata=SECRET)
    assert await secrets_told(begun, 2) == [("set", "d", True), ("update", "d", True)]


async def test_a_secret_stays_one_for_a_reader_who_takes_it_only_after_it_was_deleted() -> None:
    variables = make()
    for name in ("a", "key"):
        variables.set(name, 1, metadata=SECRET)
    watch = variables.watch(initial=True)
    assert await secrets_told(watch, 1) == [("set", "a", True)]
    variables.delete("key")
    assert await secrets_told(watch, 2) == [("set", "key", True), ("delete", "key", True)]


async def test_a_reset_says_which_of_the_values_that_follow_are_secret() -> None:
    variables = make(watch_history=1)
    await reader(variables.watch())
    first = variables.set("open", 1).revision
    variables.set("key", 1, metadata=SECRET)
    variables.set("open", 2)
    watch = variables.watch(after=first)
    assert await secrets_told(watch, 3) == [("reset", "", False), ("set", "key", True), ("set", "open", False)]
