"""The hub as a service of NATS micro, as any client of NATS sees it."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import nats
import pytest
from nats.aio.client import Client
from nats.errors import NoRespondersError

from grpc_tool_bridge import Settings
from grpc_tool_bridge.cluster import micro as micro_module
from grpc_tool_bridge.cluster.micro import HubMicro
from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.values.serialization import serialize_value
from support.hub_directories import FakeCluster
from support.nats_nodes import NatsNode
from support.patience import PATIENCE
from support.waiting import soon, until

# As the schemas io.nats.micro.v1.… say: what an answer has, and of which kind.
IDENTITY: dict[str, type] = {"type": str, "name": str, "id": str, "version": str, "metadata": dict}
INFO_ENDPOINT: dict[str, type] = {"name": str, "subject": str, "queue_group": str, "metadata": dict}
STATS_ENDPOINT: dict[str, type] = {
    "name": str, "subject": str, "queue_group": str, "num_requests": int, "num_errors": int, "last_error": str,
    "processing_time": int, "average_processing_time": int, "data": dict,
}  # fmt: skip
SEMVER = r"\d+\.\d+\.\d+([-+].+)?"


def add(a: int, b: int) -> int:
    return a + b


@pytest.fixture(autouse=True)
def always_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(micro_module, "_FRESH_SECONDS", 0.0)


@pytest.fixture
async def client(node: NatsNode) -> AsyncIterator[Client]:
    found = await nats.connect(node.url)
    yield found
    await found.close()


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    made = Hub(Settings(), [add])
    made.address = "127.0.0.1:50051"
    FakeCluster(h1=made)
    await made.start()
    yield made
    await made.drain(0)
    await made.aclose()


@pytest.fixture
async def micro(node: NatsNode, hub: Hub) -> AsyncIterator[HubMicro]:
    nc = await nats.connect(node.url)
    made = HubMicro(nc, "tool-bridge", hub.hubs.own, hub.metrics.totals)
    await made.start()
    # The node has the subscriptions when it answers.
    await nc.flush()
    yield made
    await made.aclose()
    await nc.close()


async def ask(client: Client, subject: str) -> Any:
    return json.loads((await client.request(subject, b"", timeout=PATIENCE)).data)


def check(found: dict[str, Any], kinds: dict[str, type]) -> None:
    assert {name: type(found[name]) for name in kinds} == kinds
    for value in found.get("metadata", {}).values():
        assert type(value) is str


async def test_every_verb_is_answered_by_all_by_the_name_and_by_the_id(client: Client, micro: HubMicro) -> None:
    for verb in ("PING", "INFO", "STATS"):
        for end in ("", ".tool-bridge", f".tool-bridge.{micro.id}"):
            found = await ask(client, f"$SRV.{verb}{end}")
            check(found, IDENTITY)
            assert found["type"] == f"io.nats.micro.v1.{verb.lower()}_response"
            assert (found["name"], found["id"]) == ("tool-bridge", micro.id)
            assert re.fullmatch(SEMVER, found["version"])
            assert found["metadata"] == {
                "hub": "h1", "incarnation": "h1-life", "state": "serving", "address": "h1.test:50051", "http_url": "",
            }  # fmt: skip


async def test_info_describes_where_calls_come_in(client: Client, micro: HubMicro) -> None:
    found = await ask(client, "$SRV.INFO.tool-bridge")
    assert type(found["description"]) is str
    [endpoint] = found["endpoints"]
    check(endpoint, INFO_ENDPOINT)
    assert endpoint["subject"] == "tool-bridge.l.h1-life.>"


async def test_stats_count_the_calls_of_the_hub(client: Client, micro: HubMicro, hub: Hub) -> None:
    await hub.store.create_session("s")
    ok = {"a": 1, "b": 2}
    wrong: dict[str, int] = {}
    for kwargs in (ok, ok, wrong):
        request = pb.ToolCallRequest(session_id="s", tool_id="add")
        for name, value in kwargs.items():
            request.kwargs[name].CopyFrom(serialize_value(value))
        await hub.execute_tool(request)
    found = await ask(client, "$SRV.STATS.tool-bridge")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found["started"])
    [endpoint] = found["endpoints"]
    check(endpoint, STATS_ENDPOINT)
    totals = hub.metrics.totals()
    assert (endpoint["num_requests"], endpoint["num_errors"]) == (totals.calls, totals.errors)
    assert totals.calls >= 2
    assert endpoint["processing_time"] == totals.total_us * 1_000
    assert endpoint["average_processing_time"] == totals.total_us * 1_000 // totals.calls
    assert endpoint["data"]["sessions"] == 1


async def test_all_hubs_answer_and_each_has_an_id_of_its_own(client: Client, node: NatsNode, hub: Hub) -> None:
    nc = await nats.connect(node.url)
    micros = [HubMicro(nc, name, hub.hubs.own, hub.metrics.totals) for name in ("tool-bridge", "tool-bridge", "other")]
    for made in micros:
        await made.start()
    await nc.flush()
    inbox = client.new_inbox()
    answers = await client.subscribe(inbox)
    await client.publish("$SRV.PING", b"", reply=inbox)
    found = [json.loads((await soon(answers.next_msg(timeout=PATIENCE))).data) for _ in micros]
    assert sorted((one["name"], one["id"]) for one in found) == sorted((one._name, one.id) for one in micros)
    for made in micros:
        await made.aclose()
    await nc.flush()
    with pytest.raises(NoRespondersError):
        await client.request("$SRV.PING", b"", timeout=PATIENCE)
    await nc.close()


async def test_what_asks_for_no_answer_gets_none_and_the_service_goes_on(client: Client, micro: HubMicro) -> None:
    for _ in range(10):
        await client.publish("$SRV.STATS", b"\xff" * 1_000)
    assert (await ask(client, "$SRV.PING"))["id"] == micro.id


async def test_who_asks_often_gets_one_answer_again(
    client: Client, micro: HubMicro, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(micro_module, "_FRESH_SECONDS", 3_600)
    before = await ask(client, "$SRV.STATS")
    await hub.store.create_session("s")
    assert await ask(client, "$SRV.STATS") == before


async def test_a_hub_whose_connection_is_gone_ends_without_an_error(node: NatsNode, hub: Hub) -> None:
    nc = await nats.connect(node.url)
    made = HubMicro(nc, "tool-bridge", hub.hubs.own, hub.metrics.totals)
    await made.start()
    await nc.close()
    await made.aclose()


async def test_the_service_answers_again_after_a_lost_connection(node: NatsNode, client: Client, hub: Hub) -> None:
    back = asyncio.Event()

    async def note() -> None:
        back.set()

    nc = await nats.connect(node.url, reconnect_time_wait=0.01, reconnected_cb=note)
    made = HubMicro(nc, "again", hub.hubs.own, hub.metrics.totals)
    await made.start()
    await nc.flush()
    # As it is lost: nothing is told to either end.
    transport: Any = nc._transport
    transport.close()
    await soon(back.wait())
    await nc.flush()
    assert (await ask(client, "$SRV.PING.again"))["id"] == made.id
    await made.aclose()
    await nc.close()


async def test_nobody_can_have_a_hub_write_into_the_stream_or_to_the_api_of_nats_by_a_question(
    client: Client, micro: HubMicro
) -> None:
    heard: list[str] = []

    async def hear(message: Any) -> None:
        # Without data, the server says that nobody listens.
        heard.extend([message.subject] if message.data else [])

    name = micro._name
    for subject in (f"{name}.>", "mine.>"):
        await client.subscribe(subject, cb=hear)
    for reply in (f"{name}.s.x", f"{name}.h.x", "$JS.API.INFO", f"{name}.l.x.dial", f"{name}.i.x", "mine.x"):
        await client.publish("$SRV.PING", b"", reply=reply)
    await until(lambda: "mine.x" in heard)
    assert heard == [f"{name}.i.x", "mine.x"]
