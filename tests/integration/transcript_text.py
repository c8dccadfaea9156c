"""Messages of the wire as stable text: what is chance has a placeholder, everything else is shown."""

import json
import re
from collections.abc import Iterable, Mapping, MutableSequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pool import Default
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.struct_pb2 import ListValue, Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp
from google.protobuf.unknown_fields import UnknownFieldSet

from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb

WIDTH = 116
_SHOWN_BYTES = 80
# Above what a schema or a message of the scenarios has.
_MAX_TEXT = 1_000

# Fields that hold an id, and what the id is of; an id that was made up becomes "<session-1>" wherever it stands.
_IDS = {
    "session_id": "session",
    "request_id": "request",
    "stream_id": "stream",
    "batch_id": "batch",
    "worker_id": "worker",
    "agent_id": "agent",
    "run_id": "run",
    "epoch": "epoch",
    "idempotency_key": "key",
}
_MADE_UP = re.compile(
    r"\b(?:[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}|(?=\d*[a-f])[0-9a-f]{12,64})\b"
)

# Durations and sizes that are measured, and tokens, whose number is DSPy's doing.
_MEASURED = {"duration_ms", "duration_us", "total_duration_ms", "avg_duration_ms", "prompt_tokens", "completion_tokens"}
_USUAL = ["duration_ms: ", "duration_us: "]
# Those that may be 0 by chance are left out.
_MAY_BE_ZERO = {"cpu_time_ms", "memory_bytes"}

_TEXTS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\b(?:127\.0\.0\.1|localhost|\[::1\]):\d+"), "<address>"),
    (re.compile(r"Python \d+(?:\.\d+)+\S*"), "Python <version>"),
    (re.compile(r"\bBearer [\w.-]+"), "Bearer <token>"),
    (re.compile(r"\bcall again in [\d.]+ s\b"), "call again in <seconds> s"),
    # The rest is protobuf's.
    (re.compile(r"\bDecodeError: .*"), "DecodeError: <why>"),
    # The hub sees the one or the other, by chance, of a worker that goes without a word.
    (re.compile(r"\bits link (?:was lost|ended)\b"), "its link ended"),
    # Where a class of the package's own stands is no part of the wire.
    (re.compile(r"\bgrpc_tool_bridge(?:\.[a-z_]\w*)+\.(?=[A-Z])"), "<the package>."),
)
_FRAME = re.compile(r'^ *File "(?P<path>[^"]*)", line \d+(?P<rest>.*)$')
_ANCHORS = re.compile(r"^ *[~^]+ *$")


@dataclass(frozen=True, slots=True)
class Block:
    """Several things with a bracket around them.

    Attributes:
        opened, closed: The brackets, the first with the name of what it is.
        items: Texts and blocks, each with what stands before it.
    """

    opened: str
    items: "Items"
    closed: str

    @property
    def fills_lines(self) -> bool:
        """Whether short items share a line; those of a list do not."""
        return self.opened[-1:] != "["


Node = str | Block
Items = tuple[tuple[str, Node], ...]


