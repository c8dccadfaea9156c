"""How many calls another hub gets."""

from typing import Any

from grpc_tool_bridge.core.workers.peer import PeerWorker
from support.idle_link import IdleLink


def peer_of(max_calls: int = 100) -> tuple[PeerWorker, IdleLink]:
    link: Any = IdleLink()
    return PeerWorker("hub:b", link, max_calls), link


def test_a_tool_without_a_limit_gets_no_calls() -> None:
    peer, _ = peer_of()
    assert peer.room_for("tool") == 0


def test_room_is_counted_for_each_tool() -> None:
    peer, _ = peer_of()
    peer.set_limit("tool", 2)
    peer.set_limit("other", 1)
    peer.begin("tool")
    assert (peer.room_for("tool"), peer.room_for("other")) == (1, 1)
    peer.begin("tool")
    assert (peer.room_for("tool"), peer.room_for("other")) == (0, 1)
    peer.end("tool")
    peer.end("tool")
    assert peer.room_for("tool") == 2


def test_a_tool_that_is_forgotten_has_no_room_until_it_is_offered_again() -> None:
    peer, _ = peer_of()
    peer.set_limit("tool", 2)
    peer.forget("tool")
    assert peer.room_for("tool") == 0


def test_a_hub_gets_no_more_than_it_has_said_that_it_has_room_for() -> None:
    peer, _ = peer_of()
    peer.set_limit("tool", 10)
    peer.begin("tool")
    peer.set_room(2)
    assert peer.room_for("tool") == 2
    peer.begin("tool")
    peer.begin("tool")
    assert peer.room_for("tool") == 0
    peer.end("tool")
    assert peer.room_for("tool") == 1
    peer.set_room(None)
    assert peer.room_for("tool") == 8


def test_a_hub_that_is_full_gets_one_call_of_a_tool() -> None:
    peer, _ = peer_of()
    peer.set_limit("tool", 10)
    peer.set_room(0)
    assert peer.room_for("tool") == 1
    peer.begin("tool")
    assert peer.room_for("tool") == 0


def test_a_hub_that_does_not_answer_or_drains_or_whose_link_is_full_gets_nothing() -> None:
    peer, link = peer_of(max_calls=3)
    peer.set_limit("tool", 10)
    for change in ({"suspect": True}, {"gone": True}):
        for name, value in change.items():
            setattr(peer, name, value)
            assert peer.room_for("tool") == 0
            setattr(peer, name, not value)
    link.open_calls = 3
    assert peer.room_for("tool") == 0


def test_calls_that_are_about_to_be_sent_count() -> None:
    peer, _ = peer_of()
    peer.set_limit("tool", 2)
    peer.reserved = 1
    assert peer.room_for("tool") == 1
