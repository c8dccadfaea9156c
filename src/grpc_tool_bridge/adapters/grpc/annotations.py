"""Options of a service's own protos, such as ``google.api.http``, read with the service's own pool.

An option is an extension of protobuf's messages of options. It is found by its full name, and is read only if its
number is the one that is published: what another proto calls by the same name is something else.
"""

from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError

from grpc_tool_bridge.adapters.grpc.fields import message_class
from grpc_tool_bridge.adapters.grpc.reading import Readers
from grpc_tool_bridge.adapters.grpc.well_known_shapes import is_repeated
from grpc_tool_bridge.errors import SerializationError


class Annotations:
    """Reads options.

    Args:
        pool: The pool of a service.
    """

    def __init__(self, pool: DescriptorPool) -> None:
        self._pool: Any = pool
        self._readers = Readers(pool)
        self._known: dict[str, tuple[FieldDescriptor, Any] | None] = {}

    def read(self, owner: Any, options: str, name: str, number: int) -> Any:
        """Reads one option.

        Args:
            owner: The descriptor that may have it.
            options: The message of protobuf with such options, such as "FieldOptions".
            name: The full name of the option.
            number: Its number.

        Returns:
            Numbers, texts and truth values as they are, a list of them, or a dict of a message; None without it.
        """
        if not owner.has_options:
            return None
        found = self._option(options, name, number)
        if found is None:
            return None
        field, cls = found
        try:
            holder = cls.FromString(owner.GetOptions().SerializeToString())
            if not is_repeated(field) and not holder.HasExtension(field):
                return None
            value = holder.Extensions[field]
            if is_repeated(field):
                return list(value)
            return value if field.message_type is None else self._readers.reader_of(field.message_type)(value)
        except (DecodeError, SerializationError, UnicodeDecodeError):
            return None

    def _option(self, options: str, name: str, number: int) -> tuple[FieldDescriptor, Any] | None:
        if name not in self._known:
            self._known[name] = self._found(f"google.protobuf.{options}", name, number)
        return self._known[name]

    def _found(self, options: str, name: str, number: int) -> tuple[FieldDescriptor, Any] | None:
        try:
            field = self._pool.FindExtensionByName(name)
            holder: Descriptor = self._pool.FindMessageTypeByName(options)
        except KeyError:
            return None
        if field.number != number or field.containing_type.full_name != options:
            return None
        return field, message_class(holder)
