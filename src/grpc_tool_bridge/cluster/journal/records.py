"""The messages of a chain: what a body is split into, and how it is put together again."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from google.protobuf.message import DecodeError

from grpc_tool_bridge.errors import StoreError
from grpc_tool_bridge.proto.dspex_bridge_journal_pb2 import JournalBody, JournalChange, JournalRecord
from grpc_tool_bridge.rpc.wireformat import bytes_field

# Of the format that this hub writes, and the newest that it reads.
VERSION = 1

# Bytes of a body in one message: NATS takes messages of 1 MiB unless it is told otherwise.
MAX_PART_BYTES = 900 * 1024
# Bytes of a message besides its part of the body.
RECORD_BYTES = 2_048


def part_bytes(max_payload: int) -> int:
    """Returns how many bytes of a body go into a message, where the server takes messages of ``max_payload`` bytes."""
    return max(1, min(MAX_PART_BYTES, max_payload - RECORD_BYTES))


def body_of(change: JournalChange) -> bytes:
    """Returns the serialized body with one change; several of them, one after the other, are one with all changes."""
    return bytes_field(change.SerializeToString())


def read_record(data: bytes) -> JournalRecord:
    """Reads a message of a chain.

    Raises:
        StoreError: It is not one, or one that a newer version wrote.
    """
    try:
        record = JournalRecord.FromString(data)
    except DecodeError:
        raise _damaged("a message cannot be read") from None
    if record.version > VERSION:
        raise StoreError(
            f"a newer version of the hub has written to this cluster (format {record.version}, this hub reads up to "
            f"{VERSION}); update this hub",
            retryable=False,
        )
    if not record.version:
        raise _damaged("a message is none of a hub")
    return record


def read_body(data: bytes) -> JournalBody:
    """Reads the body of one message or several.

    Raises:
        StoreError: It is damaged.
    """
    try:
        return JournalBody.FromString(data)
    except DecodeError:
        raise _damaged("a record cannot be read") from None


@dataclass(frozen=True, slots=True)
class Author:
    """Who writes a chain.

    Attributes:
        owner: The life of a hub.
        token: How often the session has been taken over.
    """

    owner: str
    token: int

    def messages(self, session_id: str, body: bytes, most: int) -> Iterator[JournalRecord]:
        """Yields the messages of a body, which lack only what they follow.

        Args:
            session_id: The session.
            body: The serialized body.
            most: Bytes of it in a message.
        """
        count = max(1, -(-len(body) // most))
        for part in range(count):
            yield JournalRecord(
                version=VERSION,
                owner=self.owner,
                token=self.token,
                session_id=session_id,
                part=part,
                more=part < count - 1,
                body=body[part * most : (part + 1) * most],
            )


class Entry(NamedTuple):
    """A body in a chain: the sequence of its last message, itself, and whether nothing is missing before it."""

    sequence: int
    body: JournalBody
    follows: bool


class ChainReader:
    """Puts the messages of a chain together, in order.

    Attributes:
        last: Sequence of the last message; 0: there is none.
        author: Who wrote it; None: there is none.
        session_id: Whose chain it is.
        count: Number of messages.
        size: Bytes of all messages.
    """

    def __init__(self) -> None:
        self.last = 0
        self.author: Author | None = None
        self.session_id = ""
        self.count = 0
        self.size = 0
        self._entries: list[Entry] = []
        self._parts: list[bytes] = []
        self._follows = True

    def add(self, sequence: int, data: bytes) -> None:
        """Takes the next message.

        Raises:
            StoreError: It is damaged, or a newer version wrote it.
        """
        record = read_record(data)
        follows = record.previous == self.last
        if record.part == 0:
            self._parts, self._follows = [], follows
        elif len(self._parts) != record.part or not follows:
            # Of a body whose other parts its writer could not store, or that was purged meanwhile.
            self._parts, self._follows = [], False
            self._note(sequence, record, data)
            return
        self._parts.append(record.body)
        self._note(sequence, record, data)
        if not record.more:
            self._entries.append(Entry(sequence, read_body(b"".join(self._parts)), self._follows))
            self._parts = []

    def _note(self, sequence: int, record: JournalRecord, data: bytes) -> None:
        self.last, self.session_id = sequence, record.session_id
        self.author = Author(record.owner, record.token)
        self.count += 1
        self.size += len(data)

    def bodies(self) -> list[JournalBody]:
        """Returns what counts: the last snapshot, and what comes after it.

        Raises:
            StoreError: Something is missing.
        """
        void = {sequence for entry in self._entries for sequence in entry.body.voids}
        entries = [entry for entry in self._entries if entry.sequence not in void]
        first = next((index for index in reversed(range(len(entries))) if entries[index].body.snapshot), None)
        if first is None:
            if self.count:
                raise _damaged("its beginning is missing")
            return []
        if not all(entry.follows for entry in entries[first + 1 :]):
            raise _damaged("a record of it is missing")
        return [entry.body for entry in entries[first:]]


def _damaged(what: str) -> StoreError:
    return StoreError(
        f"the chain of a session in NATS is damaged: {what}; bring back a backup of the stream, or purge the session's "
        "subject",
        retryable=False,
    )
