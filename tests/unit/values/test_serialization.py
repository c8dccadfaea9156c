"""Values: what travels how, and what is refused."""

import dataclasses
import datetime as dt
import decimal
import enum
import subprocess
import sys
import uuid
from collections import OrderedDict, deque, namedtuple
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pydantic
import pytest
from google.protobuf import empty_pb2, struct_pb2, wrappers_pb2
from google.protobuf.any_pb2 import Any as AnyMessage

from grpc_tool_bridge.errors import AlreadyExistsError, MessageTooLargeError, SerializationError, ValidationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import Json, RichList, RichValue
from grpc_tool_bridge.values.serialization import deserialize_value, python_type_name, register_codec, serialize_value
from support.patience import PATIENCE

PREFIX = "type.googleapis.com/"


def round_trip(value: Any) -> Any:
    return deserialize_value(AnyMessage.FromString(serialize_value(value).SerializeToString()))


def name_of(value: Any, **options: Any) -> str:
    return serialize_value(value, **options).type_url.removeprefix(PREFIX)


def pack(name: Any, message: Any) -> Any:
    return AnyMessage(type_url=PREFIX + name, value=message.SerializeToString())


class Money:
    def __init__(self, text: Any) -> None:
        self.text = text

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)


class Coin(Money):
    pass


register_codec(
    Money, type_url="test.Money", encode=lambda money: money.text.encode(), decode=lambda data: Money(data.decode())
)


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Mood(enum.StrEnum):
    GLAD = "glad"


@dataclasses.dataclass
class Point:
    x: int
    y: object = None


@dataclasses.dataclass(frozen=True)
class Frozen:
    x: int


class User(pydantic.BaseModel):
    name: str
    born: dt.date | None = None
    secret: str = pydantic.Field(default="s", exclude=True)


class TestSerialization:
    @pytest.mark.parametrize(
        ("value", "expected_type"),
        [
            ("hello", wrappers_pb2.StringValue),
            (42, wrappers_pb2.Int64Value),
            (3.14, wrappers_pb2.DoubleValue),
            (True, wrappers_pb2.BoolValue),
            (None, struct_pb2.Value),
            ([1, 2, 3], struct_pb2.ListValue),
            ({"key": "value"}, struct_pb2.Struct),
        ],
    )
    def test_basic_types(self, value: Any, expected_type: Any) -> None:
        serialized = serialize_value(value)
        deserialized = deserialize_value(serialized)
        assert isinstance(serialized, AnyMessage)
        assert serialized.Is(expected_type.DESCRIPTOR)
        assert deserialized == value
        assert type(deserialized) is type(value)

    def test_dataframe_serialization(self) -> None:
        df = pd.DataFrame({"A": [1, 2, 3], "B": ["x", "y", "z"]})
        serialized = serialize_value(df)
        deserialized = deserialize_value(serialized)
        assert isinstance(deserialized, pd.DataFrame)
        pd.testing.assert_frame_equal(df, deserialized)
        assert serialized.type_url == "type.googleapis.com/pandas.DataFrame"

    def test_nested_structures(self) -> None:
        data = {
            "users": [
                {"id": 1, "name": "Alice", "scores": [95, 87, 92]},
                {"id": 2, "name": "Bob", "scores": [88, 91, 85]},
            ],
            "metadata": {"version": "1.0", "count": 2},
        }
        assert deserialize_value(serialize_value(data)) == data

    def test_unknown_type_fallback(self) -> None:
        class CustomObject:
            def __str__(self) -> str:
                return "custom_object"

        serialized = serialize_value(CustomObject())
        assert deserialize_value(serialized) == "custom_object"
        assert serialized.type_url == "type.googleapis.com/python.CustomObject"


@pytest.mark.parametrize("value", [0, 1, 127, 128, 16383, 16384, -1, 2**31, 2**63 - 1, -(2**63)])
def test_a_64_bit_int_is_written_as_protobuf_writes_it(value: Any) -> None:
    assert serialize_value(value).value == wrappers_pb2.Int64Value(value=value).SerializeToString()
    assert round_trip(value) == value


