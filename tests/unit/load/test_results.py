"""What the load generator has measured."""

from grpc_tool_bridge.errors import ToolCommunicationError, ToolExecutionError
from grpc_tool_bridge.load.exchanges import Exchange
from grpc_tool_bridge.load.results import MAX_OUTCOMES, OTHER_ERRORS, Results


def test_calls_are_counted_by_the_type_of_their_error() -> None:
    results = Results()
    results.succeeded(1.0, 1.5, Exchange(10, 20, 3, first_at=1.25))
    results.failed_with(ToolExecutionError("add", "LookupError", "no"), 1.0, 2.0)
    results.failed_with(ToolCommunicationError("add", "UNAVAILABLE"), 1.0, 4.0)
    assert {name: histogram.most for name, histogram in results.outcomes.items()} == {
        "ok": 0.5,
        "LookupError": 1.0,
        "UNAVAILABLE": 3.0,
    }
    assert (results.calls, results.failed, results.latency.most) == (3, 2, 3.0)
    assert (results.sent, results.received, results.values) == (10, 20, 3)
    assert (results.first_values.count, results.first_values.most) == (1, 0.25)


def test_errors_of_ever_new_types_are_counted_together() -> None:
    results = Results()
    for number in range(1_000):
        results.failed_with(ToolExecutionError("add", f"Error{number}", ""), 0.0, 1.0)
    assert len(results.outcomes) == MAX_OUTCOMES + 1
    assert results.outcomes[OTHER_ERRORS].count == 1_000 - MAX_OUTCOMES
    assert results.failed == 1_000


def test_rates_are_of_what_ended_while_it_was_measured() -> None:
    results = Results()
    assert (results.rate, results.success_rate) == (0, 0)
    results.seconds, results.ended_within, results.succeeded_within = 2.0, 10, 8
    assert (results.rate, results.success_rate) == (5, 4)


def test_a_quiet_generator_raises_no_doubts() -> None:
    results = Results()
    results.busy = 0.5
    results.latency.record(0.1)
    results.lag.record(0.002)
    assert list(results.doubts()) == []


def test_a_generator_that_is_busy_or_late_or_drops_calls_says_so() -> None:
    results = Results()
    results.busy, results.dropped = 0.97, 3
    results.latency.record(0.1)
    results.lag.record(0.02)
    busy, late, dropped = results.doubts()
    assert "computing 97% of the time" in busy
    assert "20.0 ms" in late
    assert dropped.startswith("3 calls were not made")


def test_lateness_that_is_small_beside_the_times_is_no_doubt() -> None:
    results = Results()
    results.latency.record(1.0)
    results.lag.record(0.02)
    assert list(results.doubts()) == []
