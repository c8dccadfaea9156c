"""Envelopes of a link, written by hand.

A frame is a sequence of envelopes, each after its tag and length as a field of ``LinkFrame``. An envelope's payload is
its last field. So only a header has to be written, and a payload is copied only once, into the frame.
"""

from collections.abc import Iterator, Mapping

from grpc_tool_bridge.errors import SerializationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import Envelope, LinkCall
from grpc_tool_bridge.rpc.wireformat import FIXED32, FIXED64, LENGTH, MORE, VARINT, bytes_header, read_varint, varint

# Tags of a call's payload and timeout, an envelope in a frame, its id, and its call.
_PAYLOAD_TAG = b"\x12"
_TIMEOUT_TAG = b"\x18"
_ENVELOPE_TAG = b"\x0a"
_ID_TAG = b"\x08"
_CALL_TAG = b"\x12"

# Nearly every payload is shorter than this.
_LENGTHS = tuple(varint(length) for length in range(2_048))
_SHORT = len(_LENGTHS)

_LOW = MORE - 1

_FIXED = {FIXED64: 8, FIXED32: 4}

REPLY_TAG = b"\x1a"
CHUNK_TAG = b"\x22"
PART_TAG = b"\x62"


def whole(envelope: Envelope) -> bytes:
    """Returns an envelope as a field of a frame."""
    data = envelope.SerializeToString()
    return bytes_header(len(data)) + data


def split_frame(frame: bytes, most: int) -> Iterator[bytes]:
    """Splits a frame into frames of at most ``most`` envelopes; what is not valid comes last, as it is."""
    start = place = 0
    end = len(frame)
    try:
        while place < end:
            for _ in range(most):
                if place >= end:
                    break
                tag, place = read_varint(frame, place)
                place = _after_field(frame, place, tag & 7)
            yield frame[start:place]
            start = place
    except SerializationError:
        yield frame[start:]


def _after_field(data: bytes, place: int, kind: int) -> int:
    if kind in (LENGTH, VARINT):
        number, place = read_varint(data, place)
        return place + number if kind == LENGTH else place
    if kind not in _FIXED:
        raise SerializationError(f"a field of the unknown wire type {kind}")
    return place + _FIXED[kind]


def _number(call_id: int) -> bytes:
    """Returns the id of a call as a varint."""
    if call_id < _SHORT:
        return _LENGTHS[call_id]
    if call_id < MORE * MORE:
        return bytes((call_id & _LOW | MORE, call_id >> 7))
    if call_id < MORE * MORE * MORE:
        return bytes((call_id & _LOW | MORE, call_id >> 7 & _LOW | MORE, call_id >> 14))
    return varint(call_id)


def payload_header(tag: bytes, call_id: int, size: int) -> bytes:
    """Returns the header of a reply, a chunk or a part of ``size`` bytes."""
    number = _number(call_id)
    length = _LENGTHS[size] if size < _SHORT else varint(size)
    envelope_size = 2 + len(number) + len(length) + size
    envelope_length = _LENGTHS[envelope_size] if envelope_size < _SHORT else varint(envelope_size)
    return b"".join((_ENVELOPE_TAG, envelope_length, _ID_TAG, number, tag, length))


def call_prefix(
    method: str, *, timeout_ms: int = 0, metadata: Mapping[str, str] | None = None, initial_credit: int = 0
) -> bytes:
    """Returns what does not depend on a call's id and payload; ends with the payload's tag."""
    head = LinkCall(method=method, timeout_ms=timeout_ms, metadata=metadata or {}, initial_credit=initial_credit)
    return head.SerializeToString() + _PAYLOAD_TAG


def call_header(prefix: bytes, call_id: int, size: int) -> bytes:
    """Returns the header of a call whose payload has ``size`` bytes."""
    number = _number(call_id)
    length = _LENGTHS[size] if size < _SHORT else varint(size)
    call_size = len(prefix) + len(length) + size
    call_length = _LENGTHS[call_size] if call_size < _SHORT else varint(call_size)
    envelope_size = 2 + len(number) + len(call_length) + call_size
    envelope_length = _LENGTHS[envelope_size] if envelope_size < _SHORT else varint(envelope_size)
    return b"".join((_ENVELOPE_TAG, envelope_length, _ID_TAG, number, _CALL_TAG, call_length, prefix, length))


def with_metadata(prefix: bytes, metadata: Mapping[str, str]) -> bytes:
    """Returns a call's prefix with further entries of metadata."""
    more = LinkCall(metadata=metadata).SerializeToString()
    return b"".join((prefix.removesuffix(_PAYLOAD_TAG), more, _PAYLOAD_TAG))


def shortened(prefix: bytes, timeout_ms: int) -> bytes:
    """Returns a call's prefix with another timeout; if a field comes twice, the last one counts."""
    return b"".join((prefix.removesuffix(_PAYLOAD_TAG), _TIMEOUT_TAG, varint(timeout_ms), _PAYLOAD_TAG))
