"""RichValue: values that JSON cannot hold exactly, and containers of them.

Dates and times are ISO 8601 text in it, with the name of the time zone as a separate field.

A protobuf message may be nested 100 levels deep, and each level of a RichValue takes two. So every few levels the
value continues in ``any``, whose content is parsed separately.
"""

import datetime as dt
import decimal
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any
from zoneinfo import ZoneInfo

from grpc_tool_bridge.errors import SerializationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import RichDateTime, RichValue
from grpc_tool_bridge.values.foreign import foreign
from grpc_tool_bridge.values.hashes import MAX_SAME_HASH, same_hashes
from grpc_tool_bridge.values.jsontext import INT64, decimal_of, digits_of, no_utf8, number_of, too_deep
from grpc_tool_bridge.values.scalars import RICH_URL, Packed
from grpc_tool_bridge.values.tensor import TENSOR_URL, read_array

# Levels in one message: at two messages per level, well below protobuf's 100.
_LEVELS = 32

Pack = Callable[[Any], Packed]

# The longest IANA name has 32 characters.
_MAX_ZONE_CHARS = 100
_MAX_NAME_CHARS = 100
# The folder from which dateutil reads its zones ends like this on every system.
_ZONE_FOLDER = "zoneinfo"


def pack_rich(value: Any, pack: Pack) -> Packed:
    """Writes plain data, checked for depth and cycles, as RichValue.

    ``pack`` writes values that it has no field for: arrays, frames, registered and unknown classes.

    Raises:
        SerializationError: Something in it cannot be represented.
    """
    message = RichValue()
    try:
        _write(value, message, pack, 0)
    except UnicodeEncodeError as failure:
        raise no_utf8(failure) from failure
    return RICH_URL, message.SerializeToString()


def is_rich(kind: type) -> bool:
    """Returns whether a RichValue has a field for this class."""
    return kind in _LEAVES or kind in _CONTAINERS


def _write(value: Any, out: RichValue, pack: Pack, level: int) -> None:
    leaf = _LEAVES.get(type(value))
    if leaf is not None:
        leaf(out, value)
    elif type(value) in _CONTAINERS:
        if level and level % _LEVELS == 0:
            inner = RichValue()
            _write_container(value, inner, pack, level)
            out.any.type_url, out.any.value = RICH_URL, inner.SerializeToString()
        else:
            _write_container(value, out, pack, level)
    else:
        _write_other(value, out, pack)


def _write_container(value: Any, out: RichValue, pack: Pack, level: int) -> None:
    field = getattr(out, _CONTAINERS[type(value)])
    # Marks an empty one as set.
    field.SetInParent()
    if type(value) is dict:
        add_key, add_value = field.keys.add, field.values.add
        for key, item in value.items():
            _write(key, add_key(), pack, level + 1)
            _write(item, add_value(), pack, level + 1)
    else:
        add = field.items.add
        for item in value:
            _write(item, add(), pack, level + 1)


def _write_other(value: Any, out: RichValue, pack: Pack) -> None:
    type_url, payload = pack(value)
    if type_url == TENSOR_URL and getattr(value, "ndim", None) != 0:
        out.tensor.MergeFromString(payload)
    elif type_url == RICH_URL:
        out.MergeFromString(payload)
    else:
        out.any.type_url, out.any.value = type_url, payload


def _write_int(out: RichValue, value: int) -> None:
    if value in INT64:
        out.integer = value
    else:
        out.big_integer = digits_of(value)


def _write_timedelta(out: RichValue, value: dt.timedelta) -> None:
    out.timedelta.SetInParent()
    out.timedelta.days, out.timedelta.seconds = value.days, value.seconds
    out.timedelta.microseconds = value.microseconds


def _write_complex(out: RichValue, value: complex) -> None:
    out.complex.SetInParent()
    out.complex.real, out.complex.imag = value.real, value.imag


_LEAVES: dict[type, Callable[[RichValue, Any], None]] = {
    type(None): lambda out, _: setattr(out, "null", True),
    bool: lambda out, value: setattr(out, "boolean", value),
    int: _write_int,
    float: lambda out, value: setattr(out, "number", value),
    str: lambda out, value: setattr(out, "text", value),
    bytes: lambda out, value: setattr(out, "binary", value),
    dt.datetime: lambda out, value: write_moment(value, out.datetime),
    dt.date: lambda out, value: setattr(out, "date", value.isoformat()),
    dt.time: lambda out, value: write_moment(value, out.time),
    dt.timedelta: _write_timedelta,
    uuid.UUID: lambda out, value: setattr(out, "uuid", str(value)),
    decimal.Decimal: lambda out, value: setattr(out, "decimal", str(value)),
    complex: _write_complex,
}
_CONTAINERS: dict[type, str] = {list: "list", tuple: "tuple", set: "set", frozenset: "frozenset", dict: "dict"}