@pytest.mark.parametrize("value", ["", "a", "é" * 63, "x" * 127, "x" * 128, "x" * 20_000, "\x00", "\U0001f600"])
def test_a_text_is_written_as_protobuf_writes_it(value: Any) -> None:
    assert serialize_value(value).value == wrappers_pb2.StringValue(value=value).SerializeToString()
    assert round_trip(value) == value


@pytest.mark.parametrize("value", [0.0, -0.0, 1.5, float("inf"), float("-inf"), 5e-324])
def test_a_float_keeps_its_bits(value: Any) -> None:
    assert serialize_value(value).value == wrappers_pb2.DoubleValue(value=value).SerializeToString()
    assert repr(round_trip(value)) == repr(value)


def test_nan_stays_nan() -> None:
    assert repr(round_trip(float("nan"))) == "nan"


@pytest.mark.parametrize("value", [b"", b"\x00\xff", b"x" * 300])
def test_bytes_travel_in_a_bytes_value(value: Any) -> None:
    assert name_of(value) == "google.protobuf.BytesValue"
    assert round_trip(value) == value


def test_a_bool_is_not_taken_for_an_int() -> None:
    assert name_of(True) == "google.protobuf.BoolValue"
    assert round_trip(False) is False


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 10**700, 10**5000, -(10**5000), 10**99_999], ids=int.bit_length)
def test_an_int_beyond_64_bits_travels_as_json(value: Any) -> None:
    assert name_of(value) == "dspex.bridge.Json"
    assert round_trip(value) == value


def test_an_int_of_too_many_digits_is_refused() -> None:
    with pytest.raises(SerializationError, match="too large"):
        serialize_value(10**100_001)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ([], "google.protobuf.ListValue"),
        ({}, "google.protobuf.Struct"),
        ([[], {}, "", None, True, 2**53, 0.5, -7], "google.protobuf.ListValue"),
        ({"": {"a": []}}, "google.protobuf.Struct"),
        ([3.0], "dspex.bridge.Json"),
        ([-0.0], "dspex.bridge.Json"),
        ([2**53 + 1], "dspex.bridge.Json"),
        ({"b": 1, "a": 2}, "dspex.bridge.Json"),
        ([{"b": 1, "a": 2}], "dspex.bridge.Json"),
        (list(range(33)), "dspex.bridge.Json"),
        ([2**70], "dspex.bridge.Json"),
        ([b"x"], "dspex.bridge.RichValue"),
        ([float("nan")], "dspex.bridge.RichValue"),
        ({"x": float("inf"), "y": 1}, "dspex.bridge.RichValue"),
        ({1: 2}, "dspex.bridge.RichValue"),
        ({1: 2, "a": 3}, "dspex.bridge.RichValue"),
        ((1, 2), "dspex.bridge.RichValue"),
        ([(1,)], "dspex.bridge.RichValue"),
        (set(), "dspex.bridge.RichValue"),
        (2j, "dspex.bridge.RichValue"),
    ],
)
def test_a_container_takes_the_first_form_that_is_exact(value: Any, name: Any) -> None:
    assert name_of(value) == name
    back = round_trip(value)
    assert type(back) is type(value)
    assert repr(back) == repr(value)


def test_a_container_of_huge_ints_comes_back() -> None:
    assert name_of([10**5000]) == "dspex.bridge.RichValue"
    assert round_trip({"a": [10**5000, -(10**4200)]}) == {"a": [10**5000, -(10**4200)]}


def test_a_sum_that_overflows_is_not_taken_for_infinity() -> None:
    assert name_of([1e308, 1e308]) == "dspex.bridge.Json"


def test_more_than_16_levels_travel_as_json() -> None:
    value: Any = []
    for _ in range(16):
        value = [value]
    assert name_of(value) == "dspex.bridge.Json"
    assert name_of(value[0]) == "google.protobuf.ListValue"
    assert round_trip(value) == value


def test_key_order_is_kept() -> None:
    value = {f"k{number * 7919 % 100}": number for number in range(100)}
    assert list(round_trip(value)) == list(value)


BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    "value",
    [
        dt.datetime(2026, 3, 1, 12, 30, 0, 123456),  # noqa: DTZ001 - one without a zone
        dt.datetime(2026, 3, 1, tzinfo=dt.UTC),
        dt.datetime(2026, 3, 1, tzinfo=dt.timezone(dt.timedelta(hours=-5, minutes=-30))),
        dt.datetime(2026, 3, 1, tzinfo=dt.timezone(dt.timedelta(seconds=3601, microseconds=5))),
        dt.datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN),
        dt.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=BERLIN),
        dt.datetime(2026, 3, 1, fold=1),  # noqa: DTZ001 - one without a zone
        dt.datetime(1880, 1, 1, tzinfo=BERLIN),
        dt.datetime.min,  # noqa: DTZ901 - one without a zone
        dt.datetime.max.replace(tzinfo=BERLIN),
        dt.datetime(2026, 3, 1, tzinfo=ZoneInfo("UTC")),
        dt.date(2026, 3, 1),
        dt.time(1, 2, 3, 4),
        dt.time(1, 2, fold=1, tzinfo=BERLIN),
        dt.time(1, 2, tzinfo=dt.UTC),
        dt.timedelta(0),
        dt.timedelta.min,
        dt.timedelta.max,
        uuid.UUID(int=5),
        decimal.Decimal("1.10"),
        decimal.Decimal("-0"),
        decimal.Decimal("sNaN"),
        decimal.Decimal("Infinity"),
        decimal.Decimal("1E+999999999999999999"),
        0j,
        complex(float("inf"), -0.0),
    ],
)
def test_a_rich_scalar_comes_back_the_same(value: Any) -> None:
    for sent, back in ((value, round_trip(value)), (value, round_trip([value])[0])):
        assert type(back) is type(sent)
        assert repr(back) == repr(sent)
        assert getattr(back, "fold", 0) == getattr(sent, "fold", 0)


def test_nested_rich_containers_come_back_the_same() -> None:
    value = {
        (1, "a"): [None, True, 1, 2**80, 2.0, "t", b"b", {1, 2}, frozenset({(3,)}), ()],
        b"k": {"x": {}, None: set()},
        1.5: {"in": frozenset()},
    }
    back = round_trip(value)
    assert back == value
    assert list(back) == list(value)
    assert [type(item) for item in back[(1, "a")]] == [type(item) for item in value[(1, "a")]]


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (range(3), [0, 1, 2]),
        (deque([1, (2,)]), [1, (2,)]),
        (bytearray(b"ab"), b"ab"),
        (memoryview(b"ab"), b"ab"),
        (Colour.RED, "red"),
        (Level.HIGH, 3),
        (Mood.GLAD, "glad"),
        (Point(1, Point(2, Colour.RED)), {"x": 1, "y": {"x": 2, "y": "red"}}),
        (User(name="Ann", born=dt.date(2000, 1, 2)), {"name": "Ann", "born": dt.date(2000, 1, 2)}),
        ({Colour.RED: Level.HIGH}, {"red": 3}),
        ({"a": {Mood.GLAD}, "b": (Point(1),)}, {"a": {"glad"}, "b": ({"x": 1, "y": None},)}),
    ],
)
def test_what_stands_for_plain_data_travels_as_that_data(value: Any, plain: Any) -> None:
    back = round_trip(value)
    assert type(back) is type(plain)
    assert back == plain


def test_a_list_of_dataclasses_travels_as_json() -> None:
    assert name_of([Point(1), Point(2)]) == "dspex.bridge.Json"


def test_plain_data_that_cannot_be_a_member_is_refused() -> None:
    with pytest.raises(SerializationError, match="register a codec"):
        serialize_value({Frozen(1)})


def test_two_keys_with_the_same_plain_data_are_refused() -> None:
    with pytest.raises(SerializationError, match="same plain data"):
        serialize_value({Colour.RED: 1, "red": 2})


def test_plain_data_that_cannot_be_had_is_refused() -> None:
    point = Point(1)
    del point.x
    with pytest.raises(SerializationError, match="AttributeError"):
        serialize_value(point)


