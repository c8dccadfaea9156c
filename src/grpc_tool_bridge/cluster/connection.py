"""A connection to NATS that is never given up: nats-py's, with some of its rules replaced."""

import asyncio
import contextlib
import random
from typing import Any

from grpc_tool_bridge.optional import missing

try:
    from nats import errors
    from nats.aio.client import Client, Server, Srv
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


def next_server(servers: list[Server], _: dict[str, Any]) -> tuple[Server, float]:
    """Chooses the node to dial next and the seconds to wait before: any other at once, then with growing waits."""
    chosen = min(servers, key=lambda server: (server.reconnects, random.random()))  # noqa: S311 - no secret
    if not chosen.reconnects:
        return chosen, 0.0
    wait = FIRST_WAIT_SECONDS * 2 ** min(chosen.reconnects - 1, _MAX_DOUBLINGS)
    return chosen, min(wait, LAST_WAIT_SECONDS) * random.uniform(0.5, 1.0)  # noqa: S311 - jitter is no secret
