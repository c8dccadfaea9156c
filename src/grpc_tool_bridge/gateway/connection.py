"""One connection over HTTP/1.1, whose requests must arrive in time."""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

# Beyond what reading the body may take, which is answered with an error of its own.
_SLACK_SECONDS = 1.0


class HttpConnection(H11Protocol):
    """A connection that is closed where a peer connects and sends nothing, or sends a request too slowly.

    Attributes:
        head_timeout: Seconds for the head of a request, from the first byte or the connection on.
        body_timeout: Seconds for its body.
    """

    head_timeout = 10.0
    body_timeout = 30.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._late: asyncio.TimerHandle | None = None
        self._awaits_body = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Waits for the first request, unless there are too many connections."""
        super().connection_made(transport)
        if self.limit_concurrency is not None and len(self.connections) > self.limit_concurrency:
            transport.abort()
            return
        self._late = self.loop.call_later(self.head_timeout, transport.abort)

    def data_received(self, data: bytes) -> None:
        """Reads what came, and looks at what is still to come."""
        super().data_received(data)
        state = self.conn.their_state
        if state is h11.IDLE and self._late is None:
            self._late = self.loop.call_later(self.head_timeout, self.transport.abort)
        elif state is h11.SEND_BODY and not self._awaits_body:
            self._stop()
            self._awaits_body = True
            self._late = self.loop.call_later(self.body_timeout + _SLACK_SECONDS, self.transport.abort)
        elif state not in (h11.IDLE, h11.SEND_BODY):
            self._stop()

    def connection_lost(self, exc: Exception | None) -> None:
        """Waits for nothing more."""
        self._stop()
        super().connection_lost(exc)

    def _stop(self) -> None:
        self._awaits_body = False
        if self._late is not None:
            self._late.cancel()
            self._late = None


def connection_class(head_timeout: float, body_timeout: float) -> type[HttpConnection]:
    """Returns the class of connections with these time-outs, in seconds."""
    bounds = {"head_timeout": head_timeout, "body_timeout": body_timeout}
    return type("HttpConnection", (HttpConnection,), bounds)
