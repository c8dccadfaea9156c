"""Agents that a command line declares for MCP clients."""

import pytest

from grpc_tool_bridge.cli.failures import ArgumentError
from grpc_tool_bridge.cli.mcp_agents import declared_agents


def test_agents_are_declared_by_name() -> None:
    assert declared_agents(["ask=question -> answer", "sum= a: int -> b: Literal['x=y'] "]) == {
        "ask": "question -> answer",
        "sum": "a: int -> b: Literal['x=y']",
    }
    assert declared_agents(None) == {}


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (["ask"], "--mcp-agent must be NAME=SIGNATURE, such as ask='question -> answer', not 'ask'"),
        (["=a -> b"], "not '=a -> b'"),
        (["ask= "], "not 'ask= '"),
        (["ask=a -> b", "ask=c -> d"], "--mcp-agent: ask is there twice"),
    ],
)
def test_what_is_no_agent_is_refused(given: list[str], problem: str) -> None:
    with pytest.raises(ArgumentError, match=problem):
        declared_agents(given)
