"""JSON text: writing and reading it, and integers of any size.

Python refuses to convert more digits than ``sys.get_int_max_str_digits()`` (4,300), since it takes quadratic time.
The halving here keeps each piece below the smallest limit that can be set, and is bounded by MAX_DIGITS.
"""

import contextlib
import json
import re
from decimal import Context, Decimal, InvalidOperation
from functools import cache, lru_cache
from itertools import accumulate, chain
from math import isfinite
from types import GenericAlias
from typing import Any, NoReturn

import msgspec

from grpc_tool_bridge.errors import SerializationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import Json
from grpc_tool_bridge.rpc.wireformat import read_bytes_field

# Containers that share others can expand to far more than they hold: thirty lists, each holding the next one twice,
# are a thousand million items once written out.
MAX_ITEMS = 10_000_000

# Nearly every value has fewer levels. A type that msgspec checks doubles with every level.
_FEW_LEVELS = 8

_FEW_PASSES = 8
_BETWEEN_BRACKETS = ord("\\")
_SQUARE = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(code for code in range(256) if code not in b'[]{}"')

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode

# 640 is the least that sys.set_int_max_str_digits() takes.
_PIECE = 512
# Enough for a 330,000-bit number, which takes milliseconds; a hostile message gains nothing by such numbers.
MAX_DIGITS = 100_000
INT64 = range(-(2**63), 2**63)
_MAX_BITS = 332_193

_INTEGER = re.compile(r"-?[0-9]+")


def too_deep() -> SerializationError:
    """Returns the error for a value that is nested over the limit."""
    return SerializationError(
        "the value is nested deeper than its limit (max_depth, 100 levels unless set) or contains itself; "
        "flatten it, or raise the limit at both ends"
    )


def too_many(limit: int) -> SerializationError:
    """Returns the error for a value that is small in memory and endless once written out."""
    return SerializationError(
        f"the value has more than {limit:,} items, counting shared containers each time that they appear; "
        "send an array, a frame or several values"
    )


def encode_json(value: Any) -> bytes | None:
    """Writes a container that ``is_json_exact``; None if an integer in it has more digits than Python converts.

    Raises:
        SerializationError: A text in it has no UTF-8 form.
    """
    try:
        return _encode(value)
    except UnicodeEncodeError as failure:
        raise no_utf8(failure) from failure
    except ValueError:
        return None


def no_utf8(failure: UnicodeEncodeError) -> SerializationError:
    """Returns the error for a text that UTF-8, and so protobuf and JSON, cannot hold."""
    return SerializationError(
        f"a text has a lone surrogate (U+{ord(failure.object[failure.start]):04X} at index {failure.start}), which "
        "UTF-8 cannot hold; send bytes, such as text.encode('utf-8', 'surrogatepass')"
    )


def decode_json(payload: bytes, max_depth: int) -> Any:
    """Reads a Json message, with integers of any size.

    Raises:
        SerializationError: The bytes are not JSON, or are nested too deep.
    """
    text = read_bytes_field(payload)
    if text is None:
        text = memoryview(Json.FromString(payload).utf8)
    # A level takes at least two bytes, so a short text cannot be too deep.
    may_be_deep = len(text) > 2 * max_depth
    if may_be_deep and max_depth >= _FEW_LEVELS:
        # Counting levels while decoding is nearly free. What fails here has more, or an error that is reported below.
        with contextlib.suppress(ValueError, msgspec.MsgspecError):
            return _shallow_decoder().decode(text)
    try:
        value = _decode(text)
    except RecursionError:
        raise too_deep() from None
    except (ValueError, msgspec.MsgspecError) as failure:
        if "out of range" not in str(failure) and "integer string" not in str(failure):
            raise SerializationError(f"the text is not valid JSON: {failure}") from failure
        value = _decode_big(bytes(text))
    if may_be_deep:
        _check_depth(value, bytes(text), max_depth)
    return value


