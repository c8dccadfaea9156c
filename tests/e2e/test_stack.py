"""The hub and the workers of docker-compose.test.yml do what they are for.

In that file's network, ``GRPC_ADDR`` and ``HTTP_ADDR`` say where the hub is. Elsewhere, the same commands run as
processes.
"""

import json
import os
from collections.abc import Iterator
from urllib.request import urlopen

import httpx
import pytest

from grpc_tool_bridge import GRPCToolBridge
from support.needs import needs
from support.patience import PATIENCE
from support.programs import ROOT, run
from support.stack import BUILT, SERVICES, Stack, health_check, stack
from support.toxiproxy import IMPLEMENTATIONS, running_toxiproxy
from support.waiting import until

RUNS_ELSEWHERE = "GRPC_ADDR" in os.environ
pytestmark = pytest.mark.xdist_group("stack")

CALLS = [
    pytest.param("worker-python", "python_add", (2, 3), 5, id="python"),
    pytest.param("worker-elixir", "elixir_double_sum", (2, 3), 10, id="elixir-by-python"),
    pytest.param("worker-node", "node_sum_of_elixir", (1_000,), 500_500, id="node-by-elixir"),
]


@pytest.fixture(scope="module")
def hub() -> Iterator[Stack]:
    if RUNS_ELSEWHERE:
        yield Stack(os.environ["GRPC_ADDR"], os.environ["HTTP_ADDR"])
        return
    with stack() as started:
        yield started


async def test_the_hub_has_a_tool_of_its_own(hub: Stack) -> None:
    async with GRPCToolBridge(hub.address) as bridge:
        await bridge.initialize()
        assert await bridge.tools["count_primes"](1, 10) == 4


@pytest.mark.parametrize(("worker", "tool", "arguments", "result"), CALLS)
async def test_workers_in_three_languages_call_each_other(
    hub: Stack, worker: str, tool: str, arguments: tuple[int, ...], result: int
) -> None:
    if not RUNS_ELSEWHERE and not BUILT[worker].exists():
        pytest.skip(f"needs what {worker} runs (make peers)")
    needed = {tool, "python_add"} | ({"elixir_count"} if "elixir" in tool else set())
    async with GRPCToolBridge(hub.address) as bridge:
        await bridge.initialize()
        await until(lambda: needed <= set(bridge.tools), f"for {needed}")
        assert await bridge.tools[tool](*arguments) == result


@needs("grpcurl")
def test_the_health_check_lists_the_services_of_the_hub(hub: Stack) -> None:
    done = run(health_check(hub.address))
    assert done.returncode == 0, done.stderr
    assert {"dspex.bridge.SnakepitBridge", "grpc.health.v1.Health"} <= set(done.stdout.split())


def test_the_hub_is_ready_over_http(hub: Stack) -> None:
    with urlopen(f"http://{hub.http_address}/readyz", timeout=PATIENCE) as response:
        assert response.status == 200


@pytest.mark.skipif(RUNS_ELSEWHERE, reason="the stack has its own Toxiproxy")
@pytest.mark.parametrize("name", IMPLEMENTATIONS)
async def test_the_hub_is_reached_through_the_toxiproxy_of_the_compose_file(hub: Stack, name: str) -> None:
    ((source, target),) = [one.split(":")[:2] for one in SERVICES["toxiproxy"]["volumes"]]
    assert f"-config={target}" in SERVICES["toxiproxy"]["command"]
    (proxy,) = json.loads((ROOT / source).read_text(encoding="utf-8"))
    proxy |= {"listen": "127.0.0.1:0", "upstream": hub.address}
    with running_toxiproxy(name) as api:
        async with httpx.AsyncClient(base_url=f"http://{api}") as client:
            created = (await client.post("/populate", json=[proxy])).raise_for_status().json()["proxies"]
            async with GRPCToolBridge(created[0]["listen"]) as bridge:
                await bridge.initialize()
                assert await bridge.tools["count_primes"](1, 10) == 4
                (await client.post("/proxies/grpc", json={"enabled": False})).raise_for_status()
                await until(lambda: not bridge.client.is_linked)
                (await client.post("/proxies/grpc", json={"enabled": True})).raise_for_status()
                assert await bridge.tools["count_primes"](1, 10) == 4
