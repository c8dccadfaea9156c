"""The vectors of what must be refused with a SerializationError: malformed values and unknown types."""

from collections.abc import Mapping
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage

from conformance.payloads import write_bytes
from grpc_tool_bridge.errors import SerializationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import RichDateTime, RichDict, RichList, RichValue, Tensor
from grpc_tool_bridge.rpc.wireformat import TYPE_PREFIX, bytes_field
from grpc_tool_bridge.values.serialization import deserialize_value

Entry = dict[str, Any]

_PROTOBUF, _BRIDGE = "google.protobuf.", "dspex.bridge."


def refusal_vectors() -> list[Entry]:
    """Returns every vector of a value that must not be decoded.

    With ``opaque_allowed`` a peer may pass, without looking into it, a value whose type its language does not have.
    """
    return [
        *(_entry(name, *form, opaque_allowed=False) for name, form in _plain().items()),
        *(_entry(name, _BRIDGE + "Json", bytes_field(text), opaque_allowed=False) for name, text in _JSON.items()),
        *(
            _entry(name, _BRIDGE + "RichValue", message.SerializeToString(), opaque_allowed=False)
            for name, message in _structures().items()
        ),
        *(
            _entry(name, _BRIDGE + "RichValue", message.SerializeToString(), opaque_allowed=True)
            for name, message in _parts().items()
        ),
        *(
            _entry(name, _BRIDGE + "Tensor", message.SerializeToString(), opaque_allowed=True)
            for name, message in _tensors().items()
        ),
    ]


def _entry(name: str, type_name: str, payload: bytes, *, opaque_allowed: bool) -> Entry:
    url = TYPE_PREFIX + type_name if type_name else ""
    message = AnyMessage(type_url=url, value=payload)
    try:
        value = deserialize_value(message)
    except SerializationError:
        return {
            "name": name,
            "type_url": url,
            "value": write_bytes(payload),
            "any": write_bytes(message.SerializeToString(deterministic=True)),
            "error": "SerializationError",
            "opaque_allowed": opaque_allowed,
        }
    raise AssertionError(f"{name} is read as {value!r}, although it must be refused")


def _plain() -> Mapping[str, tuple[str, bytes]]:
    return {
        "no type URL": ("", b""),
        "unknown type": ("acme.Money", b""),
        "unknown type of google.protobuf": (_PROTOBUF + "Timestamp", b"\x08\x01"),
        "unknown type of the bridge": (_BRIDGE + "ToolSpec", b""),
        "unknown frame": ("pandas.MultiIndex", b""),
        "python. without a class": ("python.", bytes_field(b"x")),
        "type names are compared with case": (_PROTOBUF + "stringvalue", bytes_field(b"x")),
        "text that is not UTF-8": (_PROTOBUF + "StringValue", b"\x0a\x02\xc3\x28"),
        "text with a surrogate as UTF-8": (_PROTOBUF + "StringValue", b"\x0a\x03\xed\xa0\x80"),
        "text that is cut off": (_PROTOBUF + "StringValue", b"\x0a\x05ab"),
        "text with a length that does not end": (_PROTOBUF + "StringValue", b"\x0a\xff"),
        "bytes that are cut off": (_PROTOBUF + "BytesValue", b"\x0a\x7fab"),
        "integer that is cut off": (_PROTOBUF + "Int64Value", b"\x08\x80"),
        "integer of eleven bytes": (_PROTOBUF + "Int64Value", b"\x08" + b"\x80" * 10 + b"\x01"),
        "double that is cut off": (_PROTOBUF + "DoubleValue", b"\x09\x00\x00"),
        "boolean without its number": (_PROTOBUF + "BoolValue", b"\x08"),
        "field number 0": (_PROTOBUF + "BoolValue", b"\x00\x01"),
        "wire type 7": (_PROTOBUF + "BoolValue", b"\x0f\x01"),
        "end of a group that did not begin": (_PROTOBUF + "BoolValue", b"\x0c"),
        "Value without a kind": (_PROTOBUF + "Value", b""),
        "ListValue with an item without a kind": (_PROTOBUF + "ListValue", b"\x0a\x00"),
        "ListValue that is cut off": (_PROTOBUF + "ListValue", b"\x0a\x05\x20"),
        "Struct with a value without a kind": (_PROTOBUF + "Struct", b"\x0a\x05\x0a\x01a\x12\x00"),
        "Struct without a value": (_PROTOBUF + "Struct", b"\x0a\x03\x0a\x01a"),
        "Struct with a key that is not UTF-8": (_PROTOBUF + "Struct", b"\x0a\x07\x0a\x01\xff\x12\x02\x08\x00"),
        "RichValue that is cut off": (_BRIDGE + "RichValue", b"\x42\x05\x0a\x02\x18\x02"),
        "unknown class with a text that is not UTF-8": ("python.Thing", b"\x0a\x01\xff"),
    }


