"""Asks a gRPC service to describe itself, by the reflection protocol."""

import asyncio
import contextlib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc.aio
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message import DecodeError
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

from grpc_tool_bridge.adapters.grpc.aio_internals import keep_status
from grpc_tool_bridge.adapters.grpc.bounds import Bounds
from grpc_tool_bridge.adapters.grpc.descriptors import PROTOBUF, known_file
from grpc_tool_bridge.adapters.grpc.types import Types
from grpc_tool_bridge.adapters.grpc.weights import Weights
from grpc_tool_bridge.errors import MessageTooLargeError, ProtocolError, ResourceExhaustedError, UnimplementedError
from grpc_tool_bridge.rpc.bounds import shown

# In the order in which they are tried; their messages are the same.
_SERVICES = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")
REFLECTION_SERVICES = frozenset(_SERVICES)

# More bytes are read by a thread: to parse a mebibyte takes milliseconds.
_SLOW_BYTES = 65_536
# Of descriptors.
_WEIGHTS = Weights(Types(descriptor_pool.Default()))

Metadata = Sequence[tuple[str, str | bytes]]


@dataclass(slots=True)
class Reflected:
    """What a service says of itself.

    Attributes:
        services: The full names of its services, in its order.
        files: The files that describe them.
        problems: Why services could not be described, by their names.
        protocol: The service of reflection that it was read from.
    """

    services: list[str] = field(default_factory=list)
    files: list[FileDescriptorProto] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)
    protocol: str = ""

    def digest(self) -> str:
        """Returns a text that changes when anything of it does."""
        digest = hashlib.sha256(repr((sorted(self.services), sorted(self.problems.items()))).encode())
        for file in sorted(self.files, key=lambda file: file.name):
            data = file.SerializeToString(deterministic=True)
            digest.update(f" {len(data)} ".encode())
            digest.update(data)
        return digest.hexdigest()


async def read_reflection(channel: grpc.aio.Channel, bounds: Bounds, *, metadata: Metadata = ()) -> Reflected:
    """Reads the descriptors of all services at the end of a channel.

    Args:
        channel: The channel.
        bounds: Limits; ``start_seconds`` is one on each answer and all of them together.
        metadata: Sent with the call.

    Raises:
        UnimplementedError: There is no reflection.
        ProtocolError: An answer breaks the protocol.
        ResourceExhaustedError: There are too many services or files.
        MessageTooLargeError: Their descriptors are too large.
        TimeoutError: It takes too long.
        grpc.aio.AioRpcError: The service has failed otherwise.
    """
    async with asyncio.timeout(bounds.start_seconds):
        for service in _SERVICES:
            method = channel.stream_stream(
                f"/{service}/ServerReflectionInfo",
                request_serializer=ServerReflectionRequest.SerializeToString,
                response_deserializer=ServerReflectionResponse.FromString,
            )
            call = method(timeout=bounds.start_seconds, metadata=tuple(metadata))
            keep_status(call)
            try:
                return await _Reading(call, bounds, service).read()
            except grpc.aio.AioRpcError as error:
                if error.code() != grpc.StatusCode.UNIMPLEMENTED:
                    raise
            finally:
                call.cancel()
    raise UnimplementedError(
        "it has no reflection: have it serve grpc.reflection, or describe it by a descriptor set or its .proto files"
    )


