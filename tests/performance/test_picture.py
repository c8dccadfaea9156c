"""The picture is drawn from made-up reports; nothing is measured."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from support.patience import PATIENCE

ROOT = Path(__file__).parents[2]
MACHINE = {
    "date": "2030-01-02",
    "cpu": "Abacus <2> & Sons",
    "cores": 2,
    "python": "3.11.9",
    "versions": {"grpcio": "1.85.0", "protobuf": "7.36.0"},
}
SVG = "{http://www.w3.org/2000/svg}"


def draw(directory: Path, report: Any) -> subprocess.CompletedProcess[str]:
    source = directory / "report.json"
    source.write_text(report if isinstance(report, str) else json.dumps(report), encoding="utf-8")
    command = [sys.executable, "-m", "benchmarks.picture", str(source), str(directory / "picture.svg")]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)


def report(**details: dict[str, float]) -> dict[str, Any]:
    figures = [{"name": name.replace("_", "-"), "details": numbers} for name, numbers in details.items()]
    return {"machine": MACHINE, "plan": {"rounds": 9, "quick": False}, "figures": figures}


def test_bars_are_as_long_as_their_numbers_and_the_best_comes_first(tmp_path: Path) -> None:
    rates = report(
        link_100={"link, calls/s": 20_000.0, "bare, calls/s": 2_500.0},
        worker_100={"worker, calls/s": 10_000.0, "bare, calls/s": 2_400.0},
        link_mcp={"MCP, calls/s": 500.0, "link": 1.0},
    )
    answer = draw(tmp_path, rates)
    assert answer.returncode == 0, answer.stderr
    picture = ET.parse(tmp_path / "picture.svg").getroot()
    texts = [text.text for text in picture.iter(f"{SVG}text")]
    values = [text for text in texts if text is not None and text.endswith(" /s")]
    assert values == ["20,000 /s", "10,000 /s", "2,500 /s", "500 /s"]
    widths = [float(bar.attrib["width"]) for bar in picture.iter(f"{SVG}rect")][1:]
    assert [round(width / widths[0], 3) for width in widths] == [1.0, 0.5, 0.125, 0.025]
    assert any("Abacus <2> & Sons, 2 cores, Python 3.11.9" in str(text) for text in texts)
    assert any("Median of 9 rounds" in str(text) for text in texts)


def test_what_was_not_measured_is_left_out(tmp_path: Path) -> None:
    assert draw(tmp_path, report(link_one={"link p50, µs": 400.0}, nats_one={})).returncode == 0
    drawn = (tmp_path / "picture.svg").read_text(encoding="utf-8")
    assert "400 µs" in drawn
    assert "NATS" not in drawn
    assert "calls per second" not in drawn


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "Expecting"),
        ("[]", "it is no report of the benchmarks"),
        (report(batch={"batch of 50, ms": 3.0}), "it has nothing to draw; that needs one of echo-one, grpc-link-100"),
    ],
)
def test_a_report_that_cannot_be_drawn_is_one_line_and_exit_2(tmp_path: Path, text: Any, complaint: str) -> None:
    answer = draw(tmp_path, text)
    assert answer.returncode == 2
    assert complaint in answer.stderr
    assert answer.stderr.count("\n") == 1
    assert not (tmp_path / "picture.svg").exists()
