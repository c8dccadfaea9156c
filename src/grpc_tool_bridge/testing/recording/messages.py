"""Messages as readable JSON, and back: values in their tagged form, and no field that differs from run to run."""

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct

from grpc_tool_bridge.errors import ToolBridgeError
from grpc_tool_bridge.values.serialization import MAX_DEPTH, deserialize_value, serialize_value
from grpc_tool_bridge.values.structs import read_struct
from grpc_tool_bridge.values.tagged_json import dumps, from_json, to_json

_ANY = AnyMessage.DESCRIPTOR.full_name
_STRUCT = Struct.DESCRIPTOR.full_name

# Ids, times and sizes: different in each run, or known from the place in the recording.
_LEFT_OUT = frozenset(
    {
        "session_id", "request_id", "stream_id", "batch_id", "epoch", "sequence", "timestamp",
        "created_at", "updated_at", "timeout_ms", "duration_ms", "duration_us", "cpu_time_ms", "memory_bytes",
        "total_duration_ms", "avg_duration_ms", "total_chunks",
    }
)  # fmt: skip

# A value whose JSON is longer is written to a file of its own, so that lines stay readable.
MAX_INLINE_CHARS = 16 * 1024

_DIGEST = re.compile("[0-9a-f]{32}")


class UnreadableError(ValueError):
    """A line of a recording does not hold what it should."""


class Slots:
    """The values of one message that its line does not hold, by their place in the message, such as ``args[0]``.

    Attributes:
        exact: For a value that JSON does not hold exactly, its type and its bytes; for a large one, its file.
        files: The contents of the files of large values, by name.
    """

    def __init__(self) -> None:
        self.exact: dict[str, dict[str, Any]] = {}
        self.files: dict[str, bytes] = {}

    def put(self, place: str, written: Any, exact: dict[str, Any] | None) -> Any:
        """Keeps what the line does not hold of a value; returns what it holds."""
        content = {"value": written, **({"exact": exact} if exact else {})}
        text = json.dumps(content, allow_nan=False)
        if len(text) > MAX_INLINE_CHARS:
            data = text.encode()
            name = hashlib.sha256(data).hexdigest()[:32]
            self.files[name] = data
            self.exact[place] = {"file": name, "bytes": len(data)}
            return None
        if exact:
            self.exact[place] = exact
        return written


# Returns a value as JSON, without what is secret; arguments: its place, and the value as JSON.
Clean = Callable[[str, Any], Any]
# Returns the number that stands for a revision.
Revision = Callable[[int], int]


def write_message(message: Message, slots: Slots, clean: Clean, revision: Revision = int) -> dict[str, Any]:
    """Writes a message.

    Args:
        message: The message.
        slots: Gets the values that JSON does not hold exactly.
        clean: Applied to each value and text.
        revision: Applied to each revision of a variable.
    """
    return _write(message, "", slots, clean, revision)


def _write(message: Message, place: str, slots: Slots, clean: Clean, revision: Revision) -> dict[str, Any]:
    written: dict[str, Any] = {}
    for item, value in message.ListFields():
        if item.name in _LEFT_OUT:
            continue
        here = f"{place}.{item.name}" if place else item.name
        if item.message_type is not None and item.message_type.GetOptions().map_entry:
            of_map = item.message_type.fields_by_name["value"]
            named = {str(clean("", str(key))): value[key] for key in sorted(value)}
            held: Any = {
                key: _single(of_map, one, f"{here}.{key}", slots, clean, revision) for key, one in named.items()
            }
        elif item.is_repeated:
            held = [_single(item, one, f"{here}[{at}]", slots, clean, revision) for at, one in enumerate(value)]
        else:
            held = _single(item, value, here, slots, clean, revision)
            if held == {} and item.name == "metrics":
                continue
        written[item.name] = held
    return written


def _single(item: Any, value: Any, place: str, slots: Slots, clean: Clean, revision: Revision) -> Any:
    if item.message_type is not None:
        if item.message_type.full_name == _ANY:
            return _write_value(value, place, slots, clean)
        if item.message_type.full_name == _STRUCT:
            return slots.put(place, clean(place, _struct(value)), None)
        return _write(value, place, slots, clean, revision)
    if item.type == FieldDescriptor.TYPE_ENUM:
        return item.enum_type.values_by_number[value].name if value in item.enum_type.values_by_number else value
    if item.name.endswith("revision"):
        return revision(value)
    if item.type == FieldDescriptor.TYPE_BYTES:
        return base64.b64encode(value).decode()
    return clean(place, value) if isinstance(value, str) else value


def _write_value(value: AnyMessage, place: str, slots: Slots, clean: Clean) -> Any:
    try:
        plain = to_json(deserialize_value(value))
        exact = _is_exact(plain, value)
    except (ToolBridgeError, ValueError, RecursionError):
        plain, exact = None, False
    if exact:
        return slots.put(place, clean(place, plain), None)
    # What was redacted must not be written in its other form.
    text = value.value.decode("utf-8", "replace")
    written = clean(place, plain)
    if written != plain:
        return slots.put(place, written, None)
    if plain is None and clean(place, text) != text:
        return clean(place, text)
    return slots.put(place, plain, _bytes_of(value))


