from typing import Any

import pytest

from grpc_tool_bridge.core.hub_front import HubFront


class Hub:
    peer_memory: Any = None
    address = "there:1"


class Front(HubFront):
    @property
    def address(self) -> str:
        return "here:1"


def test_what_a_front_does_not_replace_is_the_hub_s_own() -> None:
    hub = Hub()
    assert HubFront(hub).address == "there:1"
    assert Front(hub).address == "here:1"
    assert HubFront(Front(hub)).address == "here:1"
    with pytest.raises(AttributeError):
        _ = HubFront(hub).nothing


def test_the_connections_of_a_server_are_told_to_the_hub_behind_all_fronts() -> None:
    hub = Hub()
    front = HubFront(HubFront(hub))
    front.peer_memory = "connections"
    assert hub.peer_memory == front.peer_memory == "connections"
