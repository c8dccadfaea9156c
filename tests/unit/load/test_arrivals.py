"""When the calls of an open loop are due."""

from itertools import islice, pairwise

import pytest

from grpc_tool_bridge.load.arrivals import arrivals


def test_constant_arrivals_are_evenly_spaced_and_do_not_drift() -> None:
    due = list(islice(arrivals("constant", 3, 0), 3_001))
    assert (due[0], due[3_000]) == (0, 1_000)
    assert {round(later - sooner, 9) for sooner, later in pairwise(due)} == {round(1 / 3, 9)}


def test_poisson_arrivals_are_the_same_for_the_same_seed_only() -> None:
    first, again, other = (list(islice(arrivals("poisson", 100, seed), 50)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_poisson_arrivals_come_at_the_rate_and_in_bursts() -> None:
    due = list(islice(arrivals("poisson", 100, 7), 20_000))
    gaps = [later - sooner for sooner, later in pairwise(due)]
    assert due == sorted(due)
    assert sum(gaps) / len(gaps) == pytest.approx(0.01, rel=0.05)
    # Of independent callers, so many come within a tenth of the mean.
    assert sum(gap < 0.001 for gap in gaps) / len(gaps) == pytest.approx(1 - 2.71828**-0.1, rel=0.1)
