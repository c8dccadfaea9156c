"""What of the tokens of a run is counted against a quota, and when the run ends for it."""

import math

import pytest

from grpc_tool_bridge.auth.quotas.rules import QuotaRule
from grpc_tool_bridge.auth.quotas.usage import Usage
from grpc_tool_bridge.core.agents.run_tokens import RunTokens
from grpc_tool_bridge.errors import ResourceExhaustedError
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb


def taken(asked: float, answered: float) -> pb.ExecutionMetrics:
    return pb.ExecutionMetrics(custom_metrics={"prompt_tokens": asked, "completion_tokens": answered})


def step(asked: float, answered: float) -> bytes:
    metrics = taken(asked, answered)
    return pb.AgentExecutionChunk(observation=pb.ObservationChunk(metrics=metrics)).SerializeToString()


def end(asked: float, answered: float) -> bytes:
    metrics = taken(asked, answered)
    return pb.AgentExecutionChunk(result=pb.ResultChunk(metrics=metrics)).SerializeToString()


@pytest.fixture
def quota() -> Usage:
    return Usage("ann", QuotaRule(("*",), agent_tokens_per_day=1_000), 10)


def test_each_step_tells_of_all_tokens_so_far_and_each_token_is_counted_once(quota: Usage) -> None:
    tokens = RunTokens(quota)
    tokens.note(pb.AgentExecutionChunk(thought=pb.ThoughtChunk(text="hm")).SerializeToString())
    tokens.note(step(100, 50))
    tokens.note(step(200, 100))
    with pytest.raises(ResourceExhaustedError, match=r"'ann' may use 1,000 tokens of agents a day"):
        tokens.note(step(900, 100.5))
    with pytest.raises(ResourceExhaustedError):
        RunTokens(quota)


def test_a_run_that_has_ended_is_not_ended_for_its_last_tokens_but_the_next_one_is(quota: Usage) -> None:
    RunTokens(quota).note(end(2_000, 0))
    with pytest.raises(ResourceExhaustedError):
        RunTokens(quota)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -5.0, 1e300])
def test_what_is_no_number_of_tokens_is_not_counted(quota: Usage, bad: float) -> None:
    tokens = RunTokens(quota)
    tokens.note(step(bad, bad))
    tokens.note(step(10, bad))
    RunTokens(quota)


def test_without_a_quota_nothing_is_read() -> None:
    RunTokens(None).note(b"no chunk")
