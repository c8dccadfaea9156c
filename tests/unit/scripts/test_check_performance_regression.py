"""The gate compares made-up reports; nothing is measured."""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from support.patience import PATIENCE

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "scripts" / "check_performance_regression.py"


def figure(
    name: str, measured: float | None, *, better: str = "more", unit: str = "ratio", values: Sequence[float] = ()
) -> dict[str, Any]:
    made: dict[str, Any] = {"name": name, "unit": unit, "better": better, "values": values}
    return made if measured is None else {**made, "measured": measured}


def around(median: float, spread: float) -> list[float]:
    """Fifteen rounds whose median has an interval of so much on both sides."""
    return [median + spread * offset for offset in (-3, -2, -1.5, -1, -0.6, -0.4, -0.2, 0, 0.2, 0.4, 0.6, 1, 1.5, 2, 3)]


def benchmark(name: str, *ratios: float) -> dict[str, Any]:
    """A figure of pytest-benchmark's report."""
    return {"name": name, "extra_info": {"ratios": ratios} if ratios else {}, "stats": {"median": 0.1}}


def rows(stdout: str) -> dict[str, list[str]]:
    """The table by its first column."""
    cells = [re.split(r"  +", line) for line in stdout.splitlines() if "  " in line]
    return {row[0]: row[1:] for row in cells}


class Gate:
    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def report(self, name: str, *figures: dict[str, Any], key: str = "figures") -> Path:
        path = self._directory / name
        path.write_text(json.dumps({key: figures}), encoding="utf-8")
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
    assert rows(failed.stdout) == {
        "figure": ["baseline", "current", "interval", "change", "verdict"],
        "link-100": ["10", f"{worse:.3g}", "-", "11.0 % worse", "WORSE"],
    }

    passed = gate.compare(before, figure("link-100", finer, better=better))
    assert passed.returncode == 0
    assert rows(passed.stdout)["link-100"][-1] == "ok"
    assert passed.stdout.splitlines()[-1] == "1 figures compared, 0 worse by more than 10 %"


def test_a_loss_within_the_threshold_passes_and_the_threshold_can_be_set(gate: Gate) -> None:
    before, now = figure("link-100", 10.0), figure("link-100", 9.2)
    assert gate.compare(before, now).returncode == 0
    assert gate.compare(before, now, "--threshold", 5).returncode == 1
    assert gate.compare(before, now, "--threshold", 8.5).returncode == 0


def test_each_figure_has_a_line_and_only_what_lost_is_worse(gate: Gate) -> None:
    names = ["a", "b", "c"]
    baseline = gate.report("baseline.json", *(figure(name, 2.0) for name in names))
    current = gate.report("current.json", figure("a", 1.0), figure("b", 2.0), figure("c", 1.5))
    answer = gate.run("--baseline", baseline, "--current", current)
    assert answer.returncode == 1
    verdicts = {name: cells[-1] for name, cells in rows(answer.stdout).items()}
    assert verdicts == {"figure": "verdict", "a": "WORSE", "b": "ok", "c": "WORSE"}
    assert answer.stdout.splitlines()[-1] == "3 figures compared, 2 worse by more than 10 %"


def test_figures_on_one_side_only_are_named_and_do_not_fail(gate: Gate) -> None:
    baseline = gate.report("baseline.json", figure("both", 2.0), figure("gone", 2.0), figure("failed", 2.0))
    current = gate.report("current.json", figure("both", 2.0), figure("new", 2.0), figure("failed", None))
    answer = gate.run("--baseline", baseline, "--current", current)
    assert answer.returncode == 0
    assert answer.stdout.splitlines()[2:] == [
        "gone: not in the current report, so not compared",
        "failed: not in the current report, so not compared",
        "new: not in the baseline, so not compared",
        "1 figures compared, 0 worse by more than 10 %",
    ]


def test_bytes_and_percentages_are_not_compared(gate: Gate) -> None:
    baseline = gate.report("baseline.json", figure("link-100", 2.0), figure("growth", 1.0, better="less", unit="MB"))
    current = gate.report("current.json", figure("link-100", 2.0), figure("growth", 9.0, better="less", unit="MB"))
    answer = gate.run("--baseline", baseline, "--current", current)
    assert (answer.returncode, list(rows(answer.stdout))) == (0, ["figure", "link-100"])


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "is no report of the benchmarks"),
        ("[]", "it has neither figures nor benchmarks"),
        ('{"figures": [3]}', "is no report of the benchmarks"),
        ('{"figures": [{"name": "a", "unit": "ratio", "better": "more", "measured": "fast"}]}', "a is 'fast'"),
        ('{"figures": [{"name": "a", "unit": "ratio", "better": "more", "measured": 0}]}', "a is 0"),
        ('{"figures": [{"name": "a", "unit": "ratio", "better": "more", "measured": NaN}]}', "a is nan"),
        ('{"figures": [{"name": "a", "unit": "ratio", "better": "up", "measured": 1}]}', "better when 'up'"),
        ('{"benchmarks": [{"name": "a", "extra_info": {"ratios": [-1]}}]}', "a is -1"),
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


