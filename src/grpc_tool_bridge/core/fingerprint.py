"""Digests of calls and of specs, to tell whether two are equal."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from grpc_tool_bridge.llm.tool_marks import DEPRECATED_KEY, HIDDEN_KEY, TAGS_KEY
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolCallItem, ToolCallRequest, ToolSpec

# What a schema says to people only.
_NOTES = {"title": str, "description": str, "$comment": str, "$schema": str, "examples": list}


def fingerprint(call: ToolCallRequest | ToolCallItem, caller: str = "") -> bytes:
    """Returns a digest of the tool's id and the arguments, regardless of the order of those by name.

    Args:
        call: The call.
        caller: Name of the principal that makes it, if there is one; another one's call has another digest.
    """
    digest = hashlib.sha256()
    for part in (*_parts(call), caller.encode()) if caller else _parts(call):
        # The length before each part makes the encoding of a call unique.
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()


def _parts(call: ToolCallRequest | ToolCallItem) -> Iterator[bytes]:
    yield call.tool_id.encode()
    yield str(len(call.args)).encode()
    for value in call.args:
        yield value.type_url.encode()
        yield value.value
    for name, value in sorted(call.kwargs.items()):
        yield name.encode()
        yield value.type_url.encode()
        yield value.value


def spec_digest(spec: ToolSpec) -> bytes:
    """Returns a digest of a spec, which is the same for the same tool in another language.

    Descriptions and examples may differ, whether it is deprecated or hidden, and its tags, and the order and the spaces
    in which the schemas are written.
    """
    bare = ToolSpec()
    bare.CopyFrom(spec)
    for name in ("description", "examples", "arguments", "return_type"):
        bare.ClearField(name)
    for key in (HIDDEN_KEY, DEPRECATED_KEY, TAGS_KEY):
        bare.metadata.pop(key, None)
    for argument in spec.arguments:
        bare.arguments.add(name=argument.name, required=argument.required)
    # Nothing in them is the same as no such fields.
    if not bare.limits.ByteSize():
        bare.ClearField("limits")
    if not bare.validation.ByteSize():
        bare.ClearField("validation")
    bare.input_schema, bare.output_schema = _plain(spec.input_schema), _plain(spec.output_schema)
    return hashlib.sha256(bare.SerializeToString(deterministic=True)).digest()


def _plain(schema: str) -> str:
    try:
        return json.dumps(_without_notes(json.loads(schema)), sort_keys=True) if schema else ""
    except (ValueError, RecursionError):
        return schema


def _without_notes(part: Any) -> Any:
    if isinstance(part, list):
        return [_without_notes(item) for item in part]
    if not isinstance(part, dict):
        return part
    # A property may have such a name; then a schema stands there.
    return {name: _without_notes(item) for name, item in part.items() if not isinstance(item, _NOTES.get(name, ()))}
