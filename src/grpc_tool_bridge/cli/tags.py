"""The option ``--tag`` of commands that choose tools."""

from collections.abc import Sequence

from grpc_tool_bridge.cli.failures import ArgumentError


def check_tags(tags: Sequence[str] | None) -> None:
    """Checks the tags that are given; raises ArgumentError."""
    from grpc_tool_bridge.errors import ValidationError
    from grpc_tool_bridge.llm.tool_marks import checked_tags

    try:
        checked_tags(tags or ())
    except ValidationError as error:
        raise ArgumentError(f"--tag: {error.message}") from None
