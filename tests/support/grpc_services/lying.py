"""Servers whose reflection is hostile."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionResponse

from support.grpc_services.serving import reflection_handler

# Answers the request for a file by the name of a symbol or a file; None: with an error.
Answer = Callable[[str], Iterable[bytes] | None]


def reflects(services: Iterable[str], answer: Answer) -> Any:
    """Returns the handler of a reflection that lists services, and answers as it is told."""

    async def serve(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        async for request in requests:
            response = ServerReflectionResponse()
            if request.WhichOneof("message_request") == "list_services":
                for name in services:
                    response.list_services_response.service.add(name=name)
            else:
                files = answer(request.file_containing_symbol or request.file_by_filename)
                if files is None:
                    response.error_response.error_code = 5
                    response.error_response.error_message = "there is none"
                else:
                    response.file_descriptor_response.file_descriptor_proto.extend(files)
            yield response

    return reflection_handler(serve)


def hangs_after(count: int) -> Any:
    """Returns the handler of a reflection that answers some requests, and then waits."""

    async def serve(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        left = count
        async for _ in requests:
            if not left:
                await asyncio.Event().wait()
            left -= 1
            response = ServerReflectionResponse()
            response.list_services_response.service.add(name="a.B")
            yield response

    return reflection_handler(serve)


def file_of(
    name: str, *, package: str = "", imports: Iterable[str] = (), service: str = "", methods: Iterable[str] = ("Do",)
) -> FileDescriptorProto:
    """Returns a file with a message ``M`` and, if it is named, a service whose methods take and return it."""
    file = FileDescriptorProto(name=name, package=package, syntax="proto3", dependency=imports)
    message = file.message_type.add(name="M")
    message.field.add(
        name="text", number=1, type=FieldDescriptorProto.TYPE_STRING, label=FieldDescriptorProto.LABEL_OPTIONAL
    )
    if service:
        made = file.service.add(name=service)
        of = f".{package}.M" if package else ".M"
        for method in methods:
            made.method.add(name=method, input_type=of, output_type=of)
    return file


def serialized(*files: FileDescriptorProto) -> list[bytes]:
    """Returns files as reflection gives them."""
    return [file.SerializeToString() for file in files]
