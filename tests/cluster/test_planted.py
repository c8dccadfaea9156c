"""The checks of histories find what a hub does wrong on purpose, over the same clusters and by the same clients."""

import random
from pathlib import Path

import pytest

from cluster import planted
from cluster.histories import found_wrong, running_cluster, using

SAID = {
    "answers stale reads": "is not linearizable",
    # Whether a read could show it depends on when the hub is taken for dead.
    "forgets writes": "stored at revision None",
    "repeats effects": "effects of",
}


@pytest.mark.parametrize("fault", planted.FAULTS)
async def test_a_hub_with_a_planted_fault_is_found_out(fault: str, tmp_path: Path) -> None:
    async with running_cluster(tmp_path, {"TEST_PLANTED": fault}) as cluster:
        async with using(cluster, random.Random(fault)) as crew:
            # It has the sessions. What it keeps in its memory is old when it goes on.
            first = cluster.hubs[0]
            first.pause()
            await crew.progress(40)
            first.resume()
            await crew.progress(40)
            first.kill()
            await crew.progress(40)
            await cluster.heal()
            found = await found_wrong(cluster, crew, tmp_path / "effects")
        assert any(SAID[fault] in each for each in found), found
