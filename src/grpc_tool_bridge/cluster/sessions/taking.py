"""Reads the chains of sessions, and takes those whose hub is gone."""

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import NamedTuple

from grpc_tool_bridge.cluster.bus.bus import Bus
from grpc_tool_bridge.cluster.bus.message import Message
from grpc_tool_bridge.cluster.errors import GapError
from grpc_tool_bridge.cluster.journal.appending import WRITE_TIMEOUT_SECONDS, Appender, BehindError, NotAppendedError
from grpc_tool_bridge.cluster.journal.chain import Chain, OnEnd, is_tombstone
from grpc_tool_bridge.cluster.journal.records import ChainReader, read_body, read_record
from grpc_tool_bridge.cluster.journal.replay import image_of
from grpc_tool_bridge.core.sealing import StoreSealing
from grpc_tool_bridge.errors import StoreError
from grpc_tool_bridge.errors.throttled_log import ThrottledLog

# How often a chain may change while it is read.
_TRIES = 5
# Chains whose last message one request asks for: each may have a megabyte, and an answer four.
_ASKED = 64

_throttled = ThrottledLog(logging.getLogger(__name__))


class ChainEnd(NamedTuple):
    """What the last message of a chain says.

    Attributes:
        session_id: The session.
        owner: The life of the hub that wrote it.
        ended: Why the session has ended; None: it has not.
        sequence: Its place in the stream.
    """

    session_id: str
    owner: str
    ended: str | None
    sequence: int


def chain_end(message: Message) -> ChainEnd:
    """Reads the last message of a chain.

    Raises:
        StoreError: It is damaged, or a newer version wrote it.
    """
    record = read_record(message.data)
    ended = None
    if is_tombstone(message):
        ended = next((change.end.why for change in read_body(record.body).changes if change.HasField("end")), "")
    return ChainEnd(record.session_id, record.owner, ended, message.sequence)


async def chain_ends(bus: Bus) -> AsyncIterator[ChainEnd]:
    """Yields the last message of each chain of the cluster; one that goes on meanwhile may be behind.

    What is damaged is passed over.

    Raises:
        StoreError: NATS does not answer.
    """
    subjects = [subject async for subject, _ in bus.subjects(bus.names.sessions)]
    for start in range(0, len(subjects), _ASKED):
        asked = subjects[start : start + _ASKED]
        found = {message.subject: message for message in await bus.last_of(asked)}
        for subject in asked:
            # An answer has only so many bytes.
            message = found.get(subject) or await bus.last(subject)
            if message is None:
                continue
            try:
                end = chain_end(message)
            except StoreError as error:
                # Whoever asks for the session is told so; the others have nothing to do with it.
                _throttled.warning("passed over a session at %s: %s", subject, error)
            else:
                yield end


async def read_chain(bus: Bus, subject: str) -> ChainReader:
    """Reads a whole chain.

    Raises:
        StoreError: NATS does not answer, or the chain is damaged.
    """
    for _ in range(_TRIES):
        reader = ChainReader()
        try:
            async with aclosing(bus.read(subject)) as messages:
                async for message in messages:
                    reader.add(message.sequence, message.data)
        except GapError:
            continue
        return reader
    raise StoreError("the chain of a session changes all the time; try again")


async def take_chain(
    appender: Appender,
    session_id: str,
    *,
    is_gone: Callable[[str], Awaitable[bool]],
    on_end: OnEnd,
    sealing: StoreSealing | None = None,
) -> Chain | None:
    """Takes a session whose hub is gone: from then on, nothing that another life of a hub writes to it is stored.

    Args:
        appender: Appends for this life.
        session_id: The session.
        is_gone: Returns whether a life of a hub has ended.
        on_end: As for ``Chain``.
        sealing: Seals and opens the values of the chain; None: there are no keys.

    Returns:
        None if there is no such session, or a hub has it.

    Raises:
        StoreError: NATS does not answer, or the chain is damaged.
    """
    subject = appender.bus.names.session(session_id)
    until = time.monotonic() + WRITE_TIMEOUT_SECONDS
    for _ in range(_TRIES):
        reader = await read_chain(appender.bus, subject)
        author = reader.author
        if author is None or reader.session_id != session_id or not await is_gone(author.owner):
            return None
        image = image_of(session_id, reader.bodies(), appender.settings, sealing)
        if image.ended is not None:
            return None
        chain = Chain(appender, image, token=author.token + 1, on_end=on_end)
        chain.last, chain.count, chain.size = reader.last, reader.count, reader.size
        try:
            await chain.take(time.time() + appender.settings.answer_ttl, until)
        except BehindError:
            # Another hub was faster, or what the former owner had sent has arrived.
            continue
        except NotAppendedError as error:
            raise error.error() from None
        return chain
    return None
