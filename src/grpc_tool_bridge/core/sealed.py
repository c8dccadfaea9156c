"""Values that a durable store keeps sealed: how they are recognized, and what stands for one that cannot be opened."""

from typing import NamedTuple

from google.protobuf.any_pb2 import Any

from grpc_tool_bridge.errors import StoreError
from grpc_tool_bridge.rpc.bounds import shown

# The type URL of a sealed value, whatever type it has inside. A later format has another one.
SEALED_TYPE = "tool-bridge.sealed/1"

# A value begins with the id of its key.
KEY_ID_BYTES = 6


class ValuePlace(NamedTuple):
    """Where a sealed value belongs; it can be opened nowhere else.

    Attributes:
        session_id: The session.
        name: The variable.
        revision: The revision that has the value.
    """

    session_id: str
    name: str
    revision: int


class UnreadableValue:
    """Stands for a value that is stored, but cannot be opened. Whoever reads it gets an error, and the others go on.

    Args:
        stored: The value as it is stored.
        why: What is wrong and what to do; the name of the variable comes before it.
        needs_key: Whether its key is not there; otherwise what is stored is not what was sealed.

    Attributes:
        stored, why, needs_key: As given.
        key_id: The key that it was sealed with.
    """

    __slots__ = ("key_id", "needs_key", "stored", "why")

    def __init__(self, stored: Any, why: str, *, needs_key: bool) -> None:
        self.stored = stored
        self.key_id = key_id_of(stored)
        self.why = why
        self.needs_key = needs_key

    def __repr__(self) -> str:
        return f"<UnreadableValue of key {self.key_id}>"

    def error(self, name: str) -> StoreError:
        """Returns the error for who reads the variable ``name``."""
        return StoreError(f"the value of variable {shown(name)} {self.why}", retryable=False)


def is_sealed(value: Any) -> bool:
    """Returns whether a stored value is sealed."""
    return value.type_url == SEALED_TYPE


def key_id_of(value: Any) -> str:
    """Returns the id of the key that a sealed value was sealed with."""
    return value.value[:KEY_ID_BYTES].hex()


def missing_key(value: Any) -> UnreadableValue:
    """Returns what stands for a value whose key is not there."""
    key_id = key_id_of(value)
    return UnreadableValue(
        value,
        f"is sealed with key {key_id}, which this hub does not have; add that key to secrets_key_file and restart the "
        "hub, or set the variable anew",
        needs_key=True,
    )


def unusable(value: Any) -> UnreadableValue:
    """Returns what stands for a value that its key does not open."""
    key_id = key_id_of(value)
    return UnreadableValue(
        value,
        f"cannot be opened with its key {key_id}: what is stored is damaged, or belongs to another variable or "
        "revision; bring back a backup of the store, or set the variable anew",
        needs_key=False,
    )
