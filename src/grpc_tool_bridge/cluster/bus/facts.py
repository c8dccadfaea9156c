"""Facts that all hubs of a cluster share: small messages, each the only one of its subject."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable

from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.cluster.bus.bus import Bus
from grpc_tool_bridge.cluster.bus.message import ROLLUP
from grpc_tool_bridge.core.writes import Write
from grpc_tool_bridge.errors import StoreError
from grpc_tool_bridge.errors.throttled_log import ThrottledLog

EPOCH, REVISION = "epoch", "revision"

# How long NATS may take to have a leader when a hub begins.
FACT_SECONDS = 20.0
# How long a hub that ends waits until its reservation is stored.
CLOSE_SECONDS = 5.0
_PAUSE_SECONDS = 0.1

# What a fact may be: whoever may write to the stream may write anything.
_MAX_CHARS = 100
_MAX_REVISION = 2**62

_log = logging.getLogger(__name__)


async def make_once(bus: Bus, name: str, make: Callable[[], str]) -> str:
    """Returns a fact, which the first hub that asks for it makes.

    Raises:
        StoreError: NATS does not answer.
    """
    subject = bus.names.fact(name)
    until = time.monotonic() + FACT_SECONDS
    while True:
        try:
            message = await bus.last(subject)
            if message is None:
                await bus.append(subject, make().encode(), last=0)
        except StoreError:
            if time.monotonic() >= until:
                raise
            await asyncio.sleep(_PAUSE_SECONDS)
        else:
            if message is not None:
                return _fact(name, message.data)


class SharedRevisions:
    """The highest revision that any hub has reserved.

    Args:
        bus: The connection.
        tasks: What stores it.

    Attributes:
        reserved: As last read.
    """

    def __init__(self, bus: Bus, tasks: TaskSet) -> None:
        self._bus = bus
        self._subject = bus.names.fact(REVISION)
        self._tasks = tasks
        self._throttled = ThrottledLog(_log)
        self._wanted = 0
        self._write: Write | None = None
        # Its message, and that of this hub.
        self._sequence = 0
        self._mine = -1
        self.reserved = 0

    async def read(self) -> int:
        """Returns the highest revision that was reserved.

        Raises:
            StoreError: NATS does not answer.
        """
        message = await self._bus.last(self._subject)
        self._sequence = message.sequence if message is not None else 0
        self.reserved = _revision(message.data) if message is not None else 0
        return self.reserved

    async def inherit(self) -> int:
        """Returns the same for a hub that stands alone: what was reserved is its own, and it may give that back."""
        await self.read()
        self._mine = self._sequence
        return self.reserved

    def reserve(self, up_to: int) -> Write:
        """Has no hub begin with a revision up to one; a lower one than before gives back what this hub has reserved."""
        self._wanted = up_to
        if self._write is None:
            self._write = Write()
            self._tasks.spawn(self._store(), "reservation of revisions")
        return self._write

    async def idle(self) -> None:
        """Waits until what was reserved is stored, for a while."""
        if self._write is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self._write

    async def _store(self) -> None:
        stored = None
        while stored != self._wanted:
            wanted = self._wanted
            try:
                await self._try(wanted)
            except StoreError as error:
                # It must not be lost: a later life would give revisions again.
                self._throttled.warning("the revisions of this hub cannot be reserved yet: %s", error)
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            stored = wanted
        write, self._write = self._write, None
        assert write is not None  # noqa: S101 - it is what this task is for
        write.settle(None)

    async def _try(self, wanted: int) -> None:
        known = await self.read()
        if wanted == known or (wanted < known and self._sequence != self._mine):
            return
        self._mine = await self._bus.append(self._subject, str(wanted).encode(), last=self._sequence, headers=ROLLUP)
        self.reserved = wanted


def _fact(name: str, data: bytes) -> str:
    """Reads a fact.

    Raises:
        StoreError: It is none.
    """
    text = data[: _MAX_CHARS + 1].decode("utf-8", "replace")
    if not text or len(text) > _MAX_CHARS or not (text.isascii() and text.isprintable()):
        raise _damaged(name)
    return text


def _revision(data: bytes) -> int:
    text = _fact(REVISION, data)
    if not text.isdecimal() or int(text) > _MAX_REVISION:
        raise _damaged(REVISION)
    return int(text)


def _damaged(name: str) -> StoreError:
    return StoreError(
        f"the fact {name!r} of the cluster in NATS is damaged: no hub has written it; stop all hubs, bring back a "
        "backup of the stream, and keep others from writing to the subjects of the cluster",
        retryable=False,
    )
