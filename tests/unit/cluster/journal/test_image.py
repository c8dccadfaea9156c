"""What a chain says of a session, and that its snapshot says the same."""

import random
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage

from grpc_tool_bridge.cluster.journal import changes
from grpc_tool_bridge.cluster.journal.changes import KeptCall
from grpc_tool_bridge.cluster.journal.image import SessionImage
from grpc_tool_bridge.cluster.journal.replay import image_of
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.stored import StoredRun, StoredSession
from grpc_tool_bridge.core.variable import Change, Variable
from grpc_tool_bridge.core.variable_history import VariableHistory
from grpc_tool_bridge.proto.dspex_bridge_journal_pb2 import JournalBody
from grpc_tool_bridge.proto.dspex_bridge_pb2 import CreateReActAgentRequest, SessionConfig


def made(**settings: Any) -> SessionImage:
    image = SessionImage(Settings(**settings), "s")
    image.create(StoredSession("s", 1.5, {"k": "v"}, SessionConfig(max_concurrent_tools=3)))
    return image


def variable(name: str, revision: int, size: int = 1, **facts: Any) -> Variable:
    value = AnyMessage(type_url="t", value=b"v" * size)
    return Variable(name, value, "bytes", size, 1.0, 2.0, revision, size, **facts)


def deleted(name: str, revision: int, previous: int) -> Change:
    return Change("delete", name, None, revision, 3.0, 0, previous)


def again(image: SessionImage, **settings: Any) -> SessionImage:
    """Returns what the snapshot of an image says."""
    body = JournalBody(changes=list(image.snapshot(now=100.0)))
    return image_of("s", [JournalBody.FromString(body.SerializeToString())], Settings(**settings))


def state(image: SessionImage) -> tuple[Any, ...]:
    """Returns all that can be known of an image."""
    return (
        image.to_stored(), image.floor, image.lost_delete, image.revision, image.deleted_at,
        image.changes_after(image.floor), image.call("k"), image.call("k2"),
    )  # fmt: skip


def told(image: SessionImage, after: int = 0) -> list[tuple[str, str, int, int, bool]] | None:
    found = image.changes_after(after)
    if found is None:
        return None
    return [(change.operation, change.name, change.revision, change.previous, change.secret) for change in found]


def test_the_history_has_what_was_done_and_what_became_secret_is_so_before() -> None:
    image = made()
    image.set_variable(variable("x", 1), 0)
    image.set_variable(variable("y", 2), 0)
    image.set_variable(variable("x", 3, secret=True), 1, hides=True)
    image.delete_variable(deleted("y", 4, 2))
    assert told(image) == [
        ("set", "x", 1, 0, True),
        ("set", "y", 2, 0, False),
        ("update", "x", 3, 1, True),
        ("delete", "y", 4, 2, False),
    ]
    assert told(image, 3) == [("delete", "y", 4, 2, False)]
    assert [found.name for found in image.to_stored().variables] == ["x"]
    assert (image.revision, image.deleted_at) == (4, 4)
    assert state(again(image)) == state(image)


def test_a_deletion_of_what_becomes_secret_later_is_hidden_too() -> None:
    image = made()
    image.set_variable(variable("x", 1), 0)
    image.delete_variable(deleted("x", 2, 1))
    image.set_variable(variable("x", 3), 0)
    image.set_variable(variable("x", 4, secret=True), 3, hides=True)
    assert [change[-1] for change in told(image) or ()] == [True] * 4


@pytest.mark.parametrize("limits", [{"watch_history": 3}, {"watch_history_bytes": 30}])
def test_the_history_drops_what_the_one_in_memory_drops(limits: Any) -> None:
    rng = random.Random(5)
    image, history = made(**limits), VariableHistory(Settings(**limits), 0, 0)
    present: dict[str, int] = {}
    for revision in range(1, 60):
        name = rng.choice("xyz")
        if name in present and rng.random() < 0.4:
            change = deleted(name, revision, present.pop(name))
            image.delete_variable(change)
        else:
            new = variable(name, revision, rng.choice((1, 10, 40)))
            previous = present.get(name, 0)
            image.set_variable(new, previous)
            operation = "update" if previous else "set"
            change = Change(operation, name, new.value, revision, 2.0, new.size, previous)
            present[name] = revision
        history.add(change)
        assert (image.floor, image.lost_delete) == (history.floor, history.lost_delete)
        assert image.changes_after(image.floor) == history.after(history.floor)
        assert image.floor == 0 or image.changes_after(image.floor - 1) is None
        assert {found.name: found.revision for found in image.to_stored().variables} == present
        assert state(again(image, **limits)) == state(image)


