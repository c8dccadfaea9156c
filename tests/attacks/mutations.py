"""Requests and frames that are nearly right: valid ones of every method, changed at random."""

import random
from collections.abc import Callable, Sequence
from typing import Any

from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct

from grpc_tool_bridge import serialize_value
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.methods import METHODS

# Values of every row of the table, small.
VALUES = [
    serialize_value(value)
    for value in (1, "text", 1.5, None, b"bytes", [1, [2.0, {"a": None}]], {"b": 2**70}, (1, {2}), {1: "one"}, 3 + 4j)
]

# What lengths, counts and numbers are replaced with: the ends of what varints and their readers can hold.
EDGES = [b"\x00", b"\x01", b"\x7f", b"\x80\x01", b"\xff\xff\x03", b"\xff\xff\xff\xff\x0f", b"\xff" * 9 + b"\x01"]
MAX_BYTES = 64 * 1024


def requests(session_id: str) -> dict[str, list[bytes]]:
    """Makes valid requests of every unary and server-streaming method, by its name."""
    seeds: dict[str, list[Message]] = {
        name: [_filled(method.request, session_id)] for name, method in METHODS.items() if name != "Link"
    }
    for value in VALUES:
        seeds["ExecuteTool"].append(
            pb.ToolCallRequest(session_id=session_id, tool_id="echo", args=[value], kwargs={"times": VALUES[0]})
        )
        seeds["StreamTool"].append(pb.ToolStreamRequest(session_id=session_id, tool_id="count", args=[value]))
        seeds["SetSessionVariable"].append(
            pb.SetVariableRequest(session_id=session_id, variable_name="v", value=value, create_if_missing=True)
        )
        item = pb.ToolCallItem(index=1, tool_id="echo", args=[value])
        seeds["BatchExecuteTools"].append(pb.BatchToolCallRequest(session_id=session_id, items=[item, item]))
    seeds["WatchEvents"].append(pb.WatchEventsRequest(session_id=session_id, kinds=["call"]))
    for method in ("ListSessions", "ListWorkers", "ListCalls", "ListRuns", "ListOffers"):
        seeds[method].append(METHODS[method].request(page_size=2))
    return {name: [message.SerializeToString() for message in messages] for name, messages in seeds.items()}


def frames(session_id: str) -> list[bytes]:
    """Makes valid frames of a link, one for each kind of envelope and one for a call of each method."""
    kinds = [
        pb.Envelope(id=1, part=b"part"),
        pb.Envelope(id=1, cancel=pb.LinkCancel(reason="reason")),
        pb.Envelope(id=1, credit=1_000),
        pb.Envelope(ping=7),
        pb.Envelope(pong=7),
        pb.Envelope(drain=pb.LinkDrain(grace_ms=0)),
        pb.Envelope(id=2, reply=pb.ToolCallResponse(success=True, result=VALUES[0]).SerializeToString()),
        pb.Envelope(id=2, chunk=pb.ToolStreamChunk(data=VALUES[1]).SerializeToString()),
        pb.Envelope(id=2, end=pb.LinkStatus(code=13, message="text", error=pb.ErrorInfo(type="E"))),
        pb.Envelope(id=1, event=pb.LinkEvent(progress=pb.Progress(current=1, total=2, message="text"))),
        pb.Envelope(id=1, event=pb.LinkEvent(log=pb.LogRecord(level="info", message="text", fields={"a": "b"}))),
    ]
    calls = [
        pb.Envelope(id=1, call=pb.LinkCall(method=name, payload=payload, timeout_ms=500, metadata={"a": "b"}))
        for name, payloads in requests(session_id).items()
        for payload in payloads
    ]
    return [pb.LinkFrame(envelopes=[envelope]).SerializeToString() for envelope in (*kinds, *calls)]


class Mutator:
    """Changes bytes at random.

    Args:
        seed: Of the changes; the same one gives the same changes.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._changes: Sequence[Callable[[bytearray], None]] = (
            self._flip,
            self._replace,
            self._cut,
            self._repeat,
            self._insert,
            self._end_early,
            self._nest,
        )

    def choose(self, among: Sequence[Any]) -> Any:
        """Chooses one."""
        return self._random.choice(among)

    def changed(self, data: bytes, others: Sequence[bytes]) -> bytes:
        """Changes ``data`` in one to five places; now and then it is joined with a part of one of ``others``."""
        body = bytearray(data)
        for _ in range(self._random.randint(1, 5)):
            if body:
                self.choose(self._changes)(body)
        if not self._random.randrange(8):
            other = self.choose(others)
            body += other[self._random.randrange(len(other) + 1) :]
        return bytes(body[:MAX_BYTES])

    def _place(self, body: bytearray) -> int:
        return self._random.randrange(len(body)) if body else 0

    def _flip(self, body: bytearray) -> None:
        if body:
            body[self._place(body)] ^= 1 << self._random.randrange(8)

    def _replace(self, body: bytearray) -> None:
        place = self._place(body)
        body[place : place + 1] = self.choose(EDGES)

    def _cut(self, body: bytearray) -> None:
        place = self._place(body)
        del body[place : place + self._random.randint(1, 8)]

    def _repeat(self, body: bytearray) -> None:
        place = self._place(body)
        piece = body[place : place + self._random.randint(1, 32)]
        body[place:place] = piece * self._random.randint(1, 200)

    def _insert(self, body: bytearray) -> None:
        place = self._place(body)
        body[place:place] = self._random.randbytes(self._random.randint(1, 16))

    def _end_early(self, body: bytearray) -> None:
        del body[self._place(body) :]

    def _nest(self, body: bytearray) -> None:
        """Puts all into a field of itself, as deep as a parser may follow."""
        for _ in range(self._random.randint(1, 120)):
            length, size = b"", len(body)
            while size > 0x7F:
                length += bytes((size & 0x7F | 0x80,))
                size >>= 7
            body[:0] = bytes((self._random.choice((0x0A, 0x12, 0x1A)),)) + length + bytes((size,))


def _filled(message: type[Message], session_id: str, level: int = 0) -> Message:
    """Makes a message each field of which is set to something small."""
    made: Any = message()
    if isinstance(made, Struct):
        made.update({"question": "text"})
        return made
    for field in message.DESCRIPTOR.fields:
        if level > 3:
            break
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            values = field.message_type.fields_by_name["value"]
            entries = getattr(made, field.name)
            if values.message_type is None:
                entries["key"] = _scalar(values, session_id)
            else:
                entries["key"].CopyFrom(VALUES[0])
        elif field.message_type is not None:
            inner = _filled(_class_of(getattr(made, field.name), field.is_repeated), session_id, level + 1)
            if field.is_repeated:
                getattr(made, field.name).add().CopyFrom(inner)
            else:
                getattr(made, field.name).CopyFrom(inner)
        elif field.is_repeated:
            getattr(made, field.name).append(_scalar(field, session_id))
        else:
            setattr(made, field.name, _scalar(field, session_id))
    return made  # type: ignore[no-any-return]


def _class_of(value: Any, repeated: bool) -> type[Message]:
    return type(value.add()) if repeated else type(value)


def _scalar(field: Any, session_id: str) -> Any:
    if field.name == "session_id":
        return session_id
    kinds = {field.CPPTYPE_STRING: "add", field.CPPTYPE_BOOL: True}
    if field.type == field.TYPE_BYTES:
        return b"bytes"
    return kinds.get(field.cpp_type, 1)
