"""Disks that fail under a hub that runs: nothing acknowledged is lost, nothing else is there, and it goes on."""

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from support.patience import PATIENCE

PROGRAM = [sys.executable, "-m", "failure_modes.hub_on_disk"]

# Mounts a small file system in a name space of its own, which goes with the process.
MOUNTED = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o size=3m tmpfs "$0" && exec "$@"']


@cache
def can_mount() -> bool:
    """Returns whether this user may mount a file system."""
    if sys.platform != "linux" or shutil.which("unshare") is None:
        return False
    return subprocess.run([*MOUNTED, "/mnt", "true"], check=False, capture_output=True).returncode == 0


def run(command: list[str]) -> None:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(command, env=env, timeout=3 * PATIENCE, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4_000:]
    assert "the-value-that-nobody-may-see" not in done.stderr + done.stdout


@pytest.mark.platform
@pytest.mark.skipif("not can_mount()", reason="only root may mount a file system")
def test_a_disk_that_becomes_full(tmp_path: Path) -> None:
    run([*MOUNTED, str(tmp_path), *PROGRAM, "full", str(tmp_path)])


def test_a_disk_that_cannot_be_written(tmp_path: Path) -> None:
    run([*PROGRAM, "limited", str(tmp_path)])


@pytest.mark.platform
@pytest.mark.skipif("not can_mount()", reason="only root may mount a file system")
def test_a_file_system_that_is_mounted_for_reading_only(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\nfrom grpc_tool_bridge.stores.sqlite.file import StoreFile\n"
        "from grpc_tool_bridge.errors import StoreError\n"
        "try:\n    StoreFile(Path(sys.argv[1]) / 'hub.db').open(0)\nexcept StoreError as error:\n    print(error)\n"
    )
    read_only = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o ro tmpfs "$0" && exec "$@"']
    done = subprocess.run(
        [*read_only, str(tmp_path), sys.executable, "-c", program, str(tmp_path)],
        timeout=PATIENCE,
        check=True,
        capture_output=True,
        text=True,
    )
    assert "Read-only file system); mount its file system so that it can be written" in done.stdout
