"""The hub's connection to NATS, and what is stored and read over it."""

import asyncio
import json
import logging
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from nats.js import JetStreamContext

from grpc_tool_bridge.cluster.bus import stream
from grpc_tool_bridge.cluster.bus.connection import Connection
from grpc_tool_bridge.cluster.bus.message import EXPECTED_LAST, MESSAGE_ID, Message, encoded, from_api, from_direct
from grpc_tool_bridge.cluster.bus.opening import connect
from grpc_tool_bridge.cluster.bus.requests import STATUS, NoAnswerError, NotSentError, Requests
from grpc_tool_bridge.cluster.errors import (
    GapError,
    MaybeStoredError,
    NotStoredError,
    StreamFullError,
    WrongSequenceError,
)
from grpc_tool_bridge.cluster.names import Names
from grpc_tool_bridge.cluster.urls import NatsAddress
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.errors import StoreError
from grpc_tool_bridge.errors.throttled_log import ThrottledLog

# Seconds that one request may take. A node that is alive answers in milliseconds; a new leader takes seconds to be
# elected, and who waits for it asks again.
ASK_SECONDS = 2.0
# How long ``append_surely`` goes on by default: a leader that was killed is replaced in four to eight seconds.
PATIENCE_SECONDS = 30.0
# For what was sent last, when the connection is closed.
_CLOSE_SECONDS = 1.0
# Between two attempts.
_RETRY_SECONDS = 0.05
# Of one read of a chain, and how many chains are read at a time.
_BATCH_MESSAGES = 256
_BATCH_BYTES = 4 * 1024 * 1024
_READS = 16
# What one answer about subjects may be about.
_MAX_SUBJECTS = 100_000

FORMER_LEADER = "a node of NATS answered that no longer leads the stream; see whether its nodes reach one another"

# Error codes of JetStream.
NOT_FOUND = 10037
_WRONG_LAST = 10071
# The leader is just storing another message of the subject.
_WRONG_LAST_IN_PROCESS = 10164
_STORE_FAILED = 10077

_log = logging.getLogger(__name__)


