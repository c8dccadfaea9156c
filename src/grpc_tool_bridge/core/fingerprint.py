"""Digests of calls, to tell whether two are equal."""

import hashlib
from collections.abc import Iterator

from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolCallItem, ToolCallRequest


def fingerprint(call: ToolCallRequest | ToolCallItem) -> bytes:
    """Returns a digest of the tool's id and the arguments, regardless of the order of those by name."""
    digest = hashlib.sha256()
    for part in _parts(call):
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
