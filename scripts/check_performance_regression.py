#!/usr/bin/env python3
"""Fails if a benchmark's ratio got worse: compares a report with a baseline.

A report is what ``pytest tests/performance --benchmark-json`` or ``python -m benchmarks --json`` has written. Only
ratios are compared: they are taken against a peer in the same run, so load changes them less than seconds. It still
does, so a ratio counts as worse only if the 95 % intervals of both medians are further apart than the threshold. If
only the medians are, the runs were too noisy to tell: that is said, and does not fail.
"""

import argparse
import json
import math
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# Of the two kinds of report, by their key.
BASELINES = {
    "figures": ROOT / "benchmarks" / "baseline.json",
    "benchmarks": ROOT / "tests" / "performance" / "baseline.json",
}
_RATIOS = {"ratio", "x"}
_CONFIDENCE = 0.95


class ReportError(Exception):
    """A file is not a report of the benchmarks."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """A figure of a report.

    Attributes:
        name: Name of the figure.
        measured: Its median.
        more_is_better: Whether a larger one is better.
        values: That of each round; empty if it was measured as a whole.
    """

    name: str
    measured: float
    more_is_better: bool
    values: tuple[float, ...] = ()

    def lost(self, now: float) -> float:
        """Returns by how many percent ``now`` is worse; negative if it is better."""
        change = (now / self.measured - 1) * 100
        return -change if self.more_is_better else change

    @property
    def interval(self) -> tuple[float, float]:
        """What the median is between, with a confidence of 95 %, whatever the values' distribution is."""
        rank = _rank(len(self.values))
        if rank is None:
            return self.measured, self.measured
        ordered = sorted(self.values)
        return ordered[rank], ordered[-1 - rank]

    def lost_at_least(self, now: "Ratio") -> float:
        """Returns by how many percent ``now`` is worse if this was as bad, and that is as good, as may be."""
        (low, high), (low_now, high_now) = self.interval, now.interval
        worst, best = (low, high_now) if self.more_is_better else (high, low_now)
        return Ratio(self.name, worst, self.more_is_better).lost(best)