def test_a_variable_that_the_history_no_longer_reaches_stays() -> None:
    image = made(watch_history=1)
    image.set_variable(variable("x", 1, tags={"a": "b"}, created_by="me", secret=True), 0)
    image.set_variable(variable("y", 2), 0)
    copy = again(image, watch_history=1)
    assert state(copy) == state(image)
    assert copy.to_stored().variables[0].tags == {"a": "b"}
    assert (copy.floor, told(copy, 1)) == (1, [("set", "y", 2, 0, False)])


def test_a_session_without_anything_is_the_same_after_a_snapshot() -> None:
    image = SessionImage(Settings(), "s")
    image.create(StoredSession("s", 1.5, {}))
    copy = again(image)
    assert state(copy) == state(image)
    assert copy.to_stored() == StoredSession("s", 1.5, {})


# -------------------------------------------------------------------------------------------------------- calls


def test_answers_beyond_the_limits_are_forgotten_the_oldest_first() -> None:
    image = made(max_session_answers=2)
    for key in ("a", "b", "running", "c"):
        image.set_call(key, KeptCall(b"d"))
    for key in ("b", "a", "c"):
        image.set_call(key, KeptCall(b"d", 500.0, b"answer"))
    assert [key for key in ("a", "b", "c", "running") if image.call(key) is not None] == ["a", "c", "running"]


def test_answers_beyond_the_bytes_are_forgotten_the_oldest_first() -> None:
    image = made(max_session_answer_bytes=10)
    for key, size in (("a", 4), ("b", 4), ("c", 6)):
        image.set_call(key, KeptCall(b"d", 500.0, b"x" * size))
    assert [key for key in "abc" if image.call(key) is not None] == ["b", "c"]
    image.set_call("b", None)
    image.set_call("d", KeptCall(b"d", 500.0, b"x" * 4))
    assert [key for key in "bcd" if image.call(key) is not None] == ["c", "d"]
    image.set_call("large", KeptCall(b"d", 500.0, b"x" * 11))
    assert [key for key in ("c", "d", "large") if image.call(key) is not None] == []


def test_calls_that_ran_when_a_session_was_taken_end_some_time_after_that() -> None:
    image = made()
    image.set_call("k", KeptCall(b"d"))
    image.set_call("k2", KeptCall(b"d", 200.0, b"answer"))
    image.take(700.0)
    image.take(900.0)
    assert image.call("k") == KeptCall(b"d", 700.0)
    assert image.call("k2") == KeptCall(b"d", 200.0, b"answer")
    assert state(again(image)) == state(image)


def test_what_is_over_is_swept_and_in_no_snapshot() -> None:
    image = made()
    image.set_call("k", KeptCall(b"d", 99.0, b"answer"))
    image.set_call("k2", KeptCall(b"d"))
    assert again(image).call("k") is None
    image.sweep(98.0)
    assert image.call("k") is not None
    image.sweep(99.0)
    assert image.call("k") is None
    assert image.call("k2") is not None


# ---------------------------------------------------------------------------------------------- agents and runs


def test_the_first_agent_of_an_id_stays() -> None:
    image = made()
    image.add_agent("a", CreateReActAgentRequest(signature="a -> b"))
    image.add_agent("a", CreateReActAgentRequest(signature="other -> b"))
    assert image.to_stored().agents == {"a": CreateReActAgentRequest(signature="a -> b")}
    assert state(again(image)) == state(image)


def test_chunks_are_those_of_their_run_from_the_first_that_is_kept() -> None:
    image = made()
    image.begin_run(StoredRun("r", "a", b"digest", 1.0))
    for number in range(4):
        image.add_chunk("r", number, bytes([number]), is_last=number == 3)
    image.drop_chunks("r", 2)
    image.drop_chunks("r", 1)
    (run,) = image.to_stored().runs
    assert run == StoredRun("r", "a", b"digest", 1.0, 2, [(b"\x02", False), (b"\x03", True)])
    assert state(again(image)) == state(image)
    run.chunks.clear()
    assert len(image.to_stored().runs[0].chunks) == 2


def test_what_belongs_to_a_run_that_was_dropped_belongs_to_nothing() -> None:
    image = made()
    image.drop_run("r")
    image.drop_chunks("r", 1)
    image.begin_run(StoredRun("r", "a", b"", 1.0))
    image.drop_run("r")
    image.add_chunk("r", 0, b"", is_last=False)
    image.drop_chunks("r", 1)
    assert image.to_stored().runs == []
    image.begin_run(StoredRun("r", "a", b"", 2.0))
    image.begin_run(StoredRun("r", "a", b"", 3.0))
    assert [run.started_at for run in image.to_stored().runs] == [3.0]


def test_the_end_says_why_and_when() -> None:
    image = made()
    image.end("it was removed", 9.0)
    assert (image.ended, image.ended_at) == ("it was removed", 9.0)


def test_a_snapshot_begins_with_the_session() -> None:
    found: Iterator[Any] = made().snapshot()
    assert next(found) == changes.create(made().to_stored())
