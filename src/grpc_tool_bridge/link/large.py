"""Large envelopes, read from their frame without copying their payloads.

Protobuf would copy a payload twice: into its message, and out of it.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

from grpc_tool_bridge.errors import SerializationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import Envelope, LinkCall, LinkFrame
from grpc_tool_bridge.rpc.buffers import LARGE_BYTES, Buffers
from grpc_tool_bridge.rpc.wireformat import LENGTH, VARINT, places, read_varint

# A payload that takes less of its frame is copied, since it would keep the whole frame in memory: by kind. Of calls and
# parts a peer may leave much waiting; of a stream's chunks at most its window.
_LEAST_SHARE = {"call": 7 / 8, "reply": 7 / 8, "part": 7 / 8, "chunk": 1 / 8}

_ENVELOPE_TAG = LinkFrame.ENVELOPES_FIELD_NUMBER << 3 | LENGTH
_ID_TAG = Envelope.ID_FIELD_NUMBER << 3 | VARINT
_PAYLOAD_TAG = LinkCall.PAYLOAD_FIELD_NUMBER << 3 | LENGTH
_KINDS: Mapping[int, str] = {
    number << 3 | LENGTH: name
    for name, number in (
        ("call", Envelope.CALL_FIELD_NUMBER),
        ("reply", Envelope.REPLY_FIELD_NUMBER),
        ("chunk", Envelope.CHUNK_FIELD_NUMBER),
        ("part", Envelope.PART_FIELD_NUMBER),
    )
}


class LargeCall:
    """Stands for a LinkCall with a large payload.

    Attributes:
        payload: The serialized request.
        method, timeout_ms, metadata, initial_credit: As in a LinkCall.
    """

    __slots__ = ("initial_credit", "metadata", "method", "payload", "timeout_ms")

    def __init__(self, head: LinkCall, payload: Buffers) -> None:
        self.payload = payload
        self.method = head.method
        self.timeout_ms = head.timeout_ms
        self.metadata = head.metadata
        self.initial_credit = head.initial_credit


class LargeEnvelope:
    """Stands for an Envelope with a large payload: it has the id, and one of the others.

    Attributes:
        id: Of the call.
        call, reply, chunk, part: As in an Envelope.
    """

    __slots__ = ("_kind", "call", "chunk", "id", "part", "reply")

    call: LargeCall
    chunk: Buffers
    part: bytes | memoryview
    reply: Buffers

    def __init__(self, call_id: int, kind: str, payload: Any) -> None:
        self.id = call_id
        self._kind = kind
        setattr(self, kind, payload)

    def WhichOneof(self, _: str) -> str:  # noqa: N802 - protobuf's name
        """Returns the name of the attribute that is set."""
        return self._kind


AnyEnvelope: TypeAlias = Envelope | LargeEnvelope


def read_frame(frame: bytes | memoryview) -> list[AnyEnvelope]:
    """Reads the envelopes of a large frame.

    Raises:
        DecodeError, SerializationError: It cannot be read.
    """
    view = memoryview(frame)
    found: list[AnyEnvelope] = []
    # Small envelopes are read together, by protobuf.
    start = place = 0
    end = len(view)
    while place < end:
        tag, after = read_varint(view, place)
        if tag != _ENVELOPE_TAG:
            break
        size, after = read_varint(view, after)
        if after + size > end:
            raise SerializationError(f"its last envelope is {after + size - end:,} bytes short")
        if size > LARGE_BYTES:
            if start < place:
                found.extend(LinkFrame.FromString(bytes(view[start:place])).envelopes)
            found.append(_read_envelope(view[after : after + size]))
            start = after + size
        place = after + size
    if start < end:
        found.extend(LinkFrame.FromString(bytes(view[start:])).envelopes)
    return found


def _read_envelope(data: memoryview) -> AnyEnvelope:
    """Reads a large envelope; by protobuf unless it is an id and a large payload."""
    call_id, kind, payload = 0, "", data
    for tag, _, start, stop in places(data):
        if tag == _ID_TAG:
            call_id, _ = read_varint(data, start)
        elif tag in _KINDS and not kind:
            kind, payload = _KINDS[tag], data[start:stop]
        else:
            return Envelope.FromString(bytes(data))
    if kind == "call":
        found = [place for place in places(payload) if place[0] == _PAYLOAD_TAG]
        if len(found) == 1 and found[0][3] - found[0][2] > LARGE_BYTES:
            _, before, start, stop = found[0]
            head = LinkCall.FromString(b"".join((payload[:before], payload[stop:])))
            return LargeEnvelope(call_id, kind, LargeCall(head, Buffers((_kept(payload[start:stop], kind),))))
    elif kind and len(payload) > LARGE_BYTES:
        kept = _kept(payload, kind)
        return LargeEnvelope(call_id, kind, kept if kind == "part" else Buffers((kept,)))
    return Envelope.FromString(bytes(data))


def _kept(payload: memoryview, kind: str) -> bytes | memoryview:
    """Returns a payload as it is, or a copy if its frame has to be freed or may be overwritten."""
    frame = memoryview(payload.obj)
    share = len(payload) / frame.nbytes
    return payload if frame.readonly and share >= _LEAST_SHARE[kind] else bytes(payload)
