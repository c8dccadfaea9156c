"""The pictures of docs/design.md are what the code says, and those of README.md are small."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.patience import PATIENCE
from support.png import size_of

ROOT = Path(__file__).parents[2]


def test_the_pictures_and_the_list_of_files_are_up_to_date() -> None:
    command = [sys.executable, "scripts/draw_house.py", "--check"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=2 * PATIENCE, check=False)
    # gRPC may have something to say of its own where three event loops end.
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_a_call_can_be_followed_in_one_sitting() -> None:
    # Of the list, which the test above compares with a call.
    text = (ROOT / "docs/design.md").read_text()
    counts = {name: int(files) for name, files in re.findall(r"^\*\*(.+)\*\* \((\d+) files\):$", text, re.MULTILINE)}
    assert counts.keys() == {"A tool of the hub", "A worker's tool"}
    assert counts["A tool of the hub"] <= 20
    assert counts["A worker's tool"] <= 29


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_pictures_of_the_dashboard_are_small(theme: str) -> None:
    """`make pictures` takes them."""
    picture = (ROOT / f"docs/images/dashboard-{theme}.png").read_bytes()
    assert size_of(picture) == (1600, 1000)
    assert len(picture) < 200_000


def test_the_terminal_of_the_front_page_shows_what_the_commands_print() -> None:
    command = [sys.executable, "scripts/draw_terminal.py", "--check"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=4 * PATIENCE, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
