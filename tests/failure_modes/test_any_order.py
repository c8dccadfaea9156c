"""Sessions, calls, workers and troubles in any order: every caller gets its one right result or one typed error.

Hypothesis picks the steps from a seed. A failing seed is printed with the command that repeats it, and its steps.
"""

import itertools
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from anyio.from_thread import start_blocking_portal
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from failure_modes.any_order import COUNTED, LONG, WORKERS, Client, World
from support.soak import examples

# Runs of one seed, and seeds.
RUNS = 10
SEEDS = [int(seed) for seed in os.environ["TEST_SEED"].split(",")] if "TEST_SEED" in os.environ else range(examples(15))

_any = st.integers(0, 99)
_numbers = st.integers(0, 1000)
_some = st.lists(_numbers, min_size=1, max_size=6)
_keys = st.lists(st.integers(0, 3), min_size=1, max_size=6)
_timeouts = st.sampled_from([0.02, 0.2, LONG, LONG])


class AnyOrder(RuleBasedStateMachine):
    """The steps."""

    def make_world(self) -> World:
        """Makes the world that they happen in."""
        return World()

    def __init__(self) -> None:
        super().__init__()
        self._portal = start_blocking_portal()
        self._loop = self._portal.__enter__()
        self.world = self.make_world()

    def _do(self, function: Any, *args: Any) -> Any:
        return self._loop.call(partial(function, *args))

    def _client(self, which: int) -> Client:
        clients = [client for client in self.world.clients if not client.closed]
        return clients[which % len(clients)]

    def _has_client(self) -> bool:
        return any(not client.closed for client in self.world.clients)

    @initialize(transport=st.sampled_from(["link", "rpc"]), workers=st.sets(st.sampled_from(WORKERS)))
    def begin(self, transport: str, workers: set[str]) -> None:
        self._do(self.world.start)
        self._do(self.world.open, transport)
        for name in sorted(workers):
            self._do(self.world.add_worker, name)

    # ------------------------------------------------------------------------------------------------- operations

    @precondition(_has_client)
    @rule(who=_any, number=_numbers, size=st.sampled_from([0, 0, 100_000, 3_000_000]), timeout=_timeouts)
    def echo(self, who: int, number: int, size: int, timeout: float) -> None:
        right = {"number": number, "data": b"x" * size}
        self._do(self.world.call, self._client(who), "echo", {"number": number, "size": size}, right, timeout)

    @precondition(_has_client)
    @rule(who=_any, numbers=_some, timeout=_timeouts)
    def far(self, who: int, numbers: list[int], timeout: float) -> None:
        for number in numbers:
            self._do(self.world.call, self._client(who), "far", {"number": number}, number + 1, timeout)

    @precondition(_has_client)
    @rule(who=_any, numbers=_some, timeout=_timeouts)
    def nested(self, who: int, numbers: list[int], timeout: float) -> None:
        for number in numbers:
            self._do(self.world.call, self._client(who), "nested", {"number": number}, 2 * number + 1, timeout)

    @precondition(_has_client)
    @rule(who=_any, keys=_keys, timeout=_timeouts)
    def once(self, who: int, keys: list[int], timeout: float) -> None:
        for key in keys:
            name = f"key-{key}"
            self._do(self.world.call, self._client(who), "once", {"key": name}, f"{name} 1", timeout, name)

    @precondition(_has_client)
    @rule(who=_any, number=st.integers(0, 300), timeout=_timeouts)
    def stream(self, who: int, number: int, timeout: float) -> None:
        self._do(self.world.stream, self._client(who), number, timeout)

    @precondition(_has_client)
    @rule(who=_any, numbers=_some)
    def batch(self, who: int, numbers: list[int]) -> None:
        self._do(self.world.batch, self._client(who), numbers)

    @precondition(_has_client)
    @rule(who=_any, what=st.lists(st.sampled_from(["write", "read", "add", "watch"]), min_size=1, max_size=6))
    def variables(self, who: int, what: list[str]) -> None:
        for one in what:
            self._do(getattr(self.world, one), self._client(who))

    @rule(which=_any)
    def cancel(self, which: int) -> None:
        self._do(self.world.cancel_one, which)

    @rule()
    def wait(self) -> None:
        self._do(self.world.let_some_end)

    # ------------------------------------------------------------------------------------------------------ peers

    @precondition(lambda self: len(self.world.clients) < 4)
    @rule(transport=st.sampled_from(["link", "rpc"]))
    def open(self, transport: str) -> None:
        self.world.network.restore()
        self._do(self.world.open, transport)

    @precondition(_has_client)
    @rule(who=_any)
    def close(self, who: int) -> None:
        self._do(self.world.close, self._client(who))

    @rule(name=st.sampled_from(WORKERS), how=st.sampled_from(["lose", "drain"]))
    def worker(self, name: str, how: str) -> None:
        if name not in self.world.workers:
            self._do(self.world.add_worker, name)
        elif how == "lose":
            self._do(self.world.lose_worker, name)
        else:
            self._do(self.world.drain_worker, name)

    # Hypothesis likes a rule without arguments, and a hub that has just been replaced has little to lose.
    @precondition(lambda self: self.world.restarts < 2)
    @rule()
    def restart(self) -> None:
        self._do(self.world.restart)

    # --------------------------------------------------------------------------------------------------- troubles

    @rule(
        network=st.integers(0, 1),
        trouble=st.sampled_from(["cut", "cut_after", "stall", "resume", "delay", "limit", "refuse", "restore"]),
        direction=st.sampled_from(["to_hub", "to_client", "both"]),
        size=st.sampled_from([1, 100, 10_000, 1_000_000]),
    )
    def trouble(self, network: int, trouble: str, direction: Any, size: int) -> None:
        proxy = self.world.networks()[network]
        COUNTED.troubles += 1
        if trouble == "cut_after":
            proxy.cut_after(size, direction)
        elif trouble == "limit":
            proxy.limit(100 * size, direction)
        elif trouble == "delay":
            proxy.delay(min(size, 10_000) / 1e6, direction)
        elif trouble in ("stall", "resume"):
            getattr(proxy, trouble)(direction)
        else:
            getattr(proxy, trouble)()

    def teardown(self) -> None:
        try:
            if hasattr(self.world, "server"):
                try:
                    self._do(self.world.settle)
                finally:
                    self._do(self.world.stop)
        finally:
            self._portal.__exit__(None, None, None)


