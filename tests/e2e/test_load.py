"""The load test runs against a hub with its tools in workers, and no request fails."""

import subprocess
import sys
from pathlib import Path

from support.patience import PATIENCE

SCRIPT = Path(__file__).parents[2] / "scripts" / "load.py"
ROUTES = (
    "POST   /api/sessions",
    "POST   /api/sessions/{sid}/tools/batch",
    "GET    /api/sessions/{sid}/tools/stream_data/stream",
    "POST   /api/sessions/{sid}/tools/{tool}/execute",
)


def test_no_request_of_the_load_test_fails_and_its_report_has_every_route(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--users", "5", "--seconds", "5", "--report", "load"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=3 * PATIENCE, check=False, cwd=tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in ran.stdout.splitlines() if "│" in line]
    assert [f"{row[0]:6} {row[1]}" for row in rows[:-1]] == list(ROUTES)
    assert [row[3] for row in rows] == ["0"] * 5
    assert all(float(cell.replace(",", "")) > 0 for row in rows for cell in (row[2], *row[4:]))
    assert "<html" in (tmp_path / "load" / "report.html").read_text(encoding="utf-8")
