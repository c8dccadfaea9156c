"""A connection to NATS that is never given up: nats-py's, with some of its rules replaced."""

import asyncio
import contextlib
import random
from collections.abc import Callable
from typing import Any

from grpc_tool_bridge.optional import missing

try:
    from nats import errors
    from nats.aio.client import Client, Server, Srv
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription
except ImportError as error:
    raise missing(error, "nats", extra="cluster") from None

# Waits before a node is dialled again that did not take the connection, doubled up to the last.
FIRST_WAIT_SECONDS = 0.1
LAST_WAIT_SECONDS = 2.0
_MAX_DOUBLINGS = 6


class NoTlsError(errors.Error):
    """The node does not offer TLS, which the address demands."""

    def __str__(self) -> str:
        return "the node does not offer TLS, and credentials are sent to none without it"


class Connection(Client):
    """A client of NATS that connects again whatever the server said, and sends nothing late.

    Args:
        needs_tls: Whether a server without TLS is refused, before anything is sent to it.
    """

    def __init__(self, *, needs_tls: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call, unused-ignore]
        self._needs_tls = needs_tls
        # By the number of a subscription.
        self._direct: dict[int, Callable[[Msg], None]] = {}
        # Whether something was written in this turn of the loop; what follows is written together, with the next one.
        self._has_written = False

    async def subscribe_directly(self, subject: str, take: Callable[[Msg], None]) -> Subscription:
        """Subscribes, and has each message taken as it is read: the library's queue and task cost a turn of the loop.

        Args:
            subject: A subject or filter.
            take: Takes a message; quick.
        """
        # The library keeps the subscription, and renews it with each connection.
        subscription = await self.subscribe(subject, cb=_take_none)
        self._direct[subscription._id] = take  # noqa: SLF001 - by which the library names it
        return subscription

    def _remove_sub(self, sid: int, max_msgs: int = 0) -> None:
        if not max_msgs:
            self._direct.pop(sid, None)
        super()._remove_sub(sid, max_msgs)

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        take = self._direct.get(sid)
        if take is None or sid not in self._subs:
            await super()._process_msg(sid, subject, reply, data, headers)
            return
        self.stats["in_msgs"] += 1
        self.stats["in_bytes"] += len(data)
        try:
            take(self._build_message(sid, subject, reply, data, await self._process_headers(headers)))
        except Exception as error:  # noqa: BLE001 - as the library does for a callback, so that reading goes on
            await self._error_cb(error)

    async def _flush_pending(self, force_flush: bool = False) -> Any:
        # The library has a task write, in the next turn of the loop. It still does if the socket is full, since it
        # waits for it.
        if force_flush or not self.is_connected:
            return await super()._flush_pending(force_flush)
        if not self._has_written and self._write_now():
            self._has_written = True
            asyncio.get_running_loop().call_soon(self._write_rest)
        elif not self._has_written:
            return await super()._flush_pending()
        return None

    def _write_now(self) -> bool:
        """Writes what is pending; returns False if the library is to do that."""
        writer = getattr(self._transport, "_io_writer", None)
        if writer is None or writer.transport.is_closing() or writer.transport.get_write_buffer_size():
            return False
        pending, self._pending, self._pending_data_size = self._pending, [], 0
        writer.writelines(pending)
        return True

    def _write_rest(self) -> None:
        self._has_written = False
        if self._pending and self.is_connected and not self._write_now() and self._flush_queue is not None:
            # A full queue is being worked on.
            with contextlib.suppress(asyncio.QueueFull):
                self._flush_queue.put_nowait(asyncio.get_running_loop().create_future())

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        # The library takes tls:// for granted where the server offers none, and would send the password in the clear.
        if initial_connection and self._needs_tls and not info.get("tls_required"):
            raise NoTlsError
        await super()._process_info(info, initial_connection)

    async def _process_err(self, err_msg: str) -> None:
        # The library closes for good what a server has refused once, as when an account is changed under it.
        text = err_msg.strip("'")
        if "permissions violation" in text.lower():
            await self._error_cb(errors.Error(f"nats: {text}"))
        else:
            await self._process_op_err(errors.Error(f"nats: {text}"))

    async def _attempt_reconnect(self) -> None:
        # Else the library waits until the lost server has taken what is left to send, which may be never.
        self._abort()
        await super()._attempt_reconnect()

    async def _connect_to_server(self, s: Srv) -> None:
        # The library forgets a connection that was made and then refused, and its socket stays open.
        self._abort()
        await super()._connect_to_server(s)

    async def end(self, seconds: float) -> None:
        """Closes the connection for good.

        Args:
            seconds: How long the server may take to read what was sent last.
        """
        if self._flush_queue is None:
            # It was refused before anything was dialled, and the library closes only what was.
            return
        closing = asyncio.ensure_future(self.close())
        await asyncio.wait({closing}, timeout=seconds)
        if not closing.done():
            self._abort()
        with contextlib.suppress(OSError, errors.Error):
            await closing

    def _abort(self) -> None:
        if (writer := getattr(self._transport, "_io_writer", None)) is not None:
            writer.transport.abort()

    def drop_unsent(self) -> None:
        """Forgets what was to be sent on the connection that was lost: its senders have been told that it is over."""
        self._pending.clear()
        self._pending_data_size = 0


async def _take_none(_: Msg) -> None:
    """Takes no message: they are taken directly."""


def next_server(servers: list[Server], _: dict[str, Any]) -> tuple[Server, float]:
    """Chooses the node to dial next and the seconds to wait before: any other at once, then with growing waits."""
    chosen = min(servers, key=lambda server: (server.reconnects, random.random()))  # noqa: S311 - no secret
    if not chosen.reconnects:
        return chosen, 0.0
    wait = FIRST_WAIT_SECONDS * 2 ** min(chosen.reconnects - 1, _MAX_DOUBLINGS)
    return chosen, min(wait, LAST_WAIT_SECONDS) * random.uniform(0.5, 1.0)  # noqa: S311 - jitter is no secret
