"""What a hub receives and sends over NATS for its links: one subscription, and one queue to the server.

Each life of a hub has a mailbox, whose subjects have its incarnation: ``CLUSTER.l.<incarnation>.<token>``. The token
``dial`` is for greetings; each end of a link has one of its own. All links end when the connection to NATS is lost, as
nobody knows what was lost with it; the peers are told when there is a connection again.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.cluster.links.frames import BEAT_SECONDS, OVERHEAD_BYTES, LinkLostError, NatsStream, Outlet
from grpc_tool_bridge.cluster.names import Names
from grpc_tool_bridge.errors import StoreError, ToolBridgeError
from grpc_tool_bridge.errors.throttled_log import ThrottledLog
from grpc_tool_bridge.link.socket import MAX_FRAME_BYTES
from grpc_tool_bridge.link.status import Code, link_error

DIAL = "dial"
_DIAL = DIAL.encode()

# If more waits for NATS than this, links send nothing until it has been sent.
HIGH_BYTES = 1024 * 1024
# How long NATS may take for that.
FLUSH_SECONDS = 10.0
# A server that carries less is of no use.
LEAST_PAYLOAD_BYTES = 4 * 1024
# Last messages of links that wait until NATS can be reached; a peer that gets none ends its link somewhat later.
MAX_FAREWELLS = 1_000

NOT_CONNECTED = "this hub is not connected to NATS"

_log = logging.getLogger(__name__)


class Mailbox(Outlet):
    """The messages of all links of one life of a hub.

    Args:
        nc: The connection of nats-py; whoever made it calls ``on_state``.
        names: Of the cluster.
        incarnation: Of this life.

    Attributes:
        incarnation: As given.
        counts: Messages that were not taken ("forged", "repeated", "malformed", "unknown") and links that were lost
            ("gaps", "silent", "disconnected"), by what happened.
        sent, received: Messages of links.
        on_dial: Called with each greeting and the subject for the answer.
    """

    def __init__(self, nc: Any, names: Names, incarnation: str) -> None:
        self.incarnation = incarnation
        self.is_full = False
        self.counts: Counter[str] = Counter()
        self.sent = self.received = 0
        self.on_dial: Callable[[bytes, str], None] | None = None
        self._nc = nc
        self._names = names
        self._token_at = len(names.link(incarnation, ""))
        self._streams: dict[str, NatsStream] = {}
        self._farewells: dict[str, bytes] = {}
        self._subscription: Any = None
        self._timer: asyncio.TimerHandle | None = None
        # Those that wait until NATS has taken what waits.
        self._writes = 0
        self._tasks = TaskSet()
        self._throttled = ThrottledLog(_log)

    def __len__(self) -> int:
        return len(self._streams)

    async def open(self) -> None:
        """Starts to receive.

        Raises:
            StoreError: The server carries no messages of a useful size.
            ToolBridgeError: NATS cannot be reached.
        """
        if self._nc.max_payload < LEAST_PAYLOAD_BYTES:
            raise StoreError(
                f"the NATS server carries messages of at most {self._nc.max_payload:,} bytes; set its max_payload to "
                f"{LEAST_PAYLOAD_BYTES:,} or more (1MB is its default, and best)"
            )
        try:
            self._subscription = await self._nc.subscribe_to_bytes(self.subject(self.incarnation, "*"), self._take)
            # Nobody may dial before the server knows of it.
            await self._nc.flush()
        except Exception as error:
            raise unreachable(error) from error
        self._beat_later()

    async def aclose(self) -> None:
        """Ends all links and receives nothing more."""
        if self._timer is not None:
            self._timer.cancel()
        for stream in list(self._streams.values()):
            stream.lose(LinkLostError("the hub has closed its links"))
        await self._tasks.aclose()
        subscription, self._subscription = self._subscription, None
        if subscription is not None and self._nc.is_connected:
            try:
                await subscription.unsubscribe()
                await self._nc.flush(FLUSH_SECONDS)
            except Exception as error:  # noqa: BLE001 - the server forgets it with the connection
                _log.debug("the links' subject could not be left: %s", error)

    # ------------------------------------------------------------------------------------------------- the links

    def subject(self, incarnation: str, token: str) -> str:
        """Returns the subject at which a hub receives something."""
        return self._names.link(incarnation, token)

    def is_inbox(self, subject: str) -> bool:
        """Returns whether a subject is one for answers to a hub."""
        return subject.startswith(f"{self._names.inboxes}.")

    def add(self, stream: NatsStream) -> None:
        """Passes what comes for a stream's token to it."""
        self._streams[stream.token] = stream

    def drop(self, stream: NatsStream) -> None:
        """See ``Outlet``."""
        if self._streams.get(stream.token) is stream:
            del self._streams[stream.token]

    def end_links(self, incarnation: str, why: str) -> None:
        """Ends all links with a hub.

        Args:
            incarnation: Of the other hub.
            why: The reason, for those who wait for answers.
        """
        self._lose(LinkLostError(why), lambda stream: stream.incarnation == incarnation)

    def end_older(self, accepted: NatsStream) -> None:
        """Ends the links that a hub had dialled before this one: it has given them up."""
        self._lose(
            LinkLostError("the other hub has dialled again"),
            lambda stream: (
                stream.incarnation == accepted.incarnation and not stream.speaks_first and stream is not accepted
            ),
        )

    def on_state(self, is_connected: bool) -> None:
        """Notes that the connection to NATS was lost, or is there again."""
        if not is_connected:
            self.counts["disconnected"] += len(self._streams)
            self._lose(LinkLostError("its connection to NATS was lost"), lambda _: True)
            return
        farewells, self._farewells = self._farewells, {}
        for subject, message in farewells.items():
            self.post_last(subject, message)

    def _lose(self, error: LinkLostError, concerns: Callable[[NatsStream], bool]) -> None:
        for stream in [stream for stream in self._streams.values() if concerns(stream)]:
            stream.lose(error)

    # ---------------------------------------------------------------------------------------------------- sending

    @property
    def part_bytes(self) -> int:
        """See ``Outlet``."""
        return min(MAX_FRAME_BYTES, int(self._nc.max_payload) - OVERHEAD_BYTES)

    def post(self, subject: str, message: bytes) -> None:
        """See ``Outlet``."""
        if not self._nc.is_connected:
            raise LinkLostError(NOT_CONNECTED)
        try:
            self._nc.post(subject.encode(), message)
        except Exception as error:  # noqa: BLE001 - whatever nats-py raises
            raise LinkLostError(f"{NOT_CONNECTED} ({type(error).__name__})") from None
        self.sent += 1
        if not self.is_full and self._nc.pending_data_size > HIGH_BYTES:
            self._drain(self._nc.flush(FLUSH_SECONDS))

    def post_last(self, subject: str, message: bytes) -> None:
        """See ``Outlet``."""
        try:
            self.post(subject, message)
        except LinkLostError:
            if len(self._farewells) < MAX_FAREWELLS:
                self._farewells[subject] = message

    def _drain(self, write: Awaitable[None]) -> None:
        """Lets no link send until NATS has taken what waits."""
        self._writes += 1
        self._tasks.spawn(self._drained(write), "wait for NATS")
        if not self.is_full:
            self.is_full = True
            self._tell_room()

    async def _drained(self, write: Awaitable[None]) -> None:
        try:
            await write
        except Exception as error:  # noqa: BLE001 - whatever nats-py raises
            # If it is still connected, the links end once their peers are not heard.
            _log.debug("NATS did not take what waited: %s", error)
        finally:
            self._writes -= 1
        if not self._writes:
            self.is_full = False
            self._tell_room()

    def _tell_room(self) -> None:
        for stream in list(self._streams.values()):
            stream.on_drained()

    async def request(self, subject: str, message: bytes, seconds: float) -> bytes:
        """Sends a message and returns the answer.

        Raises:
            ToolCommunicationError: There is none (UNAVAILABLE).
        """
        if not self._nc.is_connected:
            raise link_error(Code.UNAVAILABLE, NOT_CONNECTED)
        try:
            answer = await self._nc.request(subject, message, timeout=seconds)
        except Exception as error:
            _check_cancelled()
            raise unreachable(error) from error
        _check_cancelled()
        return bytes(answer.data)

    # -------------------------------------------------------------------------------------------------- receiving

    def note(self, what: str) -> None:
        """See ``Outlet``."""
        self.counts[what] += 1
        if what == "forged":
            self._throttled.warning(
                "a message for a link of this hub was not sealed by a hub of its cluster, and was dropped; somebody "
                "else publishes at %s",
                self.subject(self.incarnation, "*"),
            )

    def _take(self, subject: bytes, reply: bytes, data: bytes) -> None:
        stream = self._streams.get(subject[self._token_at :].decode("ascii", "replace"))
        if stream is not None:
            self.received += 1
            if len(data) < OVERHEAD_BYTES:
                self.note("malformed")
            else:
                stream.receive(data)
        elif subject[self._token_at :] == _DIAL and self.on_dial is not None:
            self.on_dial(data, reply.decode("utf-8", "replace"))
        else:
            # Of a link that has ended, most of the time.
            self.note("unknown")

    def _beat_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(BEAT_SECONDS, self._beat)

    def _beat(self) -> None:
        for stream in list(self._streams.values()):
            stream.beat()
        self._beat_later()


def _check_cancelled() -> None:
    """Raises the cancellation that the library's ``wait_for`` drops if the answer comes at the same moment."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def unreachable(error: Exception) -> ToolBridgeError:
    """Returns the error for a failure of nats-py."""
    why = {
        "NoRespondersError": "nobody listens there",
        "TimeoutError": "there was no answer in time",
    }.get(type(error).__name__, f"{NOT_CONNECTED} ({type(error).__name__})")
    return link_error(Code.UNAVAILABLE, why)
