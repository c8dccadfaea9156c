"""Measuring ways to do the same work, in turn."""

import statistics
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

# How often each round alternates between the ways: the machine's load changes within a round too.
TURNS = 4

# A stretch of work by one way; returns the measured value.
Stretch = Callable[[], Awaitable[Sequence[float]]]


class NotInstalledError(Exception):
    """The peer of a figure is not installed on this machine."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How thoroughly to measure.

    Attributes:
        rounds: Of each figure that is taken in rounds.
        quick: Whether to do less in each, for a first impression.
    """

    rounds: int
    quick: bool

    def amount(self, full: int, quick: int) -> int:
        """Chooses an amount of work."""
        return quick if self.quick else full


@dataclass(frozen=True, slots=True)
class Sample:
    """What was measured.

    Attributes:
        values: The figure in each round; one value if it was measured as a whole.
        details: The absolute numbers behind it, by name and unit.
    """

    values: Sequence[float]
    details: Mapping[str, float] = field(default_factory=dict)

    @property
    def median(self) -> float:
        """The figure."""
        return statistics.median(self.values)

    @property
    def spread(self) -> tuple[float, float] | None:
        """The quartiles; None if there are fewer than three rounds."""
        if len(self.values) < 3:
            return None
        low, _, high = statistics.quantiles(self.values, n=4, method="inclusive")
        return low, high


def in_turn(names: Sequence[str], turn: int) -> Sequence[str]:
    """Orders names so that none always comes first."""
    first = turn % len(names)
    return [*names[first:], *names[:first]]


async def in_rounds(
    plan: Plan, stretches: Mapping[str, Stretch], *, turns: int = TURNS
) -> dict[str, list[Sequence[float]]]:
    """Measures each way, in rounds, after one round that warms up and does not count.

    Args:
        plan: How many rounds.
        stretches: The ways by name; in each round, each has so many turns.
        turns: As above.

    Returns:
        For each way and round, what was measured in all its turns.
    """
    names = list(stretches)
    taken: dict[str, list[Sequence[float]]] = {name: [] for name in names}
    for round_number in range(-1, plan.rounds):
        measured: dict[str, list[float]] = {name: [] for name in names}
        for turn in range(turns):
            for name in in_turn(names, round_number + turn):
                measured[name] += await stretches[name]()
        if round_number >= 0:
            for name in names:
                taken[name].append(measured[name])
    return taken


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Divides values measured in the same rounds."""
    return [one / other for one, other in zip(above, below, strict=True)]
