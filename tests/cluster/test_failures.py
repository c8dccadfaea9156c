"""One thing happens to a cluster while clients use it: they go on, and nothing is lost. And what hubs say meanwhile."""

import asyncio
import itertools
import os
import random
import signal
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from cluster.faults import STREAM, gone
from cluster.histories import SETTINGS, TOOLS, ClusterCrew, found_wrong, using
from grpc_tool_bridge import GRPCToolBridge, ToolBridgeError, UnavailableError
from support.clusters import Cluster, HubProcess, wired_cluster
from support.waiting import soon, until, until_answered
from support.wires import fail, mend

# In one process, which starts the cluster once.
pytestmark = pytest.mark.xdist_group("cluster")

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    env = {**SETTINGS, "TEST_EFFECTS": str(folder / "effects")}
    with wired_cluster(folder, options=["--tools", str(TOOLS)], env=env) as made:
        yield made


@pytest.fixture
async def cluster(shared: Cluster) -> Cluster:
    """A cluster that is well; what the test before did to it is undone."""
    await shared.heal()
    return shared


@asynccontextmanager
async def in_use(cluster: Cluster) -> AsyncIterator[ClusterCrew]:
    """Lets clients use a cluster during the block, and finds nothing wrong with what they were told."""
    number = next(_numbers)
    async with using(cluster, random.Random(number), number) as crew:
        yield crew
        await cluster.heal()
        await crew.settle()
        wrong = await found_wrong(cluster, crew, cluster.folder / "effects")
        if wrong:
            raise AssertionError("\n".join(wrong))


async def status_of(hub: HubProcess) -> tuple[int, str]:
    async with httpx.AsyncClient() as client:
        answer = await soon(client.get(f"http://{hub.http}/readyz"))
    return answer.status_code, answer.text


async def test_clients_go_on_when_the_hub_that_has_their_sessions_is_killed(cluster: Cluster) -> None:
    async with in_use(cluster) as crew:
        cluster.hubs[0].kill()
        await crew.progress(60)


async def test_clients_go_on_when_the_hub_that_has_their_sessions_stands_still_and_comes_back(cluster: Cluster) -> None:
    async with in_use(cluster) as crew:
        is_gone = gone(cluster, cluster.hubs[0])
        cluster.hubs[0].pause()
        await until(is_gone, "for the others to notice")
        await crew.progress(60)
        cluster.hubs[0].resume()
        await crew.progress(60)


async def test_no_write_is_lost_when_the_node_that_leads_the_stream_is_killed(cluster: Cluster) -> None:
    async with in_use(cluster) as crew:
        leader = await cluster.nodes.leader(STREAM)
        leader.kill()
        await crew.progress(60)
        assert await cluster.nodes.leader(STREAM) is not leader


async def test_no_write_is_lost_when_the_node_that_leads_the_stream_stands_still(cluster: Cluster) -> None:
    async with in_use(cluster) as crew:
        (await cluster.nodes.leader(STREAM)).pause()
        await crew.progress(60)


async def test_no_write_is_lost_when_a_node_comes_back_without_its_disk(cluster: Cluster) -> None:
    async with in_use(cluster) as crew:
        for node in cluster.nodes:
            node.lose_disk()
            await crew.progress(20)
            node.start()
            await cluster.nodes.whole()
            await crew.progress(20)


@pytest.mark.parametrize("silently", [True, False], ids=["dropped", "reset"])
async def test_a_hub_that_is_cut_off_from_nats_says_so_refuses_and_comes_back(cluster: Cluster, silently: bool) -> None:
    async with in_use(cluster) as crew:
        hub = cluster.hubs[0]
        is_gone = gone(cluster, hub)
        fail(cluster.between_hub_and_nats(hub), silently=silently)
        await until(is_gone, "for the others to notice")
        code, said = await status_of(hub)
        assert (code, "NATS" in said) == (503, True), said
        async with GRPCToolBridge(hub.address, keep_session=True) as bridge:
            with pytest.raises(UnavailableError, match="NATS") as refused:
                await soon(bridge.initialize(crew.sessions[0], connect_timeout=2.0))
            assert refused.value.retryable
        await crew.progress(60)
        mend(cluster.between_hub_and_nats(hub))
        await until_ready(hub)
        await crew.progress(60)


