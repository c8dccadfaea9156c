"""Three hubs over three nodes, to which something happens again and again while clients use them.

Each test does so a number of times; together they are 50 in ``make test`` and 1,000 in ``make soak``.
"""

import itertools
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.faults import deck
from cluster.histories import running_cluster, use
from support.soak import examples

# Clusters, and how often something happens to each.
CLUSTERS, FAULTS = examples(5), 10


@pytest.mark.seeded
@pytest.mark.parametrize("number", range(CLUSTERS))
async def test_nothing_acknowledged_is_lost_whatever_happens_to_hubs_nodes_and_their_connections(
    number: int, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    # One deck for all clusters: each gets its part of it.
    faults = list(itertools.islice(deck(random.Random("faults")), number, CLUSTERS * FAULTS, CLUSTERS))
    async with running_cluster(tmp_path) as cluster:
        crew = await use(cluster, faults, random.Random(f"cluster {number}"), tmp_path / "effects")
    record_property("acknowledged", crew.history.acknowledged)