def test_an_endless_sequence_is_refused() -> None:
    for length in (10**12, 10**30):
        with pytest.raises(SerializationError, match=r"items|OverflowError"):
            serialize_value(range(length))


class Text(str):
    __slots__ = ()


class Number(int):
    __slots__ = ()


class Rows(list[int]):
    __slots__ = ()


Pair = namedtuple("Pair", "x")  # noqa: PYI024 - the untyped one too


@pytest.mark.parametrize(
    ("value", "base"),
    [
        (Text("t"), "t"),
        (Number(5), 5),
        (Rows([1]), [1]),
        (Pair(1), (1,)),
        (OrderedDict(a=1), {"a": 1}),
    ],
)
def test_a_subclass_loses_only_its_class(value: Any, base: Any) -> None:
    assert name_of(value) == name_of(base)
    for back, wanted in ((round_trip(value), base), (round_trip([value, 1.5]), [base, 1.5])):
        assert back == wanted
        assert type(back) is type(wanted)


@pytest.mark.parametrize("value", [Coin("1"), int, object()])
def test_what_has_neither_a_form_nor_a_text_of_its_own_is_refused(value: Any) -> None:
    for held in (value, [value, 1.5], {"a": (value,)}):
        with pytest.raises(SerializationError, match="send "):
            serialize_value(held)


def test_strict_refuses_what_would_become_text() -> None:
    nobody_knows = type("Nobody", (), {"__str__": lambda self: "n"})()
    assert round_trip([nobody_knows]) == ["n"]
    for value in (nobody_knows, [nobody_knows], {"a": (nobody_knows,)}):
        with pytest.raises(SerializationError, match="register_codec"):
            serialize_value(value, strict=True)
    assert deserialize_value(serialize_value(Point(1), strict=True)) == {"x": 1, "y": None}
    assert deserialize_value(serialize_value([Text("t")], strict=True)) == ["t"]


def test_a_class_whose_text_cannot_be_had_is_refused() -> None:
    class Broken:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    with pytest.raises(SerializationError, match="no text"):
        serialize_value(Broken())


def test_a_class_name_with_a_slash_is_still_read_as_unknown() -> None:
    assert name_of(type("a/b", (), {"__str__": lambda self: "t"})()) == "python.a_b"


@pytest.mark.parametrize(
    "value", ["a\ud800", ["a\ud800", 1.0], {"\ud800": 1}, ("\udfff",), {"a": {"\ud800": 2, "b": 1}}]
)
def test_a_lone_surrogate_is_refused_with_the_reason(value: Any) -> None:
    with pytest.raises(SerializationError, match="surrogate"):
        serialize_value(value)


def test_a_time_zone_without_a_name_is_refused() -> None:
    class Zone(dt.tzinfo):
        def utcoffset(self, _: Any) -> Any:
            return dt.timedelta(0)

        dst = tzname = utcoffset

    with pytest.raises(SerializationError, match="IANA"):
        serialize_value(dt.datetime(2026, 1, 1, tzinfo=Zone()))


