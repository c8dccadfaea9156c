"""Tools as the hub holds them: names checked once, limits from the tool or the hub."""

import asyncio

import pytest

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.registered_tool import (
    MAX_SPEC_BYTES,
    TOOL_BYTES,
    RegisteredTool,
    ToolSource,
    prepare_all,
    tool_not_found,
)
from grpc_tool_bridge.core.revisions import Revisions
from grpc_tool_bridge.core.tool_scopes import ScopeBounds, ToolScope, register_in
from grpc_tool_bridge.errors import AlreadyExistsError, ResourceExhaustedError, ValidationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ArgumentSpec, ResourceLimits, ToolSpec
from grpc_tool_bridge.tools.tool import tool


def add(a: int, b: int) -> int:
    return a + b


def register(
    known: ToolScope,
    *sources: ToolSource,
    bounds: ScopeBounds | None = None,
    settings: Settings | None = None,
) -> list[RegisteredTool]:
    return register_in(
        known, sources, settings=settings or Settings(), revisions=Revisions(), scope="session 's'", bounds=bounds
    )


def at_most(count: int = 100, size: int = 10**9, others: int = 0, all_size: int = 10**9) -> ScopeBounds:
    return ScopeBounds(count, "max_session_tools", size, "max_session_tool_bytes", others, all_size)


def test_a_function_is_registered_under_its_name_with_no_limits_of_its_own() -> None:
    known = ToolScope()
    (registered,) = register(known, add)
    assert known == {"add": registered}
    assert (registered.id, registered.name, registered.revision) == ("add", "add", 1)
    assert (registered.timeout, registered.limiter, registered.rate) == (None, None, None)
    assert registered.tool is not None


def test_limits_come_from_the_tool() -> None:
    limits = ResourceLimits(timeout_ms=1_500, max_concurrent_calls=2, rate_limit_per_minute=3)
    (registered,) = register(ToolScope(), tool(limits=limits)(add), settings=Settings(max_tool_calls=9))
    assert registered.timeout == 1.5
    assert registered.limiter is not None
    assert registered.limiter.capacity == 2
    assert registered.rate is not None
    assert registered.rate.per_minute == 3


def test_limits_come_from_the_hub_where_the_tool_sets_none() -> None:
    (registered,) = register(ToolScope(), add, settings=Settings(max_tool_calls=9, rate_limit_per_minute=8))
    assert registered.limiter is not None
    assert registered.limiter.capacity == 9
    assert registered.rate is not None
    assert registered.rate.per_minute == 8


def test_a_spec_is_copied_and_its_id_is_its_name_unless_set() -> None:
    spec = ToolSpec(name="far")
    first, second = register(ToolScope(), spec, ToolSpec(name="other", tool_id="o.1"))
    spec.name = "changed"
    assert (first.id, first.name, first.tool) == ("far", "far", None)
    assert (second.id, second.name) == ("o.1", "other")


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (ToolSpec(), "a tool's name is 1 to 128 letters.*this one is ''"),
        (ToolSpec(name="a b"), "this one is 'a b'"),
        (ToolSpec(name="x" * 129), "a tool's name is 1 to 128 letters"),
        (ToolSpec(name="a\n"), r"this one is 'a\\n'"),
        (ToolSpec(name="a", tool_id="?"), "a tool's tool_id is .*this one is '\\?'"),
        (ToolSpec(name="a", limits=ResourceLimits(timeout_ms=-1)), "tool 'a': limits must be 0"),
    ],
)
def test_a_spec_that_cannot_be_used_is_refused(spec: ToolSpec, text: str) -> None:
    known = ToolScope()
    with pytest.raises(ValidationError, match=text):
        register(known, add, spec)
    assert known == {}


@pytest.mark.parametrize(
    ("sources", "text"),
    [
        ([add, add], "session 's' has a tool named 'add' already; give one of them another name"),
        ([ToolSpec(name="a", tool_id="i"), ToolSpec(name="b", tool_id="i")], "has a tool with the id 'i' already"),
        ([ToolSpec(name="a", tool_id="i"), ToolSpec(name="a", tool_id="j")], "has a tool named 'a' already"),
    ],
)
def test_two_tools_of_a_name_or_an_id_are_refused_and_none_is_added(sources: list[ToolSource], text: str) -> None:
    known = ToolScope()
    with pytest.raises(AlreadyExistsError, match=text):
        register(known, *sources)
    assert known == {}


def test_a_tool_that_is_there_already_keeps_its_name() -> None:
    known = ToolScope()
    register(known, add)
    before = dict(known)
    with pytest.raises(AlreadyExistsError):
        register(known, ToolSpec(name="new"), add)
    assert known == before


