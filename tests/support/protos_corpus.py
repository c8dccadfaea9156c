"""The protos of the tests, compiled, and messages of any type for tests that try many."""

import importlib
import operator
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import grpc_tools  # type: ignore[import-untyped]  # it has no stubs
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_tools import protoc
from hypothesis import strategies as st

PROTOS = Path(__file__).parent / "protos"
FILES = ("every3.proto", "every2.proto", "edition2023.proto", "edition2024.proto", "ruled.proto")


@cache
def compiled(*names: str) -> FileDescriptorSet:
    """Compiles files, with all that they import and their comments."""
    import tempfile

    annotations = importlib.import_module("google.api.annotations_pb2")

    googleapis = Path(str(annotations.__file__)).parents[2]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "set"
        arguments = [
            "protoc",
            f"-I{PROTOS}",
            f"-I{Path(grpc_tools.__file__).parent / '_proto'}",
            f"-I{googleapis}",
            "--include_imports",
            "--include_source_info",
            f"--descriptor_set_out={out}",
            *names,
        ]
        assert protoc.main(arguments) == 0
        return FileDescriptorSet.FromString(out.read_bytes())


def pool_of(files: list[FileDescriptorProto]) -> DescriptorPool:
    pool = DescriptorPool()
    add: Any = pool.Add
    for file in files:
        add(file)
    return pool


@cache
def corpus() -> DescriptorPool:
    """Returns a pool with all protos of the tests."""
    return pool_of(list(compiled(*FILES).file))


def message(name: str) -> Descriptor:
    """Finds a type of the corpus."""
    pool: Any = corpus()
    found: Descriptor = pool.FindMessageTypeByName(name)
    return found


def class_of(name: str) -> Any:
    return GetMessageClass(message(name))


def types_in(pool: Any, files: list[str]) -> list[Descriptor]:
    """Lists all types of files of a pool, nested ones too, without the entries of maps."""
    found: list[Descriptor] = []
    todo = [item for file in files for item in pool.FindFileByName(file).message_types_by_name.values()]
    while todo:
        one = todo.pop(0)
        if not one.GetOptions().map_entry:
            found.append(one)
        todo.extend(one.nested_types)
    return found


@cache
def googles() -> tuple[DescriptorPool, list[str]]:
    """Returns a pool with all files of google/protobuf and googleapis-common-protos, and their names."""
    packages = [importlib.import_module(name) for name in ("google.api", "google.protobuf")]
    roots = {Path(package.__path__[0]).parent for package in packages}
    names = {
        f"google.{'.'.join(path.relative_to(root).with_suffix('').parts)}"
        for root in roots
        for folder in ("api", "logging", "longrunning", "protobuf", "rpc", "type", "cloud")
        for path in (root / folder).rglob("*_pb2.py")
    }
    seen: dict[str, FileDescriptorProto] = {}

    def add(descriptor: Any) -> None:
        if descriptor.name in seen:
            return
        for item in descriptor.dependencies:
            add(item)
        proto = FileDescriptorProto()
        descriptor.CopyToProto(proto)
        seen[descriptor.name] = proto

    for name in sorted(names):
        add(importlib.import_module(name).DESCRIPTOR)
    return pool_of(list(seen.values())), list(seen)


# --------------------------------------------------------------------------------------------------------- any message

_INTS = {
    FieldDescriptor.TYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_SINT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_SFIXED32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.TYPE_FIXED32: (0, 2**32 - 1),
    FieldDescriptor.TYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_SINT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_SFIXED64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_UINT64: (0, 2**64 - 1),
    FieldDescriptor.TYPE_FIXED64: (0, 2**64 - 1),
}
_VALUES = {
    FieldDescriptor.TYPE_DOUBLE: st.floats(),
    FieldDescriptor.TYPE_FLOAT: st.floats(width=32),
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_STRING: st.text(max_size=8),
    FieldDescriptor.TYPE_BYTES: st.binary(max_size=8),
    **{kind: st.integers(low, high) | st.integers(max(low, -3), 3) for kind, (low, high) in _INTS.items()},
}
_MESSAGES = (FieldDescriptor.TYPE_MESSAGE, FieldDescriptor.TYPE_GROUP)


def _is_map(field: Any) -> bool:
    return bool(
        field.is_repeated and field.type == FieldDescriptor.TYPE_MESSAGE and field.message_type.GetOptions().map_entry
    )


