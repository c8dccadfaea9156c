"""The secret that the hubs of a cluster share, which stands in their store."""

from grpc_tool_bridge.cluster.bus import Bus
from grpc_tool_bridge.cluster.errors import WrongSequenceError

_FACT = "secret"


class StoredSecret:
    """Reads and stores the secret of a cluster; a ``SecretStore``.

    Args:
        bus: The connection.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._subject = bus.names.fact(_FACT)

    async def read_secret(self) -> bytes | None:
        """See ``SecretStore``."""
        found = await self._bus.last(self._subject)
        return None if found is None else found.data

    async def add_secret(self, secret: bytes) -> bool:
        """See ``SecretStore``."""
        try:
            await self._bus.append_surely(self._subject, secret, last=0)
        except WrongSequenceError:
            return False
        return True
