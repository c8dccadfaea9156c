"""Secret values in the journal of a cluster: what NATS has of them, and which hub can read them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest

from grpc_tool_bridge.auth.secrets.keys import SealingKey, new_key
from grpc_tool_bridge.auth.secrets.sealer import Sealer
from grpc_tool_bridge.cluster.sessions.taking import read_chain
from grpc_tool_bridge.core.sealed import UnreadableValue
from grpc_tool_bridge.core.stored import StoredSession
from grpc_tool_bridge.core.variable import Variable
from grpc_tool_bridge.core.writes import Write
from grpc_tool_bridge.values.serialization import deserialize_value
from support.nats_nodes import NatsNode
from support.nats_stores import HubStore, cluster_url
from support.store_files import SECRET, variable
from support.waiting import until
from unit.cluster.sessions.test_store import taken

Hubs = Callable[..., HubStore]
OLD, NEW = new_key(), new_key()


@pytest.fixture
async def hubs(node: NatsNode) -> AsyncIterator[Hubs]:
    """Makes stores of hubs that share a cluster, each with its keys."""
    url = cluster_url(node.url)
    async with AsyncExitStack() as stack:

        def make(name: str, *keys: SealingKey) -> HubStore:
            hub = HubStore(url, name, sealer=Sealer(keys) if keys else None)
            stack.push_async_callback(hub.store.aclose)
            return hub

        yield make


def put(hub: HubStore, made: Variable, previous: int = 0, *, hides: bool = False) -> Write:
    return hub.store.set_variable("s", made, previous=previous, hides=hides, settled=lambda _: None)


async def stored(hub: HubStore) -> bytes:
    """Returns all that NATS has of the session."""
    bus = hub.store.bus
    return b"".join([message.data async for message in bus.read(bus.names.session("s"))])


def values(session: StoredSession) -> dict[str, object]:
    return {
        each.name: each.value if isinstance(each.value, UnreadableValue) else deserialize_value(each.value)
        for each in session.variables
    }


async def begun(hub: HubStore, secret: str = SECRET) -> None:
    """Has the session, with the secret "x" and "open", which is none."""
    await hub.open()
    await hub.begin()
    await put(hub, variable("x", secret, 1, secret=True))
    await put(hub, variable("open", "everybody may see this", 2))


async def test_nats_has_a_secret_only_sealed_and_a_hub_with_the_key_reads_it(node: NatsNode, hubs: Hubs) -> None:
    one, two = hubs("one", NEW), hubs("two", NEW)
    # No other test stores it in this node.
    secret = f"{SECRET}, never"
    await begun(one, secret)
    found = await stored(one)
    assert secret.encode() not in found
    assert b"everybody may see this" in found
    past = await one.store.changes_after("s", 0) or []
    assert [deserialize_value(each.value) for each in past] == [secret, "everybody may see this"]
    await one.store.aclose()
    await two.open()
    assert values(await taken(two)) == {"x": secret, "open": "everybody may see this"}
    past = await two.store.changes_after("s", 0) or []
    assert [deserialize_value(each.value) for each in past] == [secret, "everybody may see this"]
    on_disk = b"".join(file.read_bytes() for file in node.store.rglob("*") if file.is_file())
    assert secret.encode() not in on_disk


@pytest.mark.parametrize("keys", [(), (OLD,)])
async def test_a_hub_without_the_key_serves_the_rest_and_loses_nothing_of_what_it_cannot_read(
    keys: tuple[SealingKey, ...], hubs: Hubs
) -> None:
    one, two, three = hubs("one", NEW), hubs("two", *keys), hubs("three", NEW)
    await begun(one)
    await one.store.aclose()
    await two.open()
    found = values(await taken(two))
    assert found["open"] == "everybody may see this"
    assert isinstance(found["x"], UnreadableValue)
    # It writes the chain anew, with what it cannot read as it is.
    for revision in range(3, 1_100):
        put(two, variable("y", "b" * 1_000, revision), revision - 1 if revision > 3 else 0)
    await put(two, variable("z", 1, 1_100))
    assert two.store._owned is not None
    chain = two.store._owned.chain("s")
    assert chain is not None
    await until(lambda: chain.count < 10)
    await two.store.aclose()
    await three.open()
    assert values(await taken(three))["x"] == SECRET


async def test_who_takes_a_session_seals_it_anew_with_the_first_key(hubs: Hubs) -> None:
    one, two, three = hubs("one", OLD), hubs("two", NEW, OLD), hubs("three", NEW)
    await begun(one)
    await one.store.aclose()
    await two.open()
    assert values(await taken(two))["x"] == SECRET
    await sealed_only_with(two, NEW)
    await two.store.aclose()
    await three.open()
    assert values(await taken(three)) == {"x": SECRET, "open": "everybody may see this"}


async def test_what_was_never_sealed_is_once_a_hub_with_a_key_takes_it(hubs: Hubs) -> None:
    one, two = hubs("one"), hubs("two", NEW)
    await begun(one)
    assert SECRET.encode() in await stored(one)
    await one.store.aclose()
    await two.open()
    await taken(two)
    await sealed_only_with(two, NEW)
    assert SECRET.encode() not in await stored(two)


async def test_what_was_there_before_its_variable_became_secret_leaves_the_journal(hubs: Hubs) -> None:
    one = hubs("one", NEW)
    await one.open()
    await one.begin()
    await put(one, variable("x", SECRET, 1))
    assert SECRET.encode() in await stored(one)
    await put(one, variable("x", "another", 2, secret=True), 1, hides=True)
    async with asyncio.timeout(20):
        while SECRET.encode() in await stored(one):  # noqa: ASYNC110 - NATS tells nobody
            await asyncio.sleep(0.01)
    past = await one.store.changes_after("s", 0) or []
    assert [(each.secret, deserialize_value(each.value)) for each in past] == [(True, SECRET), (True, "another")]


async def sealed_only_with(hub: HubStore, key: SealingKey) -> None:
    """Waits until all values in the chain that ought to be sealed are, with one key."""
    bus, sealer = hub.store.bus, Sealer([key, OLD])
    async with asyncio.timeout(20):
        while True:
            reader = await read_chain(bus, bus.names.session("s"))
            sets = [change.set for body in reader.bodies() for change in body.changes if change.HasField("set")]
            due = [each for each in sets if sealer.is_due(each.value, secret=each.secret)]
            if sets and not due and reader.count == 1:
                return
            await asyncio.sleep(0.01)
