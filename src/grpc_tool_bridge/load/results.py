"""What the load generator has measured."""

from collections.abc import Iterator
from dataclasses import dataclass

from grpc_tool_bridge.errors import ToolBridgeError, ToolCommunicationError
from grpc_tool_bridge.load.exchanges import Exchange
from grpc_tool_bridge.load.histogram import Histogram

OK = "ok"
# A tool may raise errors of any names; further ones are counted together.
MAX_OUTCOMES = 20
OTHER_ERRORS = "other errors"

# Above these, times and rates may be those of the load generator: of one core, and of the latency that it reports.
BUSY_SHARE = 0.9
LAG_SHARE = 0.1
LEAST_LAG = 0.005


@dataclass(frozen=True, slots=True)
class Unfinished:
    """Calls that had not ended when the measurement was interrupted.

    Attributes:
        calls: How many.
        oldest: Seconds since the first of them was due.
    """

    calls: int
    oldest: float


class Results:
    """Counts calls by their outcome; its memory does not depend on their number.

    Attributes:
        latency: Of all calls, in seconds; in an open loop since they were due.
        outcomes: The same by outcome: "ok", or the type of the error.
        first_values: Until the first value of each stream.
        sent, received: Bytes of the calls that succeeded.
        values: Their results, or values of their streams.
        dropped: Calls of an open loop that were not made, since too many were in flight.
        seconds: How long was measured.
        ended_within, succeeded_within: Calls that ended, and that succeeded, within ``seconds``.
        busy: Share of ``seconds`` in which the event loop of the generator was computing.
        lag: How late that loop was, in seconds.
        unfinished: Calls in flight at an interruption; None if there was none.
    """

    def __init__(self) -> None:
        self.latency = Histogram()
        self.outcomes: dict[str, Histogram] = {}
        self.first_values = Histogram()
        self.sent = self.received = self.values = self.dropped = 0
        self.ended_within = self.succeeded_within = 0
        self.seconds = self.busy = 0.0
        self.lag = Histogram()
        self.unfinished: Unfinished | None = None

    @property
    def calls(self) -> int:
        """Calls that ended."""
        return self.latency.count

    @property
    def failed(self) -> int:
        """Calls that ended with an error."""
        return self.calls - (self.outcomes[OK].count if OK in self.outcomes else 0)

    @property
    def rate(self) -> float:
        """Calls per second that ended while it was measured."""
        return self.ended_within / self.seconds if self.seconds else 0.0

    @property
    def success_rate(self) -> float:
        """Calls per second that succeeded while it was measured."""
        return self.succeeded_within / self.seconds if self.seconds else 0.0

    @property
    def value_rate(self) -> float:
        """Results, or values of streams, per second while it was measured."""
        return self.rate * self.values / self.calls if self.calls else 0.0

    def succeeded(self, due: float, end: float, exchange: Exchange) -> None:
        """Counts a call; ``due`` and ``end`` by the clock of the event loop."""
        self._count(OK, end - due)
        self.sent += exchange.sent
        self.received += exchange.received
        self.values += exchange.values
        if exchange.first_at is not None:
            self.first_values.record(exchange.first_at - due)

    def failed_with(self, error: ToolBridgeError, due: float, end: float) -> None:
        """Counts a call that failed."""
        outcome = error.code_name if isinstance(error, ToolCommunicationError) else error.error_type
        known = outcome in self.outcomes or len(self.outcomes) < MAX_OUTCOMES
        self._count(outcome if known else OTHER_ERRORS, end - due)

    def _count(self, outcome: str, seconds: float) -> None:
        self.latency.record(seconds)
        histogram = self.outcomes.get(outcome)
        if histogram is None:
            histogram = self.outcomes[outcome] = Histogram()
        histogram.record(seconds)

    def doubts(self) -> Iterator[str]:
        """Yields why the figures may be those of the load generator, and not of the hub."""
        if self.busy >= BUSY_SHARE:
            yield (
                f"the load generator was computing {self.busy:.0%} of the time, so it may be what limits the rate; "
                "share the load among several of them"
            )
        lag, latency = self.lag.percentile(99), self.latency.percentile(99)
        if lag >= LEAST_LAG and lag >= LAG_SHARE * latency:
            yield (
                f"the load generator was late by up to {lag * 1e3:,.1f} ms in 99 % of its turns, which is part of the "
                "times; lower the load, or run it on a quieter machine"
            )
        if self.dropped:
            yield f"{self.dropped:,} calls were not made, since too many were in flight; the hub does not keep up"
