"""gRPC servers for tests: any handlers, with reflection."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
from grpc_reflection.v1alpha import reflection
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

from support.grpc_services.compiled import Types

V1 = "grpc.reflection.v1.ServerReflection"
V1ALPHA = "grpc.reflection.v1alpha.ServerReflection"

_MAKE = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


def service_handler(types: Types, service: str, methods: Mapping[str, Any]) -> Any:
    """Returns the handler of a service, whose methods are given by their names."""
    found: Any = types.pool.FindServiceByName(service)
    made = {}
    for method in found.methods:
        if method.name not in methods:
            continue
        made[method.name] = _MAKE[method.client_streaming, method.server_streaming](
            methods[method.name],
            request_deserializer=types.message(method.input_type.full_name).FromString,
            response_serializer=types.message(method.output_type.full_name).SerializeToString,
        )
    return grpc.method_handlers_generic_handler(service, made)


def reflection_handler(serve: Any, *, service: str = V1ALPHA) -> Any:
    """Returns the handler of a reflection service: ``serve(requests, context)`` yields the answers."""
    method = grpc.stream_stream_rpc_method_handler(
        serve,
        request_deserializer=ServerReflectionRequest.FromString,
        response_serializer=ServerReflectionResponse.SerializeToString,
    )
    return grpc.method_handlers_generic_handler(service, {"ServerReflectionInfo": method})


def honest_reflection(types: Types, services: Sequence[str], *, service: str = V1ALPHA) -> Any:
    """Returns the handler of grpcio's own reflection service."""
    servicer: Any = reflection.aio.ReflectionServicer([*services, service], types.pool)
    return reflection_handler(servicer.ServerReflectionInfo, service=service)


@asynccontextmanager
async def serving(
    *handlers: Any, address: str = "127.0.0.1:0", credentials: Any = None, options: Sequence[Any] = ()
) -> AsyncIterator[str]:
    """Serves handlers; yields the address."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0), *options])
    server.add_generic_rpc_handlers(handlers)
    add = server.add_insecure_port if credentials is None else lambda to: server.add_secure_port(to, credentials)
    port = add(address)
    await server.start()
    try:
        yield address if address.startswith("unix:") else f"{address.rpartition(':')[0]}:{port}"
    finally:
        await server.stop(None)
