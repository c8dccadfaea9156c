"""Descriptions of gRPC services in files: descriptor sets, and ``.proto`` files."""

import contextlib
import importlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.message import DecodeError

from grpc_tool_bridge.adapters.grpc.bounds import Bounds
from grpc_tool_bridge.adapters.grpc.config import ServiceConfig
from grpc_tool_bridge.adapters.grpc.descriptors import Descriptors
from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.optional import missing

_COMPILE_SECONDS = 120.0
_MAX_SAID_CHARS = 2_000
_OPERATIONS = Path("google/longrunning/operations.proto")

_HOW = "make one with protoc --include_imports --include_source_info --descriptor_set_out=FILE, or buf build -o FILE"


def is_described(config: ServiceConfig) -> bool:
    """Returns whether the settings describe a service, so that it need not be asked."""
    return config.descriptor_set is not None or config.proto is not None


def read_description(config: ServiceConfig, bounds: Bounds) -> Descriptors:
    """Reads the description that the settings name. Blocks.

    Raises:
        ValidationError: A file is not valid, or cannot be read.
        ImportError: There are ``.proto`` files, and the extra ``protos`` is not installed.
        ResourceExhaustedError: It is too large.
    """
    if config.descriptor_set is not None:
        files = read_descriptor_set(config.descriptor_set, bounds)
    else:
        assert config.proto is not None  # noqa: S101 - one of them is there
        files = compile_protos(config.proto, config.proto_include)
    return Descriptors.of(files, bounds)


def read_descriptor_set(path: Path, bounds: Bounds) -> list[FileDescriptorProto]:
    """Reads a file with a FileDescriptorSet.

    Raises:
        ValidationError: It is no such file, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            data = file.read(bounds.descriptor_bytes + 1)
    except OSError as error:
        raise ValidationError(f"the descriptor set {path} cannot be read: {error.strerror or error}") from None
    if len(data) > bounds.descriptor_bytes:
        raise ValidationError(f"the descriptor set {path} has over {bounds.descriptor_bytes:,} bytes, the limit")
    try:
        found = FileDescriptorSet.FromString(data)
    except DecodeError:
        raise ValidationError(f"{path} is no descriptor set; {_HOW}") from None
    if not found.file or not all(file.name for file in found.file):
        raise ValidationError(f"{path} is no descriptor set, or an empty one; {_HOW}")
    return list(found.file)


def compile_protos(source: Path, include: Sequence[Path] = ()) -> list[FileDescriptorProto]:
    """Compiles ``.proto`` files, with their comments.

    Args:
        source: A folder, with all ``.proto`` files below it; or one such file, whose folder is where its imports are.
        include: More folders in which imports are looked for.

    Raises:
        ValidationError: There is no such file, or one is not valid; the text has what protoc says.
        ImportError: The extra ``protos`` is not installed.
    """
    try:
        importlib.import_module("grpc_tools")
    except ImportError as error:
        raise missing(error, "grpc_tools", extra="protos") from None
    root, names = _sources(source, include)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "set.pb"
        paths = [f"-I{path}" for path in (root, *include, *_common_protos(Path(folder)))]
        # In a process of its own: what is wrong is written to the standard error of the process.
        ended = subprocess.run(  # noqa: S603 - this Python, and paths that are no options
            [sys.executable, "-m", "grpc_tools.protoc", *paths, "--include_imports", "--include_source_info",
             f"--descriptor_set_out={made}", *names],
            capture_output=True, timeout=_COMPILE_SECONDS, check=False,
        )  # fmt: skip
        if ended.returncode or not made.exists():
            said = (ended.stderr or ended.stdout).decode(errors="replace").strip()
            raise ValidationError(f"{source} cannot be compiled: {said[:_MAX_SAID_CHARS]}")
        return list(FileDescriptorSet.FromString(made.read_bytes()).file)


def _sources(source: Path, include: Sequence[Path]) -> tuple[Path, list[str]]:
    """Returns the folder of the files, and their names in it."""
    for folder in include:
        if not folder.is_dir():
            raise ValidationError(f"proto_include: there is no folder {folder}")
    if source.is_dir():
        names = sorted(path.relative_to(source).as_posix() for path in source.rglob("*.proto"))
        if not names:
            raise ValidationError(f"the folder {source} has no .proto files")
        return source, names
    if not source.is_file():
        raise ValidationError(f"there is no folder and no file {source}")
    # Imports are written from one of the folders that are named, if the file is below one.
    for folder in include:
        with contextlib.suppress(ValueError):
            return folder, [source.resolve().relative_to(folder.resolve()).as_posix()]
    return source.parent, [source.name]


def _common_protos(folder: Path) -> list[Path]:
    """Returns the folders with google/api, google/rpc and others; ``folder`` is for what must be written for that."""
    with contextlib.suppress(ImportError, AttributeError, IndexError):
        import google.rpc  # noqa: PLC0415 - only for its place

        common = Path(google.rpc.__path__[0]).parents[1]
        # Every importer calls it operations.proto, but the package of these files has it by another name.
        renamed = common / _OPERATIONS.with_name("operations_proto.proto")
        if not renamed.exists() or (common / _OPERATIONS).exists():
            return [common]
        (folder / _OPERATIONS).parent.mkdir(parents=True)
        shutil.copyfile(renamed, folder / _OPERATIONS)
        return [folder, common]
    return []
