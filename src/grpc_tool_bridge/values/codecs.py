"""The codecs of the classes that programs register."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from grpc_tool_bridge.errors import AlreadyExistsError, ArgumentTypeError, SerializationError, ValidationError
from grpc_tool_bridge.rpc.wireformat import TYPE_PREFIX

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Codec(Generic[T]):
    """Encodes and decodes one class.

    Attributes:
        cls: The class; its subclasses are not included.
        type_url: Its name on the wire.
        encode: Converts an instance to bytes.
        decode: Converts bytes, possibly from an untrusted peer, to an instance.
    """

    cls: type[T]
    type_url: str
    encode: Callable[[T], bytes]
    decode: Callable[[bytes], T]

    def write(self, value: T) -> bytes:
        """Encodes ``value``.

        Raises:
            SerializationError: The user's function raised, or did not return bytes.
        """
        try:
            payload = self.encode(value)
        except Exception as failure:
            raise SerializationError(
                f"the codec of {self.cls.__name__} cannot encode this value: {type(failure).__name__}: {failure}"
            ) from failure
        if type(payload) is not bytes:
            raise SerializationError(
                f"the codec of {self.cls.__name__} must encode to bytes, not to {type(payload).__name__}"
            )
        return payload


class CodecTable:
    """The registered classes, by class and by name.

    Args:
        is_reserved: Returns whether a class already has a form of its own.
        reserved_names: Names, or first parts of names, that cannot be registered.
    """

    def __init__(self, *, is_reserved: Callable[[type], bool], reserved_names: tuple[str, ...]) -> None:
        self._is_reserved = is_reserved
        self._reserved_names = reserved_names
        self.by_class: dict[type, Codec[Any]] = {}
        self.by_name: dict[str, Codec[Any]] = {}

    def add(self, cls: type[T], *, type_url: str, encode: Callable[[T], bytes], decode: Callable[[bytes], T]) -> None:
        """Registers a class; see ``register_codec``."""
        if not isinstance(cls, type):
            raise ArgumentTypeError(f"a codec must be registered for a class, not {cls!r:.60}")
        if not isinstance(type_url, str):
            raise ArgumentTypeError(f"type_url must be a name such as 'acme.Money', not {type_url!r:.60}")
        for what, function in (("encode", encode), ("decode", decode)):
            if not callable(function):
                raise ArgumentTypeError(f"{what} of {cls.__name__} must be a function, not {function!r:.60}")
        name = type_url.rpartition("/")[2]
        if not name or not type_url.isprintable():
            raise ValidationError(f"{type_url!r} is not a valid type URL; use a name such as 'acme.Money'")
        if self._is_reserved(cls):
            raise AlreadyExistsError(f"{cls.__name__} has a built-in form; register a class of your own")
        if name.startswith(self._reserved_names):
            raise AlreadyExistsError(f"the name {name!r} is reserved; choose another, such as 'acme.{name}'")
        if cls in self.by_class:
            raise AlreadyExistsError(f"{cls.__name__} is already registered, as {self.by_class[cls].type_url}")
        if name in self.by_name:
            raise AlreadyExistsError(f"the name {name!r} is taken by {self.by_name[name].cls.__name__}; choose another")
        full = type_url if "/" in type_url else TYPE_PREFIX + type_url
        self.by_class[cls] = self.by_name[name] = Codec(cls, full, encode, decode)
