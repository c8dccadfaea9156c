"""The messages of a chain: how a body is split, and what a chain says that is whole, cut, damaged or newer."""

from collections.abc import Sequence

import pytest

from grpc_tool_bridge.cluster.journal.records import (
    MAX_PART_BYTES,
    RECORD_BYTES,
    VERSION,
    Author,
    ChainReader,
    part_bytes,
    read_body,
    read_record,
)
from grpc_tool_bridge.errors import StoreError
from grpc_tool_bridge.proto.dspex_bridge_journal_pb2 import (
    JournalBody,
    JournalChange,
    JournalFreeCall,
    JournalRecord,
)

ONE = Author("one", 1)


def body(key: str, *, snapshot: bool = False, voids: Sequence[int] = ()) -> JournalBody:
    return JournalBody(changes=[JournalChange(free_call=JournalFreeCall(key=key))], snapshot=snapshot, voids=voids)


class Writer:
    """Writes messages into a reader, with every tenth sequence, as other chains are between."""

    def __init__(self) -> None:
        self.reader = ChainReader()
        self.sequence = 0

    def write(self, body: JournalBody, *, most: int = 10_000, parts: int | None = None, author: Author = ONE) -> int:
        """Writes a body, or only its first ``parts`` messages; returns the sequence of the last one."""
        for record in list(author.messages("s", body.SerializeToString(), most))[:parts]:
            record.previous = self.sequence
            self.sequence += 10
            self.reader.add(self.sequence, record.SerializeToString())
        return self.sequence

    def keys(self) -> list[str]:
        return [change.free_call.key for body in self.reader.bodies() for change in body.changes]


@pytest.fixture
def writer() -> Writer:
    found = Writer()
    found.write(body("begin", snapshot=True))
    return found


def test_a_chain_says_what_was_written_in_order(writer: Writer) -> None:
    writer.write(body("a"))
    writer.write(body("b"), author=Author("two", 2))
    assert writer.keys() == ["begin", "a", "b"]
    reader = writer.reader
    assert (reader.last, reader.author, reader.session_id, reader.count) == (30, Author("two", 2), "s", 3)
    assert reader.size > 0


def test_an_empty_chain_says_nothing() -> None:
    reader = ChainReader()
    assert (reader.bodies(), reader.last, reader.author) == ([], 0, None)


def test_a_body_that_is_too_large_for_a_message_is_put_together_again(writer: Writer) -> None:
    writer.write(body("x" * 1_000), most=300)
    assert writer.reader.count == 1 + 4
    writer.write(body("b"))
    assert writer.keys() == ["begin", "x" * 1_000, "b"]


@pytest.mark.parametrize("author", [ONE, Author("two", 2)])
def test_a_body_that_lacks_its_last_parts_does_not_count(writer: Writer, author: Author) -> None:
    writer.write(body("x" * 1_000), most=300, parts=3)
    assert writer.keys() == ["begin"]
    writer.write(body("b"), author=author)
    assert writer.keys() == ["begin", "b"]


def test_what_is_void_does_not_count_be_it_a_snapshot(writer: Writer) -> None:
    writer.write(body("a"))
    void = writer.write(body("no"))
    writer.write(body("b", voids=[void]))
    other = writer.write(body("nor this", snapshot=True))
    writer.write(body("c", voids=[other]))
    assert writer.keys() == ["begin", "a", "b", "c"]


def test_a_snapshot_stands_for_all_before_it_which_may_be_gone() -> None:
    writer = Writer()
    writer.sequence = 70
    writer.write(body("snapshot", snapshot=True), most=10)
    writer.write(body("a"))
    assert writer.keys() == ["snapshot", "a"]
    writer.write(body("later", snapshot=True))
    assert writer.keys() == ["later"]


def test_a_chain_of_which_a_record_is_missing_is_damaged(writer: Writer) -> None:
    writer.sequence += 10
    writer.write(body("a"))
    with pytest.raises(StoreError, match="a record of it is missing"):
        writer.reader.bodies()
    writer.write(body("b", snapshot=True))
    assert writer.keys() == ["b"]


def test_a_chain_without_its_beginning_is_damaged() -> None:
    writer = Writer()
    writer.write(body("a"))
    with pytest.raises(StoreError, match="its beginning is missing"):
        writer.reader.bodies()


def test_parts_without_those_before_them_do_not_count(writer: Writer) -> None:
    records = list(ONE.messages("s", body("x" * 1_000).SerializeToString(), 300))
    for record in records[2:]:
        record.previous = writer.sequence
        writer.sequence += 10
        writer.reader.add(writer.sequence, record.SerializeToString())
    writer.write(body("b"))
    assert writer.keys() == ["begin", "b"]


def test_a_message_of_a_newer_version_is_refused_with_what_to_do() -> None:
    data = JournalRecord(version=VERSION + 1, owner="o").SerializeToString()
    with pytest.raises(StoreError, match=rf"format {VERSION + 1}, this hub reads up to {VERSION}\); update") as caught:
        ChainReader().add(1, data)
    assert not caught.value.retryable


@pytest.mark.parametrize("data", [b"", b"\xff\xff", b'{"a": 1}'])
def test_a_message_that_no_hub_wrote_is_refused(data: bytes) -> None:
    with pytest.raises(StoreError, match="damaged"):
        read_record(data)


def test_a_body_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(StoreError, match="damaged"):
        read_body(b"\xff\xff")


def test_a_body_has_at_least_one_message_and_each_has_its_author() -> None:
    (record,) = Author("me", 3).messages("s", b"", 10)
    assert (record.owner, record.token, record.part, record.more, record.version) == ("me", 3, 0, False, VERSION)


def test_parts_leave_room_for_the_rest_of_their_message() -> None:
    assert part_bytes(1024 * 1024) == MAX_PART_BYTES
    assert part_bytes(64 * 1024) == 64 * 1024 - RECORD_BYTES
    assert part_bytes(0) == 1
