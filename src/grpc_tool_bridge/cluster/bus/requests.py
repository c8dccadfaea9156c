"""Requests over NATS, which end at once when the connection is lost."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from itertools import count

from nats import errors
from nats.aio.msg import Msg

from grpc_tool_bridge.cluster.bus.connection import Connection
from grpc_tool_bridge.errors import UnavailableError

STATUS = "Status"
_NO_RESPONDERS = "503"


class NotSentError(UnavailableError):
    """The request has had no effect: it was not sent, or nobody was there to take it."""


class NoAnswerError(UnavailableError):
    """No answer came in time, or before the connection was lost; the request may have had its effect."""


class Requests:
    """Sends requests and hands each its answers, over one subscription.

    Args:
        client: The connection.
    """

    def __init__(self, client: Connection) -> None:
        self._client = client
        self._inbox = client.new_inbox()
        self._numbers = count()
        # For each request that waits, what takes an answer; None: the connection was lost.
        self._waiting: dict[str, Callable[[Msg | None], None]] = {}

    async def start(self) -> None:
        """Subscribes to the answers."""
        await self._client.subscribe_directly(f"{self._inbox}.*", self._on_answer)

    def on_disconnect(self) -> None:
        """Ends all requests."""
        waiting, self._waiting = self._waiting, {}
        for take in waiting.values():
            take(None)

    async def ask(self, subject: str, data: bytes, headers: Mapping[str, str] | None, timeout: float) -> Msg:
        """Sends a request and returns its answer.

        Args:
            subject: Where it is sent.
            data: Its payload.
            headers: Its headers.
            timeout: Seconds that the answer may take.

        Raises:
            NotSentError: It has had no effect.
            NoAnswerError: It may have had its effect.
        """
        answer: asyncio.Future[Msg | None] = asyncio.get_running_loop().create_future()
        token = str(next(self._numbers))
        self._waiting[token] = lambda message: None if answer.done() else answer.set_result(message)
        try:
            await self._send(subject, data, headers, token)
            async with asyncio.timeout(timeout):
                found = await answer
        except TimeoutError:
            raise NoAnswerError(f"NATS did not answer within {timeout:g} s") from None
        finally:
            self._waiting.pop(token, None)
        return _checked(found)

    async def ask_many(self, subject: str, data: bytes, timeout: float) -> AsyncGenerator[Msg, None]:
        """Sends a request and yields its answers; the last one has a status.

        Args:
            subject: Where it is sent.
            data: Its payload.
            timeout: Seconds that each answer may take.

        Raises:
            NotSentError, NoAnswerError: As for ``ask``.
        """
        # What may come is bounded by the request, which says how many bytes it takes.
        answers: asyncio.Queue[Msg | None] = asyncio.Queue()
        token = str(next(self._numbers))
        self._waiting[token] = answers.put_nowait
        try:
            await self._send(subject, data, None, token)
            while True:
                async with asyncio.timeout(timeout):
                    found = _checked(await answers.get())
                yield found
                if found.headers and STATUS in found.headers:
                    return
        except TimeoutError:
            raise NoAnswerError(f"NATS did not answer within {timeout:g} s") from None
        finally:
            self._waiting.pop(token, None)

    async def _send(self, subject: str, data: bytes, headers: Mapping[str, str] | None, token: str) -> None:
        sent = dict(headers) if headers else None
        # The server counts headers too, and ends the connection that sent too much.
        size = len(data) + (_header_bytes(sent) if sent else 0)
        if size > (limit := self._client.max_payload):
            raise NotSentError(f"a message of {size:,} bytes is over NATS' max_payload, {limit:,}")
        try:
            await self._client.publish(subject, data, reply=f"{self._inbox}.{token}", headers=sent)
        except errors.Error:
            raise NotSentError(
                "the hub is not connected to NATS; see whether its servers run, and the network between"
            ) from None

    def _on_answer(self, message: Msg) -> None:
        if (take := self._waiting.get(message.subject.rpartition(".")[2])) is not None:
            take(message)


def _header_bytes(headers: Mapping[str, str]) -> int:
    return len("NATS/1.0\r\n\r\n") + sum(len(name) + len(value.encode()) + 4 for name, value in headers.items())


def _checked(found: Msg | None) -> Msg:
    if found is None:
        raise NoAnswerError("the connection to NATS was lost before it answered")
    if found.headers and found.headers.get(STATUS) == _NO_RESPONDERS and not found.data:
        raise NotSentError("nobody in NATS takes this: the stream has no leader, or JetStream is not there")
    return found
