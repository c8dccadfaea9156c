"""Results as a table for a person and as JSON for a program."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.figures import Figure
from benchmarks.machine import in_words, machine
from benchmarks.timing import Plan, Sample

_COLOURS = {"goal": "green", "must": "yellow", "missed": "bold red", "failed": "bold red"}


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one figure.

    Attributes:
        figure: The figure.
        sample: What was measured; None if nothing was.
        problem: Why nothing was measured; otherwise empty.
        failed: Whether that is an error; otherwise the peer is not installed.
    """

    figure: Figure
    sample: Sample | None
    problem: str = ""
    failed: bool = False

    @property
    def verdict(self) -> str:
        """Returns "goal", "must", "missed", "failed" or "not installed"; empty if the figure only informs."""
        if self.sample is None:
            return "failed" if self.failed else "not installed"
        return self.figure.verdict(self.sample.median)


def as_json(outcomes: Sequence[Outcome], plan: Plan) -> dict[str, Any]:
    """Makes the report as plain data."""
    return {"machine": machine(), "plan": dataclasses.asdict(plan), "figures": [_figure(item) for item in outcomes]}


def print_table(outcomes: Sequence[Outcome], plan: Plan, console: Console) -> None:
    """Prints the report."""
    table = Table(title="What the bridge costs", title_justify="left")
    table.add_column("figure")
    for heading in ("measured", "spread", "must", "goal"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for outcome in outcomes:
        table.add_row(*_row(outcome))
    console.print(table)
    for outcome in outcomes:
        if outcome.problem:
            style = "red" if outcome.failed else "dim"
            console.print(f"{outcome.figure.name}: {outcome.problem}", style=style, markup=False)
    rounds = f"{plan.rounds} rounds{', quick' if plan.quick else ''}; the spread is the middle half of them."
    console.print(f"{rounds} {in_words(machine())}.", style="dim", markup=False)


def _row(outcome: Outcome) -> Sequence[str]:
    figure, sample = outcome.figure, outcome.sample
    bound = "≥" if figure.more_is_better else "≤"
    title = f"[bold]{figure.name}[/bold] {figure.title}"
    measured = spread = "-"
    if sample is not None:
        measured = _number(sample.median, figure.unit)
        quartiles = sample.spread
        spread = f"{_number(quartiles[0])} to {_number(quartiles[1])}" if quartiles else "-"
        details = ", ".join(
            f"{name.partition(',')[0]} {_number(value, _unit(name))}" for name, value in sample.details.items()
        )
        title += f"\n[dim]{details}[/dim]" if details else ""
    limits = ["" if limit is None else f"{bound} {limit:g}" for limit in (figure.must, figure.goal)]
    verdict = f"[{_COLOURS.get(outcome.verdict, 'dim')}]{outcome.verdict}[/]"
    return (title, measured, spread, *limits, verdict)


def _unit(name: str) -> str:
    return name.partition(", ")[2]


def _number(value: float, unit: str = "") -> str:
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 0.1 or not value else 3
    return f"{value:,.{digits}f} {unit}".rstrip()


def _figure(outcome: Outcome) -> dict[str, Any]:
    figure, sample = outcome.figure, outcome.sample
    result: dict[str, Any] = {
        "name": figure.name,
        "title": figure.title,
        "unit": figure.unit or "ratio",
        "better": "more" if figure.more_is_better else "less",
        "must": figure.must,
        "goal": figure.goal,
        "verdict": outcome.verdict,
    }
    if sample is None:
        return {**result, "problem": outcome.problem}
    return {
        **result,
        "measured": sample.median,
        "spread": sample.spread,
        "values": list(sample.values),
        "details": dict(sample.details),
    }
