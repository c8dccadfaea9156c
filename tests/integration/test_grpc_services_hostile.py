"""gRPC services that lie, loop, hang or send too much when they describe themselves."""

import itertools
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionResponse

from grpc_tool_bridge import BridgeServer, ToolExecutionError
from grpc_tool_bridge.adapters.grpc import Bounds, GrpcService, import_grpc
from grpc_tool_bridge.errors import SerializationError, UnavailableError
from support.grpc_services.bridges import bridge_of, refused, values_of
from support.grpc_services.compiled import Types, types_of
from support.grpc_services.lying import file_of, hangs_after, reflects, serialized
from support.grpc_services.odd import odd_bridge
from support.grpc_services.serving import reflection_handler, service_handler, serving
from support.waiting import soon, until


async def start_error(handler: Any, **options: Any) -> str:
    """Returns the text of the error with which a hub does not start."""
    async with serving(handler) as address:
        with pytest.raises(UnavailableError) as caught:
            await soon(BridgeServer(sources=[import_grpc(address, name="x", **options)]).start())
    assert caught.value.message.startswith("gRPC service x: ")
    return caught.value.message.removeprefix("gRPC service x: ")


async def taken_in(*handlers: Any, **options: Any) -> GrpcService:
    """Returns a source that was offered once, and has ended."""
    async with serving(*handlers) as address, import_grpc(address, name="x", prefix="", **options) as service:
        made = GrpcService(service.config, Bounds())
        made.tools, made.refused = list(service.tools), list(service.refused)
        return made


def names(service: GrpcService) -> list[str]:
    return [tool.spec.name for tool in service.tools]


def reasons(service: GrpcService) -> dict[str, str]:
    return {refusal.name: refusal.reason for refusal in service.refused}


GOOD = file_of("good.proto", package="good", service="S")


def known(*files: FileDescriptorProto) -> Any:
    """Answers each symbol and each name of a file honestly."""
    by_name = {file.name: file for file in files}
    for file in files:
        prefix = f"{file.package}." if file.package else ""
        by_name.update({f"{prefix}{item.name}": file for item in file.service})
    return lambda name: serialized(by_name[name]) if name in by_name else None


async def test_one_service_that_cannot_be_described_costs_only_itself() -> None:
    service = await taken_in(reflects(["good.S", "bad.S", "", "good.S"], known(GOOD)))
    assert names(service) == ["good.S.Do"]
    assert "there is none" in reasons(service)["bad.S"]


async def test_a_file_whose_import_is_missing_costs_only_itself() -> None:
    lacking = file_of("lacking.proto", package="lacking", imports=["nowhere.proto"], service="S")
    above = file_of("above.proto", package="above", imports=["lacking.proto"], service="S")
    service = await taken_in(reflects(["good.S", "lacking.S", "above.S"], known(GOOD, lacking, above)))
    assert names(service) == ["good.S.Do"]
    assert "it needs 'nowhere.proto': it is missing" in reasons(service)["lacking.S"]
    assert "it needs 'nowhere.proto'" in reasons(service)["above.S"]


async def test_files_that_import_each_other_cost_only_themselves() -> None:
    one = file_of("one.proto", package="one", imports=["two.proto"], service="S")
    two = file_of("two.proto", package="two", imports=["one.proto"])
    itself = file_of("itself.proto", package="itself", imports=["itself.proto"], service="S")
    service = await taken_in(reflects(["good.S", "one.S", "itself.S"], known(GOOD, one, two, itself)))
    assert names(service) == ["good.S.Do"]
    assert "in turn" in reasons(service)["one.S"]
    assert "in turn" in reasons(service)["itself.S"]


async def test_two_different_files_of_one_name_are_refused() -> None:
    other = file_of("good.proto", package="other", service="S")
    text = await start_error(reflects(["good.S", "other.S"], known(GOOD, other)))
    assert "two different files by the name 'good.proto'" in text


