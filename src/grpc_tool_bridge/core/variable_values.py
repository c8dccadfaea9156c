"""Reads the values of variables: those that came encoded, those that code in this process set, and unreadable ones."""

from typing import Any

from google.protobuf import any_pb2

from grpc_tool_bridge.core.sealed import UnreadableValue
from grpc_tool_bridge.core.variable import Variable
from grpc_tool_bridge.errors import SerializationError
from grpc_tool_bridge.tools.variable import unreadable_secret
from grpc_tool_bridge.values.offload import read_value
from grpc_tool_bridge.values.serialization import serialize_value


async def value_of(variable: Variable, max_nodes: int) -> Any:
    """Returns a variable's value as Python has it, whoever set it.

    Args:
        variable: The variable.
        max_nodes: Nodes that an encoded value may have.

    Raises:
        SerializationError: Its bytes are not a value of their type.
        StoreError: It is stored, but cannot be opened.
    """
    value = variable.value
    if isinstance(value, any_pb2.Any):
        try:
            return await read_value(value, max_nodes=max_nodes)
        except SerializationError as error:
            if not variable.secret:
                raise
            raise unreadable_secret(variable.name, error) from None
    if isinstance(value, UnreadableValue):
        raise value.error(variable.name)
    return value


def encoded(name: str, value: object) -> any_pb2.Any:
    """Returns the value of the variable ``name`` as it is sent.

    Raises:
        StoreError: It is stored, but cannot be opened.
    """
    if isinstance(value, any_pb2.Any):
        return value
    if isinstance(value, UnreadableValue):
        raise value.error(name)
    return serialize_value(value)
