"""The usual call and its answer as bytes, without protobuf's messages.

The usual call has a session, a tool, scalar arguments and a timeout; its answer has a scalar result and a duration.
Most of the time that such a message takes goes into its Python objects. Whatever is not as a plain encoder writes it
(another field or type, a field that is repeated or out of order) is left to protobuf, so that both ways give the same.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from google.protobuf.message import DecodeError

from grpc_tool_bridge.errors import SerializationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ExecutionMetrics, ToolCallRequest, ToolCallResponse
from grpc_tool_bridge.rpc.wireformat import LENGTH, MORE, TYPE_PREFIX, VARINT, read_varint, varint
from grpc_tool_bridge.values.scalars import READERS, SCALARS, Packed

T = TypeVar("T")

# The bits of a varint's byte that belong to the number.
_LOW = MORE - 1

# Returned for what protobuf has to read.
UNREAD: Any = object()

# What reading a request raises if it is not the usual one, or not valid.
UNREADABLE: tuple[type[Exception], ...] = (ValueError, LookupError, DecodeError, SerializationError)


def _tag(number: int, kind: int) -> int:
    return number << 3 | kind


_SESSION = _tag(ToolCallRequest.SESSION_ID_FIELD_NUMBER, LENGTH)
_TOOL = _tag(ToolCallRequest.TOOL_ID_FIELD_NUMBER, LENGTH)
_ARGUMENT = _tag(ToolCallRequest.ARGS_FIELD_NUMBER, LENGTH)
_NAMED = _tag(ToolCallRequest.KWARGS_FIELD_NUMBER, LENGTH)
_TIMEOUT = _tag(ToolCallRequest.TIMEOUT_MS_FIELD_NUMBER, VARINT)
_METRICS = _tag(ToolCallResponse.METRICS_FIELD_NUMBER, LENGTH)
# The fields of an Any, and of an entry of a map.
_FIRST, _SECOND = _tag(1, LENGTH), _tag(2, LENGTH)
_ARGUMENT_TAG, _NAMED_TAG, _FIRST_TAG, _SECOND_TAG = (bytes((tag,)) for tag in (_ARGUMENT, _NAMED, _FIRST, _SECOND))

# ``success``, and the tag of ``result``.
_SUCCESS = ToolCallResponse(success=True).SerializeToString() + bytes(
    (_tag(ToolCallResponse.RESULT_FIELD_NUMBER, LENGTH),)
)
_RESULT = len(_SUCCESS)

_LENGTHS = tuple(varint(length) for length in range(MORE))
# No timeout of the wire is longer.
_MAX_INT32 = 2**31 - 1
# Of a size; protobuf refuses one that takes more.
_MAX_SIZE_BYTES = 5


def _read_size(data: bytes, place: int) -> tuple[int, int]:
    """Reads a size; returns it and the position after it."""
    first = data[place]
    if first < MORE:
        return first, place + 1
    second = data[place + 1]
    if second < MORE:
        return first & _LOW | second << 7, place + 2
    third = data[place + 2]
    if third < MORE:
        return first & _LOW | (second & _LOW) << 7 | third << 14, place + 3
    size, end = read_varint(data, place)
    if end - place > _MAX_SIZE_BYTES:
        raise ValueError(place)
    return size, end


def _url_field(type_url: str) -> bytes:
    url = type_url.encode()
    return _FIRST_TAG + varint(len(url)) + url


# The first field of an Any, by the type URL of a scalar; and what reads the scalar, by that field.
_URL_FIELDS = {
    packed[0]: _url_field(packed[0])
    for packed in (
        write(value) for write, value in ((SCALARS[type(item)], item) for item in ("", 0, 0.0, False, b"", None))
    )
}
_READ = {_url_field(TYPE_PREFIX + name): read for name, read in READERS.items()}
_NULL_URL, _NULL = SCALARS[type(None)](None)


def _read_null(payload: bytes, _: int) -> None:
    # Other values of this type are no scalars.
    if payload != _NULL:
        raise ValueError(payload)


_READ[_URL_FIELDS[_NULL_URL]] = _read_null


def _any_heads(type_url: str) -> tuple[bytes, ...]:
    """Returns what comes before the payload of an Any, by the payload's length, while one byte holds each length."""
    field = _URL_FIELDS[type_url]
    most = MORE - len(field) - len(_SECOND_TAG) - 1
    with_payload = (_LENGTHS[len(field) + 2 + size] + field + _SECOND_TAG + _LENGTHS[size] for size in range(1, most))
    return (_LENGTHS[len(field)] + field, *with_payload)


