"""The vectors of values: every row of the table of values, with its edges."""

import datetime as dt
import math
import uuid
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from google.protobuf import empty_pb2, struct_pb2, wrappers_pb2
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from conformance.descriptions import Description, describe, typed
from conformance.frames import FRAMES
from conformance.payloads import write_bytes, write_text
from grpc_tool_bridge.proto.dspex_bridge_pb2 import Json, RichList, RichValue
from grpc_tool_bridge.rpc.wireformat import TYPE_PREFIX, bytes_field
from grpc_tool_bridge.values.serialization import deserialize_value, serialize_value
from grpc_tool_bridge.values.tagged_json import to_json

Entry = dict[str, Any]

# How a peer sends a value that it decoded or made: the same bytes; any form of the same meaning; or, if its language
# has no such type, what it received.
SAME, EQUAL, KEEP = "same", "equal", "keep"

_BERLIN = ZoneInfo("Europe/Berlin")


def value_vectors() -> list[Entry]:
    """Returns every vector of a value that must be decoded."""
    rows = [
        *(_entry(row, name, value, peer) for row, peer, values in _ROWS for name, value in values.items()),
        *_foreign_forms(),
        *(_frame(name, payload) for name, payload in FRAMES.items()),
    ]
    names = [row["name"] for row in rows]
    assert len(set(names)) == len(names), "two vectors have the same name"
    return rows


def entry_of(row: str, name: str, message: AnyMessage, *, peer: str, meaning: Description | None = None) -> Entry:
    """Returns the vector of a value that is written as ``message``."""
    value = deserialize_value(message)
    meaning = meaning or describe(value)
    if meaning["kind"] == "text":
        meaning = meaning | {"text": write_text(meaning["text"])}
    elif meaning["kind"] == "bytes":
        meaning = meaning | {"base64": write_bytes(value)}
    entry = {
        "name": f"{row}: {name}",
        "row": row,
        "type_url": message.type_url,
        "value": write_bytes(message.value),
        "any": write_bytes(message.SerializeToString(deterministic=True)),
        "meaning": meaning,
        "peer": peer,
    }
    # What a person reads; a long one says nothing.
    tagged = to_json(value)
    return entry if len(str(tagged)) > _LONG_TAGGED else entry | {"tagged": tagged}


_LONG_TAGGED = 300


def _entry(row: str, name: str, value: Any, peer: str) -> Entry:
    return entry_of(row, name, serialize_value(value, strict=True), peer=peer, meaning=describe(value))


def _frame(name: str, payload: bytes) -> Entry:
    message = AnyMessage(type_url=TYPE_PREFIX + name, value=payload)
    return entry_of("frame", name, message, peer=KEEP, meaning=typed(message))


def nested(depth: int) -> list[Any]:
    """Returns lists of ``depth`` levels, the innermost of which holds 1."""
    value: Any = 1
    for _ in range(depth):
        value = [value]
    nested_list: list[Any] = value
    return nested_list