class Bus:
    """One connection to NATS, which comes back by itself, and the stream of a cluster.

    Nothing is buffered while it is down: what is sent then is refused at once, and what waits for an answer ends.

    Args:
        address: Where NATS is.
        settings: Of the hub.

    Attributes:
        address, settings: As given.
        names: Of what the cluster has in NATS.
        reconnects: How often it was connected again.
    """

    def __init__(self, address: NatsAddress, settings: Settings) -> None:
        self.address, self.settings = address, settings
        self.names = Names(address.cluster)
        self._connection = Connection(needs_tls=address.tls)
        self._requests: Requests | None = None
        self._log = ThrottledLog(_log)
        self._listeners: list[Callable[[bool], None]] = []
        self._reads = asyncio.Semaphore(_READS)
        self._is_closing = False
        self._refused = ""
        # What was acknowledged last.
        self._acknowledged = 0
        self.reconnects = 0
        self._is_unreached = False

    @property
    def nc(self) -> Connection:
        """The connection, for subscriptions and plain messages."""
        return self._connection

    @property
    def js(self) -> JetStreamContext:
        """JetStream, as nats-py has it, for consumers."""
        return self._connection.jetstream(timeout=ASK_SECONDS)

    @property
    def max_payload(self) -> int:
        """Bytes that a message may have with its headers, as the server says."""
        return self._connection.max_payload

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection; a node that has stopped is noticed after seconds."""
        return self._connection.is_connected

    @property
    def refused(self) -> str:
        """What the server last said that the hub's credentials do not permit; empty: nothing."""
        return self._refused

    def on_state(self, listener: Callable[[bool], None]) -> None:
        """Has ``listener`` called when the connection is lost (False) and when it is back (True)."""
        self._listeners.append(listener)

    async def open(self) -> None:
        """Connects, checks the server, and makes or updates the cluster's stream.

        Raises:
            StoreError: NATS is not reached, refuses the credentials, or is not what a cluster needs.
            ValidationError: The address is not allowed, or a file that the settings name cannot be used.
        """
        await connect(
            self._connection,
            self.address,
            self.settings,
            on_error=self._on_error,
            on_lost=self._on_lost,
            on_back=self._on_back,
        )
        try:
            requests = Requests(self._connection)
            await requests.start()
            self._requests = requests
            await stream.ensure(self, self.names, self.settings.nats_replicas)
        except BaseException:
            await self.aclose()
            raise

    async def leave_node(self) -> None:
        """Connects to another node of NATS, if one is known; to be called where the present one answers to no avail."""
        await self._connection.leave_node()

    async def aclose(self) -> None:
        """Closes the connection; what waits for an answer ends."""
        self._is_closing = True
        await self._connection.end(_CLOSE_SECONDS)
        if self._requests is not None:
            self._requests.on_disconnect()

    async def append(
        self,
        subject: str,
        data: bytes,
        *,
        last: int,
        headers: Mapping[str, str] | None = None,
        timeout: float = ASK_SECONDS,
        message_id: str | None = None,
    ) -> int:
        """Stores a message if the last one of its subject is the expected one; one attempt.

        Args:
            subject: The subject.
            data: The payload.
            last: The sequence of the subject's last message; 0: it has none.
            headers: More headers, such as ``message.ROLLUP``.
            timeout: Seconds until the acknowledgement is given up.
            message_id: An id by which ``settle`` recognises it; the same one if it is sent again.

        Returns:
            Its sequence; a quorum has stored it.

        Raises:
            WrongSequenceError: Another message came first.
            NotStoredError: The attempt surely had no effect; ``StreamFullError``: for want of room.
            MaybeStoredError: It may be stored, now or later.
        """
        sent_id = message_id or new_message_id()
        sent = {**(headers or {}), EXPECTED_LAST: str(last), MESSAGE_ID: sent_id}
        try:
            answer = await self._ask_nats().ask(subject, data, sent, timeout)
        except NotSentError as error:
            raise NotStoredError(f"not stored: {error}") from None
        except NoAnswerError as error:
            raise MaybeStoredError(f"perhaps not stored: {error}", sent_id) from None
        self._acknowledged = sequence = _acknowledged(subject, answer.data, sent_id)
        return sequence

    async def settle(self, subject: str, last: int, message_id: str) -> int | None:
        """Finds out what became of a message whose acknowledgement did not come.

        Args:
            subject: Where it was sent.
            last: The sequence that it expected.
            message_id: Its id.

        Returns:
            Its sequence if it is stored; None if nothing follows ``last`` yet: it may still come, or be sent again.

        Raises:
            WrongSequenceError: Another message took its place, so it never will be stored.
            MaybeStoredError: What followed ``last`` has been purged, so nobody can tell.
            StoreError: NATS did not answer.
        """
        found = await self._get({"seq": last + 1, "next_by_subj": subject})
        if found is None:
            return None
        if found.message_id == message_id:
            return found.sequence
        if found.previous != last:
            raise MaybeStoredError(f"what followed message {last} on {subject} has been purged", message_id)
        raise WrongSequenceError(subject, found.sequence)

    async def append_surely(
        self,
        subject: str,
        data: bytes,
        *,
        last: int,
        headers: Mapping[str, str] | None = None,
        patience: float = PATIENCE_SECONDS,
    ) -> int:
        """Stores a message like ``append``, and goes on until it is certain whether it is stored.

        Args:
            subject: The subject.
            data: The payload.
            last: The sequence of the subject's last message; 0: it has none.
            headers: More headers.
            patience: Seconds after which it gives up.

        Returns:
            Its sequence.

        Raises:
            WrongSequenceError: Another message came first.
            NotStoredError: It surely is not stored; the patience is over.
            MaybeStoredError: It may be stored; the patience is over.
        """
        message_id = new_message_id()
        end = time.monotonic() + patience
        is_open = False
        while True:
            try:
                timeout = min(ASK_SECONDS, max(end - time.monotonic(), _RETRY_SECONDS))
                return await self.append(
                    subject, data, last=last, headers=headers, timeout=timeout, message_id=message_id
                )
            except WrongSequenceError as error:
                # It may be this message itself that came first.
                if not is_open and not error.is_outdated(last):
                    raise
                is_open = True
                if (found := await self._settled(subject, last, message_id)) is not None:
                    return found
                failure: StoreError = MaybeStoredError("perhaps not stored", message_id)
            except MaybeStoredError as error:
                is_open, failure = True, error
            except StreamFullError as error:
                if not is_open:
                    raise
                failure = error
            except NotStoredError as error:
                failure = MaybeStoredError(str(error), message_id) if is_open else error
            if time.monotonic() >= end:
                raise failure
            await asyncio.sleep(_RETRY_SECONDS)

    async def _settled(self, subject: str, last: int, message_id: str) -> int | None:
        try:
            return await self.settle(subject, last, message_id)
        except (WrongSequenceError, MaybeStoredError):
            raise
        except StoreError:
            return None

    async def last(self, subject: str, *, direct: bool = False) -> Message | None:
        """Returns the last message of a subject; None if it has none.

        Args:
            subject: The subject.
            direct: Whether any replica may answer, which is faster, but may not know the newest yet.

        Raises:
            StoreError: NATS did not answer, or a node did that does not know what is stored.
        """
        if not direct:
            found = await self._get({"last_by_subj": subject})
            if found is None:
                await self._check_answers()
            return found
        answer = await self._asked(f"$JS.API.DIRECT.GET.{self.names.stream}.{subject}", b"")
        return None if answer.headers and answer.headers.get(STATUS) == "404" else from_direct(answer)

    async def _check_answers(self) -> None:
        """Checks that it can be believed that something is not there.

        A node that was cut off from the others goes on for seconds as if it led the stream. Until another leads it, at
        least as long has passed since the last message that was acknowledged, such as a renewal of the hub's lease.
        """
        acknowledged = self._acknowledged
        if acknowledged:
            found = await self.api(f"STREAM.INFO.{self.names.stream}", {})
            if int(found["state"]["last_seq"]) < acknowledged:
                raise StoreError(FORMER_LEADER)

    async def last_of(self, subjects: Sequence[str]) -> list[Message]:
        """Returns the last message of each subject that fits, at most 1,024 of them, as one replica knows them.

        Args:
            subjects: Subjects or filters.

        Raises:
            StoreError: NATS did not answer.
        """
        request = {"multi_last": list(subjects), "batch": 1024, "max_bytes": _BATCH_BYTES}
        return [message async for message in self._direct(request)]

    async def read(self, subject: str, after: int = 0) -> AsyncGenerator[Message, None]:
        """Yields the messages of a subject in order, up to the one that was its last when this began.

        Args:
            subject: The subject; no filter.
            after: The sequence of the message to begin after; 0: with the first that is there.

        Raises:
            GapError: A message is missing: it was purged, now or since ``after``.
            StoreError: NATS did not answer.
        """
        newest = await self.last(subject)
        end = 0 if newest is None else newest.sequence
        at = after
        while at < end:
            reached = at
            async with aclosing(self._chunk(subject, at)) as chunk:
                async for message in chunk:
                    if at and message.previous not in {None, at}:
                        raise GapError(f"messages after {at} on {subject} have been purged")
                    yield message
                    at = message.sequence
                    if at >= end:
                        return
            if at == reached:
                # That replica does not know the newest yet; the leader does.
                message_or_none = await self._get({"seq": at + 1, "next_by_subj": subject})
                if message_or_none is None or (at and message_or_none.previous not in {None, at}):
                    raise GapError(f"messages after {at} on {subject} have been purged")
                yield message_or_none
                at = message_or_none.sequence

    async def purge(self, subject: str, up_to: int) -> int:
        """Deletes the messages of a subject whose sequence is below ``up_to``; returns how many there were.

        Raises:
            StoreError: NATS did not answer.
        """
        found = await self.api(f"STREAM.PURGE.{self.names.stream}", {"filter": subject, "seq": up_to})
        return int(found["purged"])

    async def subjects(self, subject_filter: str) -> AsyncGenerator[tuple[str, int], None]:
        """Yields each subject that fits and has messages, and how many.

        Raises:
            StoreError: NATS did not answer.
        """
        offset = 0
        while True:
            request = {"subjects_filter": subject_filter, "offset": offset}
            found = await self.api(f"STREAM.INFO.{self.names.stream}", request)
            page: dict[str, int] = found["state"].get("subjects") or {}
            for item in page.items():
                yield item
            offset += len(page)
            if not page or offset >= found.get("total", 0):
                return

    async def api(self, name: str, request: Mapping[str, Any], *, timeout: float = ASK_SECONDS) -> dict[str, Any]:
        """Makes a request to the API of JetStream.

        Args:
            name: What follows ``$JS.API.``.
            request: Its fields.
            timeout: Seconds that it may take.

        Raises:
            StoreError: NATS did not answer, or answered with an error, whose code is in ``details["err_code"]``.
        """
        answer = await self._asked(f"$JS.API.{name}", encoded(request), timeout)
        found = _object_in(answer.data)
        if found is None:
            raise StoreError(f"cannot use NATS: the answer to {name} is none of JetStream")
        if error := found.get("error"):
            text = f"JetStream answered: {error.get('description', error)}"
            raise StoreError(text, details={"err_code": str(error.get("err_code", 0))})
        return found

    async def _get(self, request: Mapping[str, Any]) -> Message | None:
        try:
            found = await self.api(f"STREAM.MSG.GET.{self.names.stream}", request)
        except StoreError as error:
            if error.details.get("err_code") == str(NOT_FOUND):
                return None
            raise
        return from_api(found["message"])

    async def _chunk(self, subject: str, after: int) -> AsyncGenerator[Message, None]:
        request = {"seq": after + 1, "next_by_subj": subject, "batch": _BATCH_MESSAGES, "max_bytes": _BATCH_BYTES}
        async with self._reads, aclosing(self._direct(request)) as found:
            async for message in found:
                yield message

    async def _direct(self, request: Mapping[str, Any]) -> AsyncGenerator[Message, None]:
        subject = f"$JS.API.DIRECT.GET.{self.names.stream}"
        try:
            async with aclosing(self._ask_nats().ask_many(subject, encoded(request), ASK_SECONDS)) as answers:
                async for answer in answers:
                    status = answer.headers.get(STATUS) if answer.headers else None
                    if status in {"204", "404"}:
                        return
                    if status is not None:
                        raise StoreError(f"NATS refused to read: {status} {answer.headers}")
                    yield from_direct(answer)
        except (NotSentError, NoAnswerError) as error:
            raise StoreError(f"cannot read from NATS: {error}") from None

    async def _asked(self, subject: str, data: bytes, timeout: float = ASK_SECONDS) -> Any:
        try:
            return await self._ask_nats().ask(subject, data, None, timeout)
        except (NotSentError, NoAnswerError) as error:
            raise StoreError(f"cannot use NATS: {error}{self._why()}") from None

    def _why(self) -> str:
        return f"; it has refused: {self._refused}" if self._refused else ""

    def _ask_nats(self) -> Requests:
        if self._requests is None:
            raise StoreError("the connection to NATS is not open")
        return self._requests

    async def _on_error(self, error: Exception) -> None:
        text = str(error) or type(error).__name__
        if "permissions violation" in text.lower():
            self._refused = text
        if self._is_closing or (self._is_unreached and isinstance(error, OSError)):
            return
        if isinstance(error, OSError) and not self.is_connected:
            # Said once, though it is dialled again and again.
            self._is_unreached = True
            self._log.warning(
                "NATS at %s is not reached: %s; it is dialled again and again. See whether its servers run, and the "
                "network between",
                self.address.shown,
                text,
            )
        else:
            self._log.warning("NATS: %s", text)

    async def _on_lost(self) -> None:
        self._connection.drop_unsent()
        if self._requests is not None and not self._is_closing:
            self._log.warning("the connection to NATS was lost; it is made again")
        if self._requests is not None:
            self._requests.on_disconnect()
        self._tell(False)

    async def _on_back(self) -> None:
        self.reconnects += 1
        self._is_unreached = False
        self._log.warning("connected to NATS again")
        self._tell(True)

    def _tell(self, is_connected: bool) -> None:
        for listener in list(self._listeners):
            listener(is_connected)


