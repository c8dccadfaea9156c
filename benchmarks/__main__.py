"""``python -m benchmarks``: measures the figures and compares them with their targets.

Each set of figures is measured in its own process, so that no figure is affected by the memory of another, or delays
the others for longer than its time limit.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.figures import Figure, chosen
from benchmarks.picture import draw
from benchmarks.report import Outcome, as_json, print_table
from benchmarks.timing import Plan, Sample

# The longest figure, 100,000 calls, takes a minute or two.
_LIMIT_SECONDS = 600.0


class _MeasureError(Exception):
    """A figure could not be measured."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmarks; returns 0, or 1 if a figure could not be measured."""
    options, figures = _parse(arguments)
    plan = Plan(rounds=options.rounds or (3 if options.quick else 9), quick=options.quick)
    console = Console()
    try:
        outcomes = _measure_all(figures, plan, Console(stderr=True))
    except KeyboardInterrupt:
        return 130
    print_table(outcomes, plan, console)
    report = as_json(outcomes, plan)
    if options.json:
        _write(options.json, json.dumps(report, indent=2) + "\n")
    if options.picture:
        try:
            _write(options.picture, draw(report))
        except ValueError as error:
            console.print(f"{options.picture} was not drawn: {error}", style="red", markup=False)
            return 1
    return int(any(outcome.failed for outcome in outcomes))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _parse(arguments: Sequence[str] | None) -> tuple[argparse.Namespace, list[Figure]]:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure what the bridge costs.")
    parser.add_argument("--quick", action="store_true", help="less work in each round, and three rounds")
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds of each figure (default 9)")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="this figure; may be repeated")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw calls per second and p50 there, as SVG")
    options = parser.parse_args(arguments)
    if options.rounds is not None and options.rounds < 1:
        parser.error("--rounds is 1 or more")
    try:
        return options, chosen(options.only)
    except ValueError as error:
        parser.error(str(error))


def _measure_all(figures: Sequence[Figure], plan: Plan, progress: Console) -> list[Outcome]:
    outcomes: dict[str, Outcome] = {}
    for figure in figures:
        if figure.name not in outcomes:
            together = [other for other in figures if other.measured_by == figure.measured_by]
            with progress.status(f"measuring {figure.name}: {figure.title}"):
                outcomes |= {outcome.figure.name: outcome for outcome in _outcomes(together, plan)}
    return [outcomes[figure.name] for figure in figures]


def _outcomes(figures: Sequence[Figure], plan: Plan) -> list[Outcome]:
    try:
        answer = _measure(figures[0].name, plan)
    except _MeasureError as error:
        return [Outcome(figure, None, str(error), failed=True) for figure in figures]
    if "samples" not in answer:
        return [Outcome(figure, None, answer["not installed"]) for figure in figures]
    return [Outcome(figure, Sample(**answer["samples"][figure.name])) for figure in figures]


def _measure(name: str, plan: Plan) -> Mapping[str, Any]:
    command = [sys.executable, "-m", "benchmarks.measure", name, "--rounds", str(plan.rounds)]
    if plan.quick:
        command.append("--quick")
    try:
        finished = subprocess.run(command, stdout=subprocess.PIPE, timeout=_LIMIT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise _MeasureError(f"it did not end within {_LIMIT_SECONDS:g} s") from None
    if finished.returncode:
        raise _MeasureError(f"its process ended with {finished.returncode}; see its output above")
    answer: Mapping[str, Any] = json.loads(finished.stdout)
    return answer


if __name__ == "__main__":
    sys.exit(main())