def _nested_tuple(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = (value,)
    return value


def _foreign_forms() -> Iterator[Entry]:
    """Yields forms that a peer may send, although Python writes the same value in another."""
    forms: Mapping[str, Message] = {
        "Int32Value -1": wrappers_pb2.Int32Value(value=-1),
        "UInt32Value 2**32-1": wrappers_pb2.UInt32Value(value=2**32 - 1),
        "UInt64Value 2**64-1": wrappers_pb2.UInt64Value(value=2**64 - 1),
        "FloatValue 0.1": wrappers_pb2.FloatValue(value=0.1),
        "Empty is null": empty_pb2.Empty(),
        "Value of a number": struct_pb2.Value(number_value=1.5),
        "Value of an integral number is an integer": struct_pb2.Value(number_value=3.0),
        "Value of a text": struct_pb2.Value(string_value="x"),
        "Value of a list": struct_pb2.Value(
            list_value=struct_pb2.ListValue(values=[struct_pb2.Value(bool_value=True)])
        ),
        "ListValue of integral numbers are integers": struct_pb2.ListValue(
            values=[struct_pb2.Value(number_value=number) for number in (1.0, -2.0, 1e20)]
        ),
        "Json of a number": Json(utf8=b"3"),
        "Json of a float": Json(utf8=b"3.0"),
        "Json of an exponent is a float": Json(utf8=b"1e2"),
        "Json of a text with escapes": Json(utf8=rb'"\u00e9\ud83d\ude00\n\/"'),
        "Json of null": Json(utf8=b"null"),
        "Json with spaces": Json(utf8=b' { "b" : [ 1 , 2.5 ] , "a" : { } }\n'),
        "RichValue of an integer": RichValue(integer=-(2**63)),
        "RichValue of a float": RichValue(number=3.0),
        "RichValue of a text": RichValue(text="x"),
        "RichValue of false": RichValue(boolean=False),
        "RichValue of null": RichValue(null=True),
        "RichValue of a list": RichValue(list=RichList(items=[RichValue(integer=1), RichValue(number=1.0)])),
        "RichValue with an Any": RichValue(any=_any(wrappers_pb2.Int64Value(value=7))),
        "RichValue with a RichValue in an Any": RichValue(any=_any(RichValue(tuple=RichList(items=[])))),
    }
    for name, form in forms.items():
        yield entry_of("other form", name, _any(form), peer=EQUAL)
    for name, prefix in (("no prefix", ""), ("another prefix", "example.org/types/"), ("a slash", "/")):
        message = AnyMessage(type_url=f"{prefix}google.protobuf.StringValue", value=bytes_field(b"x"))
        yield entry_of("other form", f"type URL with {name}", message, peer=EQUAL)
    yield entry_of("other form", "an unknown field is skipped", _with_unknown_field(), peer=EQUAL)
    for name in ("Fraction", "my_module.Thing"):
        message = AnyMessage(type_url=f"{TYPE_PREFIX}python.{name}", value=bytes_field(b"1/3"))
        yield entry_of("unknown class", name, message, peer=EQUAL)


def _with_unknown_field() -> AnyMessage:
    return AnyMessage(type_url=TYPE_PREFIX + "google.protobuf.Int64Value", value=b"\x08\x07\x7a\x01x")


def _any(message: Message) -> AnyMessage:
    whole = AnyMessage()
    whole.Pack(message, deterministic=True)
    return whole


def _moments(kind: str) -> Mapping[str, Any]:
    offset = dt.timezone(dt.timedelta(hours=5, minutes=30))
    cet = dt.timezone(dt.timedelta(hours=1), "CET")
    if kind == "time":
        return {
            "midnight": dt.time(),
            "with microseconds": dt.time(23, 59, 59, 999_999),
            "with an offset": dt.time(12, 30, tzinfo=offset),
            "in UTC": dt.time(12, 30, tzinfo=dt.UTC),
            "in a zone": dt.time(12, 30, tzinfo=_BERLIN),
            "fold": dt.time(2, 30, fold=1),
        }
    return {
        "naive": dt.datetime(2026, 3, 1, 12, 30),  # noqa: DTZ001 - a naive one is what is tested
        "with microseconds": dt.datetime(2026, 3, 1, 12, 30, 15, 123_456),  # noqa: DTZ001 - likewise
        "in UTC": dt.datetime(2026, 3, 1, 12, 30, tzinfo=dt.UTC),
        "with an offset": dt.datetime(2026, 3, 1, 12, 30, tzinfo=offset),
        "with a negative offset of seconds": dt.datetime(
            1890, 1, 1, tzinfo=dt.timezone(-dt.timedelta(hours=4, minutes=56, seconds=2))
        ),
        "with a named offset": dt.datetime(2026, 3, 1, 12, 30, tzinfo=cet),
        "in a zone": dt.datetime(2026, 7, 1, 12, 30, tzinfo=_BERLIN),
        "first of two equal local times": dt.datetime(2026, 10, 25, 2, 30, tzinfo=_BERLIN),
        "second of two equal local times": dt.datetime(2026, 10, 25, 2, 30, tzinfo=_BERLIN, fold=1),
        "least": dt.datetime.min,  # noqa: DTZ901 - likewise
        "greatest": dt.datetime.max,  # noqa: DTZ901 - likewise
    }


def _lists() -> Mapping[str, Any]:
    return {
        "empty": [],
        "of each scalar": [None, True, False, 1, -1.5, "x", ""],
        "nested": [[], [[1]], {}, [{}], {"a": [1, {"b": None}]}],
        "integral floats": [1.0, 1, -0.0, 0],
        "2**53": [2**53, -(2**53)],
        "2**53+1": [2**53 + 1, -(2**53) - 1],
        "big integers": [2**63 - 1, -(2**63), 2**63, 2**64, 10**40],
        "32 items": list(range(32)),
        "33 items": list(range(33)),
        "16 levels": nested(16),
        "17 levels": nested(17),
        "100 levels": nested(100),
        "texts": ["é", "日本", "😀", 'quote " and \\', "\x00\x1f", "\u2028"],
        "small and large floats": [5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 1e22, 0.1, 1e-7],
        "nan and inf": [math.nan, math.inf, -math.inf],
        "bytes": [b"", b"\x00\xff"],
        "rich values": [(1, 2), {3}, Decimal("1.10"), dt.date(2026, 3, 1), uuid.UUID(int=1), 1j],
        "rich 32 levels": [_nested_tuple(31)],
        "rich 33 levels": [_nested_tuple(32)],
        "rich 100 levels": [_nested_tuple(99)],
    }


def _dicts() -> Mapping[str, Any]:
    return {
        "empty": {},
        "one key": {"a": 1},
        "an empty key": {"": ""},
        "key order": {"b": 1, "a": 2, "10": 3, "9": 4, "__proto__": 5},
        "nested": {"a": {"b": {"c": [1, 2, {"d": None}]}}},
        "like a tagged value": {"$type": "int", "value": "7"},
        "integer keys": {2: "two", 1: "one"},
        "keys of several types": {1: "a", "1": "b", None: "c", (1, 2): "d", 1.5: "e", b"x": "f"},
        "true as a key": {True: "yes", 0: "no"},
        "bytes inside": {"a": b"\x00"},
        "tensor inside": {"a": np.array([1.5, 2.5], "<f4")},
        "scalar of NumPy inside": {"a": np.float32(1.5)},
    }


def _tensors() -> Mapping[str, Any]:
    dtypes = ("|b1", "|i1", "<i2", "<i4", "<i8", "|u1", "<u2", "<u4", "<u8", "<f2", "<f4", "<f8", "<c8", "<c16")
    return {
        **{dtype: np.array([[0, 1], [2, 3]]).astype(dtype) for dtype in dtypes},
        "big-endian": np.array([1.5, -2.5], ">f8"),
        "dates": np.array(["2026-03-01", "NaT"], "<M8[D]"),
        "durations": np.array([1, -1], "<m8[us]"),
        "fixed texts": np.array(["a", "é", "abc"], "<U3"),
        "fixed bytes": np.array([b"a", b"abc"], "|S3"),
        "no items": np.zeros((0, 3), "<f8"),
        "no dimensions": np.array(1.5, "<f8"),
        "three dimensions": np.arange(24, dtype="<i4").reshape(2, 3, 4),
        "Fortran order is sent as C order": np.asfortranarray(np.arange(6, dtype="<i4").reshape(2, 3)),
    }


_ROWS: tuple[tuple[str, str, Mapping[str, Any]], ...] = (
    ("null", SAME, {"null": None}),
    ("boolean", SAME, {"true": True, "false": False}),
    (
        "integer",
        SAME,
        {
            str(number): number
            for number in (
                0, 1, 127, 128, 255, 256, 16_383, 16_384, 2_097_151, 2_097_152, 2**31 - 1, 2**31, 2**32,
                2**53 - 1, 2**53, 2**53 + 1, 2**63 - 1, -1, -128, -(2**31), -(2**53), -(2**53) - 1, -(2**63),
            )
        },
    ),
    ("big integer", SAME, {str(number): number for number in (2**63, -(2**63) - 1, 2**64, 10**40, -(10**40))}),
    (
        "float",
        SAME,
        {
            repr(number): number
            for number in (
                0.0, -0.0, 1.0, -1.0, 3.0, 0.1, 1.5, -2.5, 1e22, 1e-7, 123456789.125, 2.0**53, 2.0**63, 5e-324,
                2.2250738585072014e-308, 1.7976931348623157e308, math.inf, -math.inf, math.nan,
            )
        },
    ),
    (
        "text",
        SAME,
        {
            "empty": "",
            "ASCII": "hello",
            "two bytes": "é",
            "three bytes": "日本語",
            "four bytes": "😀",
            "not normalized": "e\u0301",
            "NUL and controls": "a\x00b\x1f\x7f",
            "line separators": "\u2028\u2029\r\n",
            "byte order mark": "\ufeffx",
            "127 bytes": "a" * 127,
            "128 bytes": "a" * 128,
            "16,383 bytes": "a" * 16_383,
            "16,384 bytes": "a" * 16_384,
            "700,000 bytes": "a" * 700_000,
        },
    ),
    (
        "bytes",
        SAME,
        {
            "empty": b"",
            "all bytes": bytes(range(256)),
            "not UTF-8": b"\xff\xfe\x80",
            "128 bytes": b"\x00" * 128,
            "700,000 bytes": b"\x00" * 700_000,
        },
    ),
    ("list", EQUAL, _lists()),
    ("dict", EQUAL, _dicts()),
    (
        "tuple",
        KEEP,
        {
            "empty": (),
            "of scalars": (1, 2.0, "x", None, True),
            "nested": ((), [(1,)], {"a": (2,)}),
            "in a hundred levels": _nested_tuple(100),
        },
    ),
    ("set", KEEP, {"empty": set(), "one": {1}, "of texts": {"a"}, "of tuples": {(1, 2)}}),
    ("frozenset", KEEP, {"empty": frozenset(), "one": frozenset({1}), "in a set": {frozenset({1})}}),
    ("datetime", KEEP, _moments("datetime")),
    ("date", KEEP, {str(day): day for day in (dt.date(2026, 3, 1), dt.date.min, dt.date.max, dt.date(2024, 2, 29))}),
    ("time", KEEP, _moments("time")),
    (
        "timedelta",
        KEEP,
        {
            "zero": dt.timedelta(),
            "of each part": dt.timedelta(days=1, seconds=2, microseconds=3),
            "negative": dt.timedelta(microseconds=-1),
            "least": dt.timedelta.min,
            "greatest": dt.timedelta.max,
        },
    ),
    ("uuid", KEEP, {str(value): value for value in (uuid.UUID(int=0), uuid.UUID(int=2**128 - 1))}),
    (
        "decimal",
        KEEP,
        {
            text: Decimal(text)
            for text in ("0", "-0", "1.10", "-12345678901234567890.123456789", "1E+30", "1E-30", "NaN", "-Infinity")
        },
    ),
    ("complex", KEEP, {"1+2i": 1 + 2j, "-0.0+nan i": complex(-0.0, math.nan), "inf": complex(math.inf, 0)}),
    ("tensor", KEEP, _tensors()),
    (
        "scalar of NumPy",
        KEEP,
        {
            value.dtype.str: value
            for value in (np.float32(1.5), np.float64(-0.0), np.int8(-1), np.uint64(2**64 - 1), np.bool_(True))
        },
    ),
)  # fmt: skip
