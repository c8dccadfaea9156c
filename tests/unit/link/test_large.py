"""Large envelopes are read as protobuf would read them, without a copy of what fills their frame."""

import pytest
from google.protobuf.message import DecodeError

from grpc_tool_bridge.errors import SerializationError
from grpc_tool_bridge.link.large import LargeCall, LargeEnvelope, read_frame
from grpc_tool_bridge.proto.dspex_bridge_pb2 import Envelope, LinkCall, LinkFrame, LinkStatus
from grpc_tool_bridge.rpc.buffers import joined

LARGE = bytes(range(256)) * 400


def frame(*envelopes: Envelope) -> bytes:
    return LinkFrame(envelopes=envelopes).SerializeToString()


def large(kind: str) -> bytes:
    """An envelope of the call 1 with a large payload."""
    envelope = Envelope(id=1)
    setattr(envelope, kind, LARGE)
    return envelope.SerializeToString()


@pytest.mark.parametrize("kind", ["reply", "chunk", "part"])
@pytest.mark.parametrize("view", [False, True])
def test_a_payload_that_fills_its_frame_is_not_copied(kind: str, view: bool) -> None:
    data = frame(Envelope.FromString(large(kind)))
    (envelope,) = read_frame(memoryview(data) if view else data)
    assert isinstance(envelope, LargeEnvelope)
    assert (envelope.id, envelope.WhichOneof("kind")) == (1, kind)
    payload = getattr(envelope, kind)
    assert joined(payload) == LARGE
    (buffer,) = [payload] if kind == "part" else payload.buffers
    assert buffer.obj is data


def test_a_call_keeps_its_other_fields() -> None:
    call = LinkCall(method="ExecuteTool", payload=LARGE, timeout_ms=9, metadata={"a": "b"}, initial_credit=3)
    (envelope,) = read_frame(frame(Envelope(id=5, call=call)))
    assert isinstance(envelope, LargeEnvelope)
    assert isinstance(envelope.call, LargeCall)
    assert envelope.call.payload == LARGE
    told = envelope.call
    assert (told.method, told.timeout_ms, dict(told.metadata), told.initial_credit) == ("ExecuteTool", 9, {"a": "b"}, 3)


def test_small_envelopes_around_it_keep_their_order() -> None:
    small = [Envelope(id=number, reply=b"x") for number in range(1, 9, 2)]
    envelopes = read_frame(frame(*small, Envelope(id=9, part=LARGE), *small))
    assert [each.id for each in envelopes] == [1, 3, 5, 7, 9, 1, 3, 5, 7]


@pytest.mark.parametrize("kind", ["call", "part", "reply"])
def test_a_payload_that_would_keep_a_large_frame_is_copied(kind: str) -> None:
    envelope = Envelope(id=1, call=LinkCall(method="Do", payload=LARGE))
    if kind != "call":
        envelope = Envelope.FromString(large(kind))
    data = frame(envelope, Envelope(id=3, part=LARGE))
    first, second = read_frame(data)
    kept = getattr(first, kind)
    kept = kept.payload if kind == "call" else kept
    assert joined(kept) == LARGE
    buffers = [kept] if kind == "part" else kept.buffers
    assert all(isinstance(buffer, bytes) for buffer in buffers)
    assert isinstance(second.part, bytes)


def test_a_payload_in_memory_that_may_change_is_copied() -> None:
    data = bytearray(frame(Envelope(id=1, part=LARGE)))
    (envelope,) = read_frame(memoryview(data))
    data[:] = bytes(len(data))
    assert envelope.part == LARGE


@pytest.mark.parametrize(
    "envelope",
    [
        Envelope(id=1, end=LinkStatus(code=2, message="m" * 100_000)),
        Envelope(id=1, call=LinkCall(method="m" * 100_000, payload=b"small")),
        Envelope(),
    ],
)
def test_other_large_envelopes_are_read_by_protobuf(envelope: Envelope) -> None:
    assert read_frame(frame(envelope)) == [envelope]


def test_an_envelope_with_two_payloads_is_read_as_protobuf_does() -> None:
    twice = Envelope(id=1, part=LARGE).SerializeToString() + Envelope(reply=LARGE).SerializeToString()
    (envelope,) = read_frame(LinkFrame(envelopes=[Envelope.FromString(twice)]).SerializeToString())
    assert envelope.WhichOneof("kind") == "reply"


@pytest.mark.parametrize("data", [frame(Envelope(id=1, part=LARGE))[:-1], b"\xff" * 100_000, b"\x0a\x01\xff" * 20_000])
def test_what_is_no_frame_is_refused(data: bytes) -> None:
    with pytest.raises((DecodeError, SerializationError)):
        read_frame(data)