async def test_a_file_that_is_sent_twice_is_taken_once() -> None:
    service = await taken_in(reflects(["good.S"], lambda _: serialized(GOOD, GOOD)))
    assert names(service) == ["good.S.Do"]


async def test_a_service_that_is_in_no_file_that_was_sent_is_refused() -> None:
    service = await taken_in(reflects(["good.S", "made.Up"], lambda _: serialized(GOOD)))
    assert names(service) == ["good.S.Do"]
    assert "no file describes it" in reasons(service)["made.Up"]


async def test_a_type_that_is_in_two_files_costs_one_of_them() -> None:
    again = file_of("again.proto", package="good", service="T")
    service = await taken_in(reflects(["good.S", "good.T"], known(GOOD, again)))
    assert names(service) == ["good.S.Do"]
    assert "again.proto" in reasons(service)["good.T"]


async def test_imports_without_end_are_given_up() -> None:
    numbers = itertools.count()

    def answer(name: str) -> Any:
        number = next(numbers)
        own = "first.proto" if name == "a.S" else name
        return serialized(file_of(own, package=f"p{number}", imports=[f"next{number}.proto"], service="S"))

    text = await start_error(reflects(["a.S"], answer), bounds=Bounds(files=50))
    assert "over 50 files" in text


async def test_other_files_than_those_that_were_asked_for_have_an_end() -> None:
    numbers = itertools.count()

    def answer(name: str) -> Any:
        number = next(numbers)
        return serialized(file_of(f"f{number}.proto", package=f"p{number}", imports=[f"g{number}.proto"]))

    text = await start_error(reflects(["a.S"], answer), bounds=Bounds(files=50, services=10))
    assert "over 50 files" in text or "no end" in text


async def test_fifty_megabytes_of_descriptors_are_refused() -> None:
    def large(size: int) -> bytes:
        file = file_of(f"large{size}.proto", package=f"l{size}", service="S")
        file.options.java_package = "x" * size
        return file.SerializeToString()

    at_once = await start_error(reflects(["a.S"], lambda _: [large(50 * 1024 * 1024)]))
    assert "RESOURCE_EXHAUSTED" in at_once
    numbers = itertools.count(1_000_000)
    services = [f"a.S{number}" for number in range(100)]
    in_parts = await start_error(reflects(services, lambda _: [large(next(numbers))]))
    assert "over 16,777,216 bytes" in in_parts


async def test_descriptors_of_few_bytes_that_take_much_memory_are_refused() -> None:
    # A hundred thousand messages without names.
    empty = GOOD.SerializeToString() + b"\x22\x00" * 100_000
    text = await start_error(reflects(["good.S"], lambda _: [empty]), bounds=Bounds(descriptor_parts=1_000_000))
    assert "over 1,000,000 parts" in text
    numbers = itertools.count()

    def answer(_: str) -> Any:
        file = file_of(f"f{next(numbers)}.proto", package="good", service="S")
        return [file.SerializeToString() + b"\x22\x00" * 1_000]

    services = [f"good.S{number}" for number in range(100)]
    in_parts = await start_error(reflects(services, answer), bounds=Bounds(descriptor_parts=100_000))
    assert "over 100,000 parts" in in_parts


async def test_too_many_services_and_methods_are_refused() -> None:
    text = await start_error(reflects((f"a.S{number}" for number in range(100)), known()), bounds=Bounds(services=50))
    assert "it lists 100 services; the limit is 50" in text
    many = file_of("many.proto", package="many", service="S", methods=[f"Do{number}" for number in range(60)])
    service = await taken_in(reflects(["many.S"], known(many)), bounds=Bounds(methods=50))
    assert len(service.tools) == 50
    assert len(service.refused) == 10
    assert "over 50 methods" in service.refused[0].reason


@pytest.mark.slow
async def test_ten_thousand_methods_are_taken_in() -> None:
    methods = [f"Do{number}" for number in range(10_000)]
    many = file_of("many.proto", package="many", service="S", methods=methods)
    service = await taken_in(reflects(["many.S"], known(many)), methods=["*"])
    assert len(service.tools) == 10_000


