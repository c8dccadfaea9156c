"""A hub with a store in NATS that is killed at every point on the way of a change, while clients use it."""

import itertools
import logging
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from durability import checks
from durability.clients import NAMES
from durability.hub_process import SETTINGS
from durability.nats_kills import nats_changes, nats_deck
from durability.outliving import use
from durability.tools import read_effects
from support.nats_nodes import NatsNode, one_node
from support.nats_stores import cluster_url
from support.soak import examples

# Hubs, and how often each is killed; each life waits until the lease of the one before has ended.
HUBS, KILLS = 2, examples(6)


@pytest.fixture(scope="module")
def node() -> Iterator[NatsNode]:
    with one_node() as started:
        yield started


@pytest.mark.seeded
@pytest.mark.parametrize("number", range(HUBS))
async def test_nothing_acknowledged_is_lost_however_often_a_hub_of_a_cluster_is_killed(
    number: int,
    tmp_path: Path,
    node: NatsNode,
    caplog: pytest.LogCaptureFixture,
    record_property: Callable[[str, object], None],
) -> None:
    caplog.set_level(logging.WARNING, logger="grpc_tool_bridge")
    kills = itertools.islice(nats_deck(random.Random("kills")), number, None, HUBS)
    url = cluster_url(node.url)
    crew = await use(url, tmp_path, itertools.islice(kills, KILLS - 1), random.Random(f"hub {number}"), record_property)
    assert "has restarted" not in caplog.text
    operations = crew.history.operations
    wrong = [
        *checks.check_variables(operations, NAMES),
        *checks.check_revisions(operations, crew.watchers),
        *checks.check_calls(operations, read_effects(tmp_path / "effects")),
        *checks.check_runs(operations),
        *checks.check_sessions(operations),
    ]
    kept = await nats_changes(url, SETTINGS)
    wrong += checks.check_stored(operations, kept)
    for watcher in crew.watchers:
        wrong += checks.check_watch(watcher, kept)
    wrong += [f"the session of {name} was renewed" for name in crew.renewed]
    assert wrong == []
    assert len(crew.epochs.union(*(watcher.epochs for watcher in crew.watchers))) == 1
