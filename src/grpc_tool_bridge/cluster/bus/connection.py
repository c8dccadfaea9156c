"""A connection to NATS that is never given up: nats-py's, with some of its rules replaced."""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable
from typing import Any

from grpc_tool_bridge.aio.loop_internals import READY
from grpc_tool_bridge.cluster.bus.reading import NodeReader, Take
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

_log = logging.getLogger(__name__)


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
        self._direct: dict[int, Take] = {}
        self._with_headers: dict[int, Callable[[Msg], None]] = {}
        # Whether something was written in this turn of the loop; what follows is written together, with the next one.
        self._has_written = False
        # The connection, while it is read.
        self._socket: asyncio.Transport | None = None

    async def subscribe_directly(self, subject: str, take: Callable[[Msg], None]) -> Subscription:
        """Subscribes, and has each message taken as it is read: the library's queue and task cost a turn of the loop.

        Args:
            subject: A subject or filter.
            take: Takes a message; quick.
        """

        def build(subject: bytes, reply: bytes, data: bytes) -> None:
            take(self._build_message(0, subject, reply, data, None))

        subscription = await self.subscribe_to_bytes(subject, build)
        self._with_headers[subscription._id] = take  # noqa: SLF001 - by which the library names it
        return subscription

    async def subscribe_to_bytes(self, subject: str, take: Take) -> Subscription:
        """Subscribes like ``subscribe_directly``, to messages that are taken without their headers.

        Args:
            subject: A subject or filter.
            take: Takes the subject of a message, the subject for answers, and the payload; quick.
        """
        # The library keeps the subscription, and renews it with each connection.
        subscription = await self.subscribe(subject, cb=_take_none)
        self._direct[subscription._id] = take  # noqa: SLF001 - by which the library names it
        return subscription

    def _remove_sub(self, sid: int, max_msgs: int = 0) -> None:
        if not max_msgs:
            self._direct.pop(sid, None)
            self._with_headers.pop(sid, None)
        super()._remove_sub(sid, max_msgs)

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        # What the reader does not take: messages with headers, and those of other subscriptions.
        if sid not in self._direct:
            await super()._process_msg(sid, subject, reply, data, headers)
            return
        try:
            if (take := self._with_headers.get(sid)) is not None:
                take(self._build_message(sid, subject, reply, data, await self._process_headers(headers)))
            else:
                self._direct[sid](subject, reply, data)
        except Exception as error:  # noqa: BLE001 - as the library does for a callback, so that reading goes on
            await self._error_cb(error)

    async def _read_loop(self) -> None:
        writer, stream = (getattr(self._transport, name, None) for name in ("_io_writer", "_io_reader"))
        if writer is None or stream is None:
            await super()._read_loop()
            return
        reader = NodeReader(writer.transport, stream, self._direct)
        try:
            reader.attach()
            self._socket = writer.transport
            while not (self.is_closed or self.is_reconnecting):
                held = await reader.next()
                if isinstance(held, bytes):
                    await self._ps.parse(held)
                else:
                    await self._error_cb(held)
                reader.go_on()
        except EOFError:
            if not (self.is_closed or self.is_reconnecting):
                ended = errors.UnexpectedEOF()
                await self._error_cb(ended)
                await self._process_op_err(ended)
        except (OSError, errors.ProtocolError) as error:
            await self._process_op_err(error)
        except asyncio.CancelledError:
            # As in the library: whoever cancels it, waits for nothing.
            pass
        except Exception as error:  # noqa: BLE001
            _log.exception("reading from NATS failed", exc_info=error)
        finally:
            reader.detach()
            if self._socket is writer.transport:
                self._socket = None

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

    def post(self, subject: bytes, data: bytes) -> None:
        """Publishes a message without headers, at once: what ``publish`` does, without its checks.

        Args:
            subject: A valid subject.
            data: The payload, within ``max_payload``.

        Raises:
            ConnectionClosedError: There is no connection.
        """
        if self._status != Client.CONNECTED:
            raise errors.ConnectionClosedError
        command = b"PUB %b %d\r\n%b\r\n" % (subject, len(data), data)
        socket = self._socket
        if self._pending or self._has_written or socket is None or socket.get_write_buffer_size():
            self._pending.append(command)
            self._pending_data_size += len(command)
            if not self._has_written:
                self._write_rest()
            return
        socket.write(command)
        loop = asyncio.get_running_loop()
        if getattr(loop, READY, True):
            # More may follow in this turn, which is then written together.
            self._has_written = True
            loop.call_soon(self._write_rest)

    def _free_writer(self) -> Any:
        """Returns the library's writer if it would write at once; else None."""
        writer = getattr(self._transport, "_io_writer", None)
        if writer is None or writer.transport.is_closing() or writer.transport.get_write_buffer_size():
            return None
        return writer

    def _write_now(self) -> bool:
        """Writes what is pending; returns False if the library is to do that."""
        if (writer := self._free_writer()) is None:
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

    async def leave_node(self) -> None:
        """Connects to another node; does nothing if none is known, or there is no connection."""
        if self._current_server is None or len(self._server_pool) < 2 or not self.is_connected:  # noqa: PLR2004
            return
        # As if it had failed most often, so that each of the others is chosen before it.
        self._current_server.reconnects = 1 + max(server.reconnects for server in self._server_pool)
        await self.force_reconnect()

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
