"""A breaker: when a tool is held back, and when it may be called again."""

import logging

import pytest

from grpc_tool_bridge.core import breakers
from grpc_tool_bridge.core.breakers import Breaker
from grpc_tool_bridge.errors import UnavailableError
from support.clock import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch, breakers)


def failing(breaker: Breaker, times: int) -> None:
    for _ in range(times):
        breaker.fail("OSError", tried=breaker.enter())


def test_calls_run_until_so_many_have_failed_in_a_row(clock: Clock) -> None:
    breaker = Breaker("search", 3, 30)
    failing(breaker, 2)
    breaker.enter()
    breaker.succeeded()
    failing(breaker, 2)
    assert breaker.state == "closed"
    failing(breaker, 1)
    assert breaker.state == "open"


def test_the_error_says_how_often_it_failed_and_until_when_it_is_held_back(clock: Clock) -> None:
    breaker = Breaker("search", 2, 30)
    failing(breaker, 2)
    clock.now += 10
    with pytest.raises(
        UnavailableError, match="search has failed 2 times in a row, last with OSError, and is held"
    ) as caught:
        breaker.enter()
    assert f"until {breaker.until:%H:%M}" in caught.value.message
    assert "call again in 20.0 s" in caught.value.message
    assert (caught.value.retry_after, caught.value.retryable, caught.value.details["breaker"]) == (20.0, True, "open")
    assert breaker.refused == 1


def test_after_that_time_one_call_tries_it_and_the_others_wait_for_its_outcome(clock: Clock) -> None:
    breaker = Breaker("search", 1, 30)
    failing(breaker, 1)
    clock.now += 30
    assert breaker.state == "half-open"
    assert breaker.enter()
    with pytest.raises(UnavailableError, match="a call tries it now") as caught:
        breaker.enter()
    assert caught.value.retry_after == 1.0
    breaker.succeeded()
    assert breaker.state == "closed"
    assert not breaker.enter()


def test_a_try_that_fails_holds_it_back_again(clock: Clock) -> None:
    breaker = Breaker("search", 2, 30)
    failing(breaker, 2)
    clock.now += 31
    failing(breaker, 1)
    assert breaker.state == "open"
    clock.now += 29
    with pytest.raises(UnavailableError, match="failed 3 times in a row"):
        breaker.enter()


def test_a_try_without_a_verdict_lets_the_next_call_try(clock: Clock) -> None:
    breaker = Breaker("search", 1, 30)
    failing(breaker, 1)
    clock.now += 30
    breaker.leave(tried=breaker.enter())
    assert breaker.enter()


def test_calls_that_began_before_do_not_prolong_it(clock: Clock) -> None:
    breaker = Breaker("search", 1, 30)
    early = breaker.enter()
    failing(breaker, 1)
    clock.now += 20
    breaker.fail("OSError", tried=early)
    clock.now += 10
    assert breaker.state == "half-open"


def test_the_log_says_when_it_is_held_back_and_when_it_works_again(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    breaker = Breaker("search", 1, 30)
    failing(breaker, 1)
    clock.now += 30
    breaker.enter()
    breaker.succeeded()
    assert "tool search has failed 1 times in a row, last with OSError; it is held back for 30 s" in caplog.text
    assert "tool search works again" in caplog.text
