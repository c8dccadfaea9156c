"""One connection over HTTP/1.1, whose requests must arrive in time."""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

# Beyond what reading the body may take, which is answered with an error of its own.
_SLACK_SECONDS = 1.0
# What is as long as this is written at once.
_LARGE_BYTES = 16 * 1024


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
        gathering: Any = GatheringTransport(transport, self.loop)
        super().connection_made(gathering)
        if self.limit_concurrency is not None and len(self.connections) > self.limit_concurrency:
            transport.abort()
            return
        self._late = self.loop.call_later(self.head_timeout, transport.abort)
        tls = transport.get_extra_info("ssl_object")
        certificate = None if tls is None else tls.getpeercert(binary_form=True)
        if certificate is not None:
            self.app = _with_certificate(self.app, certificate)

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


def _with_certificate(app: Any, certificate: bytes) -> Any:
    """Returns an application whose requests have the client's certificate, in DER."""

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        scope["certificate"] = certificate
        await app(scope, receive, send)

    return answer


class GatheringTransport:
    """A transport that sends all that is written in one turn of the loop at once: the head of a response and its body.

    Args:
        transport: Sends it; everything but writing is its own.
        loop: The event loop.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Writes a part; a large one is sent at once, so that its writer is told to wait."""
        if len(data) >= _LARGE_BYTES:
            self._flush()
            self._transport.write(data)
            return
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)

    def close(self) -> None:
        """Closes the connection when all was sent."""
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        """Closes the connection without sending what waits."""
        self._parts.clear()
        self._transport.abort()

    def is_closing(self) -> bool:
        """Returns whether it is being closed."""
        return self._transport.is_closing()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def _flush(self) -> None:
        if self._parts:
            data = b"".join(self._parts)
            self._parts.clear()
            self._transport.write(data)


def connection_class(head_timeout: float, body_timeout: float) -> type[HttpConnection]:
    """Returns the class of connections with these time-outs, in seconds."""
    bounds = {"head_timeout": head_timeout, "body_timeout": body_timeout}
    return type("HttpConnection", (HttpConnection,), bounds)
