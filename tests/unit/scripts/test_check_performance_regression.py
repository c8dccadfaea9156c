"""The gate compares made-up reports; nothing is measured."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.patience import PATIENCE

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "scripts" / "check_performance_regression.py"


def figure(name: str, measured: float | None, *, better: str = "more", unit: str = "ratio") -> dict[str, Any]:
    made: dict[str, Any] = {"name": name, "unit": unit, "better": better}
    return made if measured is None else {**made, "measured": measured}


class Gate:
    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def report(self, name: str, *figures: dict[str, Any]) -> Path:
        path = self._directory / name
        path.write_text(json.dumps({"figures": figures}), encoding="utf-8")
        return path

    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(SCRIPT), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)

    def compare(self, before: dict[str, Any], now: dict[str, Any], *more: object) -> subprocess.CompletedProcess[str]:
        baseline, current = self.report("baseline.json", before), self.report("current.json", now)
        return self.run("--baseline", baseline, "--current", current, *more)


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path)


@pytest.mark.parametrize(("better", "worse", "finer"), [("more", 8.9, 20.0), ("less", 11.1, 2.0)])
def test_a_loss_beyond_the_threshold_fails_and_a_gain_does_not(
    gate: Gate, better: str, worse: float, finer: float
) -> None:
    before = figure("link-100", 10.0, better=better)

    failed = gate.compare(before, figure("link-100", worse, better=better))
    assert failed.returncode == 1
    line = f"link-100: {worse:.3g}, was 10: 11.0 % worse, 10 % are let pass ({better} is better)"
    assert line in failed.stdout.splitlines()

    passed = gate.compare(before, figure("link-100", finer, better=better))
    assert (passed.returncode, passed.stdout) == (0, "1 figures compared, 0 worse by more than 10 %\n")


def test_a_loss_within_the_threshold_passes_and_the_threshold_can_be_set(gate: Gate) -> None:
    before, now = figure("link-100", 10.0), figure("link-100", 9.2)
    assert gate.compare(before, now).returncode == 0
    assert gate.compare(before, now, "--threshold", 5).returncode == 1
    assert gate.compare(before, now, "--threshold", 8.5).returncode == 0


def test_each_figure_that_lost_has_a_line_of_its_own(gate: Gate) -> None:
    names = ["a", "b", "c"]
    baseline = gate.report("baseline.json", *(figure(name, 2.0) for name in names))
    current = gate.report("current.json", figure("a", 1.0), figure("b", 2.0), figure("c", 1.5))
    answer = gate.run("--baseline", baseline, "--current", current)
    assert answer.returncode == 1
    assert [line.partition(":")[0] for line in answer.stdout.splitlines()[:-1]] == ["a", "c"]


def test_figures_on_one_side_only_are_named_and_do_not_fail(gate: Gate) -> None:
    baseline = gate.report("baseline.json", figure("both", 2.0), figure("gone", 2.0), figure("failed", 2.0))
    current = gate.report("current.json", figure("both", 2.0), figure("new", 2.0), figure("failed", None))
    answer = gate.run("--baseline", baseline, "--current", current)
    assert answer.returncode == 0
    assert answer.stdout.splitlines() == [
        "gone: not in the current report, so not compared",
        "failed: not in the current report, so not compared",
        "new: not in the baseline, so not compared",
        "1 figures compared, 0 worse by more than 10 %",
    ]


def test_bytes_and_percentages_are_not_compared(gate: Gate) -> None:
    baseline = gate.report("baseline.json", figure("link-100", 2.0), figure("growth", 1.0, better="less", unit="MB"))
    current = gate.report("current.json", figure("link-100", 2.0), figure("growth", 9.0, better="less", unit="MB"))
    answer = gate.run("--baseline", baseline, "--current", current)
    assert (answer.returncode, answer.stdout) == (0, "1 figures compared, 0 worse by more than 10 %\n")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "is no report of the benchmarks"),
        ("[]", "is no report of the benchmarks"),
        ('{"figures": [3]}', "is no report of the benchmarks"),
        ('{"figures": [{"name": "a", "unit": "ratio", "better": "more", "measured": "fast"}]}', "a is 'fast'"),
        ('{"figures": [{"name": "a", "unit": "ratio", "better": "more", "measured": 0}]}', "a is 0"),
        ('{"figures": [{"name": "a", "unit": "ratio", "better": "more", "measured": NaN}]}', "a is nan"),
        ('{"figures": [{"name": "a", "unit": "ratio", "better": "up", "measured": 1}]}', "better when 'up'"),
        ('{"figures": [{"name": "b", "unit": "ratio", "better": "more", "measured": 1}]}', "no figure in common"),
        ('{"figures": [{"name": "a", "unit": "ratio", "better": "less", "measured": 1}]}', "do not agree"),
    ],
)
def test_a_bad_report_is_one_line_and_exit_2(gate: Gate, tmp_path: Path, text: str, complaint: str) -> None:
    baseline = gate.report("baseline.json", figure("a", 2.0))
    current = tmp_path / "bad.json"
    current.write_text(text, encoding="utf-8")
    answer = gate.run("--baseline", baseline, "--current", current)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert complaint in answer.stderr
    assert answer.stderr.count("\n") == 1


def test_a_file_that_is_not_there_and_a_threshold_below_0_are_exit_2(gate: Gate, tmp_path: Path) -> None:
    baseline = gate.report("baseline.json", figure("a", 2.0))
    missing = gate.run("--baseline", baseline, "--current", tmp_path / "none.json")
    assert missing.returncode == 2
    assert "none.json cannot be read" in missing.stderr
    below = gate.run("--baseline", baseline, "--current", baseline, "--threshold", "-1")
    assert below.returncode == 2
    assert "--threshold is 0 or more" in below.stderr


def test_the_committed_baseline_passes_against_itself(gate: Gate) -> None:
    baseline = ROOT / "benchmarks" / "baseline.json"
    answer = gate.run("--current", baseline)
    assert answer.returncode == 0
    assert answer.stdout.endswith("0 worse by more than 10 %\n")