@pytest.fixture(scope="module", autouse=True)
def report() -> Iterator[None]:
    """Says what was done in all runs."""
    yield
    errors = ", ".join(f"{count} {name}" for name, count in COUNTED.errors.most_common())
    print(  # noqa: T201 - shown by `pytest -s`
        f"\n{COUNTED.operations} operations, {COUNTED.troubles} troubles; {COUNTED.right} right results; {errors}; "
        f"the latest ended {COUNTED.latest:.2f} s after its deadline; {COUNTED.left_by_grpc} tasks of gRPC's were left"
    )


@pytest.mark.seeded
@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_happens_in_any_order_each_caller_is_told_the_truth(seed: int) -> None:
    _play(AnyOrder, seed)


@pytest.mark.seeded
@pytest.mark.parametrize("seed", SEEDS[: max(len(SEEDS) // 3, 1)])
def test_a_hub_that_restarts_with_its_store_has_lost_nothing_that_was_acknowledged(seed: int, tmp_path: Path) -> None:
    worlds = itertools.count()

    class AnyOrderKept(AnyOrder):
        """The steps, at a hub that keeps what it holds."""

        def make_world(self) -> World:
            return World(f"sqlite:///{tmp_path / str(next(worlds))}.db")

    _play(AnyOrderKept, seed)


def _play(machine: type[AnyOrder], seed: int) -> None:
    steps = settings(
        max_examples=RUNS,
        stateful_step_count=30,
        phases=(Phase.generate,),
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    try:
        run_state_machine_as_test(hypothesis.seed(seed)(machine), settings=steps)
    except BaseException as error:
        error.add_note(f"repeat it with: TEST_SEED={seed} .venv/bin/python -m pytest {os.path.relpath(__file__)}")
        raise