@cache
def _shallow_decoder() -> "msgspec.json.Decoder[Any]":
    """Makes a decoder that refuses values of more than _FEW_LEVELS levels."""
    scalar: Any = None | bool | int | float | str
    kind: Any = scalar
    for _ in range(_FEW_LEVELS):
        kind = scalar | GenericAlias(list, kind) | GenericAlias(dict, (str, kind))
    return msgspec.json.Decoder(kind)


def _decode_big(text: bytes) -> Any:
    """Reads JSON with integers of more digits than msgspec accepts."""
    try:
        return json.loads(text, parse_int=number_of, parse_float=_finite, parse_constant=_no_constant)
    except (ValueError, RecursionError) as failure:
        raise SerializationError(f"the text is not valid JSON: {failure}") from failure


def _finite(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise SerializationError(f"{text[:40]} is out of the range of a double")
    return number


def _no_constant(text: str) -> NoReturn:
    raise SerializationError(f"{text} is not valid JSON")


def _check_depth(value: Any, text: bytes, max_depth: int) -> None:
    brackets = _brackets(text)
    if brackets is None:
        _check_levels(value, max_depth)
        return
    # Each pass removes the innermost level. Few passes remove most of a usual text; any other is counted.
    passes = min(max_depth, _FEW_PASSES)
    for _ in range(passes):
        if not brackets:
            return
        brackets = brackets.replace(b"[]", b"")
    # 1 for "[" and -1 for "]".
    if max(accumulate(map(_BETWEEN_BRACKETS.__sub__, brackets)), default=0) > max_depth - passes:
        raise too_deep()


def _brackets(text: bytes) -> bytes | None:
    """Strips valid JSON to its brackets, made square; None if a string in it has brackets.

    With only quotes and brackets left, a string without brackets is a pair of quotes. A bracket in a string has an odd
    number of quotes before it, so one quote remains when pairs are removed.
    """
    if b"\\" in text:
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    brackets = text.translate(_SQUARE, _NO_BRACKETS).replace(b'""', b"")
    return None if b'"' in brackets else brackets


def _check_levels(value: Any, max_depth: int) -> None:
    level = [value]
    for _ in range(max_depth + 1):
        lists = [item for item in level if type(item) is list]
        dicts = [item for item in level if type(item) is dict]
        if not lists and not dicts:
            return
        level = list(chain(chain.from_iterable(lists), chain.from_iterable(map(dict.values, dicts))))
    raise too_deep()


# ------------------------------------------------------------------------------------------------- integers of any size


@lru_cache(maxsize=16)
def _power(digits: int) -> int:
    """Ten to the power of ``digits``; the few sizes that halving needs are cached."""
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
        ArithmeticError: The text is not a number.
    """
    if len(text) > MAX_DIGITS:
        raise SerializationError(f"a Decimal of {len(text):,} characters is too large: it may have {MAX_DIGITS:,}")
    # In its own context: the caller's may read an invalid text as NaN.
    return Decimal(text, Context(traps=[InvalidOperation]))


def check_decimal(value: Decimal) -> None:
    """Refuses a Decimal whose int or Fraction would have more than MAX_DIGITS digits and take too long to make.

    Raises:
        SerializationError: It is such a Decimal.
    """
    if value.is_finite() and abs(value.adjusted()) > MAX_DIGITS:
        raise SerializationError(
            f"a Decimal with the exponent {value.adjusted():,} is too large or too small: it may have {MAX_DIGITS:,} "
            "digits before or after the point; send it as text"
        )


def number_of(text: str) -> int:
    """Reads an integer from decimal digits, with a minus sign if negative.

    Raises:
        SerializationError: The text is anything else, or has more than MAX_DIGITS digits.
    """
    if not _INTEGER.fullmatch(text):
        raise SerializationError(f"{text[:40]!r} is not an integer: expected decimal digits")
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
