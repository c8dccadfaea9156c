from datetime import UTC, datetime

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from grpc_tool_bridge import ProtocolError, Variable
from grpc_tool_bridge.proto.dspex_bridge_pb2 import VariableInfo, VariableMetadata

CREATED = datetime(2030, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
UPDATED = datetime(2030, 1, 3, tzinfo=UTC)


def info() -> VariableInfo:
    """A variable with every field, as it comes over the wire."""
    metadata = VariableMetadata(type="float", created_by="Ann", tags={"unit": "m"}, revision=7, secret=True)
    metadata.created_at.FromDatetime(CREATED)
    metadata.updated_at.FromDatetime(UPDATED)
    return VariableInfo(name="size", type="float", size_bytes=9, metadata=metadata)


def test_a_variable_is_a_plain_object() -> None:
    variable = Variable.of(info())
    assert variable == Variable(
        name="size",
        type="float",
        size=9,
        revision=7,
        tags={"unit": "m"},
        secret=True,
        created=CREATED,
        updated=UPDATED,
        created_by="Ann",
    )
    assert repr(variable).startswith("Variable(name='size', type='float', size=9, revision=7, tags={'unit': 'm'}")


def test_a_variable_still_has_what_the_message_of_the_wire_has() -> None:
    variable = Variable.of(info())
    assert variable.size_bytes == 9
    assert variable.metadata == info().metadata
    assert variable.message() == info()


def test_times_that_a_hub_leaves_out_are_none() -> None:
    variable = Variable.of(VariableInfo(name="x"))
    assert (variable.created, variable.updated) == (None, None)
    assert not variable.metadata.HasField("created_at")


def test_a_time_that_is_none_is_an_error_of_the_protocol() -> None:
    broken = VariableInfo(name="x", metadata=VariableMetadata(created_at=Timestamp(seconds=2**60)))
    with pytest.raises(ProtocolError, match="variable 'x' in a list has an invalid time"):
        Variable.of(broken)