class TestDepth:
    @staticmethod
    def nested(levels: Any, make: Any) -> Any:
        value = make(None)
        for _ in range(levels - 1):
            value = make(value)
        return value

    MAKERS = (
        lambda value: [value],
        lambda value: {"k": value},
        lambda value: {"k": value, "l": 1.0},
        lambda value: (value,),
        lambda value: {1: value},
        lambda value: frozenset({value}),
        lambda value: Point(1, value),
    )

    @pytest.mark.parametrize("make", MAKERS)
    def test_a_hundred_levels_travel_and_one_more_does_not(self, make: Any) -> None:
        encoded = serialize_value(self.nested(100, make))
        deserialize_value(encoded)
        with pytest.raises(SerializationError, match="nested deeper"):
            deserialize_value(encoded, max_depth=99)
        with pytest.raises(SerializationError, match="nested deeper"):
            serialize_value(self.nested(101, make))

    @pytest.mark.parametrize("levels", [1_000, 100_000])
    @pytest.mark.parametrize("make", MAKERS[:5])
    def test_deep_values_are_refused(self, make: Any, levels: Any) -> None:
        value = self.nested(levels, make)
        with pytest.raises(SerializationError, match="nested deeper"):
            serialize_value(value)

    @pytest.mark.parametrize("make", MAKERS[:5])
    def test_what_python_itself_cannot_follow_is_refused_whatever_the_limit(self, make: Any) -> None:
        value = self.nested(100_000, make)
        with pytest.raises(SerializationError):
            # Python 3.14 follows a list further when it is written than when it is read.
            deserialize_value(serialize_value(value, max_depth=10**9), max_depth=10**9)

    def test_the_limit_also_holds_for_small_containers(self) -> None:
        with pytest.raises(SerializationError, match="nested deeper"):
            serialize_value([[[]]], max_depth=2)
        encoded = serialize_value([{"a": []}], max_depth=3)
        with pytest.raises(SerializationError, match="nested deeper"):
            deserialize_value(encoded, max_depth=2)
        with pytest.raises(SerializationError, match="nested deeper"):
            deserialize_value(encoded, max_depth=1)
        assert deserialize_value(encoded, max_depth=3) == [{"a": []}]

    @pytest.mark.parametrize(
        ("opening", "closing"),
        [(b"[", b"]"), (b'{"a":', b"}"), (b'{"]":[', b"]}"), (b'["\\"]",', b"]"), (b'["\\\\",', b"]")],
    )
    def test_deep_json_is_refused(self, opening: Any, closing: Any) -> None:
        for levels in (101, 500, 1_000, 100_000):
            with pytest.raises(SerializationError, match="nested deeper"):
                deserialize_value(pack("dspex.bridge.Json", Json(utf8=opening * levels + b"1" + closing * levels)))
        deserialize_value(pack("dspex.bridge.Json", Json(utf8=opening * 50 + b"1" + closing * 50)))

    def test_brackets_in_texts_are_no_levels(self) -> None:
        value = ["[" * 500, {"{[": '"[[' * 200, "b": "\\"}, 1.0]
        assert name_of(value) == "dspex.bridge.Json"
        assert round_trip(value) == value

    def test_brackets_in_texts_do_not_hide_levels(self) -> None:
        text = b'["]",' * 150 + b"1" + b',"["]' * 150
        with pytest.raises(SerializationError, match="nested deeper"):
            deserialize_value(pack("dspex.bridge.Json", Json(utf8=text)))

    def test_deep_rich_messages_are_refused(self) -> None:
        payload = b""
        for _ in range(1_000):
            payload = RichValue(
                any=AnyMessage(type_url=PREFIX + "dspex.bridge.RichValue", value=payload)
            ).SerializeToString()
        with pytest.raises(SerializationError, match="nothing but another Any"):
            deserialize_value(AnyMessage(type_url=PREFIX + "dspex.bridge.RichValue", value=payload))

    def test_deep_rich_values_are_refused_whatever_the_limit(self) -> None:
        payload = RichValue(null=True).SerializeToString()
        for _ in range(5_000):
            inner = RichValue(any=AnyMessage(type_url="dspex.bridge.RichValue", value=payload))
            payload = RichValue(list=RichList(items=[inner])).SerializeToString()
        for max_depth in (100, 10**9):
            with pytest.raises(SerializationError, match="nested deeper"):
                deserialize_value(AnyMessage(type_url="dspex.bridge.RichValue", value=payload), max_depth=max_depth)

    def test_deep_list_values_are_refused(self) -> None:
        message = struct_pb2.Value()
        inner = message
        for _ in range(45):
            inner = inner.list_value.values.add()
        inner.bool_value = True
        assert deserialize_value(pack("google.protobuf.Value", message))
        with pytest.raises(SerializationError, match="nested deeper"):
            deserialize_value(pack("google.protobuf.Value", message), max_depth=44)


