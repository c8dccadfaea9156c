"""Specs of tools, as workers register them: at the hub, in the gateway's document, and at those who list them."""

import json
from contextlib import suppress
from typing import Any

from google.protobuf.message import DecodeError

from grpc_tool_bridge.cli.spec_text import signature_text, steps_text
from grpc_tool_bridge.client.signature import shown
from grpc_tool_bridge.core.registered_tool import prepare
from grpc_tool_bridge.errors import ToolBridgeError, ValidationError
from grpc_tool_bridge.gateway.plain_results import plain_writer
from grpc_tool_bridge.gateway.query import query_arguments
from grpc_tool_bridge.gateway.tool_schemas import local_schema
from grpc_tool_bridge.llm.tool_args import tool_args
from grpc_tool_bridge.llm.values import from_json
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolCallRequest, ToolSpec
from grpc_tool_bridge.values.serialization import serialize_value

REFUSALS = (ToolBridgeError, DecodeError)

_VALUES: tuple[Any, ...] = (None, True, 1, 1.5, "text", b"bytes", [1, "a"], {"a": [1]})


def fuzz(data: bytes) -> None:
    """Registers a tool; whoever lists it can show it, and a call of it is taken or refused."""
    spec = ToolSpec.FromString(data)
    _show(spec)
    prepared = prepare(spec)
    for value in _VALUES:
        request = ToolCallRequest(args=[serialize_value(value)])
        for argument in spec.arguments[1:4]:
            request.kwargs[argument.name].CopyFrom(request.args[0])
        with suppress(ValidationError):
            prepared.check(request)
    from_json(spec, {argument.name: "dGV4dA==" for argument in spec.arguments[:4]})


def _show(spec: ToolSpec) -> None:
    from starlette.datastructures import QueryParams

    shown(spec)
    signature_text(spec)
    steps_text(spec)
    json.dumps(tool_args(spec))
    names = [argument.name for argument in spec.arguments[:4]]
    query_arguments(spec, QueryParams([(name, "[1") for name in names]), ())
    json.dumps(local_schema(spec.input_schema, "tool.input"))
    json.dumps(local_schema(spec.output_schema, "tool.output", answered=True))
    write = plain_writer(spec.output_schema)
    for value in _VALUES:
        write(value)
