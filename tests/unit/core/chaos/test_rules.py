"""Which calls a rule matches, and the errors that it makes."""

import pytest

from grpc_tool_bridge.core.chaos.rules import RULE_KEY, Failure, RateLimit, Rule
from grpc_tool_bridge.errors import ResourceExhaustedError, ValidationError
from grpc_tool_bridge.runner.error_formatter import FormattedError, ToolRaised


def test_a_pattern_is_one_of_file_names_and_of_the_whole_name() -> None:
    rule = Rule(name="r", tool="search*", session="agent-[12]")
    assert rule.matches_tool("search_docs")
    assert not rule.matches_tool("research")
    assert rule.matches("agent-1", {}, 1)
    assert not rule.matches("agent-3", {}, 1)
    assert not rule.matches("my-agent-1", {}, 1)


def test_a_key_of_metadata_that_is_missing_does_not_match() -> None:
    rule = Rule(name="r", metadata={"team": "b*"})
    assert rule.matches("s", {"team": "blue", "other": "x"}, 1)
    assert not rule.matches("s", {"team": "red"}, 1)
    assert not rule.matches("s", {}, 1)


def test_calls_are_chosen_by_their_number() -> None:
    rule = Rule(name="r", first_call=2, last_call=3)
    assert [rule.matches("s", {}, call) for call in (1, 2, 3, 4)] == [False, True, True, False]
    assert Rule(name="r", first_call=5).matches("s", {}, 1_000)


def test_a_rate_limit_refuses_calls_after_those_that_it_allows_and_starts_again() -> None:
    limit = RateLimit(calls=2, refused=1)
    assert [limit.refuses(call) for call in range(1, 8)] == [False, False, True, False, False, True, False]


def test_an_error_of_the_bridge_has_the_class_of_the_table() -> None:
    failure = Failure(error="RateLimitExceeded", message="slow down", details={"retry_after": "2"}, retryable=True)
    error = failure.exception("a rule")
    assert isinstance(error, ResourceExhaustedError)
    assert (error.message, error.retry_after, error.retryable) == ("slow down", 2.0, True)
    assert error.details[RULE_KEY] == "a rule"


def test_an_error_of_the_tool_is_reported_as_raised_by_it() -> None:
    error = Failure(error="ConnectionResetError", origin="tool", retryable=True).exception("r")
    assert isinstance(error, ToolRaised)
    assert isinstance(error.error, FormattedError)
    info = error.error.info
    assert (info.type, info.details["origin"], info.retryable) == ("ConnectionResetError", "tool", True)


@pytest.mark.parametrize("retryable", [True, False])
def test_an_error_says_whether_to_retry(retryable: bool) -> None:
    error = Failure(error="ValidationError", retryable=retryable).exception("r")
    assert isinstance(error, ValidationError)
    assert error.retryable is retryable