class TestCycles:
    @pytest.mark.parametrize("width", [1, 2, 1000])
    def test_a_list_that_contains_itself_is_refused(self, width: Any) -> None:
        value: Any = []
        value.extend([value] * width)
        with pytest.raises(SerializationError, match="contains itself"):
            serialize_value(value)
        with pytest.raises(SerializationError, match="contains itself"):
            serialize_value((value, 1))

    def test_a_dict_that_contains_itself_is_refused(self) -> None:
        value: Any = {"a": 1}
        value["self"] = value
        with pytest.raises(SerializationError, match="contains itself"):
            serialize_value(value)

    def test_a_dataclass_that_contains_itself_is_refused(self) -> None:
        point = Point(1)
        point.y = point
        with pytest.raises(SerializationError, match="contains itself"):
            serialize_value(point)

    def test_a_container_may_appear_twice(self) -> None:
        shared = [1.0]
        assert round_trip([shared, shared]) == [shared, shared]
        assert round_trip([shared, (shared,)]) == [shared, (shared,)]

    def test_many_references_to_one_container_travel(self) -> None:
        value = [["x"] * 50] * 3000
        assert round_trip(value) == value

    @pytest.mark.parametrize("wrap", [lambda value: value, lambda value: (value,)])
    def test_endless_sharing_is_refused(self, wrap: Any) -> None:
        value: Any = [1.0] * 1000
        for _ in range(40):
            value = [value, value]
        with pytest.raises(SerializationError, match="shared"):
            serialize_value(wrap(value))


class TestSize:
    @pytest.mark.parametrize("value", ["x" * 100, b"x" * 100, list(range(100)), ("x" * 100,)])
    def test_a_value_over_the_limit_is_refused(self, value: Any) -> None:
        size = len(serialize_value(value).value)
        assert serialize_value(value, max_bytes=size).value
        with pytest.raises(MessageTooLargeError, match="message too large") as caught:
            serialize_value(value, max_bytes=size - 1)
        assert caught.value.details["size"] == str(size)


class TestCodecs:
    def test_a_registered_class_comes_back_at_top_level_and_inside_containers(self) -> None:
        value = Money("5 EUR")
        assert name_of(value) == "test.Money"
        assert round_trip(value) == value
        assert round_trip({"a": [value], "b": {value: (value,)}}) == {"a": [value], "b": {value: (value,)}}
        assert deserialize_value(serialize_value([value], strict=True)) == [value]

    def test_a_registered_dataclass_is_not_taken_apart(self) -> None:
        @dataclasses.dataclass
        class Registered:
            x: int

        register_codec(
            Registered,
            type_url="x.test/test.Registered",
            encode=lambda v: bytes([v.x]),
            decode=lambda d: Registered(d[0]),
        )
        assert serialize_value(Registered(3)).type_url == "x.test/test.Registered"
        assert round_trip([Registered(3)]) == [Registered(3)]

    def test_the_type_url_is_compared_after_its_last_slash(self) -> None:
        assert deserialize_value(AnyMessage(type_url="a/b/test.Money", value=b"1")) == Money("1")

    @pytest.mark.parametrize(
        ("cls", "type_url"),
        [
            (Money, "test.Other"),
            (Coin, "test.Money"),
            (Coin, "other.host/test.Money"),
            (int, "test.Int"),
            (dt.datetime, "test.DateTime"),
            (pd.DataFrame, "test.Frame"),
            (Coin, "google.protobuf.StringValue"),
            (Coin, "python.Coin"),
            (Coin, "dspex.bridge.Coin"),
        ],
    )
    def test_what_is_taken_cannot_be_registered_again(self, cls: Any, type_url: Any) -> None:
        with pytest.raises(AlreadyExistsError):
            register_codec(cls, type_url=type_url, encode=bytes, decode=bytes)

    @pytest.mark.parametrize(
        ("cls", "type_url"), [(Coin, ""), (Coin, "host/"), (Coin, "a\nb"), (Coin("1"), "test.Coin")]
    )
    def test_what_is_no_class_or_name_cannot_be_registered(self, cls: Any, type_url: Any) -> None:
        with pytest.raises(ValidationError):
            register_codec(cls, type_url=type_url, encode=bytes, decode=bytes)

    def test_a_codec_that_fails_is_named(self) -> None:
        class Bad:
            pass

        def fail(_: Any) -> Any:
            return 1 / 0

        register_codec(Bad, type_url="test.Bad", encode=fail, decode=fail)
        with pytest.raises(SerializationError, match=r"codec of Bad.*ZeroDivisionError"):
            serialize_value(Bad())
        with pytest.raises(SerializationError, match=r"test\.Bad.*ZeroDivisionError"):
            deserialize_value(AnyMessage(type_url="test.Bad"))

    def test_a_codec_must_make_bytes(self) -> None:
        class Texty:
            pass

        encode: Any = str
        register_codec(Texty, type_url="test.Texty", encode=encode, decode=lambda _: Texty())
        with pytest.raises(SerializationError, match="not to str"):
            serialize_value(Texty())


