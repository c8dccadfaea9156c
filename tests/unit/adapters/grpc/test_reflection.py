"""What a service says of itself."""

from typing import Any

import grpc.aio
import pytest

from grpc_tool_bridge.adapters.grpc.bounds import Bounds
from grpc_tool_bridge.adapters.grpc.reflection import Reflected, read_reflection
from grpc_tool_bridge.errors import MessageTooLargeError, UnimplementedError
from support.grpc_services.lying import file_of, reflects, serialized
from support.grpc_services.serving import honest_reflection, serving
from support.grpc_services.weather import SERVICE, Weather
from support.waiting import soon


async def reflected(*handlers: Any, **options: Any) -> Reflected:
    async with serving(*handlers) as address, grpc.aio.insecure_channel(address) as channel:
        found: Reflected = await soon(read_reflection(channel, Bounds(), **options))
        return found


async def test_services_and_files_are_read() -> None:
    found = await reflected(honest_reflection(Weather().types, [SERVICE]))
    assert SERVICE in found.services
    assert "weather.proto" in {file.name for file in found.files}
    assert found.problems == {}


async def test_imports_that_were_not_sent_are_asked_for_once() -> None:
    files = {
        "a.S": file_of("a.proto", package="a", imports=["b.proto", "c.proto"], service="S"),
        "b.proto": file_of("b.proto", package="b", imports=["c.proto", "google/protobuf/any.proto"]),
        "c.proto": file_of("c.proto", package="c"),
    }
    asked: list[str] = []

    def answer(name: str) -> Any:
        asked.append(name)
        return serialized(files[name]) if name in files else None

    found = await reflected(reflects(["a.S", "a.S"], answer))
    assert sorted(asked) == ["a.S", "b.proto", "c.proto"]
    assert {file.name for file in found.files} == {"a.proto", "b.proto", "c.proto"}


async def test_without_reflection_an_error_says_what_to_do() -> None:
    with pytest.raises(UnimplementedError, match="descriptor set"):
        await reflected()


async def test_the_digest_changes_with_anything() -> None:
    one = Reflected(["a.S"], [file_of("a.proto", package="a")], {})
    assert one.digest() == Reflected(["a.S"], [file_of("a.proto", package="a")], {}).digest()
    others = [
        Reflected(["a.S", "a.T"], one.files, {}),
        Reflected(["a.S"], [file_of("a.proto", package="b")], {}),
        Reflected(["a.S"], one.files, {"a.S": "gone"}),
    ]
    assert len({other.digest() for other in (one, *others)}) == 4


async def test_metadata_is_sent() -> None:
    seen: list[Any] = []

    async def serve(requests: Any, context: Any) -> Any:
        seen.extend(context.invocation_metadata())
        async for _ in requests:
            from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionResponse

            response = ServerReflectionResponse()
            response.list_services_response.service.add(name="grpc.reflection.v1alpha.ServerReflection")
            yield response

    from support.grpc_services.serving import reflection_handler

    await reflected(reflection_handler(serve), metadata=(("authorization", "Bearer x"),))
    assert ("authorization", "Bearer x") in [(key, value) for key, value in seen]


async def test_descriptors_over_the_limit_are_not_kept() -> None:
    file = file_of("a.proto", package="a", service="S")
    handler = reflects(["a.S"], lambda _: serialized(file))
    async with serving(handler) as address, grpc.aio.insecure_channel(address) as channel:
        with pytest.raises(MessageTooLargeError, match="over 20 bytes"):
            await soon(read_reflection(channel, Bounds(descriptor_bytes=20)))
