"""Questions of tools and their answers: a schema from a worker, content from a client."""

from contextlib import suppress

from google.protobuf.message import DecodeError

from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import Answer, Ask
from grpc_tool_bridge.rpc.asks import check_ask
from grpc_tool_bridge.tools import questions
from grpc_tool_bridge.tools.content_schemas import read_schema, read_value

REFUSALS = (ValidationError, DecodeError)


def fuzz(data: bytes) -> None:
    """Reads a question, with its length before it (2 bytes), and the answer to it, also as a person types it."""
    size = int.from_bytes(data[:2], "big")
    ask = Ask.FromString(data[2 : 2 + size])
    answer = Answer.FromString(data[2 + size :])
    check_ask(ask)
    schema = read_schema(ask.schema)
    questions.ask_of(ask.message, schema)
    for rules in () if schema is None else schema.get("properties", {}).values():
        with suppress(ValidationError):
            read_value(answer.id, rules)
    given = questions.checked_answer(answer, schema)
    sent = questions.plain_answer(given, answer.id)
    assert questions.checked_answer(sent, schema) == given
