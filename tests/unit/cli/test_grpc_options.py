"""The options that name gRPC services."""

from pathlib import Path
from typing import Any

import pytest

from grpc_tool_bridge.cli import completion, direct
from grpc_tool_bridge.cli.failures import ArgumentError
from grpc_tool_bridge.cli.grpc_options import GrpcOptions, GrpcServiceOptions, grpc_sources, variables_of


def given(*words: str) -> GrpcOptions:
    """Returns the options of a command line, checked."""
    plain = direct.read(["serve", *words])
    assert plain is not None
    command, values = plain
    found: dict[str, Any] = {}
    command._function = lambda **options: found.update(options)
    command.run(values)
    options = found["services"]
    assert isinstance(options, GrpcOptions)
    return options


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--grpc-methods", "x"], "--grpc-methods: for gRPC services only; give --grpc, too"),
        (["--grpc-tls", "--proto", "p"], "--proto and --grpc-tls: for gRPC services only"),
        (["--grpc-config", "f", "--grpc-tls"], "give --grpc, too"),
        (["--grpc", "a:1", "--grpc-tls-cert", "c"], "--grpc-tls-cert and --grpc-tls-key belong together"),
        (["--grpc", "a:1", "--grpc-tls-key", "k"], "--grpc-tls-cert and --grpc-tls-key belong together"),
        (["--grpc", "a:1", "--proto", "p", "--descriptor-set", "d"], "keep one of them"),
        (["--grpc", "a:1", "--proto-include", "p"], "--proto-include: for the imports of --proto only"),
        (["--grpc", "a:1", "--grpc-metadata", "s3cret"], "--grpc-metadata must be KEY=VALUE"),
        (["--grpc", "a:1", "--grpc-metadata", "=s3cret"], "--grpc-metadata must be KEY=VALUE"),
        (["--grpc", "a:1", "--grpc-metadata", "k=s3cret", "--grpc-metadata", "K=s3cret"], "'k' is there twice"),
        (["--grpc", "a:1", "--grpc", "b:1", "--grpc-metadata", "k=s3cret"], "--grpc-metadata: for one service"),
        (["--grpc", "a:1", "--grpc", "b:1", "--proto", "p"], "--proto: for one service; with several"),
    ],
)
def test_options_that_do_not_fit_together_are_named(words: list[str], text: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        given(*words)
    assert text in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_all_options_reach_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "s3cret")
    options = given(
        *("--grpc", "sky=h:1", "--grpc-methods", "a.*", "--grpc-methods", "b.*", "--grpc-exclude", "a.B"),
        *("--proto", "p", "--proto-include", "q", "--grpc-metadata", "authorization=env:TOKEN"),
        *("--grpc-forward", "tenant", "--grpc-tls-ca", "ca", "--grpc-tls-cert", "c", "--grpc-tls-key", "k"),
    )
    (source,) = grpc_sources(options)
    config = source.config
    assert (config.name, config.address, config.methods, config.exclude) == ("sky", "h:1", ("a.*", "b.*"), ("a.B",))
    assert (config.proto, config.proto_include) == (Path("p"), (Path("q"),))
    assert (dict(config.metadata), config.forward) == ({"authorization": "s3cret"}, ("tenant",))
    assert (config.tls, config.tls_ca, config.tls_cert, config.tls_key) == (True, Path("ca"), Path("c"), Path("k"))
    assert "s3cret" not in repr(options)
    assert variables_of(options) == ["TOKEN"]


def test_without_services_nothing_is_imported() -> None:
    assert grpc_sources(given()) == []


def test_a_variable_that_is_not_set_and_a_wrong_name_of_metadata() -> None:
    with pytest.raises(ArgumentError, match="--grpc: metadata k: the environment variable NOT_SET_AT_ALL is not set"):
        grpc_sources(given("--grpc", "a:1", "--grpc-metadata", "k=env:NOT_SET_AT_ALL"))
    with pytest.raises(ArgumentError, match="'a b' is not a name of metadata"):
        grpc_sources(given("--grpc", "a:1", "--grpc-metadata", "a b=c"))


def test_services_of_files_and_of_the_command_line_have_different_names(tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_text('[services.sky]\naddress = "h:1"\n')
    assert [source.name for source in grpc_sources(given("--grpc", "h:2", "--grpc-config", str(file)))] == [
        "h:2",
        "sky",
    ]
    with pytest.raises(ArgumentError, match="two gRPC services are called 'sky'"):
        grpc_sources(given("--grpc", "sky=h:2", "--grpc-config", str(file)))
    file.write_text("[services.sky]\n")
    with pytest.raises(ArgumentError, match=r"--grpc-config .*s\.toml: \[services\.sky\]: it needs an address"):
        grpc_sources(given("--grpc-config", str(file)))


def test_the_flags_that_were_given() -> None:
    options = GrpcServiceOptions(grpc_methods=["a"], grpc_tls=True, descriptor_set=Path("d"))
    assert options.given() == ["--grpc-methods", "--descriptor-set", "--grpc-tls"]
    assert GrpcServiceOptions().given() == []


@pytest.mark.parametrize(
    "words",
    [
        ["serve", "--grpc-config", ""],
        ["worker", "--proto", ""],
        ["mcp", "--descriptor-set="],
        ["tools", "--proto-include", ""],
        ["doctor", "--grpc-tls-ca", ""],
    ],
)
def test_names_of_files_are_completed(words: list[str]) -> None:
    assert completion.candidates(words)[0]


def test_the_options_are_completed() -> None:
    _, found = completion.candidates(["serve", "--grpc-t"])
    assert [name for name, _ in found] == ["--grpc-tls", "--grpc-tls-ca", "--grpc-tls-cert", "--grpc-tls-key"]