class TestDecoding:
    @pytest.mark.parametrize(
        ("message", "value"),
        [
            (wrappers_pb2.Int32Value(value=-5), -5),
            (wrappers_pb2.UInt32Value(value=5), 5),
            (wrappers_pb2.UInt64Value(value=2**64 - 1), 2**64 - 1),
            (wrappers_pb2.FloatValue(value=0.5), 0.5),
            (wrappers_pb2.StringValue(), ""),
            (wrappers_pb2.StringValue(value="x" * 200), "x" * 200),
            (struct_pb2.Value(number_value=3.0), 3),
            (struct_pb2.Value(number_value=3.5), 3.5),
            (struct_pb2.Value(number_value=float("inf")), float("inf")),
            (struct_pb2.Value(string_value="s"), "s"),
            (struct_pb2.Value(bool_value=True), True),
            (struct_pb2.Value(null_value=struct_pb2.NULL_VALUE), None),
            (empty_pb2.Empty(), None),
        ],
    )
    def test_every_wrapper_decodes_under_any_prefix(self, message: Any, value: Any) -> None:
        for prefix in ("type.googleapis.com/", "example.org/types/", "/", ""):
            any_message = AnyMessage(type_url=prefix + message.DESCRIPTOR.full_name, value=message.SerializeToString())
            back = deserialize_value(any_message)
            assert back == value
            assert type(back) is type(value)

    def test_structs_of_peers_decode(self) -> None:
        message = struct_pb2.Struct()
        message.update({"a": [1, 2.5, None, {"b": True}], "c": "d"})
        assert deserialize_value(pack("google.protobuf.Struct", message)) == {
            "a": [1, 2.5, None, {"b": True}],
            "c": "d",
        }

    @pytest.mark.parametrize(
        "type_url", ["", "nothing", "type.googleapis.com/", "x/y.Z", "python.", "google.protobuf.Timestamp"]
    )
    def test_an_unknown_type_url_is_named(self, type_url: Any) -> None:
        with pytest.raises(SerializationError, match="type URL") as caught:
            deserialize_value(AnyMessage(type_url=type_url, value=b"x"))
        assert type_url in str(caught.value)

    @pytest.mark.parametrize("value", [None, 5, object()])
    def test_what_is_no_any_is_refused(self, value: Any) -> None:
        with pytest.raises(SerializationError, match=r"not a google\.protobuf\.Any"):
            deserialize_value(value)

    @pytest.mark.parametrize(
        "text",
        [
            b"",
            b"{",
            b"NaN",
            b"1e999",
            b'"\xff"',
            b"[1] 2",
            b'"\\ud800"',
            b"9" * 200_000,
            b"[1e999," + b"9" * 5000 + b"]",
            b"[" + b"9" * 5000 + b",NaN]",
        ],
    )
    def test_bad_json_is_refused(self, text: Any) -> None:
        with pytest.raises(SerializationError):
            deserialize_value(pack("dspex.bridge.Json", Json(utf8=text)))

    def test_json_with_huge_integers_decodes(self) -> None:
        text = b'{"a":[' + b"9" * 5000 + b',1.5,"x"]}'
        assert deserialize_value(pack("dspex.bridge.Json", Json(utf8=text))) == {"a": [10**5000 - 1, 1.5, "x"]}

    def test_a_message_in_an_unusual_form_decodes(self) -> None:
        usual = Json(utf8=b"[1,2]").SerializeToString()
        for payload in (usual + usual, b"\x12\x00" + usual, b"\x0a\x85\x80\x00[1,2]"):
            assert deserialize_value(AnyMessage(type_url="dspex.bridge.Json", value=payload)) == [1, 2]

    @pytest.mark.parametrize(
        "fields",
        [
            {},
            {"big_integer": "x"},
            {"big_integer": "1_0"},
            {"big_integer": "9" * 200_000},
            {"date": "2026-13-01"},
            {"datetime": {"iso": "no"}},
            {"datetime": {"iso": "2026-01-01T00:00:00", "zone": "../../etc/passwd"}},
            {"datetime": {"iso": "2026-01-01T00:00:00", "zone": "/etc/passwd"}},
            {"datetime": {"iso": "2026-01-01T00:00:00", "zone": "No/Such"}},
            {"datetime": {"iso": "2026-01-01T00:00:00", "zone": "Europe"}},
            {"datetime": {"iso": "2026-01-01T00:00:00", "zone": "a\x00b"}},
            {"datetime": {"iso": "2026-01-01T00:00:00", "zone": "x" * 5000}},
            {"time": {"iso": "25:00"}},
            {"timedelta": {"days": 2**31 - 1}},
            {"uuid": "x"},
            {"decimal": "1E"},
            {"decimal": "1E+9999999999999999999999"},
            {"list": {"items": [{}]}},
            {"set": {"items": [{"list": {}}]}},
            {"set": {"items": [{"integer": 1}, {"integer": 1}]}},
            {"dict": {"keys": [{"integer": 1}]}},
            {"dict": {"keys": [{"list": {}}], "values": [{"null": True}]}},
            {"dict": {"keys": [{"integer": 1}, {"boolean": True}], "values": [{"null": True}, {"null": True}]}},
            {"any": {"type_url": "x/y.Z"}},
            {"any": {}},
        ],
    )
    def test_bad_rich_values_are_refused(self, fields: Any) -> None:
        with pytest.raises(SerializationError):
            deserialize_value(pack("dspex.bridge.RichValue", RichValue(**fields)))

    def test_a_decimal_that_is_none_is_refused_in_every_context(self) -> None:
        with decimal.localcontext() as context:
            context.traps[decimal.InvalidOperation] = False
            with pytest.raises(SerializationError):
                deserialize_value(pack("dspex.bridge.RichValue", RichValue(decimal="x")))

    def test_an_any_in_a_rich_value_decodes(self) -> None:
        message = RichValue(any=serialize_value((1, 2)))
        assert deserialize_value(pack("dspex.bridge.RichValue", message)) == (1, 2)

    @pytest.mark.parametrize("name", ["google.protobuf.Value", "google.protobuf.ListValue"])
    def test_a_value_of_no_kind_is_refused(self, name: Any) -> None:
        payload = b"" if name.endswith("f.Value") else b"\x0a\x00"
        with pytest.raises(SerializationError, match="no kind"):
            deserialize_value(AnyMessage(type_url=name, value=payload))


def test_a_type_is_named_as_variables_show_it() -> None:
    values: list[Any] = [1, [], None, pd.DataFrame()]
    assert list(map(python_type_name, values)) == ["int", "list", "NoneType", "DataFrame"]


def test_optional_packages_are_not_imported_before_a_value_needs_them() -> None:
    program = (
        "import sys\n"
        "from grpc_tool_bridge.values.serialization import serialize_value, deserialize_value\n"
        "for value in (1, [1], {'a': (1, {2})}, type('T', (), {'__str__': lambda self: 't'})(), range(3)):\n"
        "    deserialize_value(serialize_value(value))\n"
        "print(sorted({'numpy', 'pandas', 'pyarrow', 'polars'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=PATIENCE)
    assert done.stdout.strip() == "[]"
