"""Dates and times of any library arrive as the same moment, with the name of their zone or offset."""

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

import dateutil.tz
import dateutil.zoneinfo
import freezegun
import pendulum
import pytest
import pytz
from pydantic import TypeAdapter

from grpc_tool_bridge import SerializationError, deserialize_value, serialize_value

# Twice on that night, an hour apart.
TWICE = dt.datetime(2024, 10, 27, 2, 30)  # noqa: DTZ001 - each case gives it a zone
BERLIN = ZoneInfo("Europe/Berlin")
PYTZ = pytz.timezone("Europe/Berlin")
DATEUTIL: Any = dateutil.tz.gettz("Europe/Berlin")
FIRST, SECOND = TWICE.replace(tzinfo=BERLIN), TWICE.replace(tzinfo=BERLIN, fold=1)


def offset(hours: float, name: str = "") -> dt.timezone:
    return dt.timezone(dt.timedelta(hours=hours), name) if name else dt.timezone(dt.timedelta(hours=hours))


MOMENTS: dict[str, tuple[Any, Any]] = {
    "zoneinfo": (FIRST, FIRST),
    "zoneinfo, second": (SECOND, SECOND),
    "pytz, first": (PYTZ.localize(TWICE, is_dst=True), FIRST),
    "pytz, second": (PYTZ.localize(TWICE, is_dst=False), SECOND),
    "pytz UTC": (pytz.utc.localize(TWICE), TWICE.replace(tzinfo=ZoneInfo("UTC"))),
    "pytz without changes": (
        TWICE.replace(tzinfo=pytz.timezone("Etc/GMT-3")),
        TWICE.replace(tzinfo=ZoneInfo("Etc/GMT-3")),
    ),
    "pytz fixed": (TWICE.replace(tzinfo=pytz.FixedOffset(90)), TWICE.replace(tzinfo=offset(1.5))),
    "dateutil, first": (TWICE.replace(tzinfo=DATEUTIL), FIRST),
    "dateutil, second": (TWICE.replace(tzinfo=DATEUTIL, fold=1), SECOND),
    "dateutil UTC": (TWICE.replace(tzinfo=dateutil.tz.UTC), TWICE.replace(tzinfo=dt.UTC)),
    "dateutil fixed": (TWICE.replace(tzinfo=dateutil.tz.tzoffset("X", 3600)), TWICE.replace(tzinfo=offset(1, "X"))),
    "pydantic": (
        TypeAdapter(dt.datetime).validate_python("2024-01-02T03:04:05+01:00"),
        dt.datetime(2024, 1, 2, 3, 4, 5, tzinfo=offset(1, "+01:00")),
    ),
    "named offset": (TWICE.replace(tzinfo=offset(1, "CET")), TWICE.replace(tzinfo=offset(1, "CET"))),
    "offset named as a zone": (
        TWICE.replace(tzinfo=offset(7, "Europe/Berlin")),
        TWICE.replace(tzinfo=offset(7, "Europe/Berlin")),
    ),
    "offset": (TWICE.replace(tzinfo=offset(-3.5)), TWICE.replace(tzinfo=offset(-3.5))),
    "UTC": (TWICE.replace(tzinfo=dt.UTC), TWICE.replace(tzinfo=dt.UTC)),
    "time with a named offset": (dt.time(1, tzinfo=offset(1, "CET")), dt.time(1, tzinfo=offset(1, "CET"))),
    "time in a zone": (dt.time(1, tzinfo=BERLIN), dt.time(1, tzinfo=BERLIN)),
    "time of pytz": (dt.time(1, tzinfo=pytz.utc), dt.time(1, tzinfo=ZoneInfo("UTC"))),
    "time of dateutil": (dt.time(1, tzinfo=dateutil.tz.UTC), dt.time(1, tzinfo=dt.UTC)),
    "pendulum": (
        pendulum.datetime(2024, 5, 1, tz="Europe/Paris"),
        dt.datetime(2024, 5, 1, fold=1, tzinfo=ZoneInfo("Europe/Paris")),
    ),
    "pendulum fixed": (
        pendulum.parse("2024-05-01T00:00:00+05:30"),
        dt.datetime(2024, 5, 1, tzinfo=offset(5.5, "+05:30")),
    ),
    "pendulum date": (pendulum.date(2024, 5, 1), dt.date(2024, 5, 1)),
    "pendulum time": (pendulum.time(1, 2, 3), dt.time(1, 2, 3)),
    "pendulum duration": (
        pendulum.duration(months=1, days=-40, microseconds=7),
        dt.timedelta(days=-10, microseconds=7),
    ),
    "pendulum interval": (pendulum.date(2024, 5, 3) - pendulum.date(2024, 5, 1), dt.timedelta(days=2)),
}


def facts(value: Any) -> tuple[Any, ...]:
    """Everything about a moment: Python's own comparison looks at less."""
    zone = getattr(value, "tzinfo", None)
    name = value.tzname() if zone is not None else None
    moved = value.utcoffset() if zone is not None else None
    bare = value.replace(tzinfo=None) if hasattr(value, "tzinfo") else value
    return type(value), bare, getattr(value, "fold", 0), type(zone), getattr(zone, "key", None), moved, name


@pytest.mark.parametrize("name", MOMENTS)
def test_it_is_the_same_moment(name: str) -> None:
    value, wanted = MOMENTS[name]
    for back in (deserialize_value(serialize_value(value)), deserialize_value(serialize_value([1.5, (value,)]))[1][0]):
        assert facts(back) == facts(wanted)
        assert facts(back)[5] == facts(value)[5]


@freezegun.freeze_time("2026-01-02 03:04:05")
def test_a_frozen_clock_makes_ordinary_moments() -> None:
    for value in (dt.datetime.now(), dt.datetime.now(dt.UTC), dt.date.today(), {"a": [dt.datetime.now()]}):  # noqa: DTZ005, DTZ011 - what people write
        assert deserialize_value(serialize_value(value)) == value


def test_a_moment_outside_of_the_zone_that_it_names_is_refused() -> None:
    # The well-known mistake with pytz: the zone's first offset, of 53 minutes.
    with pytest.raises(SerializationError, match=r"\+00:53.*localize"):
        serialize_value(TWICE.replace(tzinfo=PYTZ))


class Moving(dt.tzinfo):
    def utcoffset(self, when: dt.datetime | None) -> dt.timedelta | None:
        return dt.timedelta(hours=1) if when else None

    def dst(self, when: dt.datetime | None) -> dt.timedelta | None:
        return None

    def tzname(self, when: dt.datetime | None) -> str:
        return "M"


@pytest.mark.parametrize("zone", [dateutil.tz.tzstr("EST5EDT,M3.2.0,M11.1.0"), Moving()])
def test_a_zone_that_only_its_own_rules_tell_is_refused(zone: Any) -> None:
    with pytest.raises(SerializationError, match="IANA"):
        serialize_value(TWICE.replace(tzinfo=zone))


def test_dateutils_own_copy_of_a_zone_travels_by_its_name() -> None:
    zone = dateutil.zoneinfo.get_zonefile_instance().get("America/New_York")
    back = deserialize_value(serialize_value(TWICE.replace(tzinfo=zone)))
    assert facts(back) == facts(TWICE.replace(tzinfo=ZoneInfo("America/New_York")))
