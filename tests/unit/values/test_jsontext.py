"""Integers of any size and their digits."""

import random
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from grpc_tool_bridge.errors import SerializationError
from grpc_tool_bridge.values.jsontext import MAX_DIGITS, check_decimal, decimal_of, digits_of, number_of


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
