"""The tool of the round trip in Python: ``grpc-tool-bridge worker tests/peers/python_tools.py``."""

from grpc_tool_bridge import tool


@tool
async def python_add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b