# ----------------------------------------------------------------------------------------------------- noisy machines


@pytest.mark.parametrize(
    ("before", "now", "verdict", "code"),
    [
        (around(1, 0.01), around(1.3, 0.01), "WORSE", 1),
        (around(1, 0.01), around(1.3, 0.3), "unclear", 0),
        (around(1, 0.2), around(1.3, 0.01), "unclear", 0),
        (around(1, 0.2), around(1.05, 0.2), "ok", 0),
        # Too few for an interval.
        ([1, 1, 1], [1.3, 1.0, 1.9], "WORSE", 1),
    ],
)
def test_a_loss_that_may_be_noise_is_said_and_does_not_fail(
    gate: Gate, before: list[float], now: list[float], verdict: str, code: int
) -> None:
    ours, theirs = (benchmark("test_tool_latency", *values) for values in (before, now))
    current = gate.report("current.json", theirs, key="benchmarks")
    answer = gate.run("--baseline", gate.report("baseline.json", ours, key="benchmarks"), "--current", current)
    assert answer.returncode == code
    assert rows(answer.stdout)["test_tool_latency"][-1] == verdict
    assert ("1 unclear: too noisy to tell" in answer.stdout) == (verdict == "unclear")


def test_noise_of_what_is_better_when_it_is_more_is_seen_too(gate: Gate) -> None:
    before = figure("link-100", 10.0, values=around(10, 0.1))
    noisy, clear = (figure("link-100", 8.0, values=around(8, spread)) for spread in (2, 0.1))
    assert gate.compare(before, noisy).returncode == 0
    assert gate.compare(before, clear).returncode == 1


# ------------------------------------------------------------------------------------------------------- benchmarks


def test_a_report_of_pytest_becomes_the_baseline_that_others_are_compared_with(gate: Gate, tmp_path: Path) -> None:
    report = gate.report("report.json", benchmark("a", 1.0, 2.0, 3.0), benchmark("without-a-peer"), key="benchmarks")
    baseline = tmp_path / "baseline.json"
    made = gate.run("--current", report, "--baseline", baseline, "--update")
    assert (made.returncode, made.stdout) == (0, f"{baseline} has 1 figures now\n")
    same = gate.run("--current", report, "--baseline", baseline)
    assert (same.returncode, list(rows(same.stdout))) == (0, ["figure", "a"])
    slower = gate.report("slower.json", benchmark("a", 9.0, 9.0, 9.0), key="benchmarks")
    assert gate.run("--current", slower, "--baseline", baseline).returncode == 1


def test_a_report_without_a_ratio_is_no_baseline(gate: Gate, tmp_path: Path) -> None:
    report = gate.report("report.json", benchmark("without-a-peer"), key="benchmarks")
    made = gate.run("--current", report, "--baseline", tmp_path / "baseline.json", "--update")
    assert (made.returncode, (tmp_path / "baseline.json").exists()) == (2, False)
    whole = gate.run("--current", gate.report("whole.json", figure("a", 2.0)), "--update")
    assert whole.returncode == 2
    assert "copy the file" in whole.stderr


def test_another_machine_is_named(gate: Gate, tmp_path: Path) -> None:
    reports = [tmp_path / "here.json", tmp_path / "there.json"]
    for path, cores in zip(reports, (2, 4), strict=True):
        told = {"cpu": {"brand_raw": "Abacus", "count": cores}, "python_version": "3.11.7"}
        path.write_text(json.dumps({"machine_info": told, "benchmarks": [benchmark("a", 1.0)]}), encoding="utf-8")
    answer = gate.run("--baseline", reports[0], "--current", reports[1])
    assert "the baseline was measured elsewhere: cores 2, now 4" in answer.stdout.splitlines()
    assert "cpu" not in answer.stdout


@pytest.mark.parametrize("baseline", ["benchmarks/baseline.json", "tests/performance/baseline.json"])
def test_a_committed_baseline_passes_against_itself(gate: Gate, baseline: str) -> None:
    answer = gate.run("--current", ROOT / baseline)
    assert answer.returncode == 0
    assert answer.stdout.endswith("0 worse by more than 10 %\n")
