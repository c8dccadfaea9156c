"""JSON text, and integers of any size and their digits."""

import json
import random
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from grpc_tool_bridge.errors import SerializationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import Json
from grpc_tool_bridge.values.jsontext import (
    MAX_DIGITS,
    check_decimal,
    decimal_of,
    decode_json,
    digits_of,
    number_of,
)


@pytest.fixture
def least_limit() -> Iterator[None]:
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(640)
    yield
    sys.set_int_max_str_digits(before)


@pytest.mark.parametrize("exponent", [0, 1, 100, 511, 512, 513, 640, 1024, 2047, 5000, MAX_DIGITS - 1])
def test_every_size_comes_back_whatever_limit_python_has(least_limit: Any, exponent: Any) -> None:
    for number in (10**exponent, 10**exponent + 7, 10**exponent - 1, -(10**exponent), 10**exponent * 7):
        assert number_of(digits_of(number)) == number


def test_digits_are_those_that_python_writes() -> None:
    dice = random.Random(5)
    for bits in range(1, 12_000, 171):
        number = dice.getrandbits(bits)
        assert digits_of(number) == str(number)
        assert digits_of(-number) == str(-number)


@pytest.mark.parametrize("text", ["", "-", "--1", "1-", "1_0", " 1", "1.0", "\u0661", "0x1", "1" * (MAX_DIGITS + 1)])
def test_what_is_no_integer_is_refused(text: Any) -> None:
    with pytest.raises(SerializationError):
        number_of(text)


def test_an_integer_of_too_many_digits_is_refused() -> None:
    assert len(digits_of(10**MAX_DIGITS - 1)) == MAX_DIGITS
    with pytest.raises(SerializationError, match="too large"):
        digits_of(10 ** (MAX_DIGITS + 10))


@pytest.mark.parametrize("text", ["1E+100001", "-1E-100001", "0E+999999999", "1" * 100_001])
def test_a_decimal_is_refused_whose_int_or_fraction_would_be_too_long(text: str) -> None:
    with pytest.raises(SerializationError, match=r"a Decimal .* is too large"):
        check_decimal(decimal_of(text))


@pytest.mark.parametrize("text", ["1E+999999999", "1E+100000", "-1E-100000", "NaN", "-Infinity", "1.50"])
def test_any_other_decimal_is_read_as_it_is(text: str) -> None:
    assert str(decimal_of(text)) == text


@pytest.mark.parametrize("max_depth", [1, 7, 8, 9, 10, 100])
def test_as_many_levels_are_read_as_are_allowed(max_depth: int) -> None:
    for opening, closing in (("[", "]"), ('{"a":', "}")):
        for levels in range(max_depth - 1, max_depth + 3):
            inner = "[" + "1.0," * 100 + '"["]' if levels else '"a"'
            text = opening * (levels - 1) + inner + closing * (levels - 1)
            payload = Json(utf8=text.encode()).SerializeToString()
            if levels > max_depth:
                with pytest.raises(SerializationError, match="nested deeper"):
                    decode_json(payload, max_depth)
            else:
                assert decode_json(payload, max_depth) == json.loads(text)


@pytest.mark.parametrize("levels", [2, 20])
@pytest.mark.parametrize(
    "text", ["3", "3.0", "-0", "-0.0", "1e3", str(2**64), str(-(10**40)), "9" * 5_000, '"2020-01-01T00:00:00Z"', "null"]
)
def test_numbers_and_texts_are_read_alike_at_any_depth(text: str, levels: int) -> None:
    opening, closing = "[" * levels, "]" * levels
    many = f"[{opening}{text}{closing},{','.join(['0'] * 200)}]"
    value = decode_json(Json(utf8=many.encode()).SerializeToString(), 100)[0]
    for _ in range(levels):
        (value,) = value
    expected = number_of(text) if text.startswith("9") else json.loads(text)
    assert type(value) is type(expected)
    # Python writes no integer of so many digits.
    assert value == expected if type(value) is int else repr(value) == repr(expected)


@pytest.mark.parametrize("wrong", ["1e400", "NaN", "tru", '"\\ud800"', "[1,]", '{"a" 1}', "{1:2}", "\x00", "1 1"])
def test_what_is_no_json_is_refused_at_any_size(wrong: str) -> None:
    for text in (f"[{wrong}]", f"[{'0,' * 500}{wrong}]"):
        with pytest.raises(SerializationError, match=r"not valid JSON|out of the range"):
            decode_json(Json(utf8=text.encode()).SerializeToString(), 100)
