"""A bridge with its own hub and a store, whose process is killed at every point on the way of a change."""

import asyncio
import itertools
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from signal import SIGKILL
from typing import Any

import pytest

from durability import checks, stored
from durability.clients import NAMES, Watcher
from durability.history import UNKNOWN, Operation
from durability.kills import Kill, deck
from durability.lives import with_tests_on_path
from durability.tools import read_effects
from support.soak import examples
from support.waiting import soon

# Lives that end with a kill.
KILLS = examples(6)


class Record:
    """What all lives together have printed.

    Attributes:
        operations: In the order of their starts.
        watcher: What a watch saw that went on in each life after what it had seen.
    """

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.watcher = Watcher("one")
        self._of_life: dict[int, Operation] = {}

    def take(self, line: bytes) -> None:
        """Takes a line of a process."""
        said = json.loads(line)
        if "began" in said:
            operation = self._of_life[said["began"]["number"]] = Operation(**said["began"])
            operation.number = len(self.operations)
            self.operations.append(operation)
        elif "ended" in said:
            operation = self._of_life[said["ended"]["number"]]
            operation.end, operation.outcome = said["ended"]["end"], said["ended"]["outcome"]
            operation.answer = said["ended"]["answer"]
        elif "seen" in said:
            self.watcher.seen.append(tuple(said["seen"]))
            self.watcher.epochs.add(said["epoch"])

    def life_ended(self) -> list[tuple[str, str]]:
        """Notes that a process has ended; returns the calls to repeat: those without an answer, and the last one."""
        at, calls = time.monotonic_ns(), []
        for operation in self._of_life.values():
            if not operation.outcome:
                operation.outcome, operation.end = UNKNOWN, at
                if operation.kind == "call":
                    calls.append((operation.asked["tool"], operation.name))
        answered = [each for each in self._of_life.values() if each.kind == "call" and each.outcome != UNKNOWN]
        self._of_life.clear()
        return calls + [(call.asked["tool"], call.name) for call in answered[-1:]]


async def live(asked: dict[str, Any], record: Record) -> int:
    """Lets a process live, and records what it prints; returns its exit code."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "durability.local_process",
        json.dumps(asked),
        env=with_tests_on_path(),
        stdout=subprocess.PIPE,
        limit=1 << 20,
    )
    try:
        assert process.stdout is not None
        async for line in process.stdout:
            record.take(line)
        return await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def kills(rng: random.Random) -> Iterator[Kill]:
    """Yields where to kill a process; its clients have no agents."""
    return (kill for kill in deck(rng) if kill.verb not in ("add_agent", "begin_run", "add_chunk"))


@pytest.mark.seeded
async def test_a_bridge_of_its_own_loses_nothing_acknowledged_however_often_it_is_killed(tmp_path: Path) -> None:
    record, calls, code = Record(), list[tuple[str, str]](), 0
    store, effects = tmp_path / "hub.db", tmp_path / "effects"
    ways = [*itertools.islice(kills(random.Random("bridge")), KILLS), Kill()]
    for seed, kill in enumerate(ways):
        asked = {
            "store": str(store),
            "effects": str(effects),
            "kill": kill.to_json(),
            "seed": seed,
            "value": 100_000 * (seed + 1),
            "calls": calls,
            "after": record.watcher.seen[-1][3] if record.watcher.seen else None,
        }
        code = await soon(live(asked, record))
        assert code in (0, -SIGKILL)
        calls = record.life_ended()
    assert code == 0
    with stored.opened(store) as connection:
        wrong = list(stored.faults(connection))
        kept = stored.changes(connection)
    operations = record.operations
    wrong += checks.check_variables(operations, NAMES)
    wrong += checks.check_revisions(operations, [record.watcher])
    wrong += checks.check_stored(operations, kept)
    wrong += checks.check_calls(operations, read_effects(effects))
    wrong += checks.check_sessions(operations)
    wrong += checks.check_watch(record.watcher, kept)
    assert wrong == []
    assert len(record.watcher.epochs) == 1
