import time
from typing import Any

import pytest

from grpc_tool_bridge.auth.quotas.rules import QuotaRule
from grpc_tool_bridge.auth.quotas.usage import Allowance, Usage
from grpc_tool_bridge.errors import ResourceExhaustedError

EVERYBODY = ("*",)


def usage(**limits: Any) -> Usage:
    return Usage("bot", QuotaRule(EVERYBODY, **limits), max_waiting=10)


def test_an_allowance_refills_evenly_and_holds_one_period() -> None:
    clock = [0.0]
    allowance = Allowance(60, 60.0, lambda: clock[0])
    allowance.use(60)
    assert allowance.level() == 0.0
    assert allowance.seconds_until(3) == 3.0
    clock[0] = 3.0
    assert allowance.level() == 3.0
    clock[0] = 1_000.0
    assert allowance.level() == 60.0
    # More than the whole is let through once it is full, and taken from what comes.
    assert allowance.seconds_until(600) == 0.0
    allowance.use(600)
    assert allowance.seconds_until(1) == 541.0


def test_calls_over_the_quota_are_refused_until_they_may_be_made_again() -> None:
    used = usage(calls_per_minute=2)
    used.take(10)
    assert used.may_take(10)
    used.take(10)
    assert not used.may_take(10)
    with pytest.raises(ResourceExhaustedError, match="principal 'bot' may use 2 calls a minute") as refused:
        used.take(10)
    assert refused.value.error_type == "RateLimitExceeded"
    assert refused.value.retryable
    assert 0 < float(refused.value.details["retry_after"]) <= 30
    assert used.refused == 1


def test_bytes_over_the_quota_are_refused_and_count_no_call() -> None:
    used = usage(calls_per_minute=2, bytes_per_minute=1_000)
    used.take(600)
    with pytest.raises(ResourceExhaustedError, match="1,000 bytes a minute"):
        used.take(600)
    with pytest.raises(ResourceExhaustedError, match="1,000 bytes a minute"):
        used.take_bytes(600)
    used.take(300)
    assert not used.may_take(0)


def test_a_request_that_is_larger_than_the_quota_of_a_minute_waits_for_the_whole_minute() -> None:
    used = usage(bytes_per_minute=1_000)
    used.take(5_000)
    with pytest.raises(ResourceExhaustedError) as refused:
        used.take(5_000)
    assert float(refused.value.details["retry_after"]) > 200


def test_sessions_over_the_quota_are_refused() -> None:
    used = usage(sessions=2)
    used.check_sessions(1)
    with pytest.raises(ResourceExhaustedError, match="has 2 sessions, which is its quota; end one first"):
        used.check_sessions(2)
    usage(calls_per_minute=1).check_sessions(10_000)


def test_tokens_of_a_day_that_are_used_refuse_the_next_run() -> None:
    used = usage(agent_tokens_per_day=1_000)
    used.check_tokens()
    # It is known only afterwards how many tokens a step takes.
    used.use_tokens(5_000)
    with pytest.raises(ResourceExhaustedError, match="1,000 tokens of agents a day"):
        used.check_tokens()
    free = usage(sessions=1)
    free.use_tokens(5_000)
    free.check_tokens()


def test_only_a_quota_of_concurrent_calls_has_a_limiter() -> None:
    limiter = usage(concurrent_calls=3).limiter
    assert limiter is not None
    assert limiter.capacity == 3
    assert "principal 'bot'" in str(limiter)
    assert usage(sessions=1).limiter is None


def test_what_is_tried_is_counted_only_if_it_is_within_the_quota() -> None:
    used, now = usage(calls_per_minute=3, bytes_per_minute=1_000), time.monotonic()
    assert used.try_take(600, now)
    assert not used.try_take(600, now)
    # That counted neither a call nor bytes.
    assert used.try_take(390, now)
    assert used.try_take(0, now + 1)
    assert not used.try_take(0, now + 1)
    assert used.try_take(0, now + 21)
    assert used.refused == 0


def test_what_is_tried_and_is_larger_than_a_minutes_quota_needs_all_of_it() -> None:
    used, now = usage(bytes_per_minute=1_000), time.monotonic()
    assert used.try_take(1, now)
    assert not used.try_take(5_000, now)
    assert used.try_take(5_000, now + 1)
    assert not used.try_take(0, now + 200)
    assert used.try_take(0, now + 302)


def test_an_answer_is_counted_even_if_it_is_over_the_quota() -> None:
    used = usage(bytes_per_minute=1_000)
    assert used.counts_bytes
    used.use_bytes(3_000, time.monotonic())
    with pytest.raises(ResourceExhaustedError) as refused:
        used.take(0)
    assert 110 < float(refused.value.details["retry_after"]) <= 120
    others = usage(calls_per_minute=1)
    assert not others.counts_bytes
    others.use_bytes(3_000, time.monotonic())
    others.take(3_000)
