"""What a change that waits will be once what is before it is stored."""

import pytest

from grpc_tool_bridge.cluster.journal import changes
from grpc_tool_bridge.cluster.journal.changes import KeptCall
from grpc_tool_bridge.cluster.journal.image import SessionImage
from grpc_tool_bridge.cluster.journal.pending import (
    Beginning,
    CallsAhead,
    PendingBeginning,
    PendingChange,
    freed_call,
    given_up_call,
    kept_answer,
)
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolCallResponse

ANSWER = ToolCallResponse(success=True)


@pytest.fixture
def image() -> SessionImage:
    return SessionImage(Settings(), "s")


def beginning(used_for: bytes = b"d", *, again: bool = False) -> PendingBeginning:
    return PendingBeginning(Beginning("k", used_for, again))


def answered() -> PendingChange:
    return kept_answer("k", ANSWER.SerializeToString(), 500.0, None)


def planned(image: SessionImage, *pending: PendingChange, now: float = 100.0) -> list[str | None]:
    """Plans changes together, then makes them; returns what of them is appended."""
    calls = CallsAhead(image, now)
    plans = [change.plan(calls) for change in pending]
    for change in pending:
        change.apply(image)
    return [change.kind if is_planned else None for change, is_planned in zip(pending, plans, strict=True)]


def test_of_two_beginnings_of_a_key_in_one_record_one_begins(image: SessionImage) -> None:
    first, second = beginning(), beginning()
    assert planned(image, first, second) == ["begin_call", None]
    assert first.found is None
    assert second.found is not None
    assert second.found.answer is None
    assert image.call("k") == KeptCall(b"d")


def test_a_key_that_is_freed_in_a_record_begins_again_in_it(image: SessionImage) -> None:
    assert planned(image, beginning(), freed_call("k"), beginning(b"e")) == ["begin_call", "free_call", "begin_call"]
    assert image.call("k") == KeptCall(b"e")


def test_a_call_with_an_answer_is_found_with_it_and_neither_freed_nor_given_up(image: SessionImage) -> None:
    planned(image, beginning(), answered())
    later = beginning(again=True)
    assert planned(image, freed_call("k"), given_up_call("k", 900.0), later) == [None, None, None]
    assert later.found is not None
    assert (later.found.used_for, later.found.answer) == (b"d", ANSWER)
    assert image.call("k") == KeptCall(b"d", 500.0, ANSWER.SerializeToString())


def test_a_call_without_an_answer_begins_again_if_it_may_and_does_the_same(image: SessionImage) -> None:
    planned(image, beginning())
    assert planned(image, beginning(again=True, used_for=b"other"), beginning()) == [None, None]
    assert planned(image, beginning(again=True)) == ["begin_call"]


def test_a_call_that_is_over_is_as_if_it_had_never_been(image: SessionImage) -> None:
    planned(image, beginning(), answered())
    assert planned(image, beginning(b"e"), now=500.0) == ["begin_call"]
    assert image.call("k") == KeptCall(b"e")


def test_what_becomes_of_no_call_is_not_appended(image: SessionImage) -> None:
    assert planned(image, answered(), given_up_call("k", 5.0), freed_call("k")) == [None, None, None]
    assert image.call("k") is None


def test_an_answer_that_cannot_be_read_is_not_known(image: SessionImage) -> None:
    image.set_call("k", KeptCall(b"d", 500.0, b"\xff\xff"))
    later = beginning()
    planned(image, later)
    assert later.found is not None
    assert later.found.answer is None


def test_what_only_takes_away_is_owed_and_need_not_be_once_the_session_has_ended() -> None:
    assert [freed_call("k").is_owed, given_up_call("k", 5.0).is_owed, answered().is_owed] == [True, True, False]
    assert [freed_call("k").is_moot, answered().is_moot, beginning().is_moot] == [True, True, False]
    assert PendingChange(changes.drop_run("r"), is_owed=True).is_moot


def test_a_change_is_made_as_it_was_given_or_as_it_is_read(image: SessionImage) -> None:
    taken: list[SessionImage] = []
    PendingChange(changes.end("why", 1.0), taken.append).apply(image)
    assert taken == [image]
    PendingChange(changes.end("why", 1.0)).apply(image)
    assert image.ended == "why"