def test_a_scope_has_so_many_tools() -> None:
    known = ToolScope()
    register(known, add, bounds=at_most(1))
    with pytest.raises(ResourceExhaustedError, match=r"session 's' would have 2 tools, the limit is 1 \(max_session"):
        register(known, ToolSpec(name="new"), bounds=at_most(1))


def test_nothing_to_add_is_no_change() -> None:
    revisions = Revisions()
    assert register_in(ToolScope(), [], settings=Settings(), revisions=revisions, scope="the hub") == []
    assert revisions.next() == 1


def test_a_tool_that_is_not_there_is_told_with_those_that_look_like_it() -> None:
    error = tool_not_found("ad", "session 's'", {"add", "aid", "multiply"})
    assert error.error_type == "ToolNotFound"
    assert "session 's' sees no tool 'ad'; did you mean " in error.message
    assert "add" in error.message
    assert "multiply" not in error.message


def test_a_strange_name_is_told_without_a_guess() -> None:
    assert tool_not_found("zzz", "session 's'", {"add"}).message == "session 's' sees no tool 'zzz'"
    many = {f"add{number}" for number in range(1_000)}
    assert tool_not_found("add", "session 's'", many).message == "session 's' sees no tool 'add'"
    assert len(tool_not_found("x" * 10_000, "session 's'", {"add"}).message) < 200


# ---------------------------------------------------------------------------------------------------------- bounds


def test_a_spec_that_is_too_large_is_refused_by_its_name() -> None:
    with pytest.raises(ValidationError, match=r"tool 'large': its spec has 1,048,\d\d\d bytes, the limit is 1,048,576"):
        register(ToolScope(), ToolSpec(name="large", description="x" * MAX_SPEC_BYTES))
    (registered,) = register(ToolScope(), ToolSpec(name="large", description="x" * (MAX_SPEC_BYTES - 100)))
    assert registered.size == registered.spec.ByteSize() + TOOL_BYTES


@pytest.mark.parametrize(
    ("bounds", "text"),
    [
        (at_most(1), r"session 's' would have 2 tools, the limit is 1 \(max_session_tools\)"),
        (at_most(size=5_000), r"the 2 tools of session 's' would take .* 5,000 \(max_session_tool_bytes\)"),
        (at_most(others=1_000_000, all_size=1_000_100), r"all tools .* the limit is 1,000,100 \(max_tool_bytes\)"),
    ],
)
def test_tools_over_a_bound_are_refused_all_together(bounds: ScopeBounds, text: str) -> None:
    known = ToolScope()
    with pytest.raises(ResourceExhaustedError, match=text):
        register(
            known, ToolSpec(name="a", description="x" * 500), ToolSpec(name="b", description="x" * 500), bounds=bounds
        )
    assert not known


async def test_tools_that_were_looked_at_are_registered_as_they_are() -> None:
    prepared = await prepare_all([ToolSpec(name="a"), ToolSpec(name="b", tool_id="bee")])
    known = ToolScope()
    added = register(known, *prepared)
    assert list(known) == ["a", "bee"]
    assert [tool.check for tool in added] == [one.check for one in prepared]


async def test_many_tools_are_looked_at_while_others_have_their_turn() -> None:
    turns = 0

    async def somebody_else() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(somebody_else())
    arguments = [ArgumentSpec(name=f"a{number}", python_type="int") for number in range(100)]
    assert (
        len(await prepare_all([ToolSpec(name=f"t{number}", arguments=arguments) for number in range(1_000)])) == 1_000
    )
    task.cancel()
    assert turns > 3


def test_a_wrong_id_that_no_tool_can_have_is_told_its_bound() -> None:
    text = tool_not_found("x" * 129, "session 's'", {"add"}).message
    assert text.endswith("; an id has at most 128 characters, this one has 129")
    assert tool_not_found(f"{'x' * 128}@1", "session 's'", {"add"}).message.endswith("x@1'")


def test_a_tool_is_seen_under_its_version_with_all_that_it_has() -> None:
    (registered,) = register(
        ToolScope(), tool(version="1", tool_id="calc.add", limits={"max_concurrent_calls": 2})(add)
    )
    pinned = registered.pinned
    assert (pinned.name, pinned.id, pinned.spec.name, pinned.spec.tool_id) == ("add@1", "calc.add@1") * 2
    assert (registered.name, registered.spec.name, registered.id) == ("add", "add", "calc.add")
    assert (pinned.base, pinned.limiter, pinned.tool) == (registered, registered.limiter, registered.tool)
    assert registered.pinned is pinned
    assert pinned.spec_bytes == pinned.spec.ByteSize()
    assert pinned.metrics is not registered.metrics


def test_what_runs_a_tool_runs_it_under_its_version_too() -> None:
    (registered,) = register(ToolScope(), ToolSpec(name="add", version="1"))
    assert registered.pinned.backend is registered.backend
    registered.use(None)
    assert (registered.backend, registered.pinned.backend) == (None, None)
