"""A server of the test kit, which runs for as long as a ``with`` or an ``async with`` lasts."""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

import anyio.to_thread


class Running(ABC):
    """What is started when a ``with`` block begins, and stopped when it ends."""

    @abstractmethod
    def start(self) -> None:
        """Starts it."""

    @abstractmethod
    def stop(self) -> None:
        """Stops it; does nothing if it is not running."""

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
    """Returns where it listens.

    Raises:
        RuntimeError: It is not running.
    """
    if address is None:
        raise RuntimeError(f"the {what} is not running, so it has no address; enter it with 'with' first")
    return address