class _Reading:
    """One stream of reflection, and what was read of it."""

    def __init__(self, call: Any, bounds: Bounds, protocol: str) -> None:
        self._call = call
        self._bounds = bounds
        self._files: dict[str, FileDescriptorProto] = {}
        self._seen: set[bytes] = set()
        self._defined: set[str] = set()
        self._found = Reflected(protocol=protocol)
        self._size = self._parts = 0
        self._asked = 0

    async def read(self) -> Reflected:
        """Lists the services, and reads the files of each with all that these import."""
        listed = await self._ask(ServerReflectionRequest(list_services=""))
        if listed.WhichOneof("message_response") != "list_services_response":
            raise ProtocolError(f"it does not list its services: {_told(listed)}")
        names = list(dict.fromkeys(item.name for item in listed.list_services_response.service if item.name))
        if len(names) > self._bounds.services:
            raise ResourceExhaustedError(f"it lists {len(names):,} services; the limit is {self._bounds.services:,}")
        self._found.services = names
        for name in names:
            if name not in self._defined and name not in REFLECTION_SERVICES:
                await self._read_service(name)
        await self._read_imports()
        self._found.files = list(self._files.values())
        return self._found

    async def _read_service(self, name: str) -> None:
        answer = await self._ask(ServerReflectionRequest(file_containing_symbol=name))
        if answer.WhichOneof("message_response") != "file_descriptor_response":
            self._found.problems[name] = f"the service does not describe it: {_told(answer)}"
            return
        await self._take(answer)

    async def _read_imports(self) -> None:
        """Reads what files import, until nothing is missing that the service has."""
        asked: set[str] = set()
        waiting = list(self._files.values())
        while waiting:
            file = waiting.pop()
            for name in file.dependency:
                # Those of protobuf itself never come from a service; others may be newer there than here.
                if name in self._files or name in asked or (name.startswith(PROTOBUF) and known_file(name) is not None):
                    continue
                asked.add(name)
                answer = await self._ask(ServerReflectionRequest(file_by_filename=name))
                if answer.WhichOneof("message_response") == "file_descriptor_response":
                    waiting.extend(await self._take(answer))

    async def _ask(self, request: ServerReflectionRequest) -> ServerReflectionResponse:
        self._asked += 1
        if self._asked > self._bounds.files + self._bounds.services:
            raise ResourceExhaustedError("its descriptors have no end")
        # After the end of the stream nothing can be written; reading raises its status.
        with contextlib.suppress(asyncio.InvalidStateError):
            await self._call.write(request)
        answer = await self._call.read()
        if answer is grpc.aio.EOF:
            raise ProtocolError("it ended the stream of reflection without an answer")
        found: ServerReflectionResponse = answer
        return found

    async def _take(self, answer: ServerReflectionResponse) -> list[FileDescriptorProto]:
        """Takes the files of an answer; returns those that are new."""
        fresh = [data for data in answer.file_descriptor_response.file_descriptor_proto if data not in self._seen]
        size = sum(map(len, fresh))
        self._size += size
        if self._size > self._bounds.descriptor_bytes:
            raise MessageTooLargeError(
                f"its descriptors take over {self._bounds.descriptor_bytes:,} bytes, which is the limit"
            )
        self._seen.update(fresh)
        parsed = await asyncio.to_thread(self._parsed, fresh) if size > _SLOW_BYTES else self._parsed(fresh)
        new: list[FileDescriptorProto] = []
        for file in parsed:
            if file.name not in self._files:
                self._files[file.name] = file
                self._defined.update(_full(file, item.name) for item in file.service)
                new.append(file)
            elif self._files[file.name] != file:
                raise ProtocolError(f"it describes two different files by the name {shown(file.name)}")
        if len(self._files) > self._bounds.files:
            raise ResourceExhaustedError(f"it has over {self._bounds.files:,} files, which is the limit")
        return new

    def _parsed(self, fresh: Sequence[bytes]) -> list[FileDescriptorProto]:
        most = self._bounds.descriptor_parts
        try:
            for data in fresh:
                self._parts += _WEIGHTS.count(data, FileDescriptorProto.DESCRIPTOR, most - self._parts)
                if self._parts > most:
                    raise ResourceExhaustedError(f"its descriptors have over {most:,} parts, which is the limit")
            files = [FileDescriptorProto.FromString(data) for data in fresh]
        except DecodeError as error:
            raise ProtocolError(f"it describes itself by what is no descriptor: {str(error)[:200]}") from None
        if not all(file.name for file in files):
            raise ProtocolError("it describes a file without a name")
        return files


def _full(file: FileDescriptorProto, name: str) -> str:
    return f"{file.package}.{name}" if file.package else name


def _told(answer: ServerReflectionResponse) -> str:
    kind = answer.WhichOneof("message_response")
    if kind == "error_response":
        error = answer.error_response
        return f"{shown(error.error_message[:300])} (code {error.error_code})"
    return f"it answers with {kind or 'nothing'}"
