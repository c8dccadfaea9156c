"""Takes over in a new hub what a durable store has kept of an earlier life of it."""

from dataclasses import dataclass

from google.protobuf.message import DecodeError

from grpc_tool_bridge.core.agents.agents import Agents
from grpc_tool_bridge.core.interfaces import DurableStore
from grpc_tool_bridge.core.registry import ToolRegistry
from grpc_tool_bridge.core.sessions import SessionStore
from grpc_tool_bridge.core.stored import StoredState
from grpc_tool_bridge.errors import StoreError


@dataclass(frozen=True, slots=True)
class Restored:
    """What a hub took over when it started.

    Attributes:
        sessions: How many sessions.
        seconds: How long it took.
        is_new: Whether the store has never had anything, as one that has just been made.
    """

    sessions: int
    seconds: float
    is_new: bool


def restore(
    state: StoredState, durable: DurableStore, store: SessionStore, registry: ToolRegistry, agents: Agents
) -> None:
    """Takes over a state, and has the store keep all further changes.

    Args:
        state: What the store has kept.
        durable: The store.
        store: The sessions; there are none.
        registry: The tools.
        agents: The agents; there are none.

    Raises:
        StoreError: What the store has kept cannot be read.
    """
    store.durable = durable
    store.revisions.resume(state.epoch, state.revision, durable.reserve_revisions)
    # Tools are not kept, but offered again: who followed those of an earlier life is told all of them.
    registry.begin_anew()
    store.restore(state)
    try:
        agents.restore(state.sessions, durable)
    except DecodeError:
        raise StoreError("the store is damaged: the end of a run cannot be read; bring back a backup of it") from None
