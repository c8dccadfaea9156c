"""The vectors of protobuf itself: each message of the proto, and what a codec has to read or refuse."""

from collections.abc import Iterator, Mapping
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

from conformance.fields import DESCRIPTORS, Field, fields_of, is_map, new_message
from conformance.payloads import write_bytes
from grpc_tool_bridge.rpc.wireformat import bytes_field

Entry = dict[str, Any]

_PACKAGE = "dspex.bridge."
# Messages within messages; a RichValue or a Value has no end of its own.
_MAX_LEVELS = 3


def message_vectors() -> list[Entry]:
    """Returns every vector of a message."""
    return [
        *(_entry(f"{name}: nothing set", name, b"") for name in _own_messages()),
        *(entry for name in _own_messages() for entry in _full(name)),
        *(_entry(f"{name}: {what}", name, payload) for (what, name), payload in _wire_forms().items()),
        *(_refused(f"{name}: {what}", name, payload) for (what, name), payload in _malformed().items()),
    ]


def _own_messages() -> list[str]:
    return [name for name in DESCRIPTORS if name.startswith(_PACKAGE)]


def _entry(name: str, message_name: str, payload: bytes) -> Entry:
    message = new_message(message_name)
    message.ParseFromString(payload)
    return {
        "name": name,
        "message": message_name,
        "bytes": write_bytes(payload),
        "fields": fields_of(message),
    }


def _refused(name: str, message_name: str, payload: bytes) -> Entry:
    try:
        new_message(message_name).ParseFromString(payload)
    except DecodeError:
        return {"name": name, "message": message_name, "bytes": write_bytes(payload)}
    raise AssertionError(f"{name} is read, although it must be refused")


# ------------------------------------------------------------------------------------------------------ every message


def _full(name: str) -> Iterator[Entry]:
    """Yields a message with all its fields set, and one more for each further member of a oneof."""
    descriptor = DESCRIPTORS[name]
    for number in range(max((len(one.fields) for one in _oneofs(descriptor)), default=1)):
        message = new_message(name)
        _fill(message, number, _MAX_LEVELS)
        chosen = [one.fields[number % len(one.fields)].name for one in _oneofs(descriptor)]
        what = f"all set, with {', '.join(chosen)}" if chosen else "all set"
        yield _entry(f"{name}: {what}", name, message.SerializeToString(deterministic=True))


def _oneofs(descriptor: Any) -> list[Any]:
    # The others are what protobuf makes of an ``optional``.
    return [one for one in descriptor.oneofs if not one.name.startswith("_")]


def _fill(message: Message, number: int, levels: int) -> None:
    message.SetInParent()
    if not levels:
        return
    chosen = {one.name: one.fields[number % len(one.fields)].name for one in _oneofs(message.DESCRIPTOR)}
    for field in message.DESCRIPTOR.fields:
        oneof = field.containing_oneof
        if oneof is None or chosen.get(oneof.name, field.name) == field.name:
            _fill_field(message, field, levels - 1)


def _fill_field(message: Message, field: Field, levels: int) -> None:
    target = getattr(message, field.name)
    if is_map(field):
        value = field.message_type.fields_by_name["value"]
        for key in ("", "é"):
            if value.message_type is not None:
                _fill(target[key], 0, levels)
            else:
                target[key] = _sample(value)
    elif field.message_type is not None:
        for number in range(2) if field.is_repeated else ():
            _fill(target.add(), number, levels)
        if not field.is_repeated:
            _fill(target, 0, levels)
    elif field.is_repeated:
        target.extend((_sample(field), _EMPTY[field.cpp_type], _sample(field)))
    else:
        setattr(message, field.name, _sample(field))


def _sample(field: Field) -> Any:
    if field.type == FieldDescriptor.TYPE_BYTES:
        return b"\x00\xff" + field.name.encode()
    return f"{field.name} é" if field.cpp_type == FieldDescriptor.CPPTYPE_STRING else _SAMPLES[field.cpp_type]


_SAMPLES: Mapping[int, Any] = {
    FieldDescriptor.CPPTYPE_INT32: -(2**31),
    FieldDescriptor.CPPTYPE_INT64: -(2**63),
    FieldDescriptor.CPPTYPE_UINT32: 2**32 - 1,
    FieldDescriptor.CPPTYPE_UINT64: 2**64 - 1,
    FieldDescriptor.CPPTYPE_DOUBLE: -0.1,
    FieldDescriptor.CPPTYPE_BOOL: True,
    FieldDescriptor.CPPTYPE_ENUM: 1,
}
_EMPTY: Mapping[int, Any] = {
    FieldDescriptor.CPPTYPE_INT64: 0,
    FieldDescriptor.CPPTYPE_STRING: "",
}

# ------------------------------------------------------------------------------------------------------- forms of wire


