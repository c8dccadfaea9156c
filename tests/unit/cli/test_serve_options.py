"""The options of ``serve`` that are its own."""

import pytest

from grpc_tool_bridge.cli.failures import ArgumentError
from grpc_tool_bridge.cli.serve_options import ServeOptions


def test_agents_for_mcp_clients_are_checked_and_need_http() -> None:
    assert ServeOptions(mcp_agent=["ask=a -> b"], http="127.0.0.1:0").declared_agents() == {"ask": "a -> b"}
    assert ServeOptions().declared_agents() == {}
    with pytest.raises(ArgumentError, match="--mcp-agent must be NAME=SIGNATURE"):
        ServeOptions(mcp_agent=["ask"], http="127.0.0.1:0").check()
    with pytest.raises(ArgumentError, match="add --http HOST:PORT"):
        ServeOptions(mcp_agent=["ask=a -> b"]).check()
