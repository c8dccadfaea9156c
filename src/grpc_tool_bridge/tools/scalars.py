"""Scalars that are not quite Python's own, read as those: NumPy's, and numbers as JSON and models write them.

NumPy is never imported for it: a value of NumPy's shows that it is there. What has no exact reading is given back as it
is, for the check that follows to refuse, or is refused here.
"""

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from pydantic_core import PydanticCustomError, PydanticKnownError

from grpc_tool_bridge.errors import SerializationError
from grpc_tool_bridge.values.bigints import MAX_DIGITS, check_decimal, decimal_of

_BASES = (bool, int, float, str, bytes)
# Of NumPy's kinds: truth values, integers, floats, complex numbers, bytes, texts.
_PLAIN_KINDS = "biufcSU"
# Years and months have no fixed length.
_NO_LENGTH = ("[Y]", "[M]")


def plain_scalar(value: Any) -> Any:
    """Reads NumPy's scalar, or its array of no dimensions, as Python's own; any other value stays as it is."""
    if not _is_numpy(value) or value.dtype.kind not in _PLAIN_KINDS:
        return value
    item = value.item()
    if type(item) in (*_BASES, complex):
        return item
    # A longdouble is its own item.
    number = float(item) if value.dtype.kind == "f" else None
    return number if number == item or number != number else value  # noqa: PLR0124 - a NaN


def base_scalar(value: Any) -> Any:
    """Reads a scalar of a subclass, such as a member of an IntEnum, as its base, and NumPy's as Python's."""
    value = plain_scalar(value)
    match value:
        case int() if not isinstance(value, bool):
            return int.__int__(value)
        case float():
            return float.__float__(value)
        case str():
            return str.__str__(value)
        case bytes():
            return bytes.__bytes__(value)
    return value


def whole_number(value: Any) -> Any:
    """Reads a float that is integral as an int, as JSON Schema does; any other value stays as it is."""
    value = plain_scalar(value)
    # By the base's own: a subclass may have code for it.
    return int(float.__float__(value)) if isinstance(value, float) and float.is_integer(value) else value


def real_number(value: Any) -> Any:
    """Reads an int or a float, and a Decimal or Fraction that a float holds; all else that has a ``__float__`` not."""
    value = plain_scalar(value)
    if isinstance(value, int | float):
        return value
    if isinstance(value, Decimal | Fraction) and (number := _exact_float(value)) is not None:
        return number
    raise PydanticKnownError("float_type")


def plain_bytes(value: Any) -> Any:
    """Reads the buffers that travel as bytes."""
    return bytes(value) if isinstance(value, bytearray | memoryview) else plain_scalar(value)


def exact_decimal(value: Any) -> Any:
    """Reads integers and text; a float with a fraction is inexact, and stays what it is."""
    value = whole_number(value)
    if isinstance(value, bool) or not isinstance(value, str | int):
        return value
    try:
        return decimal_of(value) if isinstance(value, str) else Decimal(value)
    except ArithmeticError:
        raise PydanticCustomError("text_form", "should be a decimal number") from None
    except SerializationError:
        raise PydanticCustomError("text_form", f"should be a decimal number of at most {MAX_DIGITS:,} digits") from None


def short_fraction(value: Any) -> Any:
    """Refuses a Decimal, or a text, whose Fraction would take for ever to make; any other value stays as it is."""
    try:
        if isinstance(value, Decimal):
            check_decimal(value)
        elif isinstance(value, str) and "/" not in value:
            check_decimal(decimal_of(value))
    except ArithmeticError:
        # What it is else, is for the check that follows to say.
        return value
    except SerializationError:
        raise PydanticCustomError("text_form", f"should be a fraction of at most {MAX_DIGITS:,} digits") from None
    return value


def exact_datetime(value: Any) -> Any:
    """Reads a ``datetime64`` of whole microseconds; any other value stays as it is."""
    if not _is_numpy(value) or value.dtype.kind != "M":
        return value
    micros = value.astype("datetime64[us]")
    read = micros.item()
    if not isinstance(read, datetime) or micros != value:
        raise PydanticCustomError(
            "datetime_exact", "should be a date and time in whole microseconds, of years 1 to 9999"
        )
    return read


def exact_date(value: Any) -> Any:
    """Reads a ``datetime64`` at midnight; any other value stays as it is."""
    read = exact_datetime(value)
    if read is value:
        return value
    if read.time() != time.min:
        raise PydanticCustomError("date_exact", "should be a date, with no time of the day")
    return date(read.year, read.month, read.day)


def exact_timedelta(value: Any) -> Any:
    """Reads a ``timedelta64`` of whole microseconds; any other value stays as it is."""
    if not _is_numpy(value) or value.dtype.kind != "m":
        return value
    unit = value.dtype.str[3:]
    micros = value.astype("timedelta64[us]")
    read = micros.item()
    if not unit or unit.endswith(_NO_LENGTH) or not isinstance(read, timedelta) or micros != value:
        raise PydanticCustomError("time_delta_exact", "should be a duration in whole microseconds")
    return read


def _is_numpy(value: Any) -> bool:
    """Whether it is a scalar of NumPy's or an array of no dimensions. What is masked has no value."""
    module = type(value).__module__
    return (module == "numpy" or module.startswith("numpy.")) and not hasattr(value, "mask") and _ndim(value) == 0


def _ndim(value: Any) -> Any:
    return getattr(value, "ndim", None) if hasattr(value, "dtype") else None


def _exact_float(value: Decimal | Fraction) -> float | None:
    try:
        number = float(value)
        exact = Decimal(repr(number)) == value if isinstance(value, Decimal) else Fraction(number) == value
    except (ArithmeticError, ValueError):
        return None
    return number if exact or number != number else None  # noqa: PLR0124 - a NaN