def new_message_id() -> str:
    """Returns an id that no other message has."""
    return secrets.token_hex(8)


def _acknowledged(subject: str, answer: bytes, message_id: str) -> int:
    """Returns the sequence from an acknowledgement of JetStream, or raises what it says instead."""
    found = _object_in(answer) or {}
    error = found.get("error")
    if error is None and isinstance(found.get("seq"), int):
        return int(found["seq"])
    if not isinstance(error, dict):
        # Somebody else has subscribed to the subject, and answers.
        raise MaybeStoredError("perhaps not stored: the answer is none of JetStream", message_id)
    code, text = error.get("err_code"), str(error.get("description", error))
    if code == _WRONG_LAST:
        number = text.rpartition(" ")[2]
        raise WrongSequenceError(subject, int(number) if number.isdigit() else None)
    if code == _WRONG_LAST_IN_PROCESS:
        raise WrongSequenceError(subject, None)
    if code == _STORE_FAILED and text.startswith("maximum"):
        raise StreamFullError(f"not stored: JetStream answered: {text}; end sessions, or give the stream more room")
    if code == _STORE_FAILED:
        raise MaybeStoredError(f"perhaps not stored: JetStream answered: {text}", message_id)
    raise NotStoredError(f"not stored: JetStream answered: {text}")


def _object_in(data: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
