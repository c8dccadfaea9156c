"""Words of the command line: arguments of a tool whose spec came from a peer, and addresses."""

from contextlib import suppress

from grpc_tool_bridge.cli.arguments import parse_arguments, read_value, split_pairs
from grpc_tool_bridge.cli.failures import ArgumentError
from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ArgumentSpec, ToolSpec
from grpc_tool_bridge.transport.addresses import check_address, socket_path, split_address
from grpc_tool_bridge.values.tagged_json import dumps

REFUSALS = (ArgumentError, ValidationError, UnicodeDecodeError)

_KINDS = ("", "positional-only", "keyword-only", "var-positional", "var-keyword")


def fuzz(data: bytes) -> None:
    """Reads words, separated by NUL: a schema, ``name:kind`` of each parameter up to an empty word, then the words."""
    schema, *words = data.decode().split("\0")
    words = [word for word in words if word != "-"]  # stdin
    end = words.index("") if "" in words else len(words)
    spec = ToolSpec(name="tool", input_schema=schema)
    for word in words[:end]:
        name, _, kind = word.partition(":")
        argument = ArgumentSpec(name=name)
        argument.validation.custom_rules.append(_KINDS[len(kind) % len(_KINDS)])
        spec.arguments.append(argument)
    given = words[end + 1 :]
    pairs = [word for word in given if "=" in word and not word.endswith("=-")]
    args, kwargs = parse_arguments(spec, [word for word in given if "=" not in word], pairs)
    for value in (*args, *kwargs.values()):
        dumps(value)
    for word in given:
        _read_otherwise(word)


def _read_otherwise(word: str) -> None:
    """Reads a word as other options take it."""
    dumps(read_value(word, "the value"))
    with suppress(ArgumentError):
        split_pairs([word], "--tag", "tag")
    check_address(word)
    if socket_path(word) is None:
        assert split_address(word)[1] < 2**16
