"""Tool calls and their answers with large values, which are not copied into protobuf's messages, nor out of them.

Each class here has the attributes and methods of a message that the call path uses. ``message()`` returns the message
itself.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError, Message

from grpc_tool_bridge.errors import SerializationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolCallRequest
from grpc_tool_bridge.rpc.buffers import LARGE_BYTES, Buffers, Part, joined, part_of
from grpc_tool_bridge.rpc.wireformat import LENGTH, TYPE_PREFIX, places, varint

# Values of these types are read from buffers; all others have to be joined.
_READ_FROM_BUFFERS = frozenset(
    TYPE_PREFIX + name for name in ("google.protobuf.BytesValue", "google.protobuf.StringValue", "dspex.bridge.Tensor")
)

_TYPE_URL_TAG = AnyMessage.TYPE_URL_FIELD_NUMBER << 3 | LENGTH
_VALUE_TAG = AnyMessage.VALUE_FIELD_NUMBER << 3 | LENGTH
_ARGS_TAG = ToolCallRequest.ARGS_FIELD_NUMBER << 3 | LENGTH
_KWARGS_TAG = ToolCallRequest.KWARGS_FIELD_NUMBER << 3 | LENGTH
# Of an entry of a map.
_KEY_TAG = 1 << 3 | LENGTH
_ENTRY_TAG = 2 << 3 | LENGTH

M = TypeVar("M", bound=Message)


class _UnusualFormError(Exception):
    """A message is written in another form than usual, and left to protobuf."""


class LargeValue:
    """Stands for an Any.

    Args:
        type_url: The type of the value.
        payload: Its bytes.
    """

    __slots__ = ("_payload", "type_url")

    def __init__(self, type_url: str, payload: Part) -> None:
        self.type_url = type_url
        self._payload = payload

    @property
    def value(self) -> Part:
        """The bytes of the value: in buffers only if its type can be read from buffers."""
        if type(self._payload) is not bytes and self.type_url not in _READ_FROM_BUFFERS:
            self._payload = bytes(self._payload)
        return self._payload

    def ByteSize(self) -> int:  # noqa: N802 - protobuf's name
        """Returns the bytes of the Any."""
        return len(self._head()) + len(self._payload)

    def message(self) -> AnyMessage:
        """Returns the Any."""
        return AnyMessage(type_url=self.type_url, value=joined(self._payload))

    def buffers(self) -> list[bytes | memoryview]:
        """Returns the serialized Any."""
        payload = self._payload
        return [self._head(), *(payload.buffers if isinstance(payload, Buffers) else (payload,))]

    def _head(self) -> bytes:
        url = self.type_url.encode()
        return b"".join((_header(_TYPE_URL_TAG, len(url)), url, _header(_VALUE_TAG, len(self._payload))))


class LargeMessage:
    """Stands for a message with one large Any: a ToolCallResponse with its result, or a ToolStreamChunk with its data.

    Args:
        head: The message without it.
        field: Its name.
        value: The Any.
    """

    __slots__ = ("_field", "_head", "_value")

    def __init__(self, head: Message, field: str, value: LargeValue) -> None:
        self._head = head
        self._field = field
        self._value = value

    def __getattr__(self, name: str) -> Any:
        return self._value if name == self._field else getattr(self._head, name)

    def HasField(self, name: str) -> bool:  # noqa: N802 - protobuf's name
        """Returns whether a field is set."""
        return name == self._field or self._head.HasField(name)

    def WhichOneof(self, group: str) -> str | None:  # noqa: N802 - protobuf's name
        """Returns the name of the field that is set, of a group of fields."""
        if self._field in (field.name for field in self._head.DESCRIPTOR.oneofs_by_name[group].fields):
            return self._field
        name: str | None = self._head.WhichOneof(group)
        return name

    def SerializeToString(self) -> Buffers:  # noqa: N802 - protobuf's name
        """Returns the serialized message."""
        return with_value(self._head, self._field, self._value)

    def message(self) -> Any:
        """Returns the message."""
        message = type(self._head)()
        message.CopyFrom(self._head)
        getattr(message, self._field).CopyFrom(self._value.message())
        return message


def with_value(head: Message, field: str, value: LargeValue) -> Buffers:
    """Returns a message, serialized, with a value in a field that it does not have yet."""
    return Buffers((head.SerializeToString(), *_field(_tag_of(head, field), value.buffers())))


class LargeToolCall:
    """Stands for a ToolCallRequest.

    Args:
        head: The request without its arguments.
        args: Arguments by position.
        kwargs: Arguments by name.

    Attributes:
        args, kwargs: As given.
    """

    def __init__(self, head: ToolCallRequest, args: Sequence[LargeValue], kwargs: Mapping[str, LargeValue]) -> None:
        self._head = head
        self.args = args
        self.kwargs = kwargs

    def __getattr__(self, name: str) -> Any:
        return getattr(self._head, name)

    def HasField(self, name: str) -> bool:  # noqa: N802 - protobuf's name
        """Returns whether a field is set."""
        return self._head.HasField(name)

    def ByteSize(self) -> int:  # noqa: N802 - protobuf's name
        """Returns the bytes of the request."""
        return len(self.SerializeToString())

    def SerializeToString(self) -> Buffers:  # noqa: N802 - protobuf's name
        """Returns the serialized request."""
        found: list[bytes | memoryview] = [self._head.SerializeToString()]
        for value in self.args:
            found.extend(_field(_ARGS_TAG, value.buffers()))
        for name, value in self.kwargs.items():
            key = name.encode()
            entry = (_header(_KEY_TAG, len(key)), key, *_field(_ENTRY_TAG, value.buffers()))
            found.extend(_field(_KWARGS_TAG, entry))
        return Buffers(found)

    def message(self) -> ToolCallRequest:
        """Returns the request."""
        return ToolCallRequest.FromString(bytes(self.SerializeToString()))


def whole(request: Any) -> Any:
    """Returns the message that a request stands for, or the request if it is a message."""
    return request.message() if isinstance(request, LargeToolCall) else request


def encoded_arguments(request: Any) -> tuple[list[AnyMessage], dict[str, AnyMessage]]:
    """Returns the arguments of a call as they were sent, by position and by name."""
    message = whole(request)
    return list(message.args), dict(message.kwargs)


def read_large_call(payload: Buffers) -> LargeToolCall | None:
    """Reads a serialized ToolCallRequest; None if protobuf has to read it, which may fail."""
    head: list[bytes] = []
    args: list[LargeValue] = []
    kwargs: dict[str, LargeValue] = {}
    try:
        data = payload.flat()
        for tag, before, start, stop in places(data):
            if tag == _ARGS_TAG:
                args.append(_read_any(part_of(data, start, stop)))
            elif tag == _KWARGS_TAG:
                name, value = _read_entry(part_of(data, start, stop))
                kwargs[name] = value
            elif stop - before > LARGE_BYTES:
                return None
            else:
                head.append(bytes(data[before:stop]))
        return LargeToolCall(ToolCallRequest.FromString(b"".join(head)), args, kwargs)
    except (_UnusualFormError, SerializationError, DecodeError, UnicodeDecodeError):
        return None


def read_large_message(cls: type[Message], field: str, payload: Buffers) -> LargeMessage | None:
    """Reads a message with one large Any; None if it has none, or if protobuf has to read it, which may fail.

    Args:
        cls: The message's class.
        field: The name of the field.
        payload: The serialized message.
    """
    tag_of_value = _tag_in(cls, field)
    head: list[bytes] = []
    value: LargeValue | None = None
    try:
        data = payload.flat()
        for tag, before, start, stop in places(data):
            if tag != tag_of_value:
                if stop - before > LARGE_BYTES:
                    return None
                head.append(bytes(data[before:stop]))
            elif value is not None:
                return None
            else:
                value = _read_any(part_of(data, start, stop))
        return None if value is None else LargeMessage(cls.FromString(b"".join(head)), field, value)
    except (_UnusualFormError, SerializationError, DecodeError, UnicodeDecodeError):
        return None


def _read_any(data: Part) -> LargeValue:
    url, value = _two(data, _TYPE_URL_TAG, _VALUE_TAG)
    return LargeValue(str(bytes(url), "utf-8"), value if len(value) > LARGE_BYTES else bytes(value))


def _read_entry(data: Part) -> tuple[str, LargeValue]:
    key, value = _two(data, _KEY_TAG, _ENTRY_TAG)
    return str(bytes(key), "utf-8"), _read_any(value)


def _two(data: Part, first: int, second: int) -> tuple[Part, Part]:
    """Returns the contents of two fields, each of which may be missing, but not repeated."""
    found: dict[int, Part] = {}
    for tag, _, start, stop in places(data):
        if tag not in (first, second) or tag in found:
            raise _UnusualFormError
        found[tag] = part_of(data, start, stop)
    return found.get(first, b""), found.get(second, b"")


# By class and name; few classes have a large field.
_tags: dict[Any, int] = {}


def _tag_in(cls: type[Message], field: str) -> int:
    """Returns the tag of a field of a class."""
    tag = _tags.get((cls, field))
    if tag is None:
        tag = _tags[cls, field] = _tag_of(cls, field)
    return tag


def _tag_of(message: Message | type[Message], field: str) -> int:
    return int(message.DESCRIPTOR.fields_by_name[field].number) << 3 | LENGTH


def _header(tag: int, size: int) -> bytes:
    return varint(tag) + varint(size)


def _field(tag: int, content: Sequence[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    yield _header(tag, sum(map(len, content)))
    yield from content
