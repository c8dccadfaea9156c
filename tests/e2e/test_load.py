"""The load test runs against a hub with its tools in workers, and no request fails."""

import asyncio
import contextlib
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from support.patience import PATIENCE
from support.waiting import soon, until

SCRIPT = Path(__file__).parents[2] / "scripts" / "load.py"
# A hub, two workers and locust.
PROCESSES = 4
ROUTES = (
    "POST   /api/sessions",
    "POST   /api/sessions/{sid}/tools/batch",
    "GET    /api/sessions/{sid}/tools/stream_data/stream",
    "POST   /api/sessions/{sid}/tools/{tool}/execute",
)


def test_no_request_of_the_load_test_fails_and_its_report_has_every_route(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--users", "5", "--seconds", "30", "--report", "load"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=3 * PATIENCE, check=False, cwd=tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in ran.stdout.splitlines() if "│" in line]
    assert [f"{row[0]:6} {row[1]}" for row in rows[:-1]] == list(ROUTES)
    assert [row[3] for row in rows] == ["0"] * 5
    assert all(float(cell.replace(",", "")) > 0 for row in rows for cell in (row[2], *row[4:]))
    assert "<html" in (tmp_path / "load" / "report.html").read_text(encoding="utf-8")


async def test_a_load_test_that_is_stopped_ends_what_it_started(tmp_path: Path) -> None:
    words = (str(SCRIPT), "--users", "1", "--seconds", "600", "--report", str(tmp_path))
    process = await asyncio.create_subprocess_exec(sys.executable, *words)
    try:
        started = psutil.Process(process.pid)
        await until(lambda: len(started.children()) == PROCESSES, "for its processes")
        children = started.children()
        process.terminate()
        assert await soon(process.wait()) == 128 + signal.SIGTERM
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    assert [child for child in children if child.is_running()] == []
