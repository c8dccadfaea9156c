"""The descriptors of a gRPC service, in a pool of their own."""

import hashlib
import importlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor, FileDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message import DecodeError

from grpc_tool_bridge.adapters.grpc.bounds import Bounds
from grpc_tool_bridge.adapters.grpc.canonical import declares_only_protobufs_own, make_canonical
from grpc_tool_bridge.adapters.grpc.comments import comments_in
from grpc_tool_bridge.errors import MessageTooLargeError, ResourceExhaustedError, SerializationError
from grpc_tool_bridge.rpc.bounds import shown

# Files that this package can add by itself: protobuf's own, and those of googleapis-common-protos.
_KNOWN = re.compile(
    r"google/(?:protobuf|protobuf/compiler|api|rpc|rpc/context|type|longrunning|logging/type)/\w+\.proto"
)

PROTOBUF = "google/protobuf/"
"""The folder of protobuf's own files."""
_PROTOBUF_PACKAGE = "google.protobuf"


class Descriptors:
    """The descriptors of a service. Made by ``of``.

    They are in a pool of their own: what one service calls ``v1.User`` is none of another's business. A file that
    cannot be used costs only those that import it.

    Attributes:
        pool: The pool.
        problems: Why files cannot be used, by their names.
        digest: A text that changes when a file does.
    """

    def __init__(self, files: Mapping[str, FileDescriptorProto], problems: dict[str, str]) -> None:
        self.pool = descriptor_pool.DescriptorPool()
        self.problems = problems
        self._files = files
        self._added: dict[str, FileDescriptor] = {}
        # Those of a file are read when the first of them is asked for; most services describe themselves without any.
        self._comments: dict[str, Mapping[str, str]] = {}
        self._has_comments = any(file.source_code_info.location for file in files.values())
        for name in _in_order(files, problems):
            self._add(name)
        digest = hashlib.sha256()
        for name in sorted(self._added):
            data = files[name].SerializeToString(deterministic=True)
            digest.update(f"{len(name)} {len(data)} {name}".encode())
            digest.update(data)
        self.digest = digest.hexdigest()

    @classmethod
    def of(cls, files: Iterable[FileDescriptorProto | bytes], bounds: Bounds | None = None) -> "Descriptors":
        """Builds the descriptors of some files; those of protobuf and of googleapis-common-protos may be missing.

        Args:
            files: The files, serialized or not, in any order; one may be there twice.
            bounds: Limits; None: the defaults.

        Raises:
            SerializationError: One is no FileDescriptorProto, or has no name.
            ResourceExhaustedError: There are too many of them.
            MessageTooLargeError: They are too large.
        """
        bounds = bounds or Bounds()
        problems: dict[str, str] = {}
        found: dict[str, FileDescriptorProto] = {}
        size = 0
        for given in files:
            file = _parsed(given)
            size += file.ByteSize() if isinstance(given, FileDescriptorProto) else len(given)
            if size > bounds.descriptor_bytes:
                raise MessageTooLargeError(
                    f"the descriptors of the service take over {bounds.descriptor_bytes:,} bytes, which is the limit"
                )
            before = found.get(file.name)
            if before is not None and before != file:
                problems[file.name] = "two different files have this name"
            found[file.name] = file
            if len(found) > bounds.files:
                raise ResourceExhaustedError(f"the service has over {bounds.files:,} files, which is the limit")
        return cls(_completed(found, problems), problems)

    def __contains__(self, symbol: str) -> bool:
        return self._file_of(symbol) is not None

    def _file_of(self, symbol: str) -> FileDescriptor | None:
        try:
            file: FileDescriptor = self.pool.FindFileContainingSymbol(symbol)
        except KeyError:
            return None
        return file

    def services(self) -> list[ServiceDescriptor]:
        """Returns all services of the files, by their names."""
        found = [service for file in self._added.values() for service in file.services_by_name.values()]
        return sorted(found, key=lambda service: service.full_name)

    def service(self, full_name: str) -> ServiceDescriptor | None:
        """Returns a service; None if no file that can be used has it."""
        try:
            found: ServiceDescriptor = self.pool.FindServiceByName(full_name)
        except KeyError:
            return None
        return found

    def message(self, full_name: str) -> Descriptor:
        """Returns the descriptor of a message; raises KeyError if there is none."""
        found: Descriptor = self.pool.FindMessageTypeByName(full_name)
        return found

    def problem_of(self, service: str) -> str:
        """Returns why a service that was to be there is not."""
        for name, file in self._files.items():
            if name in self.problems and any(_full(file, item.name) == service for item in file.service):
                return f"its file {shown(name)} cannot be used: {self.problems[name]}"
        return "no file describes it"

    def comment_of(self, descriptor: Any) -> str:
        """Returns the comment above a message, field, oneof, enum, value, service or method, else that after it.

        Args:
            descriptor: Its descriptor.

        Returns:
            The text, without the signs of the comment; empty if there is none or it is not known.
        """
        if not self._has_comments:
            return ""
        owner = getattr(descriptor, "type", None) if not hasattr(descriptor, "full_name") else None
        name = descriptor.full_name if owner is None else f"{owner.full_name}.{descriptor.name}"
        file = _file_named(descriptor if owner is None else owner)
        if file not in self._comments:
            source = self._files.get(file)
            self._comments[file] = {} if source is None else comments_in(source)
        return self._comments[file].get(name, "")

    def file_protos(self) -> Iterator[FileDescriptorProto]:
        """Returns the files that can be used."""
        return (self._files[name] for name in self._added)

    def _add(self, name: str) -> None:
        """Adds a file whose imports were added before, or failed."""
        file = self._files[name]
        for imported in file.dependency:
            if imported not in self._added:
                why = self.problems.get(imported, "it is missing")
                text = why if why.startswith("it needs ") else f"it needs {shown(imported)}: {why}"
                self.problems.setdefault(name, text[:400])
                return
        if name in self.problems:
            return
        try:
            bare = FileDescriptorProto()
            bare.CopyFrom(file)
            bare.ClearField("source_code_info")
            self._added[name] = self.pool.AddSerializedFile(bare.SerializeToString())
        except Exception as error:  # noqa: BLE001 - whatever protobuf says of a file that is not valid
            self.problems[name] = f"it is not valid: {' '.join(str(error).split())[:300]}"


