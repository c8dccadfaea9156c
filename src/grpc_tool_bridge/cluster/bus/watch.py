"""Messages of the stream as they are stored, by a consumer that its user checks and makes anew."""

import asyncio
import contextlib
import secrets
from collections.abc import Callable

from nats import errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from grpc_tool_bridge.cluster.bus.bus import Bus
from grpc_tool_bridge.cluster.bus.message import Message, from_watch
from grpc_tool_bridge.errors import StoreError

# Seconds after which the server forgets a consumer that nobody listens to.
_IDLE_SECONDS = 10
_NANOSECONDS = 1_000_000_000
_PENDING_MESSAGES = 65_536
_PENDING_BYTES = 64 * 1024 * 1024


class Watch:
    """Hands on the last message of each subject, then each that is stored, in order.

    A consumer is in the memory of one node of NATS. When that is killed, it is silent and nothing tells so; whoever
    uses a watch has to know something that should come, and to open another watch when it does not.

    Args:
        bus: The connection.
        subject_filter: Which subjects.
        take: Called with each message.
    """

    def __init__(self, bus: Bus, subject_filter: str, take: Callable[[Message], None]) -> None:
        self._bus, self._filter, self._take = bus, subject_filter, take
        self._name = secrets.token_hex(8)
        self._subscription: Subscription | None = None
        self._next = 1
        self.is_broken = False

    async def open(self) -> None:
        """Begins.

        Raises:
            StoreError: The consumer cannot be made.
        """
        inbox = self._bus.nc.new_inbox()
        try:
            self._subscription = await self._bus.nc.subscribe(
                inbox, cb=self._on_message, pending_msgs_limit=_PENDING_MESSAGES, pending_bytes_limit=_PENDING_BYTES
            )
        except errors.Error as error:
            raise StoreError(f"cannot watch NATS: {error}") from None
        stream = self._bus.names.stream
        config = {
            "name": self._name,
            "deliver_subject": inbox,
            "deliver_policy": "last_per_subject",
            "ack_policy": "none",
            "replay_policy": "instant",
            "filter_subject": self._filter,
            "mem_storage": True,
            "num_replicas": 1,
            "inactive_threshold": _IDLE_SECONDS * _NANOSECONDS,
        }
        try:
            await self._bus.api(f"CONSUMER.CREATE.{stream}.{self._name}", {"stream_name": stream, "config": config})
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """Ends; the server forgets the consumer soon by itself, should it not hear of it."""
        self.is_broken = True
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            # Nothing is said to a server that is not there.
            with contextlib.suppress(errors.Error, asyncio.TimeoutError):
                await subscription.unsubscribe()

    async def _on_message(self, message: Msg) -> None:
        if self.is_broken:
            return
        if message.metadata.sequence.consumer != self._next:
            # One was lost on the way; the next watch begins with the last of each subject.
            self.is_broken = True
            return
        self._next += 1
        self._take(from_watch(message))
