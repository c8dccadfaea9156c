"""The stores of hubs that share a node of NATS."""

import secrets
from collections.abc import Sequence
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage

from grpc_tool_bridge.cluster.errors import NotStoredError
from grpc_tool_bridge.cluster.sessions.store import NatsStore
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.interfaces import ValueSealer
from grpc_tool_bridge.core.stored import StoredSession, StoredState
from grpc_tool_bridge.core.variable import Variable
from grpc_tool_bridge.core.writes import Write
from grpc_tool_bridge.errors import ToolBridgeError


def cluster_url(url: str) -> str:
    """Returns the URL of a cluster that nobody else has."""
    return f"{url}/c{secrets.token_hex(6)}"


class HubStore:
    """The store of one hub, with what a test does with it.

    Args:
        url: Of the cluster.
        name: Of the hub.
        sealer: Seals secret values.

    Attributes:
        store: The store.
        lost: The sessions that it was told to forget, in order.
    """

    def __init__(self, url: str, name: str = "hub", *, adopt: bool = False, sealer: ValueSealer | None = None) -> None:
        self.store = NatsStore(url, adopt=adopt, info={"name": name}, sealer=sealer)
        self.lost: list[str] = []
        self.store.on_lost(self._lost)

    def _lost(self, session_ids: Sequence[str], why: str) -> None:
        assert why
        self.lost.extend(session_ids)

    async def open(self, **settings: Any) -> StoredState:
        return await self.store.open(Settings(**settings))

    async def begin(self, session_id: str = "s") -> None:
        """Stores a session."""
        await self.store.create_session(StoredSession(session_id, 1.0, {}))

    def set(self, revision: int, previous: int = 0, *, session_id: str = "s", name: str = "x") -> Write:
        """Sets a variable."""
        variable = Variable(name, AnyMessage(type_url="t", value=b"v"), "t", 1, 1.0, 2.0, revision, 1)
        return self.store.set_variable(session_id, variable, previous=previous, hides=False, settled=_nobody)

    def cut_off(self) -> None:
        """Has nothing of this hub arrive at NATS from now on, as if it was paused."""
        self.store.bus.append = _cut_off  # type: ignore[method-assign]

    def reach_again(self) -> None:
        """Has what this hub sends arrive again."""
        del self.store.bus.append


async def _cut_off(*args: Any, **options: Any) -> int:
    raise NotStoredError("not stored: a test says so")


def _nobody(error: ToolBridgeError | None) -> None:
    """Told of a change that nobody waits for."""
