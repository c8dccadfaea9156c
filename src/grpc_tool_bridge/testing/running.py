"""Base of the test kit's servers, which run inside ``with`` or ``async with``."""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

import anyio.to_thread


class Running(ABC):
    """A server that starts when a ``with`` block begins, and stops when it ends."""

    @abstractmethod
    def start(self) -> None:
        """Starts the server."""

    @abstractmethod
    def stop(self) -> None:
        """Stops the server; does nothing if it is not running."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await anyio.to_thread.run_sync(self.stop)


def running_address(address: str | None, what: str) -> str:
    """Returns the address that a server listens at.

    Raises:
        RuntimeError: The server is not running.
    """
    if address is None:
        raise RuntimeError(f"the {what} is not running, so it has no address; enter it with 'with' first")
    return address
