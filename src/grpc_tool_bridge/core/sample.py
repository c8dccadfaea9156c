"""Which calls are told to watchers that ask for a sample of them."""

import math
import time
from collections.abc import Iterable

# Seconds without calls after which a whole burst is free again.
BURST_SECONDS = 10

# Calls outside the sample of which the end is told, a second and at once: those that failed, and the slow ones.
ENDS_PER_SECOND = 20
ENDS_AT_ONCE = 200


class TokenBucket:
    """Allows a number of events a second, and bursts.

    Args:
        per_second: Events a second.
        at_once: Events at once, after enough quiet.

    Attributes:
        free_at: When the next event is allowed, on the monotonic clock.
    """

    __slots__ = ("_interval", "_tolerance", "free_at")

    def __init__(self, per_second: float, at_once: float) -> None:
        self._interval = 1 / per_second
        self._tolerance = (at_once - 1) * self._interval
        self.free_at = -math.inf

    @property
    def has_token(self) -> bool:
        """Whether an event is allowed now."""
        return time.monotonic() >= self.free_at

    def take(self) -> bool:
        """Counts an event if it is allowed; returns whether it was."""
        now = time.monotonic()
        if now < self.free_at:
            return False
        self.free_at = max(self.free_at, now - self._tolerance) + self._interval
        return True


class Sample:
    """The calls that are told to those who ask for a sample; all of them see the same one.

    Attributes:
        failed: Allows the ends of failed calls that are not in the sample.
        slow: Likewise of slow ones.
    """

    def __init__(self) -> None:
        self.failed = TokenBucket(ENDS_PER_SECOND, ENDS_AT_ONCE)
        self.slow = TokenBucket(ENDS_PER_SECOND, ENDS_AT_ONCE)
        self._rate = 0
        self._calls = TokenBucket(1, 1)
        # The sessions whose calls are wanted; None: all.
        self._sessions: frozenset[str] | None = frozenset()
        self._omitted = 0
        self._omitted_of: dict[str, int] = {}

    def follow(self, wanted: Iterable[tuple[int, str]]) -> None:
        """Serves these watchers, each given by its calls per second and its session (empty: all)."""
        watchers = list(wanted)
        rate = max((rate for rate, _ in watchers), default=0)
        if rate and rate != self._rate:
            self._rate = rate
            self._calls = TokenBucket(rate, rate * BURST_SECONDS)
        sessions = frozenset(session_id for _, session_id in watchers)
        self._sessions = None if "" in sessions else sessions
        self._omitted_of = {name: self._omitted_of.get(name, 0) for name in sessions if name}

    def wants(self, session_id: str) -> bool:
        """Returns whether a call from outside that starts now in this session is to be in the sample."""
        return self._calls.has_token and (self._sessions is None or session_id in self._sessions)

    def leaves_out(self, session_id: str, now: float) -> bool:
        """Returns whether a call from outside that starts now is not to be in the sample, and counts it if so.

        Args:
            session_id: Its session.
            now: On the monotonic clock.
        """
        if now < self._calls.free_at or (self._sessions is not None and session_id not in self._sessions):
            self.omit(session_id)
            return True
        return False

    def take(self, session_id: str) -> bool:
        """Decides whether a call of this session that starts now is in the sample."""
        return (self._sessions is None or session_id in self._sessions) and self._calls.take()

    def omit(self, session_id: str) -> None:
        """Counts a call that is not in the sample."""
        self._omitted += 1
        if session_id in self._omitted_of:
            self._omitted_of[session_id] += 1

    def omitted(self, session_id: str) -> int:
        """Returns how many calls were left out, of a session that is followed, or of all (empty)."""
        return self._omitted_of.get(session_id, 0) if session_id else self._omitted
