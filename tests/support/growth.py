"""What a process holds, seen from outside, and whether that grows."""

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import combinations
from pathlib import Path

PAGE_BYTES = 4096
MIB = 1024 * 1024

# Slopes are taken between so many moments at most.
_MOMENTS = 60


@dataclass(frozen=True, slots=True)
class Held:
    """What a process holds.

    Attributes:
        memory: Resident bytes.
        threads: Its threads.
        sockets: Its open sockets.
        files: Its other open descriptors.
    """

    memory: int
    threads: int
    sockets: int
    files: int


KINDS = tuple(field.name for field in fields(Held))


def held_by(pid: int) -> Held:
    """Looks at a process, by /proc."""
    process = Path("/proc") / str(pid)
    memory = int((process / "statm").read_text(encoding="ascii").split()[1]) * PAGE_BYTES
    threads = len(list((process / "task").iterdir()))
    targets = list(_descriptors(process / "fd"))
    sockets = sum(target.startswith("socket:") for target in targets)
    return Held(memory, threads, sockets, len(targets) - sockets)


def _descriptors(folder: Path) -> Iterator[str]:
    for descriptor in folder.iterdir():
        try:
            yield str(descriptor.readlink())
        except OSError:
            # Closed meanwhile.
            continue


class History:
    """What a process held, look by look.

    Args:
        pid: The process.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.looks: list[tuple[float, Held]] = []

    def look(self, now: float) -> None:
        """Looks once more."""
        self.looks.append((now, held_by(self.pid)))

    def growth(self) -> dict[str, float]:
        """Says by how much each of what it holds has grown over the second half; see ``growth``."""
        return {kind: growth(self._series(_getter(kind))) for kind in KINDS}

    def _series(self, get: Callable[[Held], int]) -> list[tuple[float, float]]:
        return [(now, get(held)) for now, held in self.looks]


def _getter(kind: str) -> Callable[[Held], int]:
    return lambda held: int(getattr(held, kind))


def growth(series: Sequence[tuple[float, float]]) -> float:
    """Says by how much a value has grown over the second half of a series of moments and values; never below 0.

    The first half is the warm-up. It is the smaller of two figures, of which neither depends on single values: the
    median slope between any two moments, times the duration; and how far the median of the last quarter is above that
    of the first quarter of the half. A step, such as a cache that was filled, has no slope, and a wave no difference.
    """
    half = series[len(series) // 2 :]
    quarter = len(half) // 4
    if not quarter:
        return 0.0
    step = max(1, len(half) // _MOMENTS)
    moments = half[::step]
    slope = statistics.median((b - a) / (t - s) for (s, a), (t, b) in combinations(moments, 2) if t > s)
    sloped = slope * (half[-1][0] - half[0][0])
    first, last = (statistics.median(value for _, value in part) for part in (half[:quarter], half[-quarter:]))
    return max(0.0, min(sloped, last - first))
