"""What CI runs ends in time and leaves no process behind."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from support.patience import PATIENCE

SCRIPT = Path(__file__).parents[3] / "scripts" / "contained.py"
# Starts a process in a session of its own, whose id it prints, and which ignores being told to end.
LEFT = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(end='.', flush=True); signal.pause()"
LEAVES = f"""
import subprocess, sys
left = subprocess.Popen([sys.executable, "-c", {LEFT!r}], stdout=subprocess.PIPE, start_new_session=True)
left.stdout.read(1)
print(left.pid, flush=True)
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.platform,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives orphans to another process than init"),
]


def contained(seconds: float, *program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), str(seconds), sys.executable, "-c", *program],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        env=os.environ | {"CONTAINED_GRACE": "1"},
    )


@pytest.mark.parametrize("code", [0, 7])
def test_the_exit_code_is_the_command_s(code: int) -> None:
    ran = contained(PATIENCE, f"raise SystemExit({code})")
    assert (ran.returncode, ran.stderr) == (code, "")


@pytest.mark.parametrize(("after", "code"), [("", 1), ("raise SystemExit(7)", 7)])
def test_a_process_that_is_left_behind_is_named_and_killed(after: str, code: int) -> None:
    ran = contained(PATIENCE, LEAVES + after)
    assert ran.returncode == code
    assert f"left running, and killed now: {ran.stdout.strip()} " in ran.stderr
    assert not psutil.pid_exists(int(ran.stdout))


def test_what_takes_too_long_is_ended_with_all_below_it() -> None:
    ran = contained(2, LEAVES + "import threading; threading.Event().wait()")
    assert ran.returncode == 124
    assert "did not end within 2 s" in ran.stderr
    assert not ran.stdout or not psutil.pid_exists(int(ran.stdout))
