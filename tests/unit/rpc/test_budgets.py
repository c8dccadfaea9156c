"""Budgets of memory."""

import pytest

from grpc_tool_bridge.errors import ResourceExhaustedError
from grpc_tool_bridge.rpc.budgets import MIB, RESERVED_PART, SMALL_BYTES, Budget, Lease


def hub_of(limit: int = 64 * MIB) -> Budget:
    return Budget(limit, owner="the hub", setting="max_hub_bytes")


def peer_of(hub: Budget, limit: int = 16 * MIB) -> Budget:
    return Budget(limit, owner="this connection", setting="max_peer_bytes", parent=hub)


def test_a_charge_counts_on_the_holder_and_on_the_hub() -> None:
    hub = hub_of()
    one, other = peer_of(hub), peer_of(hub)
    one.take(MIB, "a request")
    other.take(2 * MIB, "a request")
    assert (one.used, other.used, hub.used, hub.peak) == (MIB, 2 * MIB, 3 * MIB, 3 * MIB)
    other.give_back(2 * MIB)
    assert (other.used, hub.used, hub.peak) == (0, MIB, 3 * MIB)


def test_a_refusal_names_the_budget_that_is_full_its_use_and_its_setting() -> None:
    hub = hub_of()
    peer = peer_of(hub)
    peer.take(10 * MIB, "a request")
    with pytest.raises(ResourceExhaustedError) as refused:
        peer.take(6 * MIB, "the request of ExecuteTool")
    assert refused.value.message == (
        "the request of ExecuteTool of 6,291,456 bytes was refused: this connection holds 10,485,760 of 16,777,216 "
        "bytes (max_peer_bytes); call again when some of it was answered or deleted"
    )
    assert refused.value.details["retry_after"] == "1"
    assert (peer.used, hub.used, peer.refused, hub.refused) == (10 * MIB, 10 * MIB, 1, 0)


def test_a_full_hub_refuses_a_holder_that_has_room() -> None:
    hub = hub_of(16 * MIB)
    peer_of(hub).take(12 * MIB, "a request")
    with pytest.raises(ResourceExhaustedError, match=r"the hub holds 12,582,912 of 16,777,216 bytes \(max_hub_bytes\)"):
        peer_of(hub).take(4 * MIB, "a request")
    assert (hub.used, hub.refused) == (12 * MIB, 1)


def test_what_is_small_has_room_where_what_is_large_has_none() -> None:
    hub = hub_of(16 * MIB)
    large = 16 * MIB - 16 * MIB // RESERVED_PART
    hub.take(large, "a request")
    assert hub.free == 0
    assert hub.is_full_for(SMALL_BYTES + 1) is hub
    assert hub.is_full_for(SMALL_BYTES) is None
    assert hub.is_over() is None
    hub.take(1, "a heartbeat")
    assert hub.is_over() is hub


def test_room_is_made_before_anything_is_refused() -> None:
    hub = hub_of(16 * MIB)
    hub.take(15 * MIB, "what may go")
    asked: list[int] = []

    def make_room(missing: int) -> None:
        asked.append(missing)
        hub.give_back(15 * MIB)

    hub.make_room = make_room
    peer_of(hub).take(2 * MIB, "a request")
    assert asked == [2 * MIB]
    assert (hub.used, hub.refused) == (2 * MIB, 0)


def test_a_holder_that_is_no_more_gives_the_hub_everything_back_once() -> None:
    hub = hub_of()
    session = peer_of(hub)
    lease = Lease(session, "a variable")
    lease.resize(MIB)
    session.take_own(MIB, "a call")
    session.close()
    assert hub.used == 0
    lease.release()
    session.give_back_own(MIB)
    assert hub.used == 0


def test_what_another_charges_the_hub_for_counts_on_the_session_alone() -> None:
    hub = hub_of()
    session = peer_of(hub)
    session.take_own(3 * MIB, "a call")
    assert (session.used, hub.used) == (3 * MIB, 0)
    with pytest.raises(ResourceExhaustedError, match="max_peer_bytes"):
        session.take_own(14 * MIB, "a call")
    session.give_back_own(3 * MIB)
    assert session.used == 0


def test_a_lease_that_cannot_grow_stays_as_it_was() -> None:
    hub = hub_of(16 * MIB)
    lease = Lease(hub, "a variable")
    lease.resize(10 * MIB)
    with pytest.raises(ResourceExhaustedError, match="a variable of 10,485,760 bytes"):
        lease.resize(20 * MIB)
    assert (lease.size, hub.used) == (10 * MIB, 10 * MIB)
    lease.set(20 * MIB)
    assert hub.used == 20 * MIB
    lease.resize(MIB)
    assert hub.used == MIB
    lease.release()
    assert (lease.size, hub.used) == (0, 0)
