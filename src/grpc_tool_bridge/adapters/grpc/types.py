"""The message types of a pool, as an Any and extensions name them."""

from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pool import DescriptorPool

from grpc_tool_bridge.adapters.grpc.fields import DESCRIPTORS

# Keys of an Any in data: its type; its value, if it is no object or its type is not known; and the bytes of a known
# type that cannot be read as it.
TYPE_KEY = "@type"
VALUE_KEY = "value"
BYTES_KEY = "@value"


class Types:
    """Finds types.

    Args:
        pool: The pool of a service.
    """

    def __init__(self, pool: DescriptorPool) -> None:
        self._pool: Any = pool

    def of_url(self, url: str) -> Descriptor | None:
        """Returns the type that the URL of an Any names; None if the pool does not have it.

        The well-known types are known to everyone.
        """
        name = url.rpartition("/")[2]
        try:
            found: Descriptor = self._pool.FindMessageTypeByName(name)
        except (KeyError, TypeError, ValueError):
            package, _, short = name.rpartition(".")
            return DESCRIPTORS.get(short) if package == "google.protobuf" else None
        return found

    def extensions_of(self, descriptor: Descriptor) -> dict[str, FieldDescriptor]:
        """Returns the extensions of a message, by their names in data."""
        if not descriptor.is_extendable:
            return {}
        return {f"[{item.full_name}]": item for item in self._pool.FindAllExtensions(descriptor)}
