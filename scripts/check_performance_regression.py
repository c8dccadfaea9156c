#!/usr/bin/env python3
"""Fails if a benchmark's ratio got worse: compares a report of ``python -m benchmarks --json`` with a baseline.

Only ratios are compared: they are taken against a peer in the same run, so they mean the same on another machine. Bytes
and percentages of a processor do not.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BASELINE = Path(__file__).resolve().parent.parent / "benchmarks" / "baseline.json"
_RATIOS = {"ratio", "x"}


class ReportError(Exception):
    """A file is not a report of the benchmarks."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """A figure of a report.

    Attributes:
        name: Name of the figure.
        measured: Its median.
        more_is_better: Whether a larger one is better.
    """

    name: str
    measured: float
    more_is_better: bool

    def lost(self, now: float) -> float:
        """Returns by how many percent ``now`` is worse; negative if it is better."""
        change = (now / self.measured - 1) * 100
        return -change if self.more_is_better else change


def main(arguments: Sequence[str] | None = None) -> int:
    """Compares two reports.

    Returns:
        0; 1 if a figure has lost more than the threshold; 2 if there is nothing to compare.
    """
    options = _parse(arguments)
    try:
        baseline, current = read(options.baseline), read(options.current)
        compared = _in_common(baseline, current)
    except ReportError as error:
        print(error, file=sys.stderr)
        return 2
    for line in _missing(baseline, current):
        print(line)
    losses = [line for name in compared if (line := _loss(baseline[name], current[name], options.threshold))]
    for line in losses:
        print(line)
    print(f"{len(compared)} figures compared, {len(losses)} worse by more than {options.threshold:g} %")
    return int(bool(losses))


def read(path: Path) -> dict[str, Ratio]:
    """Reads the ratios of a report, by name; figures that were not measured are left out.

    Raises:
        ReportError: The file cannot be read or is no report.
    """
    try:
        figures = json.loads(path.read_text(encoding="utf-8"))["figures"]
        return {ratio.name: ratio for figure in figures if (ratio := _ratio(figure))}
    except OSError as error:
        raise ReportError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ReportError(f"{path} is no report of the benchmarks: {error!r}") from None


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare the ratios of a report with a baseline.")
    parser.add_argument("--current", type=Path, required=True, metavar="FILE", help="what --json has written")
    parser.add_argument("--baseline", type=Path, default=BASELINE, metavar="FILE", help="benchmarks/baseline.json")
    parser.add_argument("--threshold", type=float, default=10.0, metavar="PERCENT", help="loss that is let pass (10)")
    options = parser.parse_args(arguments)
    if not options.threshold >= 0:
        parser.error("--threshold is 0 or more")
    return options


def _ratio(figure: Mapping[str, Any]) -> Ratio | None:
    if figure["unit"] not in _RATIOS or "measured" not in figure:
        return None
    measured, better = figure["measured"], figure["better"]
    if type(measured) not in {int, float} or not 0 < measured < float("inf"):
        raise ValueError(f"{figure['name']} is {measured!r}; a ratio is a number above 0")
    if better not in {"more", "less"}:
        raise ValueError(f"{figure['name']} is better when {better!r}; that is 'more' or 'less'")
    return Ratio(figure["name"], measured, better == "more")


def _in_common(baseline: Mapping[str, Ratio], current: Mapping[str, Ratio]) -> list[str]:
    names = [name for name in baseline if name in current]
    if not names:
        raise ReportError("the two reports have no figure in common")
    for name in names:
        if baseline[name].more_is_better != current[name].more_is_better:
            raise ReportError(f"{name}: the two reports do not agree on which direction is better")
    return names


def _missing(baseline: Mapping[str, Ratio], current: Mapping[str, Ratio]) -> list[str]:
    return [
        *(f"{name}: not in the current report, so not compared" for name in baseline if name not in current),
        *(f"{name}: not in the baseline, so not compared" for name in current if name not in baseline),
    ]


def _loss(before: Ratio, now: Ratio, threshold: float) -> str:
    """Describes what a figure has lost; empty if it is within the threshold."""
    lost = before.lost(now.measured)
    if lost <= threshold:
        return ""
    better = "more" if before.more_is_better else "less"
    return (
        f"{before.name}: {now.measured:.3g}, was {before.measured:.3g}: {lost:.1f} % worse, "
        f"{threshold:g} % are let pass ({better} is better)"
    )


if __name__ == "__main__":
    sys.exit(main())
