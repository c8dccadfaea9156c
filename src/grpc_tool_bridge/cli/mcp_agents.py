"""Agents that MCP clients see as tools, as a command line declares them."""

from collections.abc import Sequence

from grpc_tool_bridge.cli.failures import ArgumentError


def declared_agents(given: Sequence[str] | None) -> dict[str, str]:
    """Returns signatures by name.

    Raises:
        ArgumentError: One is not ``NAME=SIGNATURE``, or a name is there twice.
    """
    declared: dict[str, str] = {}
    for item in given or ():
        name, equals, signature = item.partition("=")
        if not equals or not name or not signature.strip():
            raise ArgumentError(
                f"--mcp-agent must be NAME=SIGNATURE, such as ask='question -> answer', not {item!r:.80}"
            )
        if name in declared:
            raise ArgumentError(f"--mcp-agent: {name} is there twice")
        declared[name] = signature.strip()
    return declared
