"""Integers of any size and their decimal digits.

Python refuses to convert more digits than ``sys.get_int_max_str_digits()`` (4,300), since its way takes quadratic
time. The halving here keeps each piece below the smallest limit that can be set, and is bounded by MAX_DIGITS.
"""

import re
from decimal import Context, Decimal, InvalidOperation
from functools import lru_cache

from grpc_tool_bridge.errors import SerializationError

# 640 is the least that sys.set_int_max_str_digits() takes.
_PIECE = 512
# Enough for a 330,000-bit number, which takes milliseconds; a hostile message gains nothing by such numbers.
MAX_DIGITS = 100_000
INT64 = range(-(2**63), 2**63)
_MAX_BITS = 332_193

_INTEGER = re.compile(r"-?[0-9]+")


@lru_cache(maxsize=16)
def _power(digits: int) -> int:
    """Ten to the power of ``digits``; the few sizes that halving asks for are kept."""
    return int(10**digits)


def digits_of(number: int) -> str:
    """Writes an integer in decimal digits.

    Raises:
        SerializationError: It has more than MAX_DIGITS digits.
    """
    if number.bit_length() > _MAX_BITS or abs(number) >= _power(MAX_DIGITS):
        raise SerializationError(
            f"an integer of {number.bit_length():,} bits is too large: integers may have {MAX_DIGITS:,} digits; "
            "send its bytes (int.to_bytes) instead"
        )
    if number.bit_length() <= _PIECE * 3:
        return str(number)
    size = _PIECE
    while size * 3.32 < number.bit_length():
        size *= 2
    text = _padded(abs(number), size).lstrip("0")
    return f"-{text}" if number < 0 else text


def _padded(number: int, size: int) -> str:
    if size <= _PIECE:
        return str(number).zfill(size)
    high, low = divmod(number, _power(size // 2))
    return _padded(high, size // 2) + _padded(low, size // 2)


def decimal_of(text: str) -> Decimal:
    """Reads a Decimal, which may be NaN or infinite.

    Raises:
        SerializationError: It has more than MAX_DIGITS digits.
        ArithmeticError: The text is none.
    """
    if len(text) > MAX_DIGITS:
        raise SerializationError(f"a Decimal of {len(text):,} characters is too large: it may have {MAX_DIGITS:,}")
    # In a context of its own: the caller's may take what is no number for NaN.
    return Decimal(text, Context(traps=[InvalidOperation]))


def check_decimal(value: Decimal) -> None:
    """Refuses a Decimal whose int or Fraction would have more than MAX_DIGITS digits, which may take for ever to make.

    Raises:
        SerializationError: It is one.
    """
    if value.is_finite() and abs(value.adjusted()) > MAX_DIGITS:
        raise SerializationError(
            f"a Decimal with the exponent {value.adjusted():,} is too large or too small: it may have {MAX_DIGITS:,} "
            "digits before or after the point; send it as text"
        )


def number_of(text: str) -> int:
    """Reads an integer from decimal digits, with a minus sign where it is negative.

    Raises:
        SerializationError: The text is anything else, or has more than MAX_DIGITS digits.
    """
    if not _INTEGER.fullmatch(text):
        raise SerializationError(f"{text[:40]!r} is no integer: expected decimal digits")
    if len(text) - text.startswith("-") > MAX_DIGITS:
        raise SerializationError(f"an integer of {len(text):,} digits is too large: it may have {MAX_DIGITS:,}")
    if len(text) <= _PIECE:
        return int(text)
    negative = text.startswith("-")
    size = _PIECE
    while size < len(text):
        size *= 2
    number = _joined(text.lstrip("-").zfill(size), size)
    return -number if negative else number


def _joined(text: str, size: int) -> int:
    if size <= _PIECE:
        return int(text)
    half = size // 2
    return _joined(text[:half], half) * _power(half) + _joined(text[half:], half)
