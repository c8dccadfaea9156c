"""MCP servers for tests, each a program: one that keeps to the protocol, and one that does not."""

import sys
from pathlib import Path

FOLDER = Path(__file__).parent


def honest_command(*words: str) -> list[str]:
    """Returns the command of the server that keeps to the protocol."""
    return [sys.executable, str(FOLDER / "honest.py"), *words]


def hostile_command(*words: str) -> list[str]:
    """Returns the command of the server that behaves as the first word says."""
    return [sys.executable, str(FOLDER / "hostile.py"), *words]
