"""What a change says as a message."""

from google.protobuf.any_pb2 import Any as AnyMessage

from grpc_tool_bridge.cluster.journal import changes
from grpc_tool_bridge.cluster.journal.changes import KeptCall
from grpc_tool_bridge.core.stored import StoredRun, StoredSession
from grpc_tool_bridge.core.variable import Change, Variable
from grpc_tool_bridge.proto.dspex_bridge_pb2 import CreateReActAgentRequest, SessionConfig


def test_a_session_without_limits_has_none() -> None:
    bare = changes.create(StoredSession("s", 1.5, {"ü": "x"}))
    limited = changes.create(StoredSession("s", 1.5, {}, SessionConfig()), floor=3, lost_delete=2)
    assert not bare.create.request.HasField("config")
    assert dict(bare.create.request.metadata) == {"ü": "x"}
    assert limited.create.request.HasField("config")
    assert (limited.create.history_floor, limited.create.lost_delete) == (3, 2)


def test_a_change_of_a_past_state_may_be_secret_though_the_state_was_not() -> None:
    variable = Variable("x", AnyMessage(type_url="t", value=b"v"), "int", 1, 1.0, 2.0, 7, 3, "me", False, {"a": ""})
    shown, hidden = (changes.set_variable(variable, 5, variable.value, secret=secret) for secret in (None, True))
    assert (shown.set.secret, hidden.set.secret, shown.set.hides, shown.set.forgotten) == (False, True, False, False)
    assert (shown.set.name, shown.set.revision, shown.set.previous, shown.set.value) == ("x", 7, 5, variable.value)
    assert (shown.set.size, shown.set.held, shown.set.created_by, dict(shown.set.tags)) == (1, 3, "me", {"a": ""})


def test_a_deletion_says_what_it_removes() -> None:
    found = changes.delete_variable(Change("delete", "x", None, 9, 3.5, previous=7, secret=True)).delete
    assert (found.name, found.revision, found.previous, found.at, found.secret) == ("x", 9, 7, 3.5, True)


def test_what_belongs_to_agents_and_runs_is_as_given() -> None:
    assert (
        changes.add_agent("a", CreateReActAgentRequest(signature="a -> b")).add_agent.definition.signature == "a -> b"
    )
    begun = changes.begin_run(StoredRun("r", "a", b"d", 1.5)).begin_run
    assert (begun.run_id, begun.agent_id, begun.digest, begun.started_at) == ("r", "a", b"d", 1.5)
    chunk = changes.add_chunk("r", 3, b"data", is_last=True).add_chunk
    assert (chunk.run_id, chunk.sequence, chunk.data, chunk.is_last) == ("r", 3, b"data", True)
    assert changes.drop_chunks("r", 2).drop_chunks.before == 2
    assert changes.drop_run("r").drop_run.run_id == "r"


def test_a_call_is_over_once_its_time_has_come_and_not_while_it_runs() -> None:
    assert not KeptCall(b"").is_over(1e12)
    assert not KeptCall(b"", 5.0).is_over(4.9)
    assert KeptCall(b"", 5.0).is_over(5.0)
