"""What can happen to a cluster, and what is undone again."""

import os
import random
import signal
from collections.abc import Awaitable, Callable, Iterator

from support.clusters import Cluster, HubProcess
from support.wires import fail

# Whether it was noticed that something happened.
Noticed = Callable[[], bool]

# Does something to a cluster, which ``Cluster.heal`` undoes; returns None if nobody needs to notice it.
Fault = Callable[[Cluster, random.Random], Awaitable[Noticed | None]]

# The stream of the default cluster.
STREAM = "TOOL_BRIDGE"


def gone(cluster: Cluster, hub: HubProcess) -> Noticed:
    """Returns whether another hub has noticed from now on that one is gone."""
    others = [other for other in cluster.hubs if other is not hub]

    def closed() -> int:
        return sum(other.log.count(f"hub {hub.name} ") for other in others)

    before = closed()
    return lambda: closed() > before


async def kill_hub(cluster: Cluster, rng: random.Random) -> Noticed | None:
    """Ends a hub as kill -9 does."""
    rng.choice(cluster.hubs).kill()
    return None


async def stop_hub(cluster: Cluster, rng: random.Random) -> Noticed | None:
    """Stops a hub as it is; it goes on, and believes that no time has passed."""
    hub = rng.choice(cluster.hubs)
    hub.pause()
    return gone(cluster, hub)


async def end_hub(cluster: Cluster, rng: random.Random) -> Noticed | None:
    """Tells a hub to end in order."""
    hub = rng.choice(cluster.hubs)
    hub.terminate()
    await hub.ended()
    return None


async def kill_node(cluster: Cluster, rng: random.Random) -> Noticed | None:
    """Ends a node as kill -9 does, mostly that which leads the stream."""
    node = rng.choice([*cluster.nodes, await cluster.nodes.leader(STREAM)])
    node.kill()
    return None


async def stop_node(cluster: Cluster, rng: random.Random) -> Noticed | None:
    """Stops a node as it is."""
    node = rng.choice([*cluster.nodes, await cluster.nodes.leader(STREAM)])
    node.pause()
    return None


async def lose_disk(cluster: Cluster, rng: random.Random) -> Noticed | None:
    """Ends a node, and deletes all that it had stored; it comes back with nothing."""
    node = rng.choice([*cluster.nodes])
    node.lose_disk()
    node.start()
    await node.ready()
    return None


async def part_hub_from_nats(cluster: Cluster, rng: random.Random) -> Noticed | None:
    """Lets nothing pass between a hub and all nodes."""
    hub = rng.choice(cluster.hubs)
    fail(cluster.between_hub_and_nats(hub), silently=rng.random() < 0.5)
    return gone(cluster, hub)


async def part_hub_from_clients(cluster: Cluster, rng: random.Random) -> Noticed | None:
    """Lets nothing pass between clients and a hub."""
    fail(cluster.between_clients_and_hub(rng.choice(cluster.hubs)), silently=rng.random() < 0.5)
    return None


async def part_nodes(cluster: Cluster, rng: random.Random) -> Noticed | None:
    """Lets nothing pass between a node and the others; hubs reach all."""
    fail(cluster.around_node(rng.choice([*cluster.nodes])), silently=rng.random() < 0.5)
    return None


async def jump_clock(cluster: Cluster, rng: random.Random) -> Noticed | None:
    """Lets the clocks of a hub jump ahead."""
    os.kill(rng.choice(cluster.hubs).pid, signal.SIGUSR1)
    return None


async def kill_both(cluster: Cluster, rng: random.Random) -> Noticed | None:
    """Ends a hub and a node at once."""
    rng.choice(cluster.hubs).kill()
    rng.choice([*cluster.nodes]).kill()
    return None


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