def _parsed(given: FileDescriptorProto | bytes) -> FileDescriptorProto:
    if isinstance(given, FileDescriptorProto):
        file = FileDescriptorProto()
        file.CopyFrom(given)
    else:
        try:
            file = FileDescriptorProto.FromString(given)
        except DecodeError as error:
            raise SerializationError(f"a descriptor of the service cannot be read: {str(error)[:200]}") from None
    if not file.name:
        raise SerializationError("a descriptor of the service is of a file without a name")
    return file


def _completed(found: dict[str, FileDescriptorProto], problems: dict[str, str]) -> dict[str, FileDescriptorProto]:
    """Adds known files that are imported, and has those of protobuf itself come from here.

    A copy of one of protobuf's files under another name, as in the folder of a vendor, stands for the original, and
    one that has the types of several for all of them.
    """
    files, aliases = _with_protobufs_own(found, problems)
    for file in files.values():
        if any(imported in aliases for imported in file.dependency):
            _import_originals(file, aliases)
    make_canonical({name: file for name, file in files.items() if file.package != _PROTOBUF_PACKAGE})
    waiting = list(files.values())
    while waiting:
        for imported in waiting.pop().dependency:
            if imported not in files and (own := known_file(imported)) is not None:
                files[imported] = own
                waiting.append(own)
    return files


def _import_originals(file: FileDescriptorProto, aliases: Mapping[str, str]) -> None:
    """Replaces imports of copies by those of their originals; an empty name: by none."""
    imports = [aliases.get(imported, imported) for imported in file.dependency]
    public = {imports[index] for index in file.public_dependency if index < len(imports)}
    kept = list(dict.fromkeys(imported for imported in imports if imported))
    file.dependency[:] = kept
    file.public_dependency[:] = [index for index, imported in enumerate(kept) if imported in public]
    file.ClearField("weak_dependency")


def _with_protobufs_own(
    found: Mapping[str, FileDescriptorProto], problems: dict[str, str]
) -> tuple[dict[str, FileDescriptorProto], dict[str, str]]:
    """Returns the files with protobuf's own from here, and the names of these by the names of their copies.

    The name is empty for a copy of several of them.
    """
    known: dict[str, FileDescriptorProto] = {}
    aliases: dict[str, str] = {}
    for name, file in found.items():
        if file.package != _PROTOBUF_PACKAGE and not name.startswith(PROTOBUF):
            continue
        original = f"{PROTOBUF}{name.rpartition('/')[2]}"
        own = known_file(original)
        if own is not None:
            known[original] = own
            aliases[name] = original
            problems.pop(name, None)
        elif file.package == _PROTOBUF_PACKAGE and declares_only_protobufs_own(file):
            aliases[name] = ""
            problems.pop(name, None)
        elif file.package == _PROTOBUF_PACKAGE:
            problems.setdefault(name, "it declares types of protobuf itself, which are not its own")
    return {name: file for name, file in found.items() if name not in aliases} | known, aliases


def known_file(name: str) -> FileDescriptorProto | None:
    """Returns a file of protobuf or of googleapis-common-protos by its name; None if it is none of them."""
    if not _KNOWN.fullmatch(name):
        return None
    try:
        module = importlib.import_module(f"{name.removesuffix('.proto').replace('/', '.')}_pb2")
    except ImportError:
        return None
    file = FileDescriptorProto()
    module.DESCRIPTOR.CopyToProto(file)
    return file


def _in_order(files: Mapping[str, FileDescriptorProto], problems: dict[str, str]) -> Sequence[str]:
    """Orders files so that each comes after those that it imports; notes those that import each other in a circle."""
    done: dict[str, None] = {}
    entered: set[str] = set()
    for start in files:
        # A file is left after its imports; by hand, since a chain of imports may be long.
        path: list[tuple[str, Iterator[str]]] = []
        if start not in entered:
            entered.add(start)
            path.append((start, iter(files[start].dependency)))
        while path:
            name, imports = path[-1]
            following = next(imports, None)
            if following is None:
                path.pop()
                done[name] = None
            elif following in files and following not in entered:
                entered.add(following)
                path.append((following, iter(files[following].dependency)))
            elif following in files and following not in done:
                problems.setdefault(name, f"it imports {shown(following)}, which imports it in turn")
    return list(done)


def _full(file: FileDescriptorProto, name: str) -> str:
    return f"{file.package}.{name}" if file.package else name


def _file_named(descriptor: Any) -> str:
    """Returns the name of the file that a descriptor comes from."""
    for owner in (
        descriptor,
        getattr(descriptor, "containing_type", None),
        getattr(descriptor, "containing_service", None),
    ):
        file = getattr(owner, "file", None)
        if file is not None:
            return str(file.name)
    return ""