def _wire_forms() -> Mapping[tuple[str, str], bytes]:
    """Returns what is valid, although no encoder in use writes it so."""
    tensor, call, heartbeat = f"{_PACKAGE}Tensor", f"{_PACKAGE}ToolCallRequest", f"{_PACKAGE}HeartbeatResponse"
    delta, config, envelope = f"{_PACKAGE}RichDelta", f"{_PACKAGE}SessionConfig", f"{_PACKAGE}Envelope"
    metrics, hello, spec = f"{_PACKAGE}ExecutionMetrics", f"{_PACKAGE}LinkHello", f"{_PACKAGE}ToolSpec"
    return {
        ("numbers packed", tensor): b"\x12\x04\x01\x80\x80\x01",
        ("numbers not packed", tensor): b"\x10\x01\x10\x80\x80\x01",
        ("numbers packed and not packed", tensor): b"\x12\x02\x01\x02\x10\x03\x12\x01\x04",
        ("no numbers, packed", tensor): b"\x12\x00",
        ("defaults that are written", config): b"\x08\x00\x10\x00\x18\x00",
        ("texts of no characters that are written", call): b"\x0a\x00\x12\x00",
        ("presence of what is empty", f"{_PACKAGE}ValidationRules"): b"\x11" + bytes(8) + b"\x20\x00",
        ("a message that is set and empty", f"{_PACKAGE}ToolCallResponse"): b"\x12\x00\x22\x00",
        ("fields in another order", call): b"\x30\x07\x12\x01t\x0a\x01s",
        ("a field twice: the last one counts", call): b"\x0a\x01a\x0a\x01b",
        ("a message twice: its fields are merged", f"{_PACKAGE}StatusResponse"): b"\x1a\x03\x0a\x01T\x1a\x03\x12\x01m",
        ("a oneof twice: the last one counts", envelope): b"\x08\x02\x1a\x01r\x22\x01c",
        ("a oneof twice: a message after bytes", envelope): b"\x08\x02\x1a\x01r\x32\x00",
        ("a oneof twice: a message is merged", envelope): b"\x08\x02\x2a\x02\x08\x05\x2a\x03\x12\x01m",
        ("a oneof whose member has its default", envelope): b"\x08\x02\x48\x00",
        ("an integer of -1 in ten bytes", delta): b"\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        ("an integer of 32 bits beyond them is cut", config): b"\x08\x81\x80\x80\x80\x10",
        ("an unsigned integer beyond 32 bits is cut", hello): b"\x20\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        ("a number in more bytes than it needs", config): b"\x08\x81\x80\x80\x00",
        ("a tag in more bytes than it needs", config): b"\x88\x00\x07",
        ("a length in more bytes than it needs", call): b"\x0a\x81\x00s",
        ("zigzag", delta): b"\x08\x01",
        ("the least zigzag", delta): b"\x08\xff\xff\xff\xff\x0f",
        ("a boolean of 2 is true", config): b"\x18\x02",
        ("a boolean of ten bytes is true", config): b"\x18\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
        ("an enum that is not known", spec): b"\x20\x63",
        ("an entry of a map without its key", call): b"\x3a\x03\x12\x01v",
        ("an entry of a map without its value", call): b"\x3a\x03\x0a\x01k",
        ("an empty entry of a map", call): b"\x3a\x00",
        ("a key of a map twice: the last one counts", call): b"\x3a\x06\x0a\x01k\x12\x01a\x3a\x06\x0a\x01k\x12\x01b",
        ("an entry of a map with its value first", call): b"\x3a\x06\x12\x01v\x0a\x01k",
        ("a map of doubles", metrics): b"\x22\x0c\x0a\x01k\x11" + b"\x00\x00\x00\x00\x00\x00\xf8\x7f",
        ("an unknown varint", heartbeat): b"\x10\x01\x98\x06\x96\x01",
        ("an unknown fixed64", heartbeat): b"\x99\x06" + bytes(8) + b"\x10\x01",
        ("an unknown fixed32", heartbeat): b"\x9d\x06" + bytes(4) + b"\x10\x01",
        ("an unknown text", heartbeat): b"\x9a\x06\x02hi\x10\x01",
        ("an unknown group", heartbeat): b"\x9b\x06\x08\x01\x9c\x06\x10\x01",
        ("the highest field number", heartbeat): b"\xf8\xff\xff\xff\x0f\x01\x10\x01",
        ("a known number of another wire type is unknown", config): b"\x0a\x01x\x10\x05",
    }


def _malformed() -> Mapping[tuple[str, str], bytes]:
    tensor, call, config = f"{_PACKAGE}Tensor", f"{_PACKAGE}ToolCallRequest", f"{_PACKAGE}SessionConfig"
    frame, bucket = f"{_PACKAGE}LinkFrame", f"{_PACKAGE}Bucket"
    return {
        ("a tag without its value", config): b"\x08",
        ("a tag that is cut off", config): b"\x88",
        ("a varint that is cut off", config): b"\x08\x80\x80",
        ("a varint of eleven bytes", config): b"\x08" + b"\xff" * 10 + b"\x01",
        ("a tag of more than 32 bits", config): b"\x88\x80\x80\x80\x80\x80\x01\x07",
        ("a field number 0", config): b"\x00\x07",
        ("wire type 6", config): b"\x0e\x07",
        ("wire type 7", config): b"\x0f\x07",
        ("a double that is cut off", bucket): b"\x09\x00\x00\x00",
        ("a length without its bytes", call): b"\x0a\x05ab",
        ("a length beyond all memory", call): b"\x0a\xff\xff\xff\xff\x0f",
        ("a length beyond 64 bits", call): b"\x0a" + b"\xff" * 9 + b"\x01",
        ("a text that is not UTF-8", call): b"\x0a\x01\xff",
        ("a text with a surrogate", call): b"\x0a\x03\xed\xa0\x80",
        ("a text in more bytes than it needs", call): b"\x0a\x02\xc0\x80",
        ("a key of a map that is not UTF-8", call): b"\x3a\x06\x0a\x01\xff\x12\x01v",
        ("packed numbers that are cut off", tensor): b"\x12\x02\x01\x80",
        ("an envelope that is cut off", frame): b"\x0a\x04\x08\x02\x1a\x05",
        ("an envelope whose payload is longer than it", frame): b"\x0a\x04\x08\x02\x1a\x05hello",
        ("a group that does not end", config): b"\x9b\x06\x08\x01",
        ("a group that ends as another", config): b"\x9b\x06\x08\x01\xa4\x06",
        ("the end of a group that did not begin", config): b"\x9c\x06",
        ("groups that are nested without end", config): b"\x7b" * 20_000,
        ("an empty frame in text", frame): bytes_field(b"not an envelope"),
    }
