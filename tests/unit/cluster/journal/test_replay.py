"""Changes that are read from a chain do what those that were made did."""

import pytest

from grpc_tool_bridge.cluster.journal import changes
from grpc_tool_bridge.cluster.journal.changes import KeptCall
from grpc_tool_bridge.cluster.journal.image import SessionImage
from grpc_tool_bridge.cluster.journal.replay import apply, image_of
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.stored import StoredSession
from grpc_tool_bridge.proto.dspex_bridge_journal_pb2 import JournalBody, JournalChange
from grpc_tool_bridge.proto.dspex_bridge_pb2 import SessionConfig


@pytest.fixture
def image() -> SessionImage:
    return SessionImage(Settings(), "s")


def test_a_session_is_made_of_all_bodies_in_order() -> None:
    session = StoredSession("s", 1.5, {"k": "v"}, SessionConfig(enable_caching=True))
    bodies = [
        JournalBody(changes=[changes.create(session, floor=7, lost_delete=3)]),
        JournalBody(changes=[changes.begin_call("k", b"d"), changes.end("it was removed", 2.0)]),
    ]
    image = image_of("s", bodies, Settings())
    session.revision, session.deleted_at = 7, 3
    assert image.to_stored() == session
    assert (image.floor, image.lost_delete, image.ended, image.ended_at) == (7, 3, "it was removed", 2.0)
    assert image.call("k") == KeptCall(b"d")


def test_a_call_goes_from_its_beginning_to_its_answer_and_is_forgotten(image: SessionImage) -> None:
    for change, expected in (
        (changes.keep_answer("k", b"early", 5.0), None),
        (changes.give_up_call("k", 5.0), None),
        (changes.begin_call("k", b"d"), KeptCall(b"d")),
        (changes.give_up_call("k", 5.0), KeptCall(b"d", 5.0)),
        (changes.begin_call("k", b"e"), KeptCall(b"e")),
        (changes.keep_answer("k", b"answer", 6.0), KeptCall(b"e", 6.0, b"answer")),
        (changes.free_call("k"), None),
    ):
        apply(image, change)
        assert image.call("k") == expected


def test_a_kept_call_is_what_it_was(image: SessionImage) -> None:
    for call in (KeptCall(b"d"), KeptCall(b"d", 5.0), KeptCall(b"d", 6.0, b"answer")):
        for change in changes.kept_call("k", call):
            apply(image, change)
        assert image.call("k") == call


def test_a_change_that_means_nothing_to_this_version_is_passed_over(image: SessionImage) -> None:
    apply(image, JournalChange())
    # A field that no version has.
    apply(image, JournalChange.FromString(b"\xa2\x06\x01x"))
    assert image.to_stored() == StoredSession("s", 0.0, {})