@pytest.mark.parametrize("answered", [0, 1])
async def test_a_reflection_that_hangs_is_given_up(answered: int) -> None:
    text = await start_error(hangs_after(answered), bounds=Bounds(start_seconds=0.2))
    assert "it did not describe itself within 0.2 s" in text


async def test_answers_that_are_none_are_refused() -> None:
    async def nothing(requests: Any, context: Any) -> Any:
        async for _ in requests:
            yield ServerReflectionResponse()

    assert "it answers with nothing" in await start_error(reflection_handler(nothing))

    async def ends(requests: Any, context: Any) -> Any:
        return
        yield

    assert "without an answer" in await start_error(reflection_handler(ends))

    async def fails(requests: Any, context: Any) -> Any:
        raise RuntimeError("a fault")
        yield

    assert "UNKNOWN" in await start_error(reflection_handler(fails))
    assert "no descriptor" in await start_error(reflects(["a.S"], lambda _: [b"\xff\xff\xff"]))
    assert "without a name" in await start_error(reflects(["a.S"], lambda _: [b""]))


async def test_files_that_protobuf_does_not_accept_cost_only_themselves() -> None:
    bad = file_of("bad.proto", package="bad", service="S")
    bad.message_type[0].field[0].type_name = ".nowhere.T"
    bad.message_type[0].field[0].type = FieldDescriptorProto.TYPE_MESSAGE
    odd = file_of("odd.proto", package="odd", service="S", methods=["Do it\x1b[31m"])
    service = await taken_in(reflects(["good.S", "bad.S", "odd.S"], known(GOOD, bad, odd)))
    assert names(service) == ["good.S.Do"]
    assert "is not valid" in reasons(service)["bad.S"]
    assert set(reasons(service)) == {"bad.S", "odd.S"}


async def test_types_of_protobuf_are_its_own() -> None:
    lie = file_of("google/protobuf/timestamp.proto", package="google.protobuf")
    lie.message_type[0].name = "Timestamp"
    lie.message_type[0].field[0].name = "seconds"
    uses = file_of("uses.proto", package="uses", imports=["google/protobuf/timestamp.proto"], service="S")
    uses.message_type[0].field[0].type = FieldDescriptorProto.TYPE_MESSAGE
    uses.message_type[0].field[0].type_name = ".google.protobuf.Timestamp"
    odd = file_of("odd.proto", package="google.protobuf", service="S")
    answer = known(lie, uses, odd)
    files = [lie, uses]
    handler = reflects(
        ["uses.S", "google.protobuf.S"], lambda name: serialized(*files) if "uses" in name else answer(name)
    )
    service = await taken_in(handler)
    assert names(service) == ["uses.S.Do"]
    assert "types of protobuf itself" in reasons(service)["google.protobuf.S"]
    assert '"date-time"' in service.tools[0].spec.input_schema or "3339" in service.tools[0].spec.input_schema


async def test_other_files_of_google_are_the_services_own_if_it_has_them() -> None:
    newer = file_of("google/type/date.proto", package="google.type")
    newer.message_type[0].name = "Newer"
    uses = file_of("uses.proto", package="uses", imports=[newer.name], service="S")
    uses.message_type[0].field[0].type = FieldDescriptorProto.TYPE_MESSAGE
    uses.message_type[0].field[0].type_name = ".google.type.Newer"
    assert names(await taken_in(reflects(["uses.S"], known(uses, newer)))) == ["uses.S.Do"]
    uses.message_type[0].field[0].type_name = ".google.type.Date"
    assert names(await taken_in(reflects(["uses.S"], known(uses)))) == ["uses.S.Do"]


async def test_a_copy_of_a_file_of_protobuf_under_another_path_is_the_original() -> None:
    from google.protobuf import timestamp_pb2

    vendored = FileDescriptorProto()
    timestamp_pb2.DESCRIPTOR.CopyToProto(vendored)
    vendored.name = "third_party/google/protobuf/timestamp.proto"
    uses = file_of("uses.proto", package="uses", imports=[vendored.name], service="S")
    uses.message_type[0].field[0].type = FieldDescriptorProto.TYPE_MESSAGE
    uses.message_type[0].field[0].type_name = ".google.protobuf.Timestamp"
    service = await taken_in(reflects(["uses.S"], known(uses, vendored)))
    assert names(service) == ["uses.S.Do"]


