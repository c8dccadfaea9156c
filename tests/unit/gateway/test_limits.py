"""How full limits are."""

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.gateway.limits import Limit, fullest


def test_a_limit_is_as_full_as_its_part_that_is_used() -> None:
    limits = [
        Limit("a", "A", 1, 2),
        Limit("b", "B", 2, 2),
        Limit("c", "C", 2, 2, waiting=1),
        Limit("d", "D", 0, 0),
        Limit("e", "E", 3, 2),
    ]
    ordered = sorted(limits, key=lambda limit: limit.fullness, reverse=True)
    assert [limit.name for limit in ordered] == ["e", "c", "b", "a", "d"]


async def test_the_fullest_of_many_are_found_and_unused_ones_left_out() -> None:
    hub = Hub(Settings(max_session_variables=1_000))
    for number in range(40):
        await hub.store.create_session(f"s{number}")
        for name in range(number):
            hub.store.variables(f"s{number}").set(str(name), 1)
    found = await fullest(hub, 5)
    assert [(limit.of, limit.used) for limit in found] == [(f"s{number}", number) for number in range(39, 34, -1)]
    assert {limit.name for limit in found} == {"max_session_variables"}
    assert all(limit.used for limit in await fullest(hub, 1_000))
