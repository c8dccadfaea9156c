"""Commands of the files that deploy the bridge, run as processes on this machine."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from support.patience import PATIENCE

ROOT = Path(__file__).parents[2]
# The commands of this environment, and the programs of scripts/ci_tools.sh.
FOLDERS = (Path(sys.executable).parent, ROOT / ".peers" / "bin")


def environment(**more: str) -> dict[str, str]:
    """Returns this process's environment with the commands of this project, and without settings of a hub."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TOOL_BRIDGE_")}
    return {**inherited, "PATH": os.pathsep.join([*map(str, FOLDERS), inherited.get("PATH", os.defpath)]), **more}


def run(
    command: Sequence[str], *, cwd: Path = ROOT, env: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Runs a command to its end."""
    return subprocess.run(
        command, cwd=cwd, env=env or environment(), capture_output=True, text=True, timeout=4 * PATIENCE, check=False
    )


def run_example(name: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Runs a file of ``examples`` in a folder, to its end without an error."""
    given = [Path(path).resolve() for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    paths = {"PYTHONPATH": os.pathsep.join(map(str, given))} if given else {}
    ran = subprocess.run(
        [sys.executable, str(ROOT / "examples" / name)],
        cwd=folder,
        env={**os.environ, **paths},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran


@contextlib.contextmanager
def running(
    command: Sequence[str], *, cwd: Path = ROOT, env: Mapping[str, str] | None = None, **options: Any
) -> Iterator["subprocess.Popen[str]"]:
    """Runs a program until the end of the block; then it is killed, with all that it started."""
    process = subprocess.Popen(
        command, cwd=cwd, env=env or environment(), stdout=subprocess.PIPE, text=True, start_new_session=True, **options
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def announced(process: "subprocess.Popen[str]") -> dict[str, Any]:
    """Reads the line with which ``--json`` says that a hub or a worker is ready."""
    assert process.stdout is not None
    timer = threading.Timer(PATIENCE, process.kill)
    timer.start()
    try:
        line = process.stdout.readline()
    finally:
        timer.cancel()
    assert line, f"{process.args!r} ended without a word"
    found: dict[str, Any] = json.loads(line)
    return found


def terminate(process: "subprocess.Popen[str]") -> int:
    """Ends a program as Docker, Kubernetes and systemd do; returns its exit code."""
    process.terminate()
    return process.wait(PATIENCE)
