"""The two commands of the performance job work together: one measures, the other compares."""

import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from performance import test_strategy_benchmarks as benchmarks
from support.programs import ROOT, environment, run

BENCHMARK = "test_tool_latency"
pytestmark = pytest.mark.xdist_group("benchmarks")


def commands() -> list[str]:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "test-tool-bridge.yml").read_text(encoding="utf-8"))
    steps = workflow["jobs"]["performance-tests"]["steps"]
    return [step["run"] for step in steps if "benchmark" in step.get("run", "")]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the first command writes, of one benchmark and in few rounds."""
    path = tmp_path_factory.mktemp("report") / "benchmark-results.json"
    measure = shlex.split(commands()[0].replace("benchmark-results.json", str(path)))
    assert measure.pop(0) == ".venv/bin/pytest"
    # As a user starts it: this process is one of several.
    # The report leaves out what is no benchmark.
    own = ("PYTEST_", "REQUIRE_ALL")
    environ = {name: value for name, value in environment().items() if not name.startswith(own)}
    more = ["-k", BENCHMARK, "-p", "no:cacheprovider"]
    done = run([sys.executable, "-m", "pytest", *measure, *more], env={**environ, "BENCHMARK_ROUNDS": "3"})
    assert done.returncode == 0, done.stdout + done.stderr
    return path


def test_the_report_has_a_ratio_for_each_round(report: Path) -> None:
    (figure,) = json.loads(report.read_text(encoding="utf-8"))["benchmarks"]
    told: dict[str, Any] = figure["extra_info"]
    assert (figure["name"], told["peer"]) == (BENCHMARK, "bare grpc.aio, one call at a time")
    assert len(told["ratios"]) == len(figure["stats"]["data"]) == 3
    assert all(ratio > 0 for ratio in told["ratios"])


def test_the_report_is_compared_with_the_baseline(report: Path) -> None:
    program, *words = shlex.split(commands()[1].replace("benchmark-results.json", str(report)))
    assert program == ".venv/bin/python"
    done = run([sys.executable, *words])
    # How it compares is the machine's business here.
    assert done.returncode in {0, 1}, done.stderr
    assert re.search(rf"^{BENCHMARK} .*(ok|unclear|WORSE)$", done.stdout, re.MULTILINE)
    assert re.search(r"^1 figures compared, [01] worse by more than 10 %$", done.stdout, re.MULTILINE)


def test_the_baseline_has_every_benchmark() -> None:
    baseline = json.loads((ROOT / "tests" / "performance" / "baseline.json").read_text(encoding="utf-8"))
    names = [name for name in vars(benchmarks.TestPerformance) if name.startswith("test_")]
    scaling = [f"test_concurrent_tool_scaling[{level}]" for level in benchmarks.LEVELS]
    measured = {name for name in names if not scaling[0].startswith(name)} | set(scaling)
    assert {figure["name"] for figure in baseline["figures"]} == measured
