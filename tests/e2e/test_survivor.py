"""The example of a program that survives the faults that its hub injects."""

from pathlib import Path

from support.programs import run_example


def run(folder: Path) -> str:
    ran = run_example("survivor.py", folder)
    assert "injects faults on purpose" in ran.stderr
    return ran.stdout


def test_it_reaches_its_goal_and_each_run_has_the_same_faults(tmp_path: Path) -> None:
    said = run(tmp_path)
    assert said.splitlines()[:7] == [
        "flight BR 101 to Oslo, hotel Hotel Oslo, bookings [1, 2]",
        "day 1: sun",
        "day 2: rain",
        "day 3: sun",
        "day 4: rain",
        "no reviews today (JSONDecodeError)",
        "2 bookings were made",
    ]
    for fault in ("flaky search.error", "busy hotels.error", "lost booking.drop: 1", "cut-off forecast.truncated: 2"):
        assert f"  {fault}" in said
    assert run(tmp_path) == said
