import math
from typing import Any

import numpy as np
import pytest
from google.protobuf.descriptor import FieldDescriptor as Field

from grpc_tool_bridge.adapters.grpc.fields import entry_of, enum_of
from grpc_tool_bridge.adapters.grpc.problems import WrongError
from grpc_tool_bridge.adapters.grpc.scalars import (
    FLOAT_END,
    MAX_FLOAT,
    converter_for,
    converter_of,
    enum_converter,
    fits_float,
    into_scalars,
    items_of,
    key_converter,
    names_by_number,
    put_scalar,
    quick_maker,
)
from support.protos_corpus import class_of, data_of, message


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (Field.TYPE_INT32, 5, 5),
        (Field.TYPE_INT32, "-5", -5),
        (Field.TYPE_INT32, 5.0, 5),
        (Field.TYPE_INT64, "9223372036854775807", 2**63 - 1),
        (Field.TYPE_UINT64, 2**64 - 1, 2**64 - 1),
        (Field.TYPE_SINT32, np.int8(3), 3),
        (Field.TYPE_DOUBLE, 3, 3.0),
        (Field.TYPE_DOUBLE, "1.5e3", 1500.0),
        (Field.TYPE_DOUBLE, "-Infinity", -math.inf),
        (Field.TYPE_DOUBLE, np.float64(0.5), 0.5),
        (Field.TYPE_FLOAT, MAX_FLOAT, MAX_FLOAT),
        (Field.TYPE_FLOAT, math.inf, math.inf),
        (Field.TYPE_BOOL, True, True),
        (Field.TYPE_BOOL, np.True_, True),
        (Field.TYPE_STRING, "é", "é"),
        (Field.TYPE_BYTES, bytearray(b"a"), b"a"),
        (Field.TYPE_BYTES, memoryview(b"a"), b"a"),
        (Field.TYPE_BYTES, "-_-_", b"\xfb\xff\xbf"),
        (Field.TYPE_BYTES, "+/+/", b"\xfb\xff\xbf"),
        (Field.TYPE_BYTES, "YQ", b"a"),
        (Field.TYPE_BYTES, "YQ==", b"a"),
    ],
)
def test_a_value_becomes_what_its_field_holds(kind: int, value: Any, expected: Any) -> None:
    found = converter_for(kind)(value)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        (Field.TYPE_INT32, 2**31, "should be an integer from -2147483648 to 2147483647, got 2147483648 (int)"),
        (Field.TYPE_UINT32, -1, "should be an integer from 0 to 4294967295, got -1 (int)"),
        (Field.TYPE_INT64, 2**63, "should be an integer from -9223372036854775808 to"),
        (Field.TYPE_INT32, True, "should be a valid integer, got True (bool)"),
        (Field.TYPE_INT32, 1.5, "should be a valid integer, got 1.5 (float)"),
        (Field.TYPE_INT32, "1.0", "should be a valid integer, got '1.0' (str)"),
        (Field.TYPE_INT32, " 1", "should be a valid integer"),
        (Field.TYPE_INT32, "٣", "should be a valid integer"),
        (Field.TYPE_INT32, math.nan, "should be a valid integer"),
        (Field.TYPE_INT32, None, "should be a valid integer, got None"),
        (Field.TYPE_DOUBLE, True, "should be a valid number"),
        (Field.TYPE_DOUBLE, "nan", "should be a valid number"),
        (Field.TYPE_DOUBLE, "1e999", "should be a valid number"),
        (Field.TYPE_DOUBLE, "1_0", "should be a valid number"),
        (Field.TYPE_DOUBLE, 10**400, "should be within the range of a double"),
        (Field.TYPE_FLOAT, FLOAT_END, "should be within the range of a float of 32 bits, 3.4028235e+38 at most"),
        (Field.TYPE_BOOL, 1, "should be a valid boolean, got 1 (int)"),
        (Field.TYPE_BOOL, "true", "should be a valid boolean"),
        (Field.TYPE_STRING, b"a", "should be a valid string, got b'a' (bytes)"),
        (Field.TYPE_STRING, "a\ud800", "has a lone surrogate (U+D800 at index 1)"),
        (Field.TYPE_BYTES, "a", "should be bytes, or their base64 as text"),
        (Field.TYPE_BYTES, "é", "should be bytes, or their base64 as text"),
        (Field.TYPE_BYTES, 5, "should be bytes, got 5 (int)"),
    ],
)
def test_a_value_that_its_field_cannot_hold_is_refused(kind: int, value: Any, text: str) -> None:
    with pytest.raises(WrongError) as caught:
        converter_for(kind)(value)
    assert caught.value.problems[0][1].startswith(text)


def test_the_largest_number_of_single_precision_is_the_one_that_protobuf_rounds_to() -> None:
    cls = class_of("every3.Scalars")
    below = math.nextafter(FLOAT_END, 0)
    assert fits_float(below)
    assert cls(a_float=below).a_float == MAX_FLOAT
    assert not fits_float(FLOAT_END)
    assert cls(a_float=FLOAT_END).a_float == math.inf


