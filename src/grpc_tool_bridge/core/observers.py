"""Several observers of calls as one."""

from typing import Any

from grpc_tool_bridge.core.interfaces import CallObserver
from grpc_tool_bridge.proto.dspex_bridge_pb2 import LogRecord, Progress


class Observers(CallObserver):
    """Passes what happens to calls on to several observers.

    Args:
        *observers: The observers, in order.
    """

    def __init__(self, *observers: CallObserver) -> None:
        self._observers = observers

    def started(self, call: Any, request: Any) -> None:
        """As in ``CallObserver``."""
        for observer in self._observers:
            observer.started(call, request)

    def moved(self, call: Any) -> None:
        """As in ``CallObserver``."""
        for observer in self._observers:
            observer.moved(call)

    def told(self, call: Any, event: Progress | LogRecord) -> None:
        """As in ``CallObserver``."""
        for observer in self._observers:
            observer.told(call, event)

    def ended(self, call: Any, *, ok: bool, duration_us: int, outcome: Any) -> None:
        """As in ``CallObserver``."""
        for observer in self._observers:
            observer.ended(call, ok=ok, duration_us=duration_us, outcome=outcome)
