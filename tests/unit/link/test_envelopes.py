"""Envelopes that are written by hand are those that protobuf reads."""

import pytest

from grpc_tool_bridge.link.envelopes import (
    CHUNK_TAG,
    PART_TAG,
    REPLY_TAG,
    call_header,
    call_prefix,
    payload_header,
    shortened,
    split_frame,
    whole,
)
from grpc_tool_bridge.proto.dspex_bridge_pb2 import Envelope, LinkCall, LinkCancel, LinkFrame, LinkHello, LinkStatus

# Where a number or a length takes one byte more.
SIZES = [0, 1, 107, 108, 127, 128, *range(2_020, 2_049), 16_383, 16_384, 200_000, 2_097_151, 2_097_152]
IDS = [1, 2, 127, 128, 16_384, 2**21, 2**28 - 1, 2**28, 2**32, 2**64 - 1]


def read(frame: bytes) -> list[Envelope]:
    return list(LinkFrame.FromString(frame).envelopes)


@pytest.mark.parametrize(
    "envelope",
    [
        Envelope(hello=LinkHello(protocol=1, peer="näme", features=["a", "b"], capacity=3)),
        Envelope(id=7, cancel=LinkCancel(reason="x" * 200)),
        Envelope(id=2**64 - 1, end=LinkStatus()),
        Envelope(ping=0),
        Envelope(),
    ],
)
def test_a_whole_envelope_is_written_as_protobuf_writes_it(envelope: Envelope) -> None:
    assert whole(envelope) == LinkFrame(envelopes=[envelope]).SerializeToString()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("tag", "kind"), [(REPLY_TAG, "reply"), (CHUNK_TAG, "chunk"), (PART_TAG, "part")])
def test_a_payload_behind_its_header_is_written_as_protobuf_writes_it(tag: bytes, kind: str, size: int) -> None:
    payload = b"x" * size
    for call_id in IDS:
        (envelope,) = read(payload_header(tag, call_id, size) + payload)
        assert envelope.WhichOneof("kind") == kind
        assert (envelope.id, getattr(envelope, kind)) == (call_id, payload)
        assert LinkFrame(envelopes=[envelope]).SerializeToString() == payload_header(tag, call_id, size) + payload


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("metadata", [None, {}, {"a": "1", "β": "x" * 150}])
def test_a_call_behind_its_header_is_read_with_all_that_it_says(metadata: dict[str, str] | None, size: int) -> None:
    prefix = call_prefix("ExecuteTool", timeout_ms=2**32 - 1, metadata=metadata, initial_credit=300)
    payload = b"p" * size
    for call_id in IDS:
        (envelope,) = read(call_header(prefix, call_id, size) + payload)
        assert envelope.id == call_id
        assert envelope.call == LinkCall(
            method="ExecuteTool", payload=payload, timeout_ms=2**32 - 1, metadata=metadata or {}, initial_credit=300
        )


def test_a_call_that_says_nothing_but_its_method_takes_nothing_more() -> None:
    assert call_prefix("Ping") == b"\x0a\x04Ping\x12"


def test_envelopes_after_one_another_are_a_frame() -> None:
    frame = b"".join(
        (
            whole(Envelope(ping=5)),
            call_header(call_prefix("A"), 3, 2) + b"in",
            payload_header(CHUNK_TAG, 4, 0),
            payload_header(REPLY_TAG, 6, 3) + b"out",
        )
    )
    assert read(frame) == [
        Envelope(ping=5),
        Envelope(id=3, call=LinkCall(method="A", payload=b"in")),
        Envelope(id=4, chunk=b""),
        Envelope(id=6, reply=b"out"),
    ]


@pytest.mark.parametrize("before", [0, 5, 2**32 - 1])
@pytest.mark.parametrize("after", [1, 127, 128, 2**32 - 1])
def test_a_shortened_call_has_the_last_time_out_and_all_else_as_before(before: int, after: int) -> None:
    prefix = shortened(call_prefix("A", timeout_ms=before, metadata={"k": "v"}, initial_credit=9), after)
    (envelope,) = read(call_header(prefix, 1, 2) + b"ab")
    assert envelope.call == LinkCall(method="A", payload=b"ab", timeout_ms=after, metadata={"k": "v"}, initial_credit=9)
    (again,) = read(call_header(shortened(prefix, 7), 1, 0))
    assert again.call.timeout_ms == 7


def test_only_the_payload_tag_itself_is_moved_behind_the_new_time_out() -> None:
    # The prefix of this method ends with the byte of the tag twice.
    prefix = shortened(call_prefix("\x12"), 3)
    (envelope,) = read(call_header(prefix, 1, 1) + b"p")
    assert envelope.call == LinkCall(method="\x12", payload=b"p", timeout_ms=3)


@pytest.mark.parametrize("most", [1, 3, 7, 100])
def test_a_frame_is_cut_into_frames_that_say_the_same(most: int) -> None:
    envelopes = [Envelope(id=number, reply=b"x" * (number * 40)) for number in range(20)]
    parts = list(split_frame(b"".join(map(whole, envelopes)), most))
    assert [envelope for part in parts for envelope in read(part)] == envelopes
    assert max(len(read(part)) for part in parts) == min(most, 20)


def test_fields_of_a_frame_that_are_not_known_count_as_envelopes() -> None:
    frame = b"\xf0\x07\x01" * 10 + whole(Envelope(ping=1)) + b"\xf5\x07abcd\xf1\x07abcdefgh"
    assert b"".join(split_frame(frame, 4)) == frame
    assert len(list(split_frame(frame, 4))) == 4


@pytest.mark.parametrize("rest", [b"\x0a", b"\x0b\x0b", b"\xff" * 20])
def test_what_is_no_frame_comes_whole_from_there_on(rest: bytes) -> None:
    frame = whole(Envelope(ping=1)) * 5
    assert b"".join(split_frame(frame + rest, 2)) == frame + rest