def test_an_enum_takes_names_numbers_and_aliases() -> None:
    convert = converter_of(message("every3.Scalars").fields_by_name["renamed"])
    assert [convert(value) for value in ("FIRST", "ERSTER", 1, "BELOW", 77, 2.0)] == [1, 1, 1, -2, 77, 2]
    assert names_by_number(enum_of(message("every3.Scalars").fields_by_name["renamed"])) == {
        0: "ZERO", 1: "FIRST", -2: "BELOW",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("SKY_CLER", "is no value of every3.Sky, did you mean 'SKY_CLEAR'? Got 'SKY_CLER' (str)"),
        ("x", "should be one of 'SKY_UNSPECIFIED', 'SKY_CLEAR', 'SKY_CLOUDY', got 'x' (str)"),
        (2**31, "should be one of"),
        (True, "should be one of"),
        (None, "should be one of"),
    ],
)
def test_what_is_no_value_of_an_enum_is_refused(value: Any, text: str) -> None:
    with pytest.raises(WrongError) as caught:
        enum_converter(enum_of(message("every3.Scalars").fields_by_name["sky"]))(value)
    assert caught.value.problems[0][1].startswith(text)


def test_a_closed_enum_takes_only_its_own_numbers() -> None:
    convert = enum_converter(enum_of(message("edition2023.Fields").fields_by_name["closed"]))
    assert convert(2) == 2
    with pytest.raises(WrongError):
        convert(3)


def test_keys_are_also_texts() -> None:
    fields = message("every3.Maps").fields_by_name
    keys = {name: key_converter(entry_of(fields[name])[0]) for name in ("by_bool", "by_int32")}
    assert [keys["by_bool"](value) for value in ("true", "false", True)] == [True, False, True]
    assert keys["by_int32"]("-7") == -7
    with pytest.raises(WrongError):
        keys["by_bool"]("True")


@pytest.mark.parametrize(
    ("name", "given", "is_made"),
    [
        ("every3.Scalars", {}, True),
        ("every3.Scalars", {"an_int32": 5, "a_double": 1, "sky": "SKY_CLEAR", "a_bytes": b"a"}, True),
        ("every3.Scalars", {"a_float": 1.5}, True),
        ("every3.Scalars", {"a_float": float("nan")}, True),
        ("every3.Scalars", {"a_float": 1e39}, False),
        ("every3.Scalars", {"an_int32": True}, False),
        ("every3.Scalars", {"an_int32": 2**31}, False),
        ("every3.Scalars", {"an_int32": None}, False),
        ("every3.Scalars", {"a_double": 10**400}, False),
        ("every3.Scalars", {"sky": "SKY_CLER"}, False),
        ("every3.Scalars", {"sky": 1}, False),
        ("every3.Scalars", {"a_string": "\ud800"}, False),
        ("every3.Scalars", {"unknown": 1}, False),
        ("every3.Names", {"self": "a"}, True),
        ("every3.Names", {"snakeCase": "a"}, False),
        ("every3.Choices", {"text": "a"}, False),
        ("every3.Choices", {"beside": "a"}, True),
        ("every3.Lists", {"strings": ["a"]}, False),
        ("every2.Fields", {"name": "a"}, False),
    ],
)
def test_only_what_protobuf_takes_exactly_is_made_at_once(name: str, given: dict[str, Any], is_made: bool) -> None:
    made = quick_maker(message(name))(given)
    assert (made is not None) == is_made
    if made is not None:
        assert data_of(made) == data_of(class_of(name)(**given))


def test_a_scalar_is_set_or_refused() -> None:
    made = class_of("every3.Scalars")()
    put_scalar(message("every3.Scalars").fields_by_name["an_int32"])(made, "5", 0)
    put_scalar(message("every3.Scalars").fields_by_name["a_float"])(made, 1, 0)
    assert (made.an_int32, made.a_float) == (5, 1.0)
    for value in (2**31, True, "x"):
        with pytest.raises(WrongError):
            put_scalar(message("every3.Scalars").fields_by_name["an_int32"])(made, value, 0)


def test_a_list_is_filled_or_each_wrong_item_is_told() -> None:
    made = class_of("every3.Lists")()
    fill = into_scalars(message("every3.Lists").fields_by_name["int32s"])
    fill(made.int32s, np.array([1, 2]), 0)
    fill(made.int32s, ("3", 4.0), 0)
    assert list(made.int32s) == [1, 2, 3, 4]
    with pytest.raises(WrongError) as caught:
        fill(class_of("every3.Lists")().int32s, [1, 2**31, 3, None], 0)
    assert [path for path, _ in caught.value.problems] == ["[1]", "[3]"]


def test_what_is_no_list_is_refused() -> None:
    assert items_of((1, 2)) == (1, 2)
    for value in ("ab", {"a": 1}, None, 5, {1, 2}):
        with pytest.raises(WrongError):
            items_of(value)
