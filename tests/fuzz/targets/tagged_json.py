"""Tagged JSON, as it comes over HTTP and from the command line."""

import json

from grpc_tool_bridge.values.tagged_json import dumps, loads

REFUSALS = (ValueError,)


def fuzz(data: bytes) -> None:
    """Reads a text: what can be read can be written, and then says the same."""
    value = loads(data.decode())
    try:
        text = dumps(value)
    except ValueError as error:
        raise AssertionError("what was read cannot be written") from error
    assert json.loads(dumps(loads(text))) == json.loads(text)
