"""Several observers get all that one would."""

from unittest.mock import Mock, call

from grpc_tool_bridge.core.observers import Observers
from grpc_tool_bridge.proto.dspex_bridge_pb2 import Progress


def test_each_observer_gets_every_event_in_order() -> None:
    first, second = Mock(), Mock()
    both = Observers(first, second)
    progress = Progress(current=1)

    both.started("call", "request")
    both.moved("call")
    both.told("call", progress)
    both.ended("call", ok=True, duration_us=5, outcome=None)

    for observer in (first, second):
        assert observer.mock_calls == [
            call.started("call", "request"),
            call.moved("call"),
            call.told("call", progress),
            call.ended("call", ok=True, duration_us=5, outcome=None),
        ]
