"""Dates and times as ISO 8601 text, with the name of the time zone beside it."""

import datetime as dt
from pathlib import PurePath
from typing import Any
from zoneinfo import ZoneInfo

from grpc_tool_bridge.errors import SerializationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import RichDateTime
from grpc_tool_bridge.values.foreign import foreign

# The longest IANA name has 32 characters.
_MAX_ZONE_CHARS = 100
_MAX_NAME_CHARS = 100
# The folder that dateutil reads its zones from ends so, whatever the system.
_ZONE_FOLDER = "zoneinfo"


def write_moment(value: dt.datetime | dt.time, out: RichDateTime) -> None:
    """Writes a datetime or time.

    Raises:
        SerializationError: Its time zone has no IANA name, or its offset is not the one of that zone; and it is no
            fixed offset either.
    """
    zone = value.tzinfo
    if type(zone) is dt.timezone:
        _write_offset_name(zone, out)
    elif zone is not None:
        key = _key_of(zone)
        if key:
            out.zone = key
            value = _in_zone(value, key)
        else:
            fixed = _fixed(value, zone)
            _write_offset_name(fixed, out)
            value = value.replace(tzinfo=fixed)
    out.iso = value.isoformat()
    out.fold = bool(value.fold)


def read_datetime(message: RichDateTime) -> dt.datetime:
    """Reads a datetime; in a named zone the local time rules, whatever offset stands beside it."""
    value = dt.datetime.fromisoformat(message.iso)
    return value.replace(tzinfo=_zone(message) or _named(message, value.tzinfo), fold=int(message.fold))


def read_time(message: RichDateTime) -> dt.time:
    """Reads a time of day."""
    value = dt.time.fromisoformat(message.iso)
    return value.replace(tzinfo=_zone(message) or _named(message, value.tzinfo), fold=int(message.fold))


def _write_offset_name(zone: dt.timezone, out: RichDateTime) -> None:
    name = zone.tzname(None)
    if name != dt.timezone(zone.utcoffset(None)).tzname(None):
        out.offset_name = name


def _named(message: RichDateTime, zone: dt.tzinfo | None) -> dt.tzinfo | None:
    name = message.offset_name
    if not name or zone is None:
        return zone
    if len(name) > _MAX_NAME_CHARS:
        raise SerializationError(f"{name[:40]!r}… is no name of an offset")
    return dt.timezone(zone.utcoffset(None) or dt.timedelta(), name)


def _key_of(zone: Any) -> str:
    """Finds the IANA name of a time zone of zoneinfo, pendulum, pytz or dateutil; empty where it has none."""
    if isinstance(zone, ZoneInfo):
        return zone.key or ""
    package = type(zone).__module__.partition(".")[0]
    if package == "pytz":
        return getattr(zone, "zone", None) or ""
    if package == "dateutil":
        parts = PurePath(getattr(zone, "_filename", None) or "").parts
        # A zone of the system's by its path, one of dateutil's own by its name.
        start = parts.index(_ZONE_FOLDER) + 1 if _ZONE_FOLDER in parts else 0
        key = "/".join(parts[start:])
        return key if _is_known(key) else ""
    return ""


def _is_known(key: str) -> bool:
    try:
        return bool(key) and ZoneInfo(key) is not None
    except (ValueError, LookupError, OSError):
        return False


def _in_zone(value: Any, key: str) -> Any:
    """Gives the same moment in the zone of that name, with the fold that makes it so."""
    try:
        zone = ZoneInfo(key)
    except (ValueError, LookupError, OSError):
        # What it means here is what its own class says; the reader may know it.
        return value
    offset = value.utcoffset()
    if type(value.tzinfo) is ZoneInfo or offset is None:
        return value.replace(tzinfo=zone)
    for fold in (value.fold, 1 - value.fold):
        moved = value.replace(tzinfo=zone, fold=fold)
        if moved.utcoffset() == offset:
            return moved
    raise SerializationError(
        f"{value.isoformat()} is not in the time zone that it names: {key} has the offset "
        f"{value.replace(tzinfo=zone).isoformat()[-6:]} then; make it with zoneinfo.ZoneInfo({key!r}), or with pytz's "
        "zone.localize(...)"
    )


def _fixed(value: Any, zone: Any) -> dt.timezone:
    """Gives the offset of a zone that has no other: only such a one tells it without being told a moment.

    Raises:
        SerializationError: It may have others, which nobody could tell without its name.
    """
    if type(zone) is not dt.timezone:
        foreign(zone)
    offset, name = zone.utcoffset(None), zone.tzname(None)
    moves = isinstance(value, dt.datetime) and value.utcoffset() != offset
    if offset is None or moves or not isinstance(name, str | None):
        kind = type(zone)
        raise SerializationError(
            f"a time zone of type {kind.__module__}.{kind.__name__} without an IANA name cannot travel; "
            "use zoneinfo.ZoneInfo(name), or value.astimezone() for a fixed offset"
        )
    return dt.timezone(offset, name) if name else dt.timezone(offset)


def _zone(message: RichDateTime) -> ZoneInfo | None:
    name = message.zone
    # The name comes from a peer: ZoneInfo refuses paths out of its directories, this keeps what it opens short.
    try:
        if len(name) <= _MAX_ZONE_CHARS:
            return ZoneInfo(name) if name else None
    except (ValueError, LookupError, OSError) as failure:
        raise SerializationError(
            f"the time zone {name!r} is not known here; update the tzdata package ({type(failure).__name__})"
        ) from failure
    raise SerializationError(f"{name[:40]!r}… is no name of a time zone")
