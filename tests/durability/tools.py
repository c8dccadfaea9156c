"""Tools whose effects outlive their process."""

import os
from pathlib import Path

from grpc_tool_bridge import tool


class Effects:
    """Tools that append to a file.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def _append(self, key: str) -> str:
        effect = os.urandom(8).hex()
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(file, f"{key} {effect}\n".encode())
            os.fsync(file)
        finally:
            os.close(file)
        return effect

    @property
    def append(self) -> object:
        """A tool that appends a line with the key, and returns what it wrote beside it."""

        async def append(key: str) -> str:
            return self._append(key)

        return append

    @property
    def append_again(self) -> object:
        """The same tool, as one that may run again."""

        @tool(idempotent=True)
        async def append_again(key: str) -> str:
            return self._append(key)

        return append_again


def read_effects(path: Path) -> dict[str, list[str]]:
    """Returns, for each key, what was written beside it."""
    found: dict[str, list[str]] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        key, effect = line.split(" ")
        found.setdefault(key, []).append(effect)
    return found