_JSON: Mapping[str, bytes] = {
    "Json without a text": b"",
    "Json of a word": b"yes",
    "Json with a comma at its end": b"[1,]",
    "Json with a second value": b"1 2",
    "Json that is cut off": b'{"a": [1',
    "Json with single quotes": b"{'a': 1}",
    "Json with NaN": b"[NaN]",
    "Json with Infinity": b"-Infinity",
    "Json with a number beyond a double": b"[1e999]",
    "Json with a leading zero": b"[01]",
    "Json with a control character in a text": b'"a\nb"',
    "Json with half a pair of surrogates": rb'"\ud83d"',
    "Json that is not UTF-8": b'"\xff"',
    "Json with a byte order mark": b"\xef\xbb\xbf1",
    "Json of 101 levels": b"[" * 101 + b"]" * 101,
    "Json of 101 levels of objects": b'{"a":' * 100 + b"{}" + b"}" * 100,
    "Json of 100,000 levels": b"[" * 100_000 + b"]" * 100_000,
}


def _structures() -> Mapping[str, RichValue]:
    one = RichValue(integer=1)
    keys = RichDict(keys=[one, RichValue(integer=2)], values=[one])
    twice = RichDict(keys=[one, one], values=[one, one])
    link = RichValue(any=_any(RichValue(any=_any(RichValue(integer=1)))))
    return {
        "RichValue without a kind": RichValue(),
        "RichValue with an item without a kind": RichValue(list=RichList(items=[RichValue()])),
        "RichValue of more keys than values": RichValue(dict=keys),
        "RichValue with a key twice": RichValue(dict=twice),
        "RichValue with an unknown type in an Any": RichValue(any=AnyMessage(type_url=TYPE_PREFIX + "acme.Money")),
        "RichValue with an empty Any": RichValue(any=AnyMessage()),
        "RichValue with a chain of Anys": link,
        "RichValue with a big integer of letters": RichValue(big_integer="ten"),
        "RichValue with a big integer with a point": RichValue(big_integer="1.0"),
        "RichValue with an empty big integer": RichValue(big_integer=""),
        "RichValue of 101 levels": _levels(101),
    }


def _levels(count: int) -> RichValue:
    # As Python writes it: each 32nd level in an Any, or protobuf's own limit would be met first.
    value = RichValue(integer=1)
    for level in range(count, 0, -1):
        value = RichValue(list=RichList(items=[value]))
        if level > 1 and (level - 1) % 32 == 0:
            value = RichValue(any=_any(value))
    return value


def _any(message: RichValue) -> AnyMessage:
    return AnyMessage(type_url=TYPE_PREFIX + _BRIDGE + "RichValue", value=message.SerializeToString())


def _parts() -> Mapping[str, RichValue]:
    one = RichValue(integer=1)
    return {
        "set with a member twice": RichValue(set=RichList(items=[one, one])),
        "frozenset with a member twice": RichValue(frozenset=RichList(items=[one, one])),
        "date with a month 13": RichValue(date="2026-13-01"),
        "date without a text": RichValue(date=""),
        "datetime of a word": RichValue(datetime=RichDateTime(iso="today")),
        "datetime in a zone that there is not": RichValue(
            datetime=RichDateTime(iso="2026-03-01T12:30:00", zone="Europe/Atlantis")
        ),
        "datetime in a zone that is a path": RichValue(
            datetime=RichDateTime(iso="2026-03-01T12:30:00", zone="../../etc/passwd")
        ),
        "time with an hour 25": RichValue(time=RichDateTime(iso="25:00:00")),
        "uuid that is too short": RichValue(uuid="1234"),
        "decimal of a word": RichValue(decimal="ten"),
        "decimal without a text": RichValue(decimal=""),
        "tensor inside with too few bytes": RichValue(tensor=Tensor(dtype="<f8", shape=[2], data=b"\0" * 8)),
    }


def _tensors() -> Mapping[str, Tensor]:
    return {
        "tensor with too few bytes": Tensor(dtype="<f8", shape=[2], data=b"\0" * 8),
        "tensor with too many bytes": Tensor(dtype="<f8", shape=[1], data=b"\0" * 9),
        "tensor with a negative size": Tensor(dtype="<f8", shape=[-1], data=b"\0" * 8),
        "tensor with a shape that overflows": Tensor(dtype="<f8", shape=[2**62, 2**62], data=b""),
        "tensor without a dtype": Tensor(shape=[0], data=b""),
        "tensor of objects": Tensor(dtype="|O", shape=[1], data=b"\0" * 8),
        "tensor of fields": Tensor(dtype="<i4,<i4", shape=[1], data=b"\0" * 8),
    }
