"""The descriptors of a service, in a pool of their own."""

import pytest
from google.protobuf import descriptor_pb2, timestamp_pb2
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto

from grpc_tool_bridge.adapters.grpc.bounds import Bounds
from grpc_tool_bridge.adapters.grpc.descriptors import Descriptors, known_file
from grpc_tool_bridge.adapters.grpc.fields import message_class
from grpc_tool_bridge.errors import MessageTooLargeError, ResourceExhaustedError, SerializationError
from support.grpc_services.compiled import files_of
from support.grpc_services.lying import file_of


def test_services_and_messages_are_found() -> None:
    found = Descriptors.of(files_of("weather.proto"))
    assert [service.full_name for service in found.services()] == ["weather.v1.Weather"]
    assert found.service("weather.v1.Weather") is not None
    assert found.service("weather.v1.None") is None
    report = message_class(found.message("weather.v1.Report"))
    assert report(city="Bern").SerializeToString() == b"\n\x04Bern"
    with pytest.raises(KeyError):
        found.message("weather.v1.None")
    assert found.problems == {}


def test_two_services_do_not_share_their_types() -> None:
    one, two = file_of("a.proto", package="a", service="S"), file_of("a.proto", package="a", service="T")
    assert Descriptors.of([one]).message("a.M") is not Descriptors.of([two]).message("a.M")


def test_the_order_of_files_makes_no_difference() -> None:
    files = [
        file_of(f"f{number}.proto", package=f"p{number}", imports=[f"f{number + 1}.proto"]) for number in range(50)
    ]
    files.append(file_of("f50.proto", package="p50", service="S"))
    assert Descriptors.of(files).digest == Descriptors.of(reversed(files)).digest
    assert Descriptors.of(files).problems == {}


def test_a_long_chain_of_imports_is_no_recursion() -> None:
    files = [
        file_of(f"f{number}.proto", package=f"p{number}", imports=[f"f{number + 1}.proto"]) for number in range(4_000)
    ]
    files.append(file_of("f4000.proto", package="p4000", imports=["f0.proto"]))
    found = Descriptors.of(files)
    assert "in turn" in found.problems["f4000.proto"]
    assert len(found.problems) == 4_001


def test_the_digest_changes_with_the_meaning() -> None:
    one = file_of("a.proto", package="a", service="S")
    before = Descriptors.of([one.SerializeToString()]).digest
    assert Descriptors.of([one]).digest == before
    one.message_type[0].field[0].number = 2
    assert Descriptors.of([one]).digest != before


def test_what_is_known_need_not_be_there() -> None:
    imports = ["google/protobuf/timestamp.proto", "google/api/annotations.proto", "google/rpc/status.proto"]
    found = Descriptors.of([file_of("a.proto", package="a", imports=imports, service="S")])
    assert found.problems == {}
    assert found.message("google.rpc.Status").full_name == "google.rpc.Status"


@pytest.mark.parametrize(
    "name", ["os.proto", "google/protobuf/../../os.proto", "google/api/nowhere.proto", "google/x.proto"]
)
def test_nothing_else_is_looked_for_here(name: str) -> None:
    assert known_file(name) is None


def test_types_of_protobuf_are_those_of_this_package() -> None:
    lie = FileDescriptorProto(name="google/protobuf/timestamp.proto", package="google.protobuf")
    lie.message_type.add(name="Timestamp").field.add(
        name="evil", number=1, type=FieldDescriptorProto.TYPE_STRING, label=FieldDescriptorProto.LABEL_OPTIONAL
    )
    uses = file_of("a.proto", package="a", imports=[lie.name], service="S")
    found = Descriptors.of([lie, uses])
    assert [field.name for field in found.message("google.protobuf.Timestamp").fields] == ["seconds", "nanos"]


def test_a_copy_under_another_path_is_the_original() -> None:
    copy = FileDescriptorProto()
    timestamp_pb2.DESCRIPTOR.CopyToProto(copy)
    copy.name = "vendor/google/protobuf/timestamp.proto"
    found = Descriptors.of([copy, file_of("a.proto", package="a", imports=[copy.name], service="S")])
    assert found.problems == {}
    assert found.message("google.protobuf.Timestamp").file.name == "google/protobuf/timestamp.proto"


def test_why_a_service_is_not_there_is_told() -> None:
    bad = file_of("bad.proto", package="bad", imports=["none.proto"], service="S")
    found = Descriptors.of([bad])
    assert found.problem_of("bad.S") == "its file 'bad.proto' cannot be used: it needs 'none.proto': it is missing"
    assert found.problem_of("other.S") == "no file describes it"


def test_two_different_files_of_one_name_cannot_be_used() -> None:
    one, two = file_of("a.proto", package="a", service="S"), file_of("a.proto", package="b", service="S")
    assert "two different files" in Descriptors.of([one, two]).problems["a.proto"]
    assert Descriptors.of([one, one]).problems == {}


def test_bounds_hold() -> None:
    files = [file_of(f"f{number}.proto", package=f"p{number}") for number in range(3)]
    with pytest.raises(ResourceExhaustedError, match="over 2 files"):
        Descriptors.of(files, Bounds(files=2))
    with pytest.raises(MessageTooLargeError, match="over 40 bytes"):
        Descriptors.of(files, Bounds(descriptor_bytes=40))
    with pytest.raises(SerializationError, match="cannot be read"):
        Descriptors.of([b"\xff"])
    with pytest.raises(SerializationError, match="without a name"):
        Descriptors.of([b""])


def test_comments_are_found_by_descriptor() -> None:
    found = Descriptors.of(files_of("weather.proto"))
    service = found.service("weather.v1.Weather")
    assert service is not None
    assert found.comment_of(service) == "Says what the weather is. Each kind of method is here."
    assert found.comment_of(service.methods_by_name["Get"]) == "Gets the weather of a city."
    assert found.comment_of(service.methods_by_name["Reset"]) == ""
    assert found.comment_of(found.message("weather.v1.GetRequest").fields_by_name["city"]) == "The city's name."


def test_comments_of_values_and_oneofs_are_found() -> None:
    file = FileDescriptorProto(name="a.proto", package="a", syntax="proto3")
    file.enum_type.add(name="Color").value.add(name="RED", number=0)
    message = file.message_type.add(name="M")
    message.oneof_decl.add(name="one")
    message.field.add(name="x", number=1, type=FieldDescriptorProto.TYPE_STRING, label=1, oneof_index=0)
    for path, text in (([5, 0, 2, 0], " As blood.\n"), ([4, 0, 8, 0], " Either.\n"), ([5, 0], " A colour.\n")):
        file.source_code_info.location.add(path=path, leading_comments=text)
    found = Descriptors.of([file])
    color = found.pool.FindEnumTypeByName("a.Color")
    assert found.comment_of(color.values_by_name["RED"]) == "As blood."
    assert found.comment_of(color) == "A colour."
    assert found.comment_of(found.message("a.M").oneofs_by_name["one"]) == "Either."
    assert found.comment_of(found.message("a.M")) == ""


def test_files_are_given_back_without_those_that_cannot_be_used() -> None:
    bad = file_of("bad.proto", package="bad", imports=["none.proto"])
    names = {file.name for file in Descriptors.of([bad, file_of("a.proto", package="a")]).file_protos()}
    assert names == {"a.proto"}
    assert descriptor_pb2.DESCRIPTOR.name not in names
