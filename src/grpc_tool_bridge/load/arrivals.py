"""When the calls of an open loop are due."""

import itertools
import random
from collections.abc import Iterator
from typing import Literal

Arrivals = Literal["constant", "poisson"]
ARRIVALS: tuple[Arrivals, ...] = ("constant", "poisson")


def arrivals(kind: Arrivals, rate: float, seed: int) -> Iterator[float]:
    """Yields the seconds, from the start, at which each call is due; never ends.

    Args:
        kind: "constant" spaces them evenly; "poisson" spaces them as independent callers would.
        rate: Calls per second, on average.
        seed: The same seed gives the same times.
    """
    if kind == "constant":
        yield from (number / rate for number in itertools.count())
    chance = random.Random(seed)  # noqa: S311 - it is to be repeatable
    due = 0.0
    while True:
        due += chance.expovariate(rate)
        yield due
