"""A service that is other than before when it starts again at the same address."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto

from support.grpc_services.compiled import Types
from support.grpc_services.serving import honest_reflection, service_handler

SERVICE = "shop.Shop"
_TYPES = {
    "string": FieldDescriptorProto.TYPE_STRING,
    "int32": FieldDescriptorProto.TYPE_INT32,
    "int64": FieldDescriptorProto.TYPE_INT64,
}


def shop(methods: Mapping[str, Mapping[str, str]]) -> FileDescriptorProto:
    """Returns a file with a service: for each method the fields of its request and its response, with their types."""
    file = FileDescriptorProto(name="shop.proto", package="shop", syntax="proto3")
    service = file.service.add(name="Shop")
    for method, fields in methods.items():
        message = file.message_type.add(name=f"{method}Message")
        for number, (name, kind) in enumerate(fields.items(), start=1):
            message.field.add(name=name, number=number, type=_TYPES[kind], label=FieldDescriptorProto.LABEL_OPTIONAL)
        of = f".shop.{method}Message"
        service.method.add(name=method, input_type=of, output_type=of)
    return file


async def echo(request: Any, context: Any) -> Any:
    return request


@asynccontextmanager
async def open_shop(address: str, methods: Mapping[str, Mapping[str, str]]) -> AsyncIterator[str]:
    """Serves the shop at an address, whose methods return their requests; with reflection."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers(shop_handlers(methods))
    port = server.add_insecure_port(address)
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


class Switch(grpc.GenericRpcHandler):
    """Handlers that are exchanged while a server runs, as behind a balancer that sends calls to a newer one.

    Attributes:
        handlers: Those that serve now.
    """

    def __init__(self, *handlers: Any) -> None:
        self.handlers = handlers

    def service(self, handler_call_details: Any) -> Any:
        """Finds the handler of a call."""
        found = (handler.service(handler_call_details) for handler in self.handlers)
        return next((handler for handler in found if handler is not None), None)


def shop_handlers(methods: Mapping[str, Mapping[str, str]], answers: Mapping[str, Any] | None = None) -> Any:
    """Returns the handlers of the shop and its reflection; a method returns its request unless it has an answer."""
    types = Types([shop(methods)])

    def method(name: str) -> Any:
        if answers is None or name not in answers:
            return echo

        async def answer(request: Any, context: Any) -> Any:
            return type(request)(**answers[name])

        return answer

    made = {name: method(name) for name in methods}
    return service_handler(types, SERVICE, made), honest_reflection(types, [SERVICE])
