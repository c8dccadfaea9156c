"""The options of ``serve`` that are its own."""

import pytest

from grpc_tool_bridge.cli.failures import ArgumentError
from grpc_tool_bridge.cli.serve_options import ServeOptions


def options(*agents: str, http: str | None = "127.0.0.1:0") -> ServeOptions:
    return ServeOptions(mcp_agent=list(agents) or None, http=http)


def test_agents_are_declared_by_name() -> None:
    declared = options("ask=question -> answer", "sum= a: int -> b: Literal['x=y'] ").declared_agents()
    assert declared == {"ask": "question -> answer", "sum": "a: int -> b: Literal['x=y']"}
    assert options(http=None).declared_agents() == {}


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
        options(*given).check()


def test_agents_for_mcp_clients_need_http() -> None:
    with pytest.raises(ArgumentError, match="add --http HOST:PORT"):
        options("ask=a -> b", http=None).check()