def recursive() -> FileDescriptorProto:
    file = FileDescriptorProto(name="tree.proto", package="tree", syntax="proto3")
    node = file.message_type.add(name="Node")
    node.field.add(name="name", number=1, type=FieldDescriptorProto.TYPE_STRING, label=1)
    node.field.add(name="children", number=2, type=FieldDescriptorProto.TYPE_MESSAGE, type_name=".tree.Node", label=3)
    file.service.add(name="Trees").method.add(name="Echo", input_type=".tree.Node", output_type=".tree.Node")
    return file


async def test_recursive_types_go_both_ways_as_deep_as_they_may() -> None:
    types = Types([recursive()])

    async def echo(request: Any, context: Any) -> Any:
        return request

    handlers = service_handler(types, "tree.Trees", {"Echo": echo}), reflects(["tree.Trees"], known(recursive()))
    async with serving(*handlers) as address, bridge_of(import_grpc(address)) as bridge:
        tool = bridge.tools["tree.Trees.Echo"]

        def deep(levels: int) -> dict[str, Any]:
            tree: dict[str, Any] = {"name": "leaf", "children": []}
            for _ in range(levels):
                tree = {"name": "node", "children": [tree]}
            return tree

        assert await soon(tool(**deep(20))) == deep(20)
        with pytest.raises(SerializationError, match="nested deeper"):
            await tool(**deep(90))


async def test_a_response_that_is_none_is_an_error_of_the_call() -> None:
    async def raw(request: bytes, context: Any) -> bytes:
        return b"\xff\xff\xff"

    import grpc

    handler = grpc.method_handlers_generic_handler("good.S", {"Do": grpc.unary_unary_rpc_method_handler(raw)})
    async with (
        serving(handler, reflects(["good.S"], known(GOOD))) as address,
        bridge_of(import_grpc(address)) as bridge,
    ):
        error = await refused(bridge.tools["good.S.Do"](text="a"), "its response is no good.M")
        assert error.error_type == "ProtocolError"


async def test_a_service_that_turns_hostile_keeps_the_tools_that_it_had(monkeypatch: pytest.MonkeyPatch) -> None:
    from support.grpc_services.changing import Switch

    switch = Switch(reflects(["good.S"], known(GOOD)))
    async with serving(switch) as address:
        source = import_grpc(address, refresh=0.02)
        async with bridge_of(source) as bridge:
            asked = 0

            def answer(_: str) -> Any:
                nonlocal asked
                asked += 1
                return [b"\xff"]

            switch.handlers = (reflects(["good.S"], answer),)
            await until(lambda: asked > 2, "for readings")
            assert "good.S.Do" in bridge.tools
            assert not source.away


@pytest.mark.parametrize("size", [1_000, 2_000_000])
async def test_a_small_response_that_would_be_large_in_memory_is_refused(size: int) -> None:
    async def widen(request: Any, context: Any) -> Any:
        return types_of("odd.proto").message("odd.v1.Wide").FromString(b"\x0a\x00" * size)

    async def widen_all(request: Any, context: Any) -> Any:
        while True:
            yield await widen(request, context)

    async with odd_bridge(methods={"Widen": widen, "WidenAll": widen_all}) as bridge:
        if size == 1_000:
            assert len((await soon(bridge.tools["odd.Widen"]()))["parts"]) == size
            return
        error = await refused(bridge.tools["odd.Widen"](), "its response has over 1,000,000 values")
        assert error.error_type == "MessageTooLarge"
        with pytest.raises(ToolExecutionError, match="its response has over 1,000,000 values"):
            await soon(values_of(bridge.tools["odd.WidenAll"].stream()))
