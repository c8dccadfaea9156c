"""Moments and durations of protobuf as texts, to the nanosecond, and back."""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from grpc_tool_bridge.adapters.grpc.problems import said, wrong

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

# Seconds and nanoseconds.
Pair = tuple[int, int]


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
