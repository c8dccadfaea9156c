"""The tools of the workers; put yours here, or into an image of your own."""

from grpc_tool_bridge import tool


@tool(idempotent=True)
def count_words(text: str) -> int:
    """Counts the words of a text."""
    return len(text.split())
