"""When a silent peer is pinged, and when its link ends: by a clock that the test turns."""

from collections.abc import Callable
from typing import Any

import pytest

from grpc_tool_bridge.link.keepalive import KeepAlive, LinkWatch


class Clock:
    """A loop with one timer, which the test lets ring."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self._ring: Callable[[], None] | None = None

    def call_later(self, seconds: float, ring: Callable[[], None]) -> "Clock":
        self.waits.append(seconds)
        self._ring = ring
        return self

    def cancel(self) -> None:
        self._ring = None

    @property
    def runs(self) -> bool:
        return self._ring is not None

    def ring(self, times: int = 1) -> None:
        for _ in range(times):
            ring, self._ring = self._ring, None
            assert ring is not None
            ring()


class Peer:
    """A link, and what was done to it."""

    def __init__(self) -> None:
        self.received = 0
        self.pings = 0
        self.aborted: list[str] = []

    def ping(self) -> None:
        self.pings += 1

    def abort(self, why: str) -> None:
        self.aborted.append(why)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def watch(peer: Peer, clock: Any) -> LinkWatch:
    return LinkWatch(peer, KeepAlive(4.0, 2.0), clock)


def test_a_silent_peer_is_pinged_and_then_its_link_ends(clock: Clock) -> None:
    peer = Peer()
    watch(peer, clock)
    clock.ring(3)
    assert peer.pings == 0
    clock.ring()
    assert (peer.pings, peer.aborted) == (1, [])
    clock.ring(4)
    assert (peer.pings, peer.aborted) == (1, ["the hub said nothing for 6 s"])
    assert not clock.runs
    # Four steps of the time, then four of the timeout.
    assert clock.waits == [1.0] * 4 + [0.5] * 4


def test_whatever_arrives_is_a_sign_of_life(clock: Clock) -> None:
    peer = Peer()
    watch(peer, clock)
    clock.ring(7)
    peer.received += 1
    clock.ring(4)
    assert (peer.pings, peer.aborted) == (1, [])
    clock.ring(1)
    assert peer.pings == 2


def test_a_peer_that_speaks_is_never_pinged(clock: Clock) -> None:
    peer = Peer()
    watch(peer, clock)
    for _ in range(20):
        clock.ring(3)
        peer.received += 1
        clock.ring()
    assert (peer.pings, peer.aborted) == (0, [])


def test_nothing_is_watched_any_more_once_it_is_closed(clock: Clock) -> None:
    watching = watch(Peer(), clock)
    watching.close()
    assert not clock.runs