async def until_ready(hub: HubProcess) -> None:
    while (await status_of(hub))[0] != 200:  # noqa: ASYNC110 - another process has no event
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("silently", [True, False], ids=["dropped", "reset"])
async def test_clients_that_are_cut_off_from_a_hub_go_on_at_another(cluster: Cluster, silently: bool) -> None:
    async with in_use(cluster) as crew:
        fail(cluster.between_clients_and_hub(cluster.hubs[0]), silently=silently)
        # Those that were there are: their operations have not ended while they wait.
        there = [client for number, client in enumerate(crew.clients) if number % len(cluster.hubs) == 0]
        before = len(crew.history.operations)

        def has_gone_on() -> bool:
            done = {each.client for each in crew.history.operations[before:] if each.outcome == "ok"}
            return all(client.name in done for client in there)

        await until(has_gone_on, "for the clients of that hub")


@pytest.mark.parametrize("silently", [True, False], ids=["dropped", "reset"])
async def test_no_write_is_lost_when_the_leader_is_cut_off_from_the_other_nodes(
    cluster: Cluster, silently: bool
) -> None:
    async with in_use(cluster) as crew:
        fail(cluster.around_node(await cluster.nodes.leader(STREAM)), silently=silently)
        await crew.progress(60)


async def test_no_write_is_lost_when_the_node_of_all_hubs_is_cut_off_from_the_other_nodes(cluster: Cluster) -> None:
    async with in_use(cluster) as crew:
        chosen = cluster.nodes[0]
        to_others = [wire for hub in cluster.hubs for wire in cluster.between_hub_and_nats(hub)[1:]]
        fail(to_others, silently=False)
        await crew.progress(20)
        mend(to_others)
        fail(cluster.around_node(chosen), silently=True)
        await crew.progress(60)


async def test_a_rolling_restart_of_everything_loses_nothing(cluster: Cluster) -> None:
    async with in_use(cluster) as crew:
        for hub in cluster.hubs:
            hub.terminate()
            assert await hub.ended() == 0
            await crew.progress(20)
            hub.start()
            await hub.ready()
        for node in cluster.nodes:
            await node.restart()
            await cluster.nodes.whole()
            await crew.progress(20)


async def test_a_hub_whose_clocks_jump_harms_nobody(cluster: Cluster) -> None:
    async with in_use(cluster) as crew:
        for hub in cluster.hubs:
            os.kill(hub.pid, signal.SIGUSR1)
            await crew.progress(40)
    # Their clocks are right again in their next lives.
    for hub in cluster.hubs:
        await hub.restart()


async def test_two_hubs_that_believe_they_own_a_session_never_both_act_for_it(cluster: Cluster) -> None:
    name, (first, second, _) = f"owned-{next(_numbers)}", cluster.hubs
    async with GRPCToolBridge(first.address, keep_session=True) as at_first:
        await at_first.initialize(name)
        revision = await at_first.session_context.set_variable("value", 0)
        for turn in range(1, 4):
            owner, other = (first, second) if turn % 2 else (second, first)
            async with (
                GRPCToolBridge(owner.address, keep_session=True) as at_owner,
                GRPCToolBridge(other.address, keep_session=True) as at_other,
            ):
                await at_owner.initialize(name)
                await at_other.initialize(name)
                is_gone = gone(cluster, owner)
                owner.pause()
                await until(is_gone, "for the others to notice")
                # Asked of a hub that stands still, and answered when it goes on.
                late = [asyncio.create_task(each) for each in late_requests(at_owner, turn, revision)]
                revision = await soon(until_set(at_other, turn, revision))
                owner.resume()
                read, written = await soon(asyncio.gather(*late, return_exceptions=True))
                assert isinstance(read, ToolBridgeError) or read == turn
                assert isinstance(written, ToolBridgeError), "both have compared with the same revision"
                assert await soon(until_read(at_owner)) == turn


def late_requests(bridge: GRPCToolBridge, turn: int, revision: int) -> list[Coroutine[Any, Any, object]]:
    context = bridge.session_context
    return [context.get_variable("value"), context.set_variable("value", -turn, expected_revision=revision)]


async def until_set(bridge: GRPCToolBridge, value: int, revision: int) -> int:
    return await until_answered(lambda: bridge.session_context.set_variable("value", value, expected_revision=revision))


async def until_read(bridge: GRPCToolBridge) -> object:
    return await until_answered(lambda: bridge.session_context.get_variable("value"))
