"""Types that no proto file describes: made of descriptors, as a service may send them."""

from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto

from support.protos_corpus import pool_of

STRING, MESSAGE, ENUM = (
    FieldDescriptorProto.TYPE_STRING,
    FieldDescriptorProto.TYPE_MESSAGE,
    FieldDescriptorProto.TYPE_ENUM,
)
OPTIONAL, REPEATED = FieldDescriptorProto.LABEL_OPTIONAL, FieldDescriptorProto.LABEL_REPEATED


def made(fill: Callable[[FileDescriptorProto], None], name: str = "made.M", syntax: str = "proto3") -> Descriptor:
    """Makes a type of a file that ``fill`` fills."""
    file = FileDescriptorProto(name="made.proto", package=name.rpartition(".")[0], syntax=syntax)
    fill(file)
    pool: Any = pool_of([file])
    found: Descriptor = pool.FindMessageTypeByName(name)
    return found


def add(message: DescriptorProto, name: str, kind: Any = STRING, type_name: str = "", label: Any = OPTIONAL) -> None:
    """Adds a field to a message, with the next number."""
    message.field.add(name=name, number=len(message.field) + 1, type=kind, label=label, type_name=type_name or None)
