"""The peer: a gRPC service as its author writes it, with reflection, and the stub of its methods.

Its types are made as protoc makes them in generated code; so the stub is what a generated one is.
"""

from typing import Any, Self

import grpc.aio
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from grpc_reflection.v1alpha import reflection

from benchmarks.work import add

ADDER = "benchmarks.Adder"
MANY = "benchmarks.Many"

_INT, _TEXT, _MESSAGE = (
    FieldDescriptorProto.TYPE_INT64, FieldDescriptorProto.TYPE_STRING, FieldDescriptorProto.TYPE_MESSAGE,
)  # fmt: skip


def _field(message: Any, name: str, kind: Any, *, of: str = "", repeated: bool = False) -> None:
    label = FieldDescriptorProto.LABEL_REPEATED if repeated else FieldDescriptorProto.LABEL_OPTIONAL
    message.field.add(name=name, number=len(message.field) + 1, type=kind, type_name=of or None, label=label)


def _adder() -> FileDescriptorProto:
    file = FileDescriptorProto(name="benchmarks/adder.proto", package="benchmarks", syntax="proto3")
    request = file.message_type.add(name="AddRequest")
    _field(request, "a", _INT)
    _field(request, "b", _INT)
    _field(file.message_type.add(name="AddResponse"), "sum", _INT)
    file.service.add(name="Adder").method.add(
        name="Add", input_type=".benchmarks.AddRequest", output_type=".benchmarks.AddResponse"
    )
    return file


def many_methods(number: int) -> FileDescriptorProto:
    """Returns a file with so many methods, each with a request and a response of its own: ten fields, some nested."""
    file = FileDescriptorProto(name="benchmarks/many.proto", package="benchmarks", syntax="proto3")
    shared = file.message_type.add(name="Place")
    for name in ("street", "city", "country"):
        _field(shared, name, _TEXT)
    service = file.service.add(name="Many")
    for index in range(number):
        for name in (f"Get{index}Request", f"Get{index}Response"):
            message = file.message_type.add(name=name)
            for field in range(6):
                _field(message, f"field_{field}", _TEXT if field % 2 else _INT)
            part = message.nested_type.add(name="Part")
            _field(part, "weight", _INT)
            _field(part, "place", _MESSAGE, of=".benchmarks.Place")
            _field(message, "place", _MESSAGE, of=".benchmarks.Place")
            _field(message, "parts", _MESSAGE, of=f".benchmarks.{name}.Part", repeated=True)
            _field(message, "tags", _TEXT, repeated=True)
            _field(message, "note", _TEXT)
        service.method.add(
            name=f"Get{index}",
            input_type=f".benchmarks.Get{index}Request",
            output_type=f".benchmarks.Get{index}Response",
        )
    return file


class _Types:
    def __init__(self, file: FileDescriptorProto) -> None:
        self.pool = descriptor_pool.DescriptorPool()
        self.pool.Add(file)

    def message(self, name: str) -> Any:
        return message_factory.GetMessageClass(self.pool.FindMessageTypeByName(f"benchmarks.{name}"))


class _Server:
    """A grpc.aio server with reflection, on a port of the loopback that is free."""

    def __init__(self, types: _Types, service: str, handlers: dict[str, Any]) -> None:
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        reflection.enable_server_reflection([service, reflection.SERVICE_NAME], self._server, types.pool)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    async def __aenter__(self) -> Self:
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop(None)


class AdderServer(_Server):
    """Serves a method that adds."""

    def __init__(self) -> None:
        types = _Types(_adder())
        request, response = types.message("AddRequest"), types.message("AddResponse")

        async def method(given: Any, _: Any) -> Any:
            return response(sum=await add(given.a, given.b))

        handler = grpc.unary_unary_rpc_method_handler(method, request.FromString, response.SerializeToString)
        super().__init__(types, ADDER, {"Add": handler})


class ManyServer(_Server):
    """Serves 500 methods, which only describe themselves."""

    def __init__(self) -> None:
        super().__init__(_Types(many_methods(500)), MANY, {})


class AdderClient:
    """Calls the stub of the method that adds."""

    def __init__(self, address: str) -> None:
        types = _Types(_adder())
        self._request = types.message("AddRequest")
        self._channel = grpc.aio.insecure_channel(address)
        self._call: Any = self._channel.unary_unary(
            f"/{ADDER}/Add",
            request_serializer=self._request.SerializeToString,
            response_deserializer=types.message("AddResponse").FromString,
        )

    async def add(self, a: int, b: int) -> int:
        """Adds two integers, with the timeout that a careful caller gives."""
        response = await self._call(self._request(a=a, b=b), timeout=30.0)
        return int(response.sum)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()
