"""The stream of a cluster: made once by any number of hubs, and kept as it has to be."""

import asyncio
from contextlib import AsyncExitStack, aclosing

import pytest

from grpc_tool_bridge.cluster.bus import stream
from grpc_tool_bridge.cluster.bus.bus import Bus
from grpc_tool_bridge.cluster.bus.stream import config, ensure
from grpc_tool_bridge.cluster.errors import StreamFullError
from grpc_tool_bridge.errors import StoreError
from support.buses import open_bus
from support.nats_nodes import NatsNode, three_nodes


async def info(bus: Bus) -> dict[str, object]:
    found: dict[str, object] = (await bus.api(f"STREAM.INFO.{bus.names.stream}", {}))["config"]
    return found


async def test_many_hubs_that_start_at_once_make_one_stream(node: NatsNode) -> None:
    async with AsyncExitStack() as stack:
        buses = await asyncio.gather(*(open_bus(node.url, "many") for _ in range(8)))
        for bus in buses:
            await stack.enter_async_context(aclosing(bus))
        found = await info(buses[0])
        assert found.items() >= config(buses[0].names, 1).items()


async def test_a_stream_that_lacks_what_a_cluster_needs_is_updated_and_its_messages_and_limits_stay(bus: Bus) -> None:
    at = await bus.append(bus.names.fact("x"), b"1", last=0)
    changed = {**config(bus.names, 1), "allow_direct": False, "max_bytes": 1_000_000, "discard": "old"}
    await bus.api(f"STREAM.UPDATE.{bus.names.stream}", changed)
    await ensure(bus, bus.names, 0)
    found = await info(bus)
    assert (found["allow_direct"], found["discard"], found["max_bytes"]) == (True, "new", 1_000_000)
    kept = await bus.last(bus.names.fact("x"))
    assert kept is not None
    assert kept.sequence == at


async def test_a_full_stream_refuses_what_is_new_and_keeps_what_is_old(bus: Bus) -> None:
    await bus.api(f"STREAM.UPDATE.{bus.names.stream}", {**config(bus.names, 1), "max_bytes": 5_000})
    subject = bus.names.session("s")
    at = await bus.append(subject, bytes(1_000), last=0)
    with pytest.raises(StreamFullError, match="maximum bytes exceeded"):
        await bus.append_surely(subject, bytes(9_000), last=at)
    assert [message.sequence async for message in bus.read(subject)] == [at]


async def test_subjects_that_another_stream_has_are_refused_with_what_to_do(bus: Bus) -> None:
    await bus.api("STREAM.CREATE.TAKEN", {"name": "TAKEN", "subjects": ["taken-by.s.*"]})
    with pytest.raises(StoreError, match="another stream has these subjects; name another cluster"):
        await open_bus(bus.address.urls[0], "taken-by")
    await bus.api("STREAM.DELETE.TAKEN", {})


async def test_more_replicas_than_a_node_can_have_are_refused(node: NatsNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "ENSURE_SECONDS", 0.1)
    with pytest.raises(StoreError, match="replicas > 1 not supported"):
        await open_bus(node.url, nats_replicas=3)


@pytest.mark.slow
async def test_three_nodes_keep_three_replicas_or_as_many_as_are_set() -> None:
    with three_nodes() as nodes:
        async with aclosing(await open_bus(nodes.url, "c")) as bus:
            assert (await info(bus))["num_replicas"] == 3
        async with aclosing(await open_bus(nodes.url, "one", nats_replicas=1)) as bus:
            assert (await info(bus))["num_replicas"] == 1
        async with aclosing(await open_bus(nodes.url, "one", nats_replicas=3)) as bus:
            assert (await info(bus))["num_replicas"] == 3
        async with aclosing(await open_bus(nodes.url, "one")) as bus:
            assert (await info(bus))["num_replicas"] == 3
