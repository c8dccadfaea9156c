"""Well-known types in the form that JSON has for them, and back: moments, durations, masks, values of any type."""

import math
import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from grpc_tool_bridge.adapters.grpc.problems import (
    LEVELS_OF_DICT,
    LEVELS_OF_LIST,
    Problems,
    TooDeepError,
    WrongError,
    said,
    step_to,
    too_deep,
    wrong,
)
from grpc_tool_bridge.adapters.grpc.scalars import MAX_EXACT, text
from grpc_tool_bridge.llm.values import whole_of
from grpc_tool_bridge.tools.wording import show

# Of google.protobuf.Timestamp: 0001-01-01T00:00:00Z to 9999-12-31T23:59:59Z, in seconds since 1970.
_FIRST, _LAST = -62_135_596_800, 253_402_300_799
# Of google.protobuf.Duration: 10,000 years.
_LONGEST = 315_576_000_000
_NANOS = 1_000_000_000
_INT64 = (-(2**63), 2**63 - 1)
_INT32 = (-(2**31), 2**31 - 1)

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - only differences to other naive ones are taken
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII)
_DURATION = re.compile(r"(-?)(\d{1,12})(?:\.(\d{1,9}))?s", re.ASCII)
_MOMENT_LOOKS = "a time with its offset, such as '2026-05-01T12:00:00Z'"
_DURATION_LOOKS = "a duration in seconds, such as '1.5s'"
_MAX_HOUR, _MAX_MINUTE = 23, 59

_MASK_LOOKS = "the names of fields, separated by commas"
_UPPER = re.compile("[A-Z]")
_AFTER_LINE = re.compile("_([a-z])")

# Seconds and nanoseconds.
Pair = tuple[int, int]


# ------------------------------------------------------------------------------------------------ moments and durations


def read_moment(seconds: int, nanos: int) -> Any:
    """Writes a Timestamp as RFC 3339; one that is not valid stays a dict of its fields."""
    if not (_FIRST <= seconds <= _LAST and 0 <= nanos < _NANOS):
        return {"seconds": seconds, "nanos": nanos}
    return f"{(_EPOCH + timedelta(seconds=seconds)).isoformat()}{_fraction(nanos)}Z"


def moment(value: Any) -> Pair:
    """Reads a Timestamp from a text, a datetime with a time zone, or a dict of its fields.

    Raises:
        WrongError: It is none.
    """
    if isinstance(value, str):
        return _moment_of_text(value)
    if isinstance(value, datetime):
        return _moment_of_datetime(value)
    if isinstance(value, Mapping):
        return _fields(value)
    raise wrong(_MOMENT_LOOKS, value)


def _moment_of_text(text: str) -> Pair:
    found = _MOMENT.fullmatch(text)
    if found is None:
        raise wrong(_MOMENT_LOOKS, text)
    date, time, fraction, sign, hours, minutes = found.groups()
    try:
        naive = datetime.fromisoformat(f"{date}T{time}")
    except ValueError:
        raise wrong(_MOMENT_LOOKS, text) from None
    seconds = _whole_seconds(naive - _EPOCH)
    if sign:
        if int(hours) > _MAX_HOUR or int(minutes) > _MAX_MINUTE:
            raise wrong(_MOMENT_LOOKS, text)
        offset = 3600 * int(hours) + 60 * int(minutes)
        seconds += offset if sign == "-" else -offset
    return _valid_moment(seconds, int((fraction or "").ljust(9, "0")), text)


def _moment_of_datetime(value: datetime) -> Pair:
    offset = value.utcoffset()
    if offset is None:
        raise said(f"should have a time zone, such as datetime.now(UTC), got {value.isoformat()}")
    # Pandas has nanoseconds beside.
    nanos = 1_000 * value.microsecond + int(getattr(value, "nanosecond", 0))
    naive = datetime(value.year, value.month, value.day, value.hour, value.minute, value.second)  # noqa: DTZ001
    seconds = _whole_seconds(naive - _EPOCH) * 1_000_000 - offset // timedelta(microseconds=1)
    extra, micros = divmod(seconds, 1_000_000)
    carried, nanos = divmod(nanos + 1_000 * micros, _NANOS)
    return _valid_moment(extra + carried, nanos, value)


