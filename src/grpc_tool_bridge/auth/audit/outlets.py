"""Descriptors that lines are written to."""

import os

from grpc_tool_bridge.auth.audit.tails import Tail


class Unrotated:
    """What never begins another file."""

    @property
    def is_due(self) -> bool:
        """See ``Sink``."""
        return False

    def rotate(self) -> str:
        """See ``Sink``."""
        return ""

    def expired(self) -> list[tuple[str, Tail | None]]:
        """See ``Sink``."""
        return []

    def remove(self, name: str) -> None:
        """See ``Sink``."""


class Outlet:
    """Writes lines to a descriptor. What one write leaves, such as on a full disk, the next one begins with."""

    most_value_chars = 64 * 1024

    def __init__(self) -> None:
        self._descriptor: int | None = None
        self._left: bytes | memoryview = b""
        self._added: list[bytes] = []

    def add(self, lines: list[bytes]) -> None:
        """See ``Sink``."""
        self._added += lines

    def flush(self) -> None:
        """See ``Sink``."""
        if self._added:
            self._left, self._added = b"".join((self._left, *self._added)), []
        while self._left:
            written = os.write(self._opened(), self._left)
            self._wrote(written)
            self._left = memoryview(self._left)[written:]
        self._left = b""

    def _opened(self) -> int:
        assert self._descriptor is not None  # noqa: S101 - it is open
        return self._descriptor

    def _wrote(self, size: int) -> None:
        """Called with the bytes of each write."""

    def close(self) -> None:
        """See ``Sink``."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


class Standard(Outlet, Unrotated):
    """Writes lines to stdout."""

    def open(self) -> Tail | None:
        """See ``Sink``."""
        self._descriptor = os.dup(1)
        return None

    def sync(self) -> None:
        """Does nothing: who reads it keeps it."""