_ANY_HEADS = {type_url: _any_heads(type_url) for type_url in _URL_FIELDS}
_ARGUMENT_HEADS = {type_url: tuple(_ARGUMENT_TAG + head for head in heads) for type_url, heads in _ANY_HEADS.items()}


# Small numbers need no look at their type URL.
_SMALL_INTS = tuple(SCALARS[int](value) for value in range(MORE))
_SMALL_INT_ARGUMENTS = tuple(_ARGUMENT_HEADS[packed[0]][len(packed[1])] + packed[1] for packed in _SMALL_INTS)
_read_int = READERS["google.protobuf.Int64Value"]
_INT = _tag(1, VARINT)
_ONE_DIGIT, _TWO_DIGITS = 2, 3
# Of an Int64Value.
_BEYOND = 2**63


def _any_field(packed: Packed) -> bytes:
    """Returns an Any, with its length before it."""
    type_url, payload = packed
    field = _URL_FIELDS.get(type_url) or _url_field(type_url)
    if not payload:
        return varint(len(field)) + field
    second = _SECOND_TAG + varint(len(payload))
    return b"".join((varint(len(field) + len(second) + len(payload)), field, second, payload))


# ------------------------------------------------------------------------------------------------------- requests


def request_head(session_id: str, tool_id: str) -> bytes:
    """Returns what comes before the arguments in the request of a call."""
    return ToolCallRequest(session_id=session_id, tool_id=tool_id).SerializeToString()


def request_tail(timeout_ms: int) -> bytes:
    """Returns what comes after the arguments in the request of a call."""
    return ToolCallRequest(timeout_ms=timeout_ms).SerializeToString()


