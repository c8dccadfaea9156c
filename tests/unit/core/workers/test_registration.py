"""What becomes of the tools that a worker offers, where there are others of the same names."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.registered_tool import RegisteredTool
from grpc_tool_bridge.core.tool_scopes import ToolScope
from grpc_tool_bridge.core.workers.backend import WorkerBackend
from grpc_tool_bridge.core.workers.dispatch import Dispatcher
from grpc_tool_bridge.core.workers.registration import sort_registration
from grpc_tool_bridge.core.workers.worker import Worker
from grpc_tool_bridge.errors import AlreadyExistsError, ValidationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ArgumentSpec, ToolSpec
from grpc_tool_bridge.tools.tool import as_tool

SPEC = ToolSpec(name="t", tool_id="t", version="1", input_schema="{}")


def worker(name: str) -> Worker:
    return Worker(name, cast("Any", SimpleNamespace(features=frozenset())))


def registered(spec: ToolSpec, *workers: Worker) -> RegisteredTool:
    tool = RegisteredTool(spec, None, 1, Settings())
    backend = tool.backend = WorkerBackend(Dispatcher(Settings(), lambda _: False), worker("first"))
    backend.workers = list(workers)
    return tool


def scope(*tools: RegisteredTool) -> ToolScope:
    known = ToolScope()
    for tool in tools:
        known.add(tool)
    return known


def changed(**fields: Any) -> ToolSpec:
    spec = ToolSpec()
    spec.CopyFrom(SPEC)
    spec.MergeFrom(ToolSpec(**fields))
    return spec


ME, OTHER = worker("me"), worker("other")


def test_what_nobody_has_is_new() -> None:
    offers = sort_registration(ToolScope(), [ToolSpec(name="a"), ToolSpec(name="b", tool_id="bee")], [ME], "the hub")
    assert offers.ids == ["a", "bee"]
    assert [prepared.spec.name for prepared in offers.new] == ["a", "b"]
    assert not offers.joined
    assert not offers.replaced


@pytest.mark.parametrize("there", [[], [ME], [OTHER], [ME, OTHER]], ids=["nobody", "itself", "another", "both"])
def test_what_is_there_already_is_joined_whoever_has_it(there: list[Worker]) -> None:
    tool = registered(SPEC, *there)
    offers = sort_registration(scope(tool), [SPEC], [ME], "the hub")
    assert (offers.ids, offers.joined, offers.new, offers.replaced) == (["t@1"], [tool], [], [])


@pytest.mark.parametrize("fields", [{"description": "In other words."}, {"examples": ["t()"]}])
def test_texts_for_readers_may_differ(fields: dict[str, Any]) -> None:
    tool = registered(SPEC, OTHER)
    assert sort_registration(scope(tool), [changed(**fields)], [ME], "the hub").joined == [tool]


DIFFERENT: list[dict[str, Any]] = [
    {"input_schema": '{"a": 1}'},
    {"output_schema": "{}"},
    {"idempotent": True},
    {"arguments": [ArgumentSpec(name="x")]},
    {"metadata": {"a": "b"}},
    {"limits": {"timeout_ms": 1}},
]


@pytest.mark.parametrize("fields", DIFFERENT)
def test_another_schema_is_refused_while_others_have_the_tool(fields: dict[str, Any]) -> None:
    tool = registered(SPEC, OTHER)
    with pytest.raises(AlreadyExistsError, match="from 1 other workers, with another schema or version"):
        sort_registration(scope(tool), [changed(**fields)], [ME], "the hub")


@pytest.mark.parametrize("fields", [*DIFFERENT, {"description": "In other words."}])
@pytest.mark.parametrize("there", [[], [ME]], ids=["nobody", "itself"])
def test_another_schema_takes_the_place_of_its_own_and_of_what_nobody_runs(
    fields: dict[str, Any], there: list[Worker]
) -> None:
    tool = registered(SPEC, *there)
    spec = changed(**fields)
    offers = sort_registration(scope(tool), [spec], [ME], "the hub")
    assert [prepared.spec for prepared in offers.new] == [spec]
    assert (offers.replaced, offers.joined) == ([tool], [])


def test_whose_place_a_worker_takes_counts_as_itself() -> None:
    tool = registered(SPEC, OTHER)
    offers = sort_registration(scope(tool), [changed(version="2")], [ME, OTHER], "the hub", in_place_of=OTHER)
    assert offers.replaced == [tool]


def versions_of(*workers: Worker) -> tuple[RegisteredTool, ToolScope]:
    tool = registered(changed(version="1"), *workers)
    return tool, scope(tool)


@pytest.mark.parametrize("there", [[ME], [OTHER], [ME, OTHER]], ids=["itself", "another", "both"])
def test_another_version_stands_beside_the_one_that_workers_run(there: list[Worker]) -> None:
    _, known = versions_of(*there)
    offers = sort_registration(known, [changed(version="2")], [ME], "the hub")
    assert ([prepared.spec.version for prepared in offers.new], offers.joined, offers.replaced) == (["2"], [], [])


def test_a_version_that_no_worker_runs_any_more_gives_way_to_another() -> None:
    tool, known = versions_of()
    assert sort_registration(known, [changed(version="2")], [ME], "the hub").replaced == [tool]


def test_a_worker_joins_the_version_that_it_offers_be_it_the_newest_or_not() -> None:
    old, known = versions_of(OTHER)
    new = registered(changed(version="2"), OTHER)
    known.add(new)
    offers = sort_registration(known, [changed(version="1"), changed(version="2")], [ME], "the hub")
    assert (offers.ids, offers.joined, offers.new) == (["t@1", "t@2"], [old, new], [])


def test_one_version_with_another_schema_is_refused_and_names_it() -> None:
    _, known = versions_of(OTHER)
    known.add(registered(changed(version="2"), OTHER))
    with pytest.raises(AlreadyExistsError, match="from 1 other workers, with another schema"):
        sort_registration(known, [changed(version="1", idempotent=True)], [ME], "the hub")


@pytest.mark.parametrize(("there", "offered"), [("1", ""), ("", "1")])
def test_a_tool_without_a_version_does_not_stand_beside_one_with(there: str, offered: str) -> None:
    known = scope(registered(ToolSpec(name="t", tool_id="t", version=there), OTHER))
    with pytest.raises(AlreadyExistsError, match="only one of the two has a version"):
        sort_registration(known, [ToolSpec(name="t", version=offered)], [ME], "the hub")


@pytest.mark.parametrize("spec", [ToolSpec(name="t", tool_id="other"), ToolSpec(name="other", tool_id="t")])
def test_a_name_with_another_id_is_refused_while_others_have_it(spec: ToolSpec) -> None:
    with pytest.raises(AlreadyExistsError):
        sort_registration(scope(registered(SPEC, OTHER)), [spec], [ME], "the hub")


def test_a_name_of_one_tool_with_the_id_of_another_is_refused() -> None:
    known = scope(registered(SPEC, ME), registered(ToolSpec(name="u", tool_id="u"), ME))
    with pytest.raises(AlreadyExistsError, match="the hub has another tool named 'u' or with the id 't'"):
        sort_registration(known, [ToolSpec(name="u", tool_id="t")], [ME], "the hub")


def test_a_tool_of_the_hub_itself_is_nobodys_to_replace() -> None:
    local = as_tool(len)
    known = scope(RegisteredTool(local.spec, local, 1, Settings()))
    with pytest.raises(AlreadyExistsError, match="session 's' has a tool of the hub itself named 'len'"):
        sort_registration(known, [ToolSpec(name="len")], [ME], "session 's'")


def test_a_name_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValidationError):
        sort_registration(ToolScope(), [ToolSpec(name="two words")], [ME], "the hub")
