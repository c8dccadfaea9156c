"""What was noted of RPCs and links, sorted into calls and written as a transcript.

A call over a link and one by an RPC of its own look alike. Calls of one party stand in the order in which they began,
and the parties one after another, so that calls which run at once do not mix by chance.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import grpc
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from integration.transcript_text import Block, Node, Writer, lay_out
from integration.wiretap import Note

HUB = "hub"
LINK = "Link"
_ERROR_TRAILER = "tool-bridge-error-bin"
_ORIGIN = "tool-bridge-origin"
_NONE: Mapping[str, str] = MappingProxyType({})
_METHODS = pb.DESCRIPTOR.services_by_name["SnakepitBridge"].methods_by_name
_STATUS_NAMES: dict[int, str] = {code.value[0]: code.name for code in grpc.StatusCode}

# Flow control, signs of life, and pieces that are put together again: when they come is chance.
_CHANCE = {"credit", "ping", "pong", "part"}


@dataclass(slots=True)
class Line:
    """One thing that was said in a call.

    Attributes:
        sender: Who said it.
        label: What it is.
        message: It, where it has content.
        texts: Metadata that comes with it.
        replaced: What is shown in place of some of its fields.
    """

    sender: str
    label: str
    message: Message | None
    texts: Mapping[str, str]
    replaced: Mapping[str, str]


@dataclass(slots=True)
class Call:
    """One call, or a link by itself.

    Attributes:
        began: The number of the note with its first message.
        party: Whose connection it goes over.
        caller: Who made it.
        method: Its name.
        way: How it goes.
        is_over: Whether nothing more belongs to it.
        lines: What was said.
    """

    began: int
    party: str
    caller: str
    method: str
    way: str
    is_over: bool = False
    lines: list[Line] = field(default_factory=list)

    def say(
        self,
        sender: str,
        label: str,
        message: Message | None = None,
        texts: Mapping[str, str] = _NONE,
        replaced: Mapping[str, str] = _NONE,
    ) -> None:
        """Adds a line."""
        self.lines.append(Line(sender, label, message, texts, replaced))

    def forget_late_cancel(self) -> None:
        """Drops a cancellation that changed nothing: whether the answer was on its way already is chance."""
        *before, last = self.lines
        if last.label == "cancel" and self.is_over:
            self.lines = before
        elif last.label in {"reply", "end OK"}:
            self.lines = [line for line in self.lines if line.label != "cancel"]


def calls_of(notes: Sequence[Note]) -> list[Call]:
    """Sorts what was noted into calls, in the order in which they began.

    Raises:
        AssertionError: A link's rules were broken.
    """
    readers: dict[int, _RpcReader | _LinkReader] = {}
    calls: list[Call] = []
    for number, note in enumerate(notes):
        if note.kind == "begin":
            make = _LinkReader if note.method.endswith(f"/{LINK}") else _RpcReader
            readers[note.rpc] = make(calls, number, note)
        else:
            readers[note.rpc].take(number, note)
    return calls


def transcript(calls: Sequence[Call]) -> str:
    """Writes calls as a text."""
    writer = Writer()
    lines: list[str] = []
    parties = list(dict.fromkeys(call.party for call in calls))
    for call in sorted(calls, key=lambda call: (parties.index(call.party), call.began)):
        callee = HUB if call.caller != HUB else call.party
        lines.append(f"{call.caller} to {callee}, {call.way}: {call.method}")
        for line in call.lines:
            lines += _write(writer, line)
        lines.append("")
    return "\n".join(lines[:-1]) + "\n"


def _write(writer: Writer, line: Line) -> list[str]:
    before = f"{line.sender}> {line.label}"
    items: list[tuple[str, Node]] = [("with ", writer.texts(line.texts))] if line.texts else []
    if line.message is not None:
        items += writer.fields(line.message, line.replaced)
    return lay_out(Block("", tuple(items), ""), before=f"{before} ", indent="  ")


class _RpcReader:
    """Reads an RPC of its own."""

    def __init__(self, calls: list[Call], number: int, note: Note) -> None:
        self._name = note.method.rpartition("/")[2]
        self._call = Call(number, note.party, note.party, self._name, "by RPC")
        calls.append(self._call)
        texts = _texts(note)
        if texts or note.has_deadline:
            self._call.say(note.party, "begins" + (" with a deadline" if note.has_deadline else ""), texts=texts)

    def take(self, number: int, note: Note) -> None:
        """Takes what came next."""
        del number
        method = _METHODS[self._name]
        match note.kind:
            case "sent":
                self._call.say(note.party, "request", _parse(method.input_type, note.message))
            case "answered":
                self._call.say(HUB, "answer", _parse(method.output_type, note.message))
            case "cancelled":
                # A reader may go before the status comes, once it has what ends a stream.
                if not _closes(self._call.lines[-1].message):
                    self._call.say(note.party, "cancels")
            case _:
                _end(self._call, note)
        self._call.is_over = note.kind in {"cancelled", "end"}


class _LinkReader:
    """Reads the envelopes of a link."""

    def __init__(self, calls: list[Call], number: int, note: Note) -> None:
        self._all = calls
        self._party = note.party
        self._link = Call(number, note.party, note.party, LINK, "by RPC")
        calls.append(self._link)
        if texts := _texts(note):
            self._link.say(note.party, "begins", texts=texts)
        self._calls: dict[int, Call] = {}
        self._parts: dict[tuple[str, int], bytes] = {}
        self._last = {note.party: -1, HUB: 0}

    def take(self, number: int, note: Note) -> None:
        """Takes what came next."""
        if note.kind in {"cancelled", "end"}:
            if note.kind == "end" and note.code is not grpc.StatusCode.OK:
                _end(self._link, note)
            else:
                # A party that leaves cancels, unless the hub was quicker to end the link.
                self._link.say(note.party, "leaves")
            # The two ends greet each other at once; of the rest, too, only the order of one side is sure.
            *said, end = self._link.lines
            self._link.lines = [*sorted(said, key=lambda line: line.sender == HUB), end]
            for call in (self._link, *self._calls.values()):
                call.is_over = True
            return
        sender = note.party if note.kind == "sent" else HUB
        for envelope in pb.LinkFrame.FromString(note.message).envelopes:
            self._envelope(number, sender, envelope)

    def _envelope(self, number: int, sender: str, envelope: pb.Envelope) -> None:
        kind = envelope.WhichOneof("kind")
        if kind == "part":
            key = sender, envelope.id
            self._parts[key] = self._parts.get(key, b"") + envelope.part
        if kind in _CHANCE:
            return
        if envelope.id == 0:
            content: Any = getattr(envelope, kind or "")
            self._link.say(sender, str(kind), content)
            return
        if kind == "call":
            self._begin(number, sender, envelope)
            return
        self._goes_on(self._calls[envelope.id], sender, str(kind), envelope)

    def _begin(self, number: int, sender: str, envelope: pb.Envelope) -> None:
        last = self._last[sender]
        assert envelope.id > last, f"{sender} began call {envelope.id} after {last}"
        assert (envelope.id - last) % 2 == 0, f"{sender} began call {envelope.id}, whose number is for the other side"
        self._last[sender] = envelope.id
        begun = envelope.call
        call = Call(number, self._party, sender, begun.method, "over the link")
        self._calls[envelope.id] = call
        self._all.append(call)
        texts = dict(begun.metadata)
        # Of a call that is part of another one, or is passed on.
        left = {"timeout_ms": "<left>"} if sender == HUB or _ORIGIN in texts else {}
        if _ORIGIN in texts:
            texts[_ORIGIN] = f"<the {self._nth_of_the_hub(int(texts[_ORIGIN]))} call from the hub>"
        if begun.timeout_ms:
            # What is left of an outer call's time, or after the wait for a link.
            texts["timeout_ms"] = "<left>"
        if begun.initial_credit:
            texts["initial_credit"] = str(begun.initial_credit)
        payload = self._whole(sender, envelope.id, begun.payload)
        call.say(sender, "request", _parse(_METHODS[begun.method].input_type, payload), texts, left)

    def _nth_of_the_hub(self, number: int) -> str:
        before = [each for each in self._calls if each % 2 == 0 and each <= number]
        return f"{len(before)}."

    def _goes_on(self, call: Call, sender: str, kind: str, envelope: pb.Envelope) -> None:
        output = _METHODS[call.method].output_type
        match kind:
            case "reply":
                call.say(sender, "reply", _parse(output, self._whole(sender, envelope.id, envelope.reply)))
            case "chunk":
                call.say(sender, "chunk", _parse(output, self._whole(sender, envelope.id, envelope.chunk)))
            case "end":
                status = pb.LinkStatus.FromString(envelope.end.SerializeToString())
                name = _STATUS_NAMES.get(status.code, str(status.code))
                status.ClearField("code")
                call.say(sender, f"end {name}", status if status.ListFields() else None)
            case _:
                content: Any = getattr(envelope, kind)
                call.say(sender, kind, content)
        call.forget_late_cancel()
        call.is_over = call.is_over or kind in {"reply", "end"}

    def _whole(self, sender: str, number: int, rest: bytes) -> bytes:
        return self._parts.pop((sender, number), b"") + rest


def _end(call: Call, note: Note) -> None:
    texts = _texts(note)
    error = next((value for key, value in note.metadata if key == _ERROR_TRAILER), None)
    if note.details:
        texts = {"details": note.details, **texts}
    info = pb.ErrorInfo.FromString(error) if isinstance(error, bytes) else None
    is_plain = note.code is grpc.StatusCode.OK and not texts
    last = call.lines[-1]
    needs_none = _closes(last.message) if _METHODS[call.method].server_streaming else last.label == "answer"
    if not (is_plain and needs_none):
        call.say(HUB, f"status {note.code.name}", info, texts)
    call.is_over = True


def _closes(message: Message | None) -> bool:
    """Tells whether a message is the last of its stream by what it is."""
    if not isinstance(message, pb.ToolStreamChunk | pb.AgentExecutionChunk):
        return False
    return message.WhichOneof("content") in {"complete", "error", "result"}


def _texts(note: Note) -> dict[str, str]:
    return {key: str(value) for key, value in note.metadata if key != _ERROR_TRAILER}


def _parse(kind: Any, payload: bytes) -> Message:
    message: Message = GetMessageClass(kind).FromString(payload)
    return message