@dataclass(frozen=True, slots=True)
class RichReader:
    """Reads RichValues; ``unpack`` reads an Any with at most the given number of levels."""

    unpack: Callable[[Any, int], Any]

    def read(self, message: RichValue, depth: int) -> Any:
        """Reads one value with at most the given number of levels of containers.

        Raises:
            SerializationError: It is nested too deep, or not a value; the caller converts other errors.
        """
        kind = message.WhichOneof("kind")
        if kind is None:
            raise SerializationError("a RichValue has no kind set; null is null = true")
        if kind in _AS_IS:
            return getattr(message, kind)
        if kind in _BUILDERS:
            return self._container(kind, getattr(message, kind), depth)
        if kind == "any":
            return self._any(message.any, depth)
        return _READERS[kind](getattr(message, kind))

    def _any(self, message: Any, depth: int) -> Any:
        if message.type_url.rpartition("/")[2] != "dspex.bridge.RichValue":
            return self.unpack(message, depth)
        inner = RichValue.FromString(message.value)
        # Otherwise an endless chain of them could be nested without counting levels.
        if inner.WhichOneof("kind") == "any":
            raise SerializationError("a RichValue in an Any holds nothing but another Any; send the value itself")
        return self.read(inner, depth)

    def _container(self, kind: str, message: Any, depth: int) -> Any:
        if depth < 1:
            raise too_deep()
        build = _BUILDERS[kind]
        if kind != "dict":
            items = [self.read(item, depth - 1) for item in message.items]
            if build is set or build is frozenset:
                _check_hashes(items)
            container = build(items)
        else:
            if len(message.keys) != len(message.values):
                raise SerializationError(f"a dict came with {len(message.keys)} keys and {len(message.values)} values")
            items = [self.read(key, depth - 1) for key in message.keys]
            _check_hashes(items)
            container = build(zip(items, [self.read(item, depth - 1) for item in message.values], strict=True))
        if len(container) != len(items):
            raise SerializationError(f"a {kind} came with a duplicate key or member")
        return container


def _check_hashes(items: list[Any]) -> None:
    if same_hashes(items):
        raise SerializationError(
            f"more than {MAX_SAME_HASH} keys or members of one container have the same hash; send them as a list"
        )


# ------------------------------------------------------------------------------------------------------ dates and times


def write_moment(value: dt.datetime | dt.time, out: RichDateTime) -> None:
    """Writes a datetime or time.

    Raises:
        SerializationError: Its time zone is not a fixed offset, and has no IANA name or another offset than the zone
        of that name.
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
    """Reads a datetime; in a named zone the local time counts, not the offset."""
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
        raise SerializationError(f"{name[:40]!r}… is not a valid offset")
    return dt.timezone(zone.utcoffset(None) or dt.timedelta(), name)


def _key_of(zone: Any) -> str:
    """Finds the IANA name of a time zone of zoneinfo, pendulum, pytz or dateutil; empty if it has none."""
    if isinstance(zone, ZoneInfo):
        return zone.key or ""
    package = type(zone).__module__.partition(".")[0]
    if package == "pytz":
        return getattr(zone, "zone", None) or ""
    if package == "dateutil":
        parts = PurePath(getattr(zone, "_filename", None) or "").parts
        # A system zone by its path, one of dateutil's own by its name.
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
    """Returns the same instant in the zone of that name, with the matching fold."""
    try:
        zone = ZoneInfo(key)
    except (ValueError, LookupError, OSError):
        # The zone is not known here, but the reader may know it.
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
    """Returns the offset of a zone with a fixed offset: only such a zone returns it without a datetime.

    Raises:
        SerializationError: The zone may have other offsets, which cannot be known without its name.
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
    # The name comes from a peer: ZoneInfo refuses paths outside its directories; this also bounds the length.
    try:
        if len(name) <= _MAX_ZONE_CHARS:
            return ZoneInfo(name) if name else None
    except (ValueError, LookupError, OSError) as failure:
        raise SerializationError(
            f"the time zone {name!r} is not known here; update the tzdata package ({type(failure).__name__})"
        ) from failure
    raise SerializationError(f"{name[:40]!r}… is not the name of a time zone")


_AS_IS = frozenset({"boolean", "integer", "number", "text", "binary"})
_BUILDERS: dict[str, Callable[[Any], Any]] = {
    "list": list,
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "dict": dict,
}
_READERS: dict[str, Callable[[Any], Any]] = {
    "null": lambda _: None,
    "big_integer": number_of,
    "datetime": read_datetime,
    "date": dt.date.fromisoformat,
    "time": read_time,
    "timedelta": lambda message: dt.timedelta(message.days, message.seconds, message.microseconds),
    "uuid": uuid.UUID,
    "decimal": decimal_of,
    "complex": lambda message: complex(message.real, message.imag),
    "tensor": read_array,
}
