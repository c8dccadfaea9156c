"""Disks that fail under a hub that runs: nothing acknowledged is lost, nothing else is there, and it goes on."""

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from support.patience import PATIENCE
from support.store_files import state_of

PROGRAM = [sys.executable, "-m", "failure_modes.hub_on_disk"]

# Mounts a small file system in a name space of its own, which goes with the process.
MOUNTED = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o size=3m tmpfs "$0" && exec "$@"']


@cache
def can_mount() -> bool:
    """Returns whether this user may mount a file system."""
    if sys.platform != "linux" or shutil.which("unshare") is None:
        return False
    return subprocess.run([*MOUNTED, "/mnt", "true"], check=False, capture_output=True).returncode == 0


def is_compiled() -> bool:
    """Returns whether there is a compiler for Linux."""
    return sys.platform == "linux" and shutil.which("cc") is not None


def run(command: list[str], **env: str) -> None:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), **env}
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


@pytest.fixture
def unflushed(tmp_path: Path) -> dict[str, str]:
    """The environment of a process whose disk does not flush when it is told so."""
    shim = tmp_path / "unflushed.so"
    source = Path(__file__).with_name("unflushed.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(shim), str(source), "-ldl"], check=True, timeout=PATIENCE)
    return {"LD_PRELOAD": str(shim), "UNFLUSHED": str(tmp_path / "flag")}


@pytest.mark.platform
@pytest.mark.skipif("not is_compiled()", reason="only where a library can be put between SQLite and the system")
def test_a_disk_that_takes_what_is_written_and_does_not_flush_it(tmp_path: Path, unflushed: dict[str, str]) -> None:
    run([*PROGRAM, "unflushed", str(tmp_path)], **unflushed)


@pytest.mark.platform
@pytest.mark.skipif("not is_compiled()", reason="only where a library can be put between SQLite and the system")
async def test_a_change_that_was_written_and_not_flushed_is_not_there_after_a_crash(
    tmp_path: Path, unflushed: dict[str, str]
) -> None:
    """Its caller was told that nothing was changed."""
    run([*PROGRAM, "ghost", str(tmp_path)], **unflushed)
    state = await state_of(tmp_path / "hub.db")
    assert [session.session_id for session in state.sessions] == ["there"]
