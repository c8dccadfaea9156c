"""Rules are read from TOML, and what is wrong is named with its file, rule and key."""

from pathlib import Path
from typing import Any

import pytest

from grpc_tool_bridge.core.chaos.injections import Chaos
from grpc_tool_bridge.core.chaos.reading import read_chaos
from grpc_tool_bridge.core.chaos.rules import Failure, RateLimit, Rule
from grpc_tool_bridge.errors import ValidationError

WHOLE = """
seed = 42

[[rules]]
name = "flaky"
tool = "search*"
session = "agent-*"
metadata = {team = "blue"}
probability = 0.25
first_call = 2
last_call = 9
latency = 0.2
jitter = 0.1
error = "ValidationError"
message = "not today"
details = {field = "query"}
retryable = true
when = "after"

[[rules]]
rate_limit = {calls = 5, refused = 2, retry_after = 0.5}

[[rules]]
drop = true
truncate_after = 3
chunk_latency = 1
"""


def test_every_key_has_its_effect(tmp_path: Path) -> None:
    file = tmp_path / "chaos.toml"
    file.write_text(WHOLE)
    chaos = read_chaos(file)
    assert (chaos.seed, chaos.source) == (42, str(file))
    flaky, limited, dropped = chaos.rules
    assert flaky == Rule(
        name="flaky",
        tool="search*",
        session="agent-*",
        metadata={"team": "blue"},
        probability=0.25,
        first_call=2,
        last_call=9,
        latency=0.2,
        jitter=0.1,
        failure=Failure(error="ValidationError", message="not today", details={"field": "query"}, retryable=True),
        when="after",
    )
    assert (limited.name, limited.rate_limit) == ("rule 2", RateLimit(calls=5, refused=2, retry_after=0.5))
    assert limited.failure is not None
    assert (limited.failure.error, limited.failure.details) == ("RateLimitExceeded", {"retry_after": "0.5"})
    assert (dropped.failure, dropped.truncate_after, dropped.chunk_latency) == (Failure(), 3, 1.0)


def test_rules_may_be_a_dict_or_read_before() -> None:
    chaos = read_chaos({"rules": [{"truncate_after": 1}]})
    assert isinstance(chaos, Chaos)
    assert chaos.rules[0].failure == Failure(error="WorkerUnavailable", message="the stream was cut off")
    assert read_chaos(chaos) is chaos


@pytest.mark.parametrize(
    ("rules", "text"),
    [
        ([], "chaos has no rules"),
        ([3], "chaos: rule 1 is 3"),
        ([{}], "chaos: rule 1 does nothing"),
        ([{"latncy": 1}], "chaos: rule 1: 'latncy' is not a key; did you mean latency?"),
        ([{"drop": True}, {"name": "b", "latency": True}], "chaos: rule 2 ('b'): latency is True; it must be a number"),
        ([{"latency": -1}], "latency is -1; it must be a number of seconds, from 0"),
        ([{"latency": float("nan")}], "latency is nan; it must be a number"),
        ([{"latency": 1, "probability": 1.5}], "probability is 1.5; it must be a number from 0 to 1"),
        ([{"latency": 1, "first_call": 0}], "first_call is 0; it must be a whole number, 1 or more"),
        ([{"latency": 1, "first_call": 3, "last_call": 2}], "last_call is 2; it must be a whole number, 3 or more"),
        ([{"latency": 1, "tool": ""}], "tool is ''; it must be a text of 1 to"),
        ([{"latency": 1, "metadata": {"a": 1}}], "metadata.a is 1; it must be a text"),
        ([{"error": "WorkerUnavailabel"}], "is not in the table of errors; did you mean WorkerUnavailable?"),
        ([{"error": "WorkerUnavailable", "retryable": False}], "clients take every WorkerUnavailable for retryable"),
        ([{"error": "Cancelled", "drop": True}], "drop and error are both set"),
        ([{"latency": 1, "message": "x"}], "message describes an error; set error, too"),
        ([{"latency": 1, "when": "after"}], "when is for error and drop"),
        ([{"drop": True, "when": "aftr"}], 'when is \'aftr\'; it must be "before" or "after"; did you mean after?'),
        ([{"rate_limit": {"cals": 1}}], "rule 1: rate_limit: 'cals' is not a key; did you mean calls?"),
        ([{"rate_limit": {}}], "rate_limit: calls is missing"),
        ([{"rate_limit": 5}], "rate_limit is 5; it must be a table"),
        ([{"rate_limit": {"calls": 1}, "truncate_after": 1}], "truncate_after and rate_limit are both set"),
        ([{"latency": 1, "name": "a"}] * 2, "rule 2 ('a') has the name of another rule"),
    ],
)
def test_what_is_wrong_is_named(rules: Any, text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        read_chaos({"rules": rules})
    assert text in caught.value.message


def test_a_file_that_is_not_toml_is_named(tmp_path: Path) -> None:
    file = tmp_path / "chaos.toml"
    file.write_bytes(b"seed = \xff")
    with pytest.raises(ValidationError, match=r"chaos\.toml is not valid TOML"):
        read_chaos(str(file))
    file.write_text("seeed = 1")
    with pytest.raises(ValidationError, match=r"chaos\.toml: 'seeed' is not a key; did you mean seed\?"):
        read_chaos(file)


def test_anything_else_is_refused() -> None:
    wrong: Any = 3
    with pytest.raises(ValidationError, match="chaos is 3; it must be the path of a TOML file, or a dict"):
        read_chaos(wrong)