@dataclass(frozen=True, slots=True)
class Report:
    """A report.

    Attributes:
        kind: Its key in ``BASELINES``.
        ratios: By name; figures that were not measured are left out.
        machine: What it was measured on.
    """

    kind: str
    ratios: Mapping[str, Ratio]
    machine: Mapping[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Compares two reports, or makes the first one the baseline.

    Returns:
        0; 1 if a figure has lost more than the threshold; 2 if there is nothing to compare.
    """
    options = _parse(arguments)
    try:
        current = read(options.current)
        path = options.baseline or BASELINES[current.kind]
        if options.update:
            return _update(path, current)
        baseline = read(path)
        names = _in_common(baseline.ratios, current.ratios)
    except ReportError as error:
        print(error, file=sys.stderr)
        return 2
    rows = [_row(baseline.ratios[name], current.ratios[name], options.threshold) for name in names]
    _print_table([("figure", "baseline", "current", "interval", "change", "verdict"), *rows])
    for line in [*_missing(baseline.ratios, current.ratios), *_moved(baseline.machine, current.machine)]:
        print(line)
    verdicts = [row[-1] for row in rows]
    noisy = verdicts.count("unclear")
    if noisy:
        print(f"{noisy} unclear: too noisy to tell; measure again on a quieter machine, or with more rounds")
    print(f"{len(names)} figures compared, {verdicts.count('WORSE')} worse by more than {options.threshold:g} %")
    return int("WORSE" in verdicts)


def read(path: Path) -> Report:
    """Reads a report.

    Raises:
        ReportError: The file cannot be read or is no report.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        kind = next(key for key in BASELINES if key in found)
        ratios = [ratio for figure in found[kind] if (ratio := _ratio(figure))]
        machine = found.get("machine") or _machine(found.get("machine_info", {}))
        # A baseline of the second kind is written in the form of the first.
        return Report(found.get("of", kind), {ratio.name: ratio for ratio in ratios}, machine)
    except OSError as error:
        raise ReportError(f"{path} cannot be read: {error.strerror}") from None
    except StopIteration:
        raise ReportError(f"{path} is no report of the benchmarks: it has neither {' nor '.join(BASELINES)}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ReportError(f"{path} is no report of the benchmarks: {error!r}") from None


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare the ratios of a report with a baseline.")
    parser.add_argument("--current", type=Path, required=True, metavar="FILE", help="what was measured now")
    parser.add_argument(
        "--baseline", type=Path, metavar="FILE", help="another report; default: the committed one of the same kind"
    )
    parser.add_argument("--threshold", type=float, default=10.0, metavar="PERCENT", help="loss that is let pass (10)")
    parser.add_argument("--update", action="store_true", help="make the current report the baseline")
    options = parser.parse_args(arguments)
    if not options.threshold >= 0:
        parser.error("--threshold is 0 or more")
    return options


def _ratio(figure: Mapping[str, Any]) -> Ratio | None:
    if "extra_info" in figure:
        return _ratio_of_benchmark(figure)
    if figure["unit"] not in _RATIOS or "measured" not in figure:
        return None
    name, measured, better = figure["name"], figure["measured"], figure["better"]
    values = tuple(figure.get("values", ()))
    for value in (measured, *values):
        _check(name, value)
    if better not in {"more", "less"}:
        raise ValueError(f"{name} is better when {better!r}; that is 'more' or 'less'")
    return Ratio(name, measured, better == "more", values)


def _ratio_of_benchmark(figure: Mapping[str, Any]) -> Ratio | None:
    """Reads a benchmark of pytest: how many times as long as its peer it took, so less is better."""
    name, values = figure["name"], tuple(figure["extra_info"].get("ratios", ()))
    for value in values:
        _check(name, value)
    return Ratio(name, statistics.median(values), more_is_better=False, values=values) if values else None


def _check(name: str, value: object) -> None:
    if not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ValueError(f"{name} is {value!r}; a ratio is a number above 0")


def _machine(found: Mapping[str, Any]) -> dict[str, Any]:
    cpu = found.get("cpu", {})
    known = {"cpu": cpu.get("brand_raw"), "cores": cpu.get("count"), "python": found.get("python_version")}
    return {name: value for name, value in known.items() if value}


def _rank(count: int) -> int | None:
    """Returns how many values may lie below the interval of a median; None if there are too few for any interval.

    Each value lies below the median with a probability of one half, independently of the others.
    """
    outside, rank = 0.0, None
    for below in range(count // 2):
        outside += math.comb(count, below) / 2**count
        if 2 * outside > 1 - _CONFIDENCE:
            break
        rank = below
    return rank


def _update(path: Path, current: Report) -> int:
    if not current.ratios:
        raise ReportError("the current report has no ratio that could be a baseline")
    if current.kind == "figures":
        raise ReportError("the baseline of `python -m benchmarks` is its whole report: copy the file")
    figures = [
        {"name": ratio.name, "unit": "ratio", "better": "less", "measured": ratio.measured, "values": ratio.values}
        for ratio in current.ratios.values()
    ]
    report = {"of": current.kind, "machine": current.machine, "figures": figures}
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(f"{path} has {len(figures)} figures now")
    return 0


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


def _moved(baseline: Mapping[str, Any], current: Mapping[str, Any]) -> Iterator[str]:
    """Says what differs between the machines: ratios differ between machines, too, if less than seconds."""
    for name in ("cpu", "cores", "python"):
        before, now = baseline.get(name), current.get(name)
        if before and now and before != now:
            yield f"the baseline was measured elsewhere: {name} {before}, now {now}"


def _row(before: Ratio, now: Ratio, threshold: float) -> tuple[str, ...]:
    lost = before.lost(now.measured)
    verdict = "ok"
    if lost > threshold:
        verdict = "WORSE" if before.lost_at_least(now) > threshold else "unclear"
    change = f"{abs(lost):.1f} % {'worse' if lost > 0 else 'better'}" if lost else "none"
    interval = f"{now.interval[0]:.3g} to {now.interval[1]:.3g}" if now.interval[0] != now.interval[1] else "-"
    return before.name, f"{before.measured:.3g}", f"{now.measured:.3g}", interval, change, verdict


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


if __name__ == "__main__":
    sys.exit(main())
