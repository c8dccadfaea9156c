"""Messages of ``.proto`` files, compiled when a test needs them; in a pool of their own."""

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from grpc_tool_bridge.adapters.grpc.protos import compile_protos

PROTOS = Path(__file__).parent / "protos"


@cache
def files_of(name: str) -> tuple[FileDescriptorProto, ...]:
    """Compiles one file, with those that it imports and all comments."""
    return tuple(compile_protos(PROTOS / name))


class Types:
    """The types of some files, which may be served by reflection."""

    def __init__(self, files: Iterable[FileDescriptorProto]) -> None:
        self.pool = descriptor_pool.DescriptorPool()
        self.files: dict[str, FileDescriptorProto] = {}
        for file in files:
            bare = FileDescriptorProto()
            bare.CopyFrom(file)
            bare.ClearField("source_code_info")
            self.pool.Add(bare)
            self.files[file.name] = bare

    def message(self, full_name: str) -> Any:
        """Returns the class of a message."""
        return message_factory.GetMessageClass(self.pool.FindMessageTypeByName(full_name))


@cache
def types_of(name: str) -> Types:
    """Returns the types of one ``.proto`` file."""
    return Types(files_of(name))
