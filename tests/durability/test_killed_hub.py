"""A hub that is killed at every point on the way of a change, again and again, while clients use it.

Each test kills one hub a number of times; together they are 50 in ``make test`` and 1,000 in ``make soak``.
"""

import itertools
import logging
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from durability import checks, stored
from durability.clients import NAMES
from durability.crew import Crew
from durability.history import OK
from durability.kills import CLOSING, STATEMENT, Kill, deck
from durability.outliving import use
from durability.tools import read_effects
from support.soak import examples

# Hubs, and how often each is killed.
HUBS, KILLS = 5, examples(10)


def found_in(crew: Crew, store: Path, effects: Path) -> list[str]:
    """Returns all that was wrong, apart from what depends on how much is kept."""
    operations = crew.history.operations
    with stored.opened(store) as connection:
        wrong = list(stored.faults(connection))
    wrong += checks.check_variables(operations, NAMES)
    wrong += checks.check_revisions(operations, crew.watchers)
    wrong += checks.check_calls(operations, read_effects(effects))
    wrong += checks.check_runs(operations)
    epochs = crew.epochs.union(*(watcher.epochs for watcher in crew.watchers))
    if len(epochs) != 1:
        wrong.append(f"epochs {epochs}")
    wrong += [f"the session of {name} was renewed" for name in crew.renewed]
    return wrong


def found_in_all(crew: Crew, store: Path) -> list[str]:
    """Returns what was wrong with a store that keeps all."""
    with stored.opened(store) as connection:
        kept = stored.changes(connection)
    wrong = [*checks.check_stored(crew.history.operations, kept), *checks.check_sessions(crew.history.operations)]
    for watcher in crew.watchers:
        wrong += checks.check_watch(watcher, kept)
    return wrong


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """What clients and workers warn of; none may say that the hub had forgotten anything."""
    with caplog.at_level(logging.WARNING, logger="grpc_tool_bridge"):
        yield caplog
    assert "has restarted" not in caplog.text


@pytest.mark.seeded
@pytest.mark.usefixtures("log")
@pytest.mark.parametrize("number", range(HUBS))
async def test_nothing_acknowledged_is_lost_however_often_the_hub_is_killed(
    number: int, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    # One deck for all hubs: each gets its part of it.
    kills = itertools.islice(deck(random.Random("kills")), number, None, HUBS)
    rng = random.Random(f"hub {number}")
    crew = await use(tmp_path / "hub.db", tmp_path, itertools.islice(kills, KILLS - 1), rng, record_property)
    assert found_in(crew, tmp_path / "hub.db", tmp_path / "effects") == []
    assert found_in_all(crew, tmp_path / "hub.db") == []


@pytest.mark.seeded
@pytest.mark.usefixtures("log")
async def test_nothing_that_is_kept_is_lost_if_the_hub_is_killed_while_it_removes_what_is_over(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    rng = random.Random("keeps little")
    points = (STATEMENT, STATEMENT, "tidied", CLOSING)
    kills = (Kill(rng.choice(points), rng.randint(1, 300), pages=9, keeps_little=True) for _ in range(KILLS))
    crew = await use(tmp_path / "hub.db", tmp_path, kills, rng, record_property)
    assert found_in(crew, tmp_path / "hub.db", tmp_path / "effects") == []
    with stored.opened(tmp_path / "hub.db") as connection:
        (changes,) = connection.execute("SELECT count(*) FROM changes").fetchone()
    # Some of them were removed.
    made = [each for each in crew.history.of("set") if each.outcome == OK]
    assert changes < len(made)