def _bytes_of(value: AnyMessage) -> dict[str, Any]:
    return {"type": value.type_url, "data": base64.b64encode(value.value).decode()}


def _struct(value: Struct) -> Any:
    """Writes a Struct, whose keys have no order."""
    return json.loads(json.dumps(to_json(read_struct(value.SerializeToString(), MAX_DEPTH)), sort_keys=True))


def _is_exact(plain: Any, value: AnyMessage) -> bool:
    """Returns whether the value is the same after it was written as JSON and read again."""
    try:
        again = serialize_value(from_json(plain))
    except (ToolBridgeError, ValueError):
        return False
    if again.type_url == value.type_url and again.value == value.value:
        return True
    first, second = deserialize_value(value), deserialize_value(again)
    return type(first) is type(second) and dumps(first) == dumps(second)


# -------------------------------------------------------------------------------------------------------------- reading


# Returns the content of a file with a large value.
Load = Callable[[str], bytes]


def read_message(kind: type[Message], written: Any, exact: Mapping[str, Any], load: Load) -> Any:
    """Reads a message that ``write_message`` has written.

    Args:
        kind: The message's class.
        written: The message as JSON.
        exact: The values that it does not hold, as ``Slots.exact``.
        load: Returns the content of a file with a large value; raises UnreadableError.

    Raises:
        UnreadableError: It is not such a message.
    """
    message = kind()
    try:
        _read(message, written, "", _Outside(exact, load))
    except UnreadableError:
        raise
    except (ParseError, TypeError, ValueError, KeyError, AttributeError, ToolBridgeError, RecursionError) as error:
        raise UnreadableError(f"it has no {kind.DESCRIPTOR.name}: {str(error)[:200]}") from None
    return message


def _read(message: Message, written: Any, place: str, outside: "_Outside") -> None:
    fields = message.DESCRIPTOR.fields_by_name
    if not isinstance(written, dict):
        raise UnreadableError(f"{place or 'the message'} must be an object")
    if not written:
        # It is there, and empty.
        message.SetInParent()
    for name, held in written.items():
        here = f"{place}.{name}" if place else name
        item = fields.get(name)
        if item is None:
            raise UnreadableError(f"{here!r:.100} is not a field of {message.DESCRIPTOR.name}")
        if item.message_type is None:
            _read_plain(message, item, held)
        elif item.message_type.GetOptions().map_entry:
            _read_map(getattr(message, name), item, held, here, outside)
        elif item.is_repeated:
            for at, one in enumerate(held):
                _read_single(getattr(message, name).add(), one, f"{here}[{at}]", outside)
        else:
            _read_single(getattr(message, name), held, here, outside)


def _read_plain(message: Message, item: Any, held: Any) -> None:
    if item.is_repeated:
        getattr(message, item.name).extend(held)
    elif item.type == FieldDescriptor.TYPE_BYTES:
        setattr(message, item.name, base64.b64decode(held, validate=True))
    elif item.type == FieldDescriptor.TYPE_ENUM and isinstance(held, str):
        setattr(message, item.name, item.enum_type.values_by_name[held].number)
    else:
        setattr(message, item.name, held)


def _read_map(target: Any, item: Any, held: Any, place: str, outside: "_Outside") -> None:
    is_message = item.message_type.fields_by_name["value"].message_type is not None
    for key, one in held.items():
        if is_message:
            _read_single(target[key], one, f"{place}.{key}", outside)
        else:
            target[key] = one


def _read_single(message: Any, held: Any, place: str, outside: "_Outside") -> None:
    name = message.DESCRIPTOR.full_name
    if name == _ANY:
        message.CopyFrom(_read_value(held, place, outside))
    elif name == _STRUCT:
        written = outside.content(place)["value"] if place in outside.exact else held
        ParseDict(from_json(written), message)
        message.SetInParent()
    else:
        message.SetInParent()
        _read(message, held, place, outside)


class _Outside:
    """The values that a line does not hold."""

    def __init__(self, exact: Mapping[str, Any], load: Load) -> None:
        self.exact = exact
        self._load = load

    def content(self, place: str) -> Any:
        """Returns the value and its exact form, if it has one."""
        held = self.exact[place]
        if not isinstance(held, dict):
            raise UnreadableError(f"the exact form of {place!r:.100} must be an object")
        if "file" not in held:
            return {"exact": held}
        name = held["file"]
        # The name becomes a part of a path.
        if not isinstance(name, str) or not _DIGEST.fullmatch(name):
            raise UnreadableError(f"{place!r:.100} names no file of a value: {name!r:.60}")
        data = self._load(name)
        if hashlib.sha256(data).hexdigest()[:32] != name:
            raise UnreadableError(f"the file {name} of {place!r:.100} was changed after it was recorded")
        return json.loads(data)


def _read_value(written: Any, place: str, outside: _Outside) -> AnyMessage:
    if place in outside.exact:
        content = outside.content(place)
        exact, written = content.get("exact"), content.get("value")
        if exact is not None:
            try:
                return AnyMessage(type_url=exact["type"], value=base64.b64decode(exact["data"], validate=True))
            except (KeyError, TypeError, binascii.Error) as error:
                raise UnreadableError(f"the exact form of {place!r:.100} cannot be read: {error!r:.100}") from None
    return serialize_value(from_json(written))
