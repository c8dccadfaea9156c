"""A session's variables, over every transport."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from grpc_tool_bridge import (
    ConflictError,
    NotFoundError,
    SessionError,
    ToolContext,
    VariableChange,
    serialize_value,
)
from grpc_tool_bridge.proto.dspex_bridge_pb2 import SetVariableRequest, VariableMetadata
from integration.connections import Connect
from support.waiting import soon, until


async def _take(watch: AsyncGenerator[VariableChange, None], count: int) -> list[tuple[str, str, Any]]:
    changes = [await soon(anext(watch)) for _ in range(count)]
    return [(change.operation, change.name, change.value) for change in changes]


async def _begun(world: Any, watch: AsyncGenerator[VariableChange, None]) -> "asyncio.Task[VariableChange]":
    """Asks for the first change and waits until the hub watches, so that no change is made too early."""
    first = asyncio.ensure_future(anext(watch))
    await until(lambda: any(session.watches for session in world.hub.store.sessions()))
    return first


async def test_a_variable_is_set_read_and_deleted(connect: Connect) -> None:
    variables = (await connect()).variables
    first = await variables.set_variable("x", {"b": 1, "a": [1.5, None]})
    assert await variables.get_variable("x") == {"b": 1, "a": [1.5, None]}
    second = await variables.set_variable("x", 2)
    assert second > first
    await variables.delete_variable("x")
    with pytest.raises(NotFoundError) as caught:
        await variables.get_variable("x")
    assert caught.value.error_type == "VariableNotFound"


async def test_none_is_a_value_and_not_the_lack_of_one(connect: Connect) -> None:
    variables = (await connect()).variables
    await variables.set_variable("x", None)
    assert await variables.get_variable("x", "default") is None


async def test_metadata_is_kept_and_completed_by_the_hub(connect: Connect) -> None:
    variables = (await connect()).variables
    revision = await variables.set_variable(
        "score", 0.5, {"type": "probability", "created_by": "tests", "tags": {"stage": "dev"}}
    )
    value, metadata = await variables.get_variable_with_metadata("score")
    assert value == 0.5
    assert (metadata.type, metadata.created_by, dict(metadata.tags)) == ("probability", "tests", {"stage": "dev"})
    assert metadata.revision == revision
    assert metadata.created_at.ToDatetime() == metadata.updated_at.ToDatetime()
    await variables.set_variable("score", 0.7)
    _, later = await variables.get_variable_with_metadata("score")
    assert later.revision > revision
    assert later.created_at.ToDatetime() == metadata.created_at.ToDatetime()
    assert later.updated_at.ToDatetime() >= metadata.updated_at.ToDatetime()


@pytest.mark.parametrize("as_message", [False, True])
async def test_tags_and_creator_stay_where_a_later_writer_says_nothing_of_them(
    connect: Connect, as_message: bool
) -> None:
    variables = (await connect()).variables
    fields: dict[str, Any] = {"created_by": "tests", "tags": {"stage": "dev"}, "secret": True}
    await variables.set_variable("x", 1, VariableMetadata(**fields) if as_message else fields)
    await variables.set_variable("x", 2)
    _, metadata = await variables.get_variable_with_metadata("x")
    assert metadata.created_by == "tests"
    assert dict(metadata.tags) == {"stage": "dev"}
    assert metadata.secret


async def test_a_secret_stays_one_whatever_later_requests_say_of_it(connect: Connect) -> None:
    world = await connect()
    variables, stub = world.variables, world.bridge.client.stub
    await variables.set_variable("key", "hidden", {"secret": True})
    changes: list[dict[str, Any]] = [
        {},
        {"tags": {"stage": "dev"}},
        {"created_by": "me"},
        {"secret": False},
        {"type": "token", "tags": {"stage": "live"}, "created_by": "you", "secret": False},
    ]
    for change in changes:
        await variables.set_variable("key", "hidden", change)
        assert (await variables.get_variable_with_metadata("key"))[1].secret
    for metadata in (None, VariableMetadata(), VariableMetadata(secret=False)):
        request = SetVariableRequest(
            session_id=world.session_id, variable_name="key", value=serialize_value("hidden"), metadata=metadata
        )
        assert (await stub.SetSessionVariable(request)).success
        (info,) = await variables.list_variables()
        assert info.metadata.secret
        assert dict(info.metadata.tags) == {"stage": "live"}
        assert info.metadata.created_by == "you"
    await variables.delete_variable("key")
    await variables.set_variable("key", "public")
    assert not (await variables.get_variable_with_metadata("key"))[1].secret


async def test_a_tool_that_sets_a_secret_leaves_it_one(connect: Connect) -> None:
    async def rotate(context: ToolContext) -> None:
        await context.set_variable("key", "new")

    world = await connect(rotate)
    await world.variables.set_variable("key", "old", {"secret": True, "tags": {"a": "b"}})
    await world.tools["rotate"]()
    value, metadata = await world.variables.get_variable_with_metadata("key")
    assert (value, metadata.secret, dict(metadata.tags)) == ("new", True, {"a": "b"})


async def test_the_type_is_the_python_type_where_the_writer_names_none(connect: Connect) -> None:
    variables = (await connect()).variables
    for name, value in {"i": 1, "s": "x", "l": [1], "d": {"a": 1, "b": 2}}.items():
        await variables.set_variable(name, value)
    types = {info.name: info.type for info in await variables.list_variables()}
    assert types == {"i": "int", "s": "str", "l": "list", "d": "dict"}


async def test_compare_and_set_lets_one_of_two_writers_win(connect: Connect) -> None:
    world = await connect()
    other = (await world.attach(world.bridge.session_id)).session_context
    revision = await world.variables.set_variable("x", 1, expected_revision=0)
    assert await other.set_variable("x", 2, expected_revision=revision) > revision
    with pytest.raises(ConflictError) as caught:
        await world.variables.set_variable("x", 3, expected_revision=revision)
    assert caught.value.error_type == "RevisionConflict"
    assert "read it again" in caught.value.message
    assert await world.variables.get_variable("x") == 2
    with pytest.raises(ConflictError, match="revision 0"):
        await world.variables.set_variable("x", 4, expected_revision=0)
    with pytest.raises(ConflictError):
        await world.variables.delete_variable("x", expected_revision=revision)
    await world.variables.delete_variable("x", expected_revision=int(caught.value.details["revision"]))


async def test_many_writers_that_compare_and_set_lose_no_count(connect: Connect) -> None:
    world = await connect()
    await world.variables.set_variable("n", 0)

    async def add_one() -> None:
        while True:
            value, metadata = await world.variables.get_variable_with_metadata("n")
            try:
                await world.variables.set_variable("n", value + 1, expected_revision=metadata.revision)
            except ConflictError:
                continue
            return

    await soon(asyncio.gather(*(add_one() for _ in range(20))))
    assert await world.variables.get_variable("n") == 20


async def test_without_create_if_missing_a_new_name_is_refused(connect: Connect) -> None:
    variables = (await connect()).variables
    with pytest.raises(NotFoundError, match="x"):
        await variables.set_variable("x", 1, create_if_missing=False)
    await variables.set_variable("x", 1)
    await variables.set_variable("x", 2, create_if_missing=False)
    assert await variables.get_variable("x") == 2


async def test_listing_is_by_name_with_prefix_tags_and_limit(connect: Connect) -> None:
    variables = (await connect()).variables
    for name, tags in [("b.2", {"env": "dev"}), ("b.1", {"env": "prod", "hot": ""}), ("a", {}), ("c", {"env": "dev"})]:
        await variables.set_variable(name, name, {"tags": tags})

    async def names(*args: Any, **kwargs: Any) -> list[str]:
        return [info.name for info in await variables.list_variables(*args, **kwargs)]

    assert await names() == ["a", "b.1", "b.2", "c"]
    assert await names("b.") == ["b.1", "b.2"]
    assert await names(tags=("env",)) == ["b.1", "b.2", "c"]
    assert await names(tags=("env=dev",)) == ["b.2", "c"]
    assert await names(tags=("env", "hot")) == ["b.1"]
    assert await names("b", tags=("env=dev",)) == ["b.2"]
    assert await names(limit=2) == ["a", "b.1"]
    (info,) = await variables.list_variables("a")
    assert info.size_bytes > 0


async def test_a_secret_is_marked_as_such_in_listings(connect: Connect) -> None:
    variables = (await connect()).variables
    await variables.set_variable("key", "hidden", {"secret": True})
    (info,) = await variables.list_variables()
    assert info.metadata.secret
    assert "hidden" not in str(info)


async def test_a_watch_tells_present_values_then_each_change_in_order(connect: Connect) -> None:
    world = await connect()
    await world.variables.set_variable("x", 1)
    await world.variables.set_variable("y", 1)
    watch = world.variables.watch_variables()
    assert await _take(watch, 2) == [("set", "x", 1), ("set", "y", 1)]
    await world.variables.set_variable("x", 2)
    await world.variables.set_variable("z", [3])
    await world.variables.delete_variable("y")
    assert await _take(watch, 3) == [("update", "x", 2), ("set", "z", [3]), ("delete", "y", None)]
    await watch.aclose()
    await world.quiet()


async def test_a_watch_of_names_tells_of_these_only(connect: Connect) -> None:
    world = await connect()
    watch = world.variables.watch_variables("x", "y")
    first = await _begun(world, watch)
    for name in ("other", "x", "another", "y"):
        await world.variables.set_variable(name, name)
    assert (await soon(first)).name == "x"
    assert await _take(watch, 1) == [("set", "y", "y")]
    await watch.aclose()


async def test_a_watch_without_initial_values_tells_changes_only(connect: Connect) -> None:
    world = await connect()
    await world.variables.set_variable("x", 1)
    watch = world.variables.watch_variables("x", include_initial=False)
    first = await _begun(world, watch)
    await world.variables.set_variable("x", 2)
    assert ((await soon(first)).operation, (await first).value) == ("update", 2)
    await watch.aclose()


async def test_a_watch_goes_on_from_a_revision_without_a_gap(connect: Connect) -> None:
    world = await connect()
    await world.variables.set_variable("x", 0)
    watch = world.variables.watch_variables("x")
    seen = await soon(anext(watch))
    await watch.aclose()
    for value in (1, 2, 3):
        await world.variables.set_variable("x", value)
    again = world.variables.watch_variables("x", from_revision=seen.revision, epoch=seen.epoch)
    assert await _take(again, 3) == [("update", "x", 1), ("update", "x", 2), ("update", "x", 3)]
    await again.aclose()


async def test_a_revision_of_another_epoch_is_answered_by_one_reset_and_the_present(connect: Connect) -> None:
    world = await connect()
    revision = await world.variables.set_variable("x", 1)
    watch = world.variables.watch_variables("x", from_revision=revision, epoch="another life")
    assert await _take(watch, 2) == [("reset", "", None), ("set", "x", 1)]
    await world.variables.set_variable("x", 2)
    assert await _take(watch, 1) == [("update", "x", 2)]
    await watch.aclose()


async def test_a_revision_that_the_history_has_lost_is_answered_by_one_reset(connect: Connect) -> None:
    world = await connect(watch_history=3)
    await world.variables.set_variable("x", 0)
    watch = world.variables.watch_variables("x")
    seen = await soon(anext(watch))
    await watch.aclose()
    for value in range(1, 10):
        await world.variables.set_variable("x", value)
    again = world.variables.watch_variables("x", from_revision=seen.revision, epoch=seen.epoch)
    assert await _take(again, 2) == [("reset", "", None), ("set", "x", 9)]
    await again.aclose()


async def test_a_slow_watcher_sees_every_change_or_one_reset_and_the_present(connect: Connect) -> None:
    world = await connect(watch_history=5)
    watch = world.variables.watch_variables()
    first = await _begun(world, watch)
    for value in range(500):
        await world.variables.set_variable("x", value)
    await soon(first)
    last: VariableChange = await first
    revision = last.revision
    while last.value != 499:
        last = await soon(anext(watch))
        assert last.revision >= revision
        revision = last.revision
    await watch.aclose()


async def test_a_variable_set_and_then_watched_is_seen(connect: Connect) -> None:
    world = await connect()
    for value in range(20):
        revision = await world.variables.set_variable("x", value)
        watch = world.variables.watch_variables("x")
        change = await soon(anext(watch))
        assert (change.value, change.revision) == (value, revision)
        await watch.aclose()


async def test_two_watchers_see_the_same_changes_in_the_same_order(connect: Connect) -> None:
    world = await connect()
    other = await world.attach(world.bridge.session_id)
    await world.variables.set_variable("x", -1)
    watches = [bridge.session_context.watch_variables("x") for bridge in (world.bridge, other)]
    for watch in watches:
        await _take(watch, 1)
    for value in range(50):
        await (world.variables if value % 2 else other.session_context).set_variable("x", value)
    expected = [("update", "x", value) for value in range(50)]
    assert [await _take(watch, 50) for watch in watches] == [expected, expected]
    for watch in watches:
        await watch.aclose()


async def test_a_tool_s_change_reaches_a_watcher(connect: Connect) -> None:
    async def publish(ctx: ToolContext, value: int) -> None:
        await ctx.set_variable("news", value)

    world = await connect(publish)
    watch = world.variables.watch_variables("news")
    first = await _begun(world, watch)
    await world.tools["publish"](7)
    assert (await soon(first)).value == 7
    await watch.aclose()


async def test_a_watch_ends_with_the_session(connect: Connect) -> None:
    world = await connect()
    other = await world.attach(world.bridge.session_id)
    watch = world.variables.watch_variables("x")
    first = await _begun(world, watch)
    await other.client.cleanup_session(force=True)
    with pytest.raises(SessionError, match="it was removed"):
        await soon(first)


async def test_a_cancelled_watcher_leaves_nothing(connect: Connect) -> None:
    world = await connect()
    first = await _begun(world, world.variables.watch_variables("x"))
    first.cancel()
    await asyncio.wait([first])
    await world.quiet()


async def test_concurrent_writers_give_each_change_its_own_rising_revision(connect: Connect) -> None:
    world = await connect()
    revisions = await asyncio.gather(*(world.variables.set_variable(f"v{i % 7}", i) for i in range(100)))
    assert len(set(revisions)) == 100
    infos = await world.variables.list_variables()
    assert max(info.metadata.revision for info in infos) == max(revisions)
