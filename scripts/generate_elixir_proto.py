"""Writes the table of messages of the Elixir SDK from the generated Python module.

``python scripts/generate_elixir_proto.py`` rewrites the table; with ``--check`` it fails if the table is stale.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from google.protobuf import any_pb2, duration_pb2, empty_pb2, struct_pb2, timestamp_pb2, wrappers_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, FileDescriptor

from grpc_tool_bridge.proto import dspex_bridge_pb2

TABLE = Path(__file__).parent.parent / "sdk/elixir/lib/tool_bridge/proto/table.ex"

FILES = (
    any_pb2.DESCRIPTOR,
    duration_pb2.DESCRIPTOR,
    empty_pb2.DESCRIPTOR,
    struct_pb2.DESCRIPTOR,
    timestamp_pb2.DESCRIPTOR,
    wrappers_pb2.DESCRIPTOR,
    dspex_bridge_pb2.DESCRIPTOR,
)

HEADER = """\
# Written by scripts/generate_elixir_proto.py from proto/dspex_bridge.proto; do not edit.
defmodule ToolBridge.Proto.Table do
  @moduledoc false

  # {module, full name, [{number, name, kind, label, oneof}]}. A kind is a scalar, {:message, module} or
  # {:enum, module}; a label is :one, :optional, :repeated, :packed or {:map, kind of the keys}.
"""

_SCALARS = {
    FieldDescriptor.TYPE_DOUBLE: ":double",
    FieldDescriptor.TYPE_FLOAT: ":float",
    FieldDescriptor.TYPE_INT64: ":int64",
    FieldDescriptor.TYPE_UINT64: ":uint64",
    FieldDescriptor.TYPE_INT32: ":int32",
    FieldDescriptor.TYPE_BOOL: ":bool",
    FieldDescriptor.TYPE_STRING: ":string",
    FieldDescriptor.TYPE_BYTES: ":bytes",
    FieldDescriptor.TYPE_UINT32: ":uint32",
    FieldDescriptor.TYPE_SINT32: ":sint32",
    FieldDescriptor.TYPE_SINT64: ":sint64",
}


def _module(message: Descriptor | EnumDescriptor) -> str:
    package = message.file.package
    name = message.full_name.removeprefix(package + ".")
    return "ToolBridge.Proto." + ("Google." if package == "google.protobuf" else "") + name


def _kind(field: FieldDescriptor) -> str:
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        return f"{{:message, {_module(field.message_type)}}}"
    if field.type == FieldDescriptor.TYPE_ENUM:
        return f"{{:enum, {_module(field.enum_type)}}}"
    return _SCALARS[field.type]


def _is_map(field: FieldDescriptor) -> bool:
    return field.type == FieldDescriptor.TYPE_MESSAGE and field.message_type.GetOptions().map_entry


def _field(field: FieldDescriptor) -> str:
    kind, label, oneof = _kind(field), ":one", "nil"
    if _is_map(field):
        entry = field.message_type.fields_by_name
        kind, label = _kind(entry["value"]), f"{{:map, {_kind(entry['key'])}}}"
    elif field.is_repeated:
        label = ":packed" if field.is_packed else ":repeated"
    elif field.containing_oneof is not None:
        if field.containing_oneof.name.startswith("_"):
            label = ":optional"
        else:
            oneof = ":" + field.containing_oneof.name
    return f"{{{field.number}, :{field.name}, {kind}, {label}, {oneof}}}"


def _messages(file: FileDescriptor) -> Iterator[Descriptor]:
    todo = list(file.message_types_by_name.values())
    while todo:
        message = todo.pop(0)
        if not message.GetOptions().map_entry:
            yield message
        todo[:0] = message.nested_types


def _enums(file: FileDescriptor) -> Iterator[EnumDescriptor]:
    yield from file.enum_types_by_name.values()
    for message in _messages(file):
        yield from message.enum_types


def _message_lines() -> Iterator[str]:
    for message in (message for file in FILES for message in _messages(file)):
        fields = ",".join(f"\n       {_field(field)}" for field in message.fields)
        shown = f"[{fields}\n     ]" if fields else "[]"
        yield f'    {{{_module(message)}, "{message.full_name}",\n     {shown}}}'


def _enum_lines() -> Iterator[str]:
    for enum in (enum for file in FILES for enum in _enums(file)):
        values = ", ".join(f"{{{value.number}, :{value.name}}}" for value in enum.values)
        yield f"    {{{_module(enum)}, [{values}]}}"


def _method_lines() -> Iterator[str]:
    for service in dspex_bridge_pb2.DESCRIPTOR.services_by_name.values():
        for method in service.methods:
            if not method.client_streaming:
                streams = str(method.server_streaming).lower()
                messages = f"{_module(method.input_type)}, {_module(method.output_type)}"
                yield f'    {{"{method.name}", {messages}, {streams}}}'


def _function(name: str, doc: str, lines: Iterator[str]) -> str:
    return (
        f"\n  @doc {doc!r}\n  def {name} do\n    [\n".replace("'", '"')
        + ",\n".join("\n".join("  " + part for part in line.split("\n")) for line in lines)
        + "\n    ]\n  end\n"
    )


def table() -> str:
    """Returns the text of the table."""
    return "".join(
        (
            HEADER,
            _function("messages", "All messages.", _message_lines()),
            _function("enums", "All enums: {module, [{number, name}]}.", _enum_lines()),
            _function("methods", "All methods: {name, request, response, is a stream}.", _method_lines()),
            "end\n",
        )
    )


def main() -> int:
    """Writes the table, or checks it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail if the table is stale")
    text = table()
    if parser.parse_args().check:
        if TABLE.read_text(encoding="utf-8") != text:
            sys.stderr.write(f"{TABLE} is stale: run scripts/generate_elixir_proto.py\n")
            return 1
        return 0
    TABLE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
