"""Dates and times as ISO 8601 text, with the name of the time zone beside it."""

import datetime as dt
from zoneinfo import ZoneInfo

from grpc_tool_bridge.errors import SerializationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import RichDateTime

# The longest IANA name has 32 characters.
_MAX_ZONE_CHARS = 100


def write_moment(value: dt.datetime | dt.time, out: RichDateTime) -> None:
    """Writes a datetime or time.

    Raises:
        SerializationError: Its time zone is neither a named zoneinfo.ZoneInfo nor a fixed datetime.timezone.
    """
    zone = value.tzinfo
    if type(zone) is ZoneInfo and zone.key:
        out.zone = zone.key
    elif zone is not None and type(zone) is not dt.timezone:
        raise SerializationError(
            f"a time zone of type {type(zone).__module__}.{type(zone).__name__} without an IANA name cannot travel; "
            "use zoneinfo.ZoneInfo(name) or a fixed datetime.timezone"
        )
    out.iso = value.isoformat()
    out.fold = bool(value.fold)


def read_datetime(message: RichDateTime) -> dt.datetime:
    """Reads a datetime; in a named zone the local time rules, whatever offset stands beside it."""
    value = dt.datetime.fromisoformat(message.iso)
    return value.replace(tzinfo=_zone(message) or value.tzinfo, fold=int(message.fold))


def read_time(message: RichDateTime) -> dt.time:
    """Reads a time of day."""
    value = dt.time.fromisoformat(message.iso)
    return value.replace(tzinfo=_zone(message) or value.tzinfo, fold=int(message.fold))


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
