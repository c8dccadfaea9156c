"""What can happen to a cluster, and what is undone again."""

import os
import random
import signal
from collections.abc import Awaitable, Callable, Iterator

from support.clusters import Cluster
from support.wires import fail

# Does something to a cluster; ``Cluster.heal`` undoes it.
Fault = Callable[[Cluster, random.Random], Awaitable[None]]

# The stream of the default cluster.
STREAM = "TOOL_BRIDGE"


async def kill_hub(cluster: Cluster, rng: random.Random) -> None:
    """Ends a hub as kill -9 does."""
    rng.choice(cluster.hubs).kill()


async def stop_hub(cluster: Cluster, rng: random.Random) -> None:
    """Stops a hub as it is; it goes on, and believes that no time has passed."""
    rng.choice(cluster.hubs).pause()


async def end_hub(cluster: Cluster, rng: random.Random) -> None:
    """Tells a hub to end in order."""
    hub = rng.choice(cluster.hubs)
    hub.terminate()
    await hub.ended()


async def kill_node(cluster: Cluster, rng: random.Random) -> None:
    """Ends a node as kill -9 does, mostly that which leads the stream."""
    node = rng.choice([*cluster.nodes, await cluster.nodes.leader(STREAM)])
    node.kill()


async def stop_node(cluster: Cluster, rng: random.Random) -> None:
    """Stops a node as it is."""
    rng.choice([*cluster.nodes]).pause()


async def lose_disk(cluster: Cluster, rng: random.Random) -> None:
    """Ends a node, and deletes all that it had stored; it comes back with nothing."""
    node = rng.choice([*cluster.nodes])
    node.lose_disk()
    node.start()
    await node.ready()


async def part_hub_from_nats(cluster: Cluster, rng: random.Random) -> None:
    """Lets nothing pass between a hub and all nodes."""
    fail(cluster.between_hub_and_nats(rng.choice(cluster.hubs)), silently=rng.random() < 0.5)


async def part_hub_from_clients(cluster: Cluster, rng: random.Random) -> None:
    """Lets nothing pass between clients and a hub."""
    fail(cluster.between_clients_and_hub(rng.choice(cluster.hubs)), silently=rng.random() < 0.5)


async def part_nodes(cluster: Cluster, rng: random.Random) -> None:
    """Lets nothing pass between a node and the others; hubs reach all."""
    fail(cluster.around_node(rng.choice([*cluster.nodes])), silently=rng.random() < 0.5)


async def jump_clock(cluster: Cluster, rng: random.Random) -> None:
    """Lets the clocks of a hub jump ahead."""
    os.kill(rng.choice(cluster.hubs).pid, signal.SIGUSR1)


async def kill_both(cluster: Cluster, rng: random.Random) -> None:
    """Ends a hub and a node at once."""
    rng.choice(cluster.hubs).kill()
    rng.choice([*cluster.nodes]).kill()


FAULTS: tuple[Fault, ...] = (
    kill_hub,
    stop_hub,
    end_hub,
    kill_node,
    stop_node,
    lose_disk,
    part_hub_from_nats,
    part_hub_from_clients,
    part_nodes,
    jump_clock,
    kill_both,
)


def deck(rng: random.Random) -> Iterator[Fault]:
    """Yields faults, each once in a random order, and again."""
    while True:
        yield from rng.sample(FAULTS, len(FAULTS))
