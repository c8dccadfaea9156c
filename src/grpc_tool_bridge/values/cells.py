"""Python objects of a pandas column or label, one RichValue each.

A RichValue has no field for the scalars of pandas. They are written as a tuple that begins with a name, and a real
tuple begins with "tuple". Only ``read_cell`` reads such a value, in the column of a frame, so the two cannot be
confused.
"""

import base64
import functools
from collections.abc import Callable
from typing import Any

from grpc_tool_bridge.errors import SerializationError
from grpc_tool_bridge.optional import need
from grpc_tool_bridge.proto.dspex_bridge_pb2 import RichValue
from grpc_tool_bridge.values import tensor
from grpc_tool_bridge.values.jsontext import too_deep
from grpc_tool_bridge.values.rich import RichReader, pack_rich
from grpc_tool_bridge.values.scalars import Packed

_MAX_DEPTH = 30
_UNITS = frozenset({"s", "ms", "us", "ns"})


def write_cell(value: Any) -> bytes:
    """Writes one object as a RichValue.

    Raises:
        SerializationError: It is neither plain data nor a scalar of numpy or pandas, or is nested too deep.
    """
    return pack_rich(_marked(value, _MAX_DEPTH), _pack_other)[1]


def read_cell(data: bytes) -> Any:
    """Reads what ``write_cell`` or a peer wrote.

    Raises:
        SerializationError: It is nested too deep or not a cell; the caller converts other errors.
    """
    return _unmarked(_reader.read(RichValue.FromString(data), _MAX_DEPTH + 2))


def write_label(value: Any) -> str:
    """Writes one object as text, for notes in JSON; raises as ``write_cell``."""
    return base64.b64encode(write_cell(value)).decode()


def read_label(text: str) -> Any:
    """Reads what ``write_label`` wrote; raises as ``read_cell``."""
    return read_cell(base64.b64decode(text, validate=True))


def _marked(value: Any, depth: int) -> Any:
    if depth < 0:
        raise too_deep()
    kind = type(value)
    if kind is tuple:
        return ("tuple", *(_marked(item, depth - 1) for item in value))
    if kind is list or kind is set or kind is frozenset:
        return kind([_marked(item, depth - 1) for item in value])
    if kind is dict:
        return {_marked(key, depth - 1): _marked(item, depth - 1) for key, item in value.items()}
    mark = _scalars_of_pandas().get(kind)
    return value if mark is None else mark(value, depth)


def _unmarked(value: Any) -> Any:
    kind = type(value)
    if kind is tuple:
        name, *parts = value
        build = _BUILDERS.get(name)
        if build is None:
            raise SerializationError(f"an object in a frame is of the unknown kind {str(name)[:80]!r}")
        return build(*map(_unmarked, parts))
    if kind is list or kind is set or kind is frozenset:
        return kind(map(_unmarked, value))
    if kind is dict:
        return {_unmarked(key): _unmarked(item) for key, item in value.items()}
    return value


def _pack_other(value: Any) -> Packed:
    packed = tensor.pack_tensor(value) if type(value).__module__ == "numpy" else None
    if packed is None:
        raise SerializationError(f"a {type(value).__qualname__} in a frame has no exact form")
    return packed


@functools.cache
def _scalars_of_pandas() -> dict[type, Callable[[Any, int], tuple[Any, ...]]]:
    pd = need("pandas")
    return {
        pd.Timestamp: lambda value, _: ("Timestamp", *_count(value.to_datetime64()), value.unit, _zone(value.tzinfo)),
        pd.Timedelta: lambda value, _: ("Timedelta", *_count(value.to_timedelta64()), value.unit),
        type(pd.NaT): lambda _, __: ("NaT",),
        type(pd.NA): lambda _, __: ("NA",),
        pd.Period: lambda value, _: ("Period", value.ordinal, value.freqstr),
        pd.Interval: lambda value, depth: (
            "Interval",
            _marked(value.left, depth - 1),
            _marked(value.right, depth - 1),
            value.closed,
        ),
    }


def _count(moment: Any) -> tuple[int]:
    return (int(moment.astype("i8")),)


def _zone(zone: Any) -> str | None:
    if zone is None:
        return None
    try:
        name: str = need("pyarrow").lib.tzinfo_to_string(zone)
    except (TypeError, ValueError) as failure:
        raise SerializationError(f"the time zone {zone!r} has no name; use one of zoneinfo") from failure
    return name


def _timestamp(number: int, unit: str, zone: str | None) -> Any:
    value = need("pandas").Timestamp(_moment("datetime64", number, unit)).as_unit(unit)
    return value if zone is None else value.tz_localize("UTC").tz_convert(zone)


def _timedelta(number: int, unit: str) -> Any:
    return need("pandas").Timedelta(_moment("timedelta64", number, unit)).as_unit(unit)


def _moment(kind: str, number: int, unit: str) -> Any:
    # numpy would read other units by rules of its own.
    if type(number) is not int or unit not in _UNITS:
        raise SerializationError("a date in a frame must be a count of s, ms, us or ns")
    return getattr(need("numpy"), kind)(number, unit)


_BUILDERS: dict[str, Callable[..., Any]] = {
    "tuple": lambda *items: items,
    "Timestamp": _timestamp,
    "Timedelta": _timedelta,
    "NaT": lambda: need("pandas").NaT,
    "NA": lambda: need("pandas").NA,
    "Period": lambda ordinal, freq: need("pandas").Period(ordinal=ordinal, freq=freq),
    "Interval": lambda left, right, closed: need("pandas").Interval(left, right, closed=closed),
}


def _unpack_tensor(message: Any, depth: int) -> Any:
    if message.type_url != tensor.TENSOR_URL:
        raise SerializationError(f"an object in a frame has the unsupported type URL {message.type_url[:200]!r}")
    return tensor.read_tensor(message.value, depth)


_reader = RichReader(_unpack_tensor)