class Writer:
    """Writes messages; the ids that it has seen keep their placeholders."""

    def __init__(self) -> None:
        self._placeholders: dict[str, str] = {}
        self._counts: dict[str, int] = {}

    def fields(self, message: Message, replaced: Mapping[str, str] = MappingProxyType({})) -> "Items":
        """Shows all the fields of a message that are set, some of them by what replaces them."""
        fields = [(field, value) for field, value in message.ListFields() if field.name not in _MAY_BE_ZERO]
        unknown = UnknownFieldSet(message)
        return (
            *((f"{field.name}: ", replaced.get(field.name) or self._field(field, value)) for field, value in fields),
            *(("", f"unknown field {unknown[place].field_number}") for place in range(len(unknown))),
        )

    def text(self, text: str, kind: str = "id") -> str:
        """Shows a text, in which what is chance is replaced."""
        for pattern, replacement in _TEXTS:
            text = pattern.sub(replacement, text)
        return _MADE_UP.sub(lambda found: self._placeholder(found[0], kind), text)

    def texts(self, texts: Mapping[str, str]) -> Node:
        """Shows texts by name."""
        items = [(f"{json.dumps(name)}: ", self._quoted(text, name)) for name, text in sorted(texts.items())]
        return Block("{", tuple(items), "}")

    def _placeholder(self, made_up: str, kind: str) -> str:
        if made_up not in self._placeholders:
            self._counts[kind] = self._counts.get(kind, 0) + 1
            self._placeholders[made_up] = f"<{kind}-{self._counts[kind]}>"
        return self._placeholders[made_up]

    def _quoted(self, text: str, name: str = "") -> str:
        if name == "retry_after":
            return "<seconds>"
        if len(text) > _MAX_TEXT:
            return f"{json.dumps(text[:_SHOWN_BYTES])}… {len(text)} characters"
        return json.dumps(self.text(text, _IDS.get(name, "id")), ensure_ascii=False)

    def _field(self, field: FieldDescriptor, value: Any) -> Node:
        entry = field.message_type
        if entry is not None and entry.GetOptions().map_entry:
            shown = entry.fields_by_name["value"]
            items = [(f"{json.dumps(key)}: ", self._one(shown, value[key], str(key))) for key in sorted(value)]
            return Block("{", tuple(items), "}")
        if isinstance(value, MutableSequence):
            return Block("[", tuple(("", self._one(field, each, field.name)) for each in value), "]")
        return self._one(field, value, field.name)

    def _one(self, field: FieldDescriptor, value: Any, name: str) -> Node:
        if name in _MEASURED:
            return "<measured>"
        if isinstance(value, Message):
            return self._any_kind(value)
        if name == "stacktrace":
            return Block("[", tuple(("", line) for line in self._trace(value)), "]")
        if isinstance(value, str):
            return self._quoted(value, name)
        if isinstance(value, bytes):
            return _bytes(value)
        if field.enum_type is not None:
            known = field.enum_type.values_by_number.get(value)
            return str(value) if known is None else known.name
        return repr(value)

    def _any_kind(self, value: Message) -> Node:
        if isinstance(value, Timestamp):
            return "<time>"
        if isinstance(value, Struct | ListValue | Value):
            return self.text(json.dumps(MessageToDict(value), sort_keys=True, ensure_ascii=False))
        if isinstance(value, pb.Json):
            return self.text(value.utf8.decode())
        if isinstance(value, AnyMessage):
            return self._packed(value)
        items = self.fields(value)
        if isinstance(value, pb.ExecutionMetrics) and [name for name, _ in items] == _USUAL:
            return "<measured>"
        return Block("{", items, "}")

    def _packed(self, packed: AnyMessage) -> Node:
        name = packed.type_url.rpartition("/")[2]
        try:
            kind = GetMessageClass(Default().FindMessageTypeByName(name))
            inner = kind.FromString(packed.value)
        except (KeyError, DecodeError):
            return f"{packed.type_url} {_bytes(packed.value)}"
        fields: list[Any] = [*inner.DESCRIPTOR.fields]
        if [field.name for field in fields] == ["value"]:
            # A wrapper of google.protobuf; its default is a value as any other is.
            shown = self._one(fields[0], getattr(inner, "value"), "value")  # noqa: B009 - no message in general has it
        else:
            shown = self._any_kind(inner)
        return _after(f"{inner.DESCRIPTOR.name} ", shown)

    def _trace(self, trace: str) -> Iterable[str]:
        """Shows a traceback without line numbers and paths, and the frames of the package as one."""
        lines = [line for line in trace.splitlines() if not _ANCHORS.match(line)]
        shown: list[str] = []
        inside = False
        for line in lines:
            frame = _FRAME.match(line)
            if frame is not None:
                inside = "/grpc_tool_bridge/" in frame["path"]
                file = "<the package>" if inside else frame["path"].rpartition("/")[2]
                line = f'  File "{file}"' + ("" if inside else frame["rest"])  # noqa: PLW2901 - one line for another
            elif line.startswith("    ") and inside:
                continue
            if not (inside and shown and shown[-1] == json.dumps(line)):
                shown.append(json.dumps(self.text(line), ensure_ascii=False))
        return shown


def lay_out(node: Node, *, before: str = "", indent: str = "") -> list[str]:
    """Writes a node on one line where it fits, else on as many as it takes."""
    line = f"{indent}{before}{_flat(node)}"
    if len(line) <= WIDTH or isinstance(node, str) or not node.items:
        return [line.rstrip()]
    lines = [f"{indent}{before}{node.opened}".rstrip()]
    inner = f"{indent}  "
    for name, item in node.items:
        added = lay_out(item, before=name, indent=inner)
        joined = f"{lines[-1]}, {added[0].lstrip()}"
        if node.fills_lines and len(lines) > 1 and len(added) == 1 and len(joined) <= WIDTH:
            lines[-1] = joined
        else:
            lines += added
    return [*lines, f"{indent}{node.closed}"] if node.closed else lines


def _flat(node: Node) -> str:
    if isinstance(node, str):
        return node
    return node.opened + ", ".join(f"{name}{_flat(item)}" for name, item in node.items) + node.closed


def _after(name: str, node: Node) -> Node:
    return name + node if isinstance(node, str) else Block(name + node.opened, node.items, node.closed)


def _bytes(value: bytes) -> str:
    return repr(value[:_SHOWN_BYTES]) + (f"… {len(value)} bytes" if len(value) > _SHOWN_BYTES else "")
