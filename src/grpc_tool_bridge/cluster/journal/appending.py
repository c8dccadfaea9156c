"""Appends messages to chains, and waits while NATS cannot take them."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping

from grpc_tool_bridge.aio.notifier import Notifier
from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.cluster.bus.bus import FORMER_LEADER, Bus, new_message_id
from grpc_tool_bridge.cluster.bus.message import Message
from grpc_tool_bridge.cluster.errors import MaybeStoredError, NotStoredError, WrongSequenceError
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.commit_metrics import CommitMetrics
from grpc_tool_bridge.errors import StoreError, ToolBridgeError
from grpc_tool_bridge.errors.throttled_log import ThrottledLog

# A change waits so long for NATS before it fails: a stream whose leader has ended has another within some 8 s.
WRITE_TIMEOUT_SECONDS = 20.0
# One try; what it has become is then found out by the next one.
TRY_SECONDS = 1.5
# Between two tries, at first and at most.
PAUSE_SECONDS = 0.05
MAX_PAUSE_SECONDS = 0.5
# Messages of all sessions that are on their way at once: many sessions that begin together must not keep the renewals
# of the lease from coming through, nor wait for one another until each tries again.
MAX_ON_THEIR_WAY = 256

UNREACHED = "NATS was not reached in time; see whether its servers run"

_log = logging.getLogger(__name__)


class NotAppendedError(Exception):
    """A message was not stored in time.

    Args:
        why: What went wrong.
        message_id: Its id, if it may have been stored all the same, or may be yet; else empty.
    """

    def __init__(self, why: str, message_id: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.message_id = message_id

    def error(self) -> ToolBridgeError:
        """Returns the error for one caller whose change was in the message."""
        if self.message_id:
            text = f"it is not known whether the change is stored: {self.why}"
            return StoreError(text, details={"outcome": "unknown"})
        return StoreError(f"nothing was changed: {self.why}")


class BehindError(Exception):
    """A message was not stored, since its chain ends otherwise than its writer believed.

    Args:
        is_unsure: Whether an earlier try of it may have been stored all the same.
    """

    def __init__(self, is_unsure: bool) -> None:
        super().__init__(is_unsure)
        self.is_unsure = is_unsure

    def __str__(self) -> str:
        return "the chain ends otherwise"


class Appender:
    """Appends for one life of a hub.

    A message is stored only where it follows the one that its chain is believed to end with, so one that is tried again
    is stored once, and none is once another hub has taken the session.

    Args:
        bus: The connection.
        owner: The life of the hub.
        is_certain: Whether the hub is certain to have its lease.
        settings: Those of the hub.
        metrics: Counts what is stored.

    Attributes:
        bus, owner, is_certain, settings, metrics: As given.
        tasks: What goes on beside.
        failure: Why the last change could not be stored; empty once one could.
        lost: Why nothing more may be stored by this life; empty while it may.
        changed: Notified when it has become certain, or was lost.
    """

    def __init__(
        self, bus: Bus, owner: str, is_certain: Callable[[], bool], settings: Settings, metrics: CommitMetrics
    ) -> None:
        self.bus = bus
        self.owner = owner
        self.settings = settings
        self.metrics = metrics
        self.tasks = TaskSet()
        self.failure = ""
        self.lost = ""
        self.changed = Notifier()
        self._places = asyncio.Semaphore(MAX_ON_THEIR_WAY)
        self.is_certain = is_certain
        self._throttled = ThrottledLog(_log)

    async def append(
        self, subject: str, data: bytes, *, last: int, until: float, headers: Mapping[str, str] | None = None
    ) -> int:
        """Appends a message.

        Args:
            subject: The chain.
            data: The message.
            last: Sequence of the message that it follows; 0: there is none.
            until: Time of the monotonic clock until which it is tried.
            headers: Of the message.

        Returns:
            Its sequence.

        Raises:
            BehindError: The chain ends otherwise.
            NotAppendedError: It could not be stored in time.
        """
        message_id = new_message_id()
        is_unsure = False
        why = UNREACHED
        began = time.perf_counter()
        pause = PAUSE_SECONDS
        while await self._may_try(until):
            try:
                async with self._places:
                    limit = min(TRY_SECONDS, max(PAUSE_SECONDS, until - time.monotonic()))
                    sequence: int | None = await self.bus.append(
                        subject, data, last=last, headers=headers, timeout=limit, message_id=message_id
                    )
            except WrongSequenceError as error:
                if error.is_outdated(last):
                    is_unsure, why, sequence = True, FORMER_LEADER, None
                elif is_unsure:
                    sequence = await self.found(subject, last, message_id, until)
                else:
                    raise BehindError(False) from None
            except NotStoredError as error:
                why, sequence = str(error), None
            except MaybeStoredError as error:
                is_unsure, why, sequence = True, str(error), None
            if sequence is not None:
                self._appended(time.perf_counter() - began)
                return sequence
            await asyncio.sleep(pause)
            pause = min(2 * pause, MAX_PAUSE_SECONDS)
        raise self.failed(self.lost or why, message_id if is_unsure else "")

    async def found(self, subject: str, last: int, message_id: str, until: float) -> int | None:
        """Finds out whether a message that may have been stored is.

        Args:
            subject: The chain.
            last: Sequence of the message that it was to follow.
            message_id: Its id.
            until: As for ``append``.

        Returns:
            Its sequence; None: nothing has been stored in its place yet.

        Raises:
            BehindError: Another one is there.
            NotAppendedError: It could not be found out in time.
        """
        why = UNREACHED
        while await self._may_try(until):
            try:
                return await self.bus.settle(subject, last, message_id)
            except WrongSequenceError:
                raise BehindError(False) from None
            except MaybeStoredError:
                # The chain has been written anew since, which only another hub can have done.
                raise BehindError(True) from None
            except StoreError as error:
                why = error.message
            await asyncio.sleep(PAUSE_SECONDS)
        raise self.failed(self.lost or why, message_id)

    async def last(self, subject: str, until: float) -> Message | None:
        """Returns the last message of a chain; None: there is none.

        Raises:
            NotAppendedError: It could not be read in time.
        """
        why = UNREACHED
        while await self._may_try(until):
            try:
                return await self.bus.last(subject)
            except StoreError as error:
                why = error.message
            await asyncio.sleep(PAUSE_SECONDS)
        raise self.failed(self.lost or why)

    def lose(self, why: str) -> None:
        """Stores nothing more."""
        self.lost = why
        self.changed.notify_all()

    async def _may_try(self, until: float) -> bool:
        """Waits until the hub is certain of its lease; returns False if that takes too long."""
        if not self.lost and self.is_certain():
            return time.monotonic() < until
        try:
            async with asyncio.timeout(until - time.monotonic()):
                while not self.lost and not self.is_certain():
                    await self.changed.wait()
        except TimeoutError:
            return False
        return not self.lost and time.monotonic() < until

    def _appended(self, seconds: float) -> None:
        self.metrics.note(0, seconds)
        self.failure = ""

    def failed(self, why: str, message_id: str = "") -> NotAppendedError:
        """Notes a failure, and returns the error for it; arguments as for ``NotAppendedError``."""
        self.metrics.failures += 1
        self.failure = why
        self._throttled.warning("a change of a session could not be stored in NATS: %s", why)
        return NotAppendedError(why, message_id)