class Filler:
    """Fills messages with drawn values.

    Args:
        draw: Of a composite strategy.
        pool: Of the types.
        valid: Whether only moments, durations and enums are drawn that have a name or a form of their own.
    """

    def __init__(self, draw: Any, pool: Any, *, valid: bool = False, nan: bool = True) -> None:
        self._draw = draw
        self._pool = pool
        self._valid = valid
        self._nan = nan

    def fill(self, message: Any, descriptor: Descriptor, left: int) -> None:
        cls = type(message)
        name = descriptor.full_name
        if name == "google.protobuf.Any":
            self._fill_any(message, left)
        elif name == "google.protobuf.Value":
            self._fill_value(message, left)
        elif self._valid and name == "google.protobuf.Timestamp":
            message.seconds = self._draw(st.integers(-62_135_596_800, 253_402_300_799))
            message.nanos = self._draw(st.integers(0, 999_999_999) | st.sampled_from([0, 1000, 10**6]))
        elif self._valid and name == "google.protobuf.Duration":
            message.seconds = self._draw(st.integers(0, 315_576_000_000))
            message.nanos = self._draw(st.integers(0, 999_999_999) | st.sampled_from([0, 1000, 10**6]))
        elif self._valid and name == "google.protobuf.FieldMask":
            message.paths.extend(self._draw(st.lists(st.sampled_from(["a", "b_c", "d.e_f"]), max_size=2)))
        else:
            self._fill_fields(message, cls, descriptor, left)

    def _fill_fields(self, message: Any, cls: Any, descriptor: Any, left: int) -> None:
        extensions = list(self._pool.FindAllExtensions(descriptor)) if descriptor.is_extendable else []
        fields = [*descriptor.fields, *extensions]
        if len(fields) > 12:
            chosen = self._draw(st.sets(st.sampled_from(range(len(fields))), max_size=12))
        else:
            chosen = {place for place in range(len(fields)) if self._draw(st.booleans())}
        for place, field in enumerate(fields):
            if field.is_required or (place in chosen and (left > 0 or field.type not in _MESSAGES)):
                self._fill_field(message, cls, field, left - 1)

    def _fill_field(self, message: Any, cls: Any, field: Any, left: int) -> None:
        if field.is_extension:
            holder, key = cls.Extensions.__get__(message), field
            get: Callable[[], Any] = partial(operator.getitem, holder, key)
            put: Callable[[Any], Any] = partial(operator.setitem, holder, key)
        else:
            get, put = partial(getattr, message, field.name), partial(setattr, message, field.name)
        if _is_map(field):
            entry = field.message_type.fields_by_name
            for _ in range(self._draw(st.integers(0, 2))):
                key = self._scalar(entry["key"])
                if entry["value"].type in _MESSAGES:
                    self.fill(get()[key], entry["value"].message_type, left)
                else:
                    get()[key] = self._scalar(entry["value"])
        elif field.is_repeated:
            for _ in range(self._draw(st.integers(0, 2))):
                if field.type in _MESSAGES:
                    self.fill(get().add(), field.message_type, left)
                else:
                    get().append(self._scalar(field))
        elif field.type in _MESSAGES:
            part = get()
            type(part).SetInParent(part)
            self.fill(part, field.message_type, left)
        else:
            put(self._scalar(field))

    def _scalar(self, field: Any) -> Any:
        if field.type == FieldDescriptor.TYPE_ENUM:
            numbers = st.sampled_from([value.number for value in field.enum_type.values])
            if not field.enum_type.is_closed and not self._valid:
                numbers = numbers | st.integers(-(2**31), 2**31 - 1)
            return self._draw(numbers)
        if not self._nan and field.type in (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT):
            width = 32 if field.type == FieldDescriptor.TYPE_FLOAT else 64
            return self._draw(st.floats(width=width, allow_nan=False, allow_infinity=False))  # type: ignore[arg-type]
        return self._draw(_VALUES[field.type])

    def _fill_any(self, message: Any, left: int) -> None:
        kinds = [
            "",
            "google.protobuf.Duration",
            "google.protobuf.Int64Value",
            "google.protobuf.Value",
            "google.protobuf.Empty",
        ]
        if not self._valid:
            kinds.append("unknown.Type")
        kinds.extend(name for name in ("every3.Node", "every3.Names", "google.protobuf.Any") if self._knows(name))
        kind = self._draw(st.sampled_from(kinds))
        if not kind:
            return
        message.type_url = f"type.googleapis.com/{kind}"
        if kind == "unknown.Type" or not self._knows(kind):
            message.value = self._draw(st.binary(max_size=4)) if kind == "unknown.Type" else b""
            return
        descriptor = self._pool.FindMessageTypeByName(kind)
        cls = GetMessageClass(descriptor)
        inner = cls()
        self.fill(inner, descriptor, left - 1)
        message.value = cls.SerializeToString(inner, deterministic=True)

    def _knows(self, name: str) -> bool:
        try:
            self._pool.FindMessageTypeByName(name)
        except KeyError:
            return False
        return True

    def _fill_value(self, message: Any, left: int) -> None:
        kinds = ["null_value", "number_value", "string_value", "bool_value"]
        if left > 0:
            kinds += ["struct_value", "list_value"]
        kind = self._draw(st.sampled_from(kinds))
        if kind == "null_value":
            message.null_value = 0
        elif kind == "number_value":
            numbers = st.floats(allow_nan=self._nan, allow_infinity=self._nan)
            message.number_value = self._draw(numbers | st.integers(-3, 3).map(float))
        elif kind == "struct_value":
            message.struct_value.SetInParent()
            for _ in range(self._draw(st.integers(0, 2))):
                self._fill_value(message.struct_value.fields[self._draw(st.text(max_size=4))], left - 1)
        elif kind == "list_value":
            message.list_value.SetInParent()
            for _ in range(self._draw(st.integers(0, 2))):
                self._fill_value(message.list_value.values.add(), left - 1)
        else:
            setattr(message, kind, self._draw(st.text(max_size=4) if kind == "string_value" else st.booleans()))


@st.composite
def messages(
    draw: Any, descriptor: Descriptor, pool: Any, *, levels: int = 3, valid: bool = False, nan: bool = True
) -> Any:
    """Draws a message of a type."""
    made = GetMessageClass(descriptor)()
    Filler(draw, pool, valid=valid, nan=nan).fill(made, descriptor, levels)
    return made


def data_of(made: Any) -> bytes:
    """Returns the bytes of a message, which are the same for equal ones; NaN is equal by its bits."""
    written: bytes = type(made).SerializeToString(made, deterministic=True)
    return written