def _whole_seconds(delta: timedelta) -> int:
    return delta.days * 86_400 + delta.seconds


def _valid_moment(seconds: int, nanos: int, value: Any) -> Pair:
    if not _FIRST <= seconds <= _LAST:
        raise wrong("a time from the year 1 to 9999 in UTC", value)
    return seconds, nanos


def read_duration(seconds: int, nanos: int) -> Any:
    """Writes a Duration as seconds, such as "1.5s"; one that is not valid stays a dict of its fields."""
    if not (-_LONGEST <= seconds <= _LONGEST and -_NANOS < nanos < _NANOS) or (
        seconds < 0 < nanos or nanos < 0 < seconds
    ):
        return {"seconds": seconds, "nanos": nanos}
    sign = "-" if seconds < 0 or nanos < 0 else ""
    return f"{sign}{abs(seconds)}{_fraction(abs(nanos))}s"


def duration(value: Any) -> Pair:
    """Reads a Duration from a text, a timedelta, or a dict of its fields.

    Raises:
        WrongError: It is none.
    """
    if isinstance(value, str):
        found = _DURATION.fullmatch(value)
        if found is None:
            raise wrong(_DURATION_LOOKS, value)
        sign = -1 if found[1] else 1
        return _valid_duration(sign * int(found[2]), sign * int((found[3] or "").ljust(9, "0")), value)
    if isinstance(value, timedelta):
        nanos = 1_000 * (value // timedelta(microseconds=1)) + int(getattr(value, "nanoseconds", 0))
        sign = -1 if nanos < 0 else 1
        seconds, rest = divmod(abs(nanos), _NANOS)
        return _valid_duration(sign * seconds, sign * rest, value)
    if isinstance(value, Mapping):
        return _fields(value)
    raise wrong(_DURATION_LOOKS, value)


def _valid_duration(seconds: int, nanos: int, value: Any) -> Pair:
    if not -_LONGEST <= seconds <= _LONGEST:
        raise wrong(f"a duration of at most {_LONGEST:,} seconds", value)
    return seconds, nanos


def _fraction(nanos: int) -> str:
    """Writes nanoseconds in as few groups of three digits as hold them."""
    if not nanos:
        return ""
    digits = f"{nanos:09}"
    while digits.endswith("000"):
        digits = digits[:-3]
    return f".{digits}"


def _fields(value: Mapping[Any, Any]) -> Pair:
    found = []
    for name, (low, high) in (("seconds", _INT64), ("nanos", _INT32)):
        number = value.get(name, 0)
        if type(number) is not int or not low <= number <= high:
            raise wrong(f"a dict with '{name}' from {low} to {high}, or a text", number)
        found.append(number)
    if value.keys() - {"seconds", "nanos"}:
        raise said("should be a text, or a dict of 'seconds' and 'nanos' alone")
    return found[0], found[1]


# ---------------------------------------------------------------------------------------------------------------- masks


def read_mask(paths: Iterable[str]) -> str | list[str]:
    """Writes a mask as JSON does, such as "name,homeCity"; paths that are not found again by that stay a list."""
    found = list(paths)
    camel = [_AFTER_LINE.sub(lambda part: part[1].upper(), path) for path in found]
    text = ",".join(camel)
    return text if mask(text) == found else found


def mask(value: Any) -> list[str]:
    """Reads the paths of a mask from a text, or from a list of them as they are in the proto.

    Raises:
        WrongError: It is none.
    """
    if isinstance(value, str):
        return [_with_lines(path.strip()) for path in text(value).split(",")] if value else []
    if not isinstance(value, list | tuple):
        raise wrong(_MASK_LOOKS, value)
    paths = []
    for place, path in enumerate(value):
        try:
            paths.append(text(path))
        except WrongError as error:
            raise WrongError(*((f"[{place}]{at}", told) for at, told in error.problems)) from None
    return paths


def _with_lines(path: str) -> str:
    """Returns the path as the proto has it; one that already has underscores is that."""
    return path if "_" in path else _UPPER.sub(lambda part: f"_{part[0].lower()}", path)


# --------------------------------------------------------------------------------------------------- values of any type


def read_value(message: Any, left: int) -> Any:
    """Reads a google.protobuf.Value; one without any value is None.

    Raises:
        TooDeepError: It is nested deeper than ``left`` levels.
    """
    kind = message.WhichOneof("kind")
    if kind is None or kind == "null_value":
        return None
    if kind == "number_value":
        return _number(message.number_value)
    if kind == "struct_value":
        return read_struct(message.struct_value, left - 1)
    if kind == "list_value":
        return read_list(message.list_value, left - 1)
    return getattr(message, kind)


def _number(number: float) -> int | float:
    """Returns a whole number as int, as JSON has no other."""
    if number.is_integer() and -MAX_EXACT <= number <= MAX_EXACT and (number or math.copysign(1, number) > 0):
        return int(number)
    return number


def read_struct(message: Any, left: int) -> dict[str, Any]:
    """Reads a google.protobuf.Struct; raises as ``read_value``."""
    if left < 0:
        raise TooDeepError
    fields = message.fields
    return {name: read_value(fields[name], left) for name in fields}


def read_list(message: Any, left: int) -> list[Any]:
    """Reads a google.protobuf.ListValue; raises as ``read_value``."""
    if left < 0:
        raise TooDeepError
    return [read_value(item, left) for item in message.values]


def fill_value(message: Any, value: Any, left: int) -> None:
    """Writes plain data into a google.protobuf.Value.

    Raises:
        WrongError: It cannot hold it.
    """
    if value is None:
        message.null_value = 0
    elif isinstance(value, bool):
        message.bool_value = bool(value)
    elif isinstance(value, int | float):
        message.number_value = _exact(value)
    elif isinstance(value, str):
        message.string_value = text(value)
    elif isinstance(value, Mapping):
        message.struct_value.SetInParent()
        fill_struct(message.struct_value, value, left - LEVELS_OF_DICT)
    elif isinstance(plain := whole_of(value), list | tuple):
        message.list_value.SetInParent()
        fill_list(message.list_value, plain, left - LEVELS_OF_LIST)
    else:
        raise wrong("plain data: None, a boolean, a number, a text, a list or a dict", value)


def _exact(value: float) -> float:
    if isinstance(value, int) and abs(value) > MAX_EXACT:
        raise said(f"should be an integer of at most 2^53, since it is sent as a double, got {show(value)}")
    return float(value)


def fill_struct(message: Any, value: Any, left: int) -> None:
    """Writes a dict into a google.protobuf.Struct; raises as ``fill_value``."""
    if not isinstance(value, Mapping):
        raise wrong("a dict", value)
    if left < 0:
        raise too_deep()
    fields = message.fields
    problems = Problems()
    for name, item in value.items():
        try:
            if not isinstance(name, str):
                raise wrong("a dict with texts as keys", name)
            fill_value(fields[text(name)], item, left)
        except WrongError as error:
            problems.add(step_to(name), error)
    problems.end()


def fill_list(message: Any, value: Any, left: int) -> None:
    """Writes a list into a google.protobuf.ListValue; raises as ``fill_value``."""
    items = whole_of(value)
    if not isinstance(items, list | tuple):
        raise wrong("a list", value)
    if left < 0:
        raise too_deep()
    values = message.values
    problems = Problems()
    for place, item in enumerate(items):
        try:
            fill_value(values.add(), item, left)
        except WrongError as error:
            problems.add(f"[{place}]", error)
    problems.end()