def arguments_of(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes | None:
    """Returns the arguments of a call as in its request; None if one is not a scalar that is written here.

    Raises:
        SerializationError: A text has a lone surrogate.
    """
    fields: list[bytes] = []
    for value in args:
        if type(value) is int and 0 <= value < MORE:
            fields.append(_SMALL_INT_ARGUMENTS[value])
            continue
        write = SCALARS.get(type(value))
        if write is None:
            return None
        packed = write(value)
        type_url, payload = packed
        heads = _ARGUMENT_HEADS.get(type_url)
        if heads is not None and len(payload) < len(heads):
            fields.append(heads[len(payload)])
            fields.append(payload)
        else:
            fields.append(_ARGUMENT_TAG + _any_field(packed))
    for name, value in kwargs.items():
        write = SCALARS.get(type(value))
        if write is None:
            return None
        key = name.encode()
        entry = b"".join((_FIRST_TAG, varint(len(key)), key, _SECOND_TAG, _any_field(write(value))))
        fields.append(_NAMED_TAG + varint(len(entry)) + entry)
    return b"".join(fields)


def read_names(data: bytes) -> tuple[str, str, int]:
    """Reads the beginning of a request.

    Args:
        data: A serialized ToolCallRequest.

    Returns:
        The ids of the session and of the tool, and where its arguments begin.

    Raises:
        Exception: One of ``UNREADABLE``.
    """
    middle = 2 + data[1]
    end = middle + 2 + data[middle + 1]
    if data[0] != _SESSION or data[middle] != _TOOL or end - middle > MORE or middle > MORE:
        raise ValueError(middle)
    return data[2:middle].decode(), data[middle + 2 : end].decode(), end


def read_arguments(data: bytes, place: int) -> tuple[list[Any], dict[str, Any], int]:
    """Reads the rest of a request.

    Args:
        data: A serialized ToolCallRequest.
        place: Where its arguments begin.

    Returns:
        The arguments by position and by name, and the timeout in ms (0: none).

    Raises:
        Exception: One of ``UNREADABLE``.
    """
    return _read_rest(data, place, _read_any)


def _read_rest(data: bytes, place: int, read: Callable[[bytes, int, int], T]) -> tuple[list[T], dict[str, T], int]:
    end = len(data)
    args: list[T] = []
    kwargs: dict[str, T] = {}
    while place < end:
        tag = data[place]
        size, begin = data[place + 1], place + 2
        if size >= MORE:
            size, begin = _read_size(data, place + 1)
        if tag == _ARGUMENT and not kwargs:
            place = begin + size
            args.append(read(data, begin, place))
        elif tag == _NAMED:
            place = begin + size
            name, begin = _read_name(data, begin, place)
            if name in kwargs:
                raise ValueError(name)
            kwargs[name] = read(data, begin, place)
        elif tag == _TIMEOUT and begin == end and size <= _MAX_INT32:
            return args, kwargs, size
        else:
            raise ValueError(tag)
    if place != end:
        raise ValueError(place)
    return args, kwargs, 0


def read_types(data: bytes, place: int) -> tuple[list[str], dict[str, str], int]:
    """Reads the rest of a request without its values.

    Args:
        data: A serialized ToolCallRequest.
        place: Where its arguments begin.

    Returns:
        The type URLs of the arguments by position and by name, and the timeout in ms (0: none).

    Raises:
        Exception: One of ``UNREADABLE``.
    """
    return _read_rest(data, place, _read_type)


def _read_type(data: bytes, begin: int, end: int) -> str:
    """Reads the type URL of an Any."""
    middle = begin + 2 + data[begin + 1]
    if data[begin] != _FIRST or middle - begin > MORE:
        raise ValueError(begin)
    if middle != end:
        size, place = _read_size(data, middle + 1)
        if data[middle] != _SECOND or place + size != end:
            raise ValueError(middle)
    return data[begin + 2 : middle].decode()


def _read_any(data: bytes, begin: int, end: int) -> Any:
    """Reads a scalar from an Any."""
    middle = begin + 2 + data[begin + 1]
    read = _READ[data[begin:middle]]
    if middle == end:
        return read(b"", 0)
    size, place = data[middle + 1], middle + 2
    if size >= MORE:
        size, place = _read_size(data, middle + 1)
    if data[middle] != _SECOND or place + size != end:
        raise ValueError(middle)
    if read is _read_int and data[place] == _INT:
        # As it does itself; a slice and a call take longer.
        if size == _ONE_DIGIT and data[place + 1] < MORE:
            return data[place + 1]
        if size == _TWO_DIGITS and data[place + 1] >= MORE > data[place + 2]:
            return data[place + 1] & _LOW | data[place + 2] << 7
    return read(data[place:end], 0)


def _read_name(data: bytes, begin: int, end: int) -> tuple[str, int]:
    """Reads the name of an argument; returns it, and where its Any begins."""
    middle = begin + 2 + data[begin + 1]
    if data[begin] != _FIRST or data[middle] != _SECOND or middle - begin > MORE:
        raise ValueError(begin)
    size, place = data[middle + 1], middle + 2
    if size >= MORE:
        size, place = _read_size(data, middle + 1)
    if place + size != end:
        raise ValueError(place)
    return data[begin + 2 : middle].decode(), place


# -------------------------------------------------------------------------------------------------------- answers


def _metrics_field(duration_us: int) -> bytes:
    metrics = ExecutionMetrics(duration_ms=duration_us // 1_000 + 1, duration_us=duration_us)
    return ToolCallResponse(metrics=metrics).SerializeToString()


# Most calls take less than a millisecond.
_SHORT_METRICS = tuple(_metrics_field(duration) for duration in range(1_000))
_KNOWN_METRICS = frozenset(_SHORT_METRICS)


def _duration(number: int) -> bytes:
    """Returns the pattern of a duration."""
    return re.escape(bytes((_tag(number, VARINT),))) + rb"[\x80-\xff]{0,8}[\x00-\x7f]"


# Metrics with a duration in ms and in µs, and nothing else.
_DURATIONS = re.compile(
    re.escape(bytes((_METRICS,)))
    + b"."
    + _duration(ExecutionMetrics.DURATION_MS_FIELD_NUMBER)
    + _duration(ExecutionMetrics.DURATION_US_FIELD_NUMBER),
    re.DOTALL,
).fullmatch


def packed_scalar(value: Any) -> Packed | None:
    """Returns a scalar of a few bytes, whose encoding never fails; None for any other value."""
    if type(value) is int:
        if 0 <= value < MORE:
            return _SMALL_INTS[value]
        # A larger number may be larger than a message.
        if not -_BEYOND <= value < _BEYOND:
            return None
    write = _SURE.get(type(value))
    return write(value) if write is not None else None


# Not of texts, which may have lone surrogates, and not of what may be large.
_SURE = {kind: SCALARS[kind] for kind in (int, float, bool, type(None))}


def success_of(packed: Packed, duration_us: int) -> bytes:
    """Returns a serialized ToolCallResponse with a result.

    Args:
        packed: The result.
        duration_us: How long the call took, in microseconds.
    """
    type_url, payload = packed
    heads = _ANY_HEADS.get(type_url)
    metrics = _SHORT_METRICS[duration_us] if duration_us < len(_SHORT_METRICS) else _metrics_field(duration_us)
    if heads is not None and len(payload) < len(heads):
        return b"".join((_SUCCESS, heads[len(payload)], payload, metrics))
    return b"".join((_SUCCESS, _any_field(packed), metrics))


def _result_of(data: bytes) -> tuple[int, int] | None:
    """Returns where the result of a usual answer begins and ends; None for any other answer."""
    try:
        if data[:_RESULT] != _SUCCESS:
            return None
        size, begin = data[_RESULT], _RESULT + 1
        if size >= MORE:
            size, begin = _read_size(data, _RESULT)
        end = begin + size
        if end == len(data):
            return begin, end
        metrics = data[end:]
        if metrics in _KNOWN_METRICS or (_DURATIONS(metrics) and metrics[1] == len(metrics) - 2):
            return begin, end
    except UNREADABLE:
        pass
    return None


def is_success(data: bytes) -> bool:
    """Returns whether an answer is the usual one of a call that succeeded; if not, protobuf has to read it.

    The result may be of any type. Only whether it is an Any is checked, as protobuf would.
    """
    place = _result_of(data)
    if place is None:
        return False
    begin, end = place
    if begin == end:
        return True
    try:
        middle = begin + 2 + data[begin + 1]
        if data[begin] != _FIRST or not data[begin:middle].isascii():
            return False
        if middle == end:
            return True
        size, payload = data[middle + 1], middle + 2
        if size >= MORE:
            size, payload = _read_size(data, middle + 1)
        return data[middle] == _SECOND and payload + size == end
    except UNREADABLE:
        return False


def read_success(data: bytes) -> Any:
    """Reads the result of a usual answer.

    Args:
        data: A serialized ToolCallResponse.

    Returns:
        The result; UNREAD if protobuf has to read the answer.
    """
    place = _result_of(data)
    if place is None:
        return UNREAD
    try:
        return _read_any(data, *place)
    except UNREADABLE:
        return UNREAD
