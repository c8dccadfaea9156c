from grpc_tool_bridge.adapters.grpc.types import Types
from support.protos_corpus import corpus, message


def test_a_type_is_found_by_the_url_of_an_any() -> None:
    types = Types(corpus())
    for prefix in ("type.googleapis.com/", "example.com/a/b/", "/", ""):
        assert types.of_url(f"{prefix}every3.Node") is message("every3.Node")
    for url in ("", "/", "type.googleapis.com/", "x/no.Type", "x/\x00", "x/every3.Sky", "x/google.protobuf.Empt"):
        assert types.of_url(url) is None


def test_the_well_known_types_are_known_without_a_proto() -> None:
    from google.protobuf.descriptor_pool import DescriptorPool

    found = Types(DescriptorPool()).of_url("type.googleapis.com/google.protobuf.Duration")
    assert found is not None
    assert found.full_name == "google.protobuf.Duration"


def test_extensions_are_found_by_their_names() -> None:
    types = Types(corpus())
    assert sorted(types.extensions_of(message("every2.Fields"))) == sorted(
        f"[every2.{name}]" for name in ("more", "texts", "extra", "extras", "how", "hows", "Extra.nested")
    )
    assert types.extensions_of(message("every3.Node")) == {}
