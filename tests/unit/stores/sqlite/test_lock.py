"""The lock beside an SQLite store."""

import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from grpc_tool_bridge.errors import StoreError
from grpc_tool_bridge.stores.sqlite import lock as lock_module
from grpc_tool_bridge.stores.sqlite.lock import StoreLock, cannot_open
from support.patience import PATIENCE

HOLDER = """
import sys
from pathlib import Path
from grpc_tool_bridge.stores.sqlite.lock import StoreLock
lock = StoreLock(Path(sys.argv[1]))
lock.take()
{more}
print("taken", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hub.db"


def hold(path: Path, more: str = "", told: str = "taken\n") -> "subprocess.Popen[str]":
    """Has another process take a store, and returns it once it has said so."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", HOLDER.format(more=more), str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    if told:
        assert process.stdout.readline() == told
    return process


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the lock would keep off those of SQLite")
def test_a_hub_that_has_the_file_by_another_name_has_the_store(path: Path) -> None:
    path.write_bytes(b"")
    other = path.with_name("other.db")
    other.hardlink_to(path)
    process = hold(path)
    lock = StoreLock(other)
    with pytest.raises(StoreError, match=r"by another name, such as a hard link or a mount of the file alone"):
        lock.take()
    assert (lock.is_held, lock.path.exists()) == (False, False)
    process.kill()
    process.communicate(timeout=PATIENCE)
    lock.take()
    lock.release()


def test_another_hub_is_named_by_its_process_and_a_killed_one_gives_the_store_back(path: Path) -> None:
    process = hold(path)
    lock = StoreLock(path)
    with pytest.raises(StoreError) as caught:
        lock.take()
    assert f"another hub (process {process.pid}) has the store {path}; stop it first" in caught.value.message
    assert not lock.is_held
    process.kill()
    process.communicate(timeout=PATIENCE)
    lock.take()
    assert lock.is_held
    assert lock.path.read_text(encoding="ascii").splitlines()[0] == str(os.getpid())
    lock.release()


def test_a_store_is_not_taken_twice_in_one_process(path: Path) -> None:
    first, second = StoreLock(path), StoreLock(path)
    first.take()
    with pytest.raises(StoreError, match=r"another hub of this process has the store .* give this one another file"):
        second.take()
    with pytest.raises(StoreError, match=r"^a hub of this process has the store .*; stop it first$"):
        second.take(for_hub=False)
    second.remove()
    first.release()
    second.take()
    second.release()


def test_of_many_that_begin_at_once_one_has_the_store(path: Path) -> None:
    barrier = threading.Barrier(8)
    locks = [StoreLock(path) for _ in range(8)]
    taken: list[StoreLock] = []

    def take(lock: StoreLock) -> None:
        barrier.wait(PATIENCE)
        try:
            lock.take()
        except StoreError:
            # As one that fails to open the file does.
            lock.remove()
        else:
            taken.append(lock)

    for _ in range(20):
        threads = [threading.Thread(target=take, args=(lock,)) for lock in locks]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert len(taken) == 1
        taken.pop().remove()


def test_a_lock_that_was_removed_by_who_had_it_is_made_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise two could have it: one the file that is there, one a file that has no name any more."""
    flock = fcntl.flock
    removed: list[Path] = []

    def remove_first(file: int, how: int) -> None:
        flock(file, how)
        if not removed:
            removed.append(path.with_name("hub.db.lock"))
            removed[0].unlink()

    monkeypatch.setattr(fcntl, "flock", remove_first)
    lock = StoreLock(path)
    lock.take()
    assert lock.path.exists()
    with pytest.raises(StoreError):
        StoreLock(path).take()
    lock.release()


def test_a_lock_that_is_removed_again_and_again_is_given_up(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_module, "_is_at", lambda file, path: False)
    with pytest.raises(StoreError, match="again and again"):
        StoreLock(path).take()


def test_only_the_owner_reads_it_whatever_the_umask(path: Path) -> None:
    before = os.umask(0)
    try:
        lock = StoreLock(path)
        lock.take()
    finally:
        os.umask(before)
    assert stat.S_IMODE(lock.path.stat().st_mode) == 0o600
    lock.path.chmod(0o666)
    lock.release()
    lock.take()
    assert stat.S_IMODE(lock.path.stat().st_mode) == 0o600
    lock.release()


def test_a_link_in_its_place_is_refused_and_what_it_leads_to_is_not_touched(path: Path) -> None:
    victim = path.with_name("victim")
    victim.write_text("dear", encoding="ascii")
    path.with_name("hub.db.lock").symlink_to(victim)
    with pytest.raises(StoreError, match="remove the link"):
        StoreLock(path).take()
    assert victim.read_text(encoding="ascii") == "dear"
    victim.unlink()
    with pytest.raises(StoreError, match="remove the link"):
        StoreLock(path).take()
    assert not victim.exists()


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_what_is_no_file_in_its_place_is_refused(path: Path, make: object) -> None:
    assert callable(make)
    make(path.with_name("hub.db.lock"))
    with pytest.raises(StoreError, match=r"hub\.db\.lock"):
        StoreLock(path).take()


def test_a_file_that_was_made_in_vain_is_removed_and_another_s_is_not(path: Path) -> None:
    lock = StoreLock(path)
    lock.take()
    lock.remove()
    assert not lock.path.exists()
    lock.path.write_text("", encoding="ascii")
    lock.take()
    lock.remove()
    assert lock.path.exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_fork_of_a_hub_that_was_killed_does_not_keep_the_store(path: Path) -> None:
    more = "import os\npid = os.fork()\nif not pid:\n    import time; time.sleep(1000)\nprint(pid)"
    process = hold(path, more, told="")
    assert process.stdout is not None
    child = int(process.stdout.readline())
    try:
        assert process.stdout.readline() == "taken\n"
        with pytest.raises(StoreError):
            StoreLock(path).take()
        process.kill()
        process.wait(PATIENCE)
        lock = StoreLock(path)
        lock.take()
        lock.release()
    finally:
        os.kill(child, signal.SIGKILL)
        process.kill()
        process.communicate(timeout=PATIENCE)


def test_a_note_about_the_log_is_there_after_a_crash_and_about_this_file_alone(path: Path) -> None:
    path.write_bytes(b"store")
    process = hold(path, "lock.note(14)")
    process.kill()
    process.communicate(timeout=PATIENCE)
    lock = StoreLock(path)
    assert lock.noted == 0
    lock.take()
    assert lock.noted == 14
    lock.release()
    # Who looks at it without a hub keeps it.
    lock.take()
    assert lock.noted == 14
    other = path.with_name("other")
    other.write_bytes(b"backup")
    other.replace(path)
    assert lock.noted == 0
    lock.note(0)
    lock.release()
    assert lock.path.read_text(encoding="ascii").split() == [str(os.getpid())]


def test_what_is_no_note_is_none(path: Path) -> None:
    path.write_bytes(b"store")
    for text in ("", "x", "1\nlog", "1\nlog x 1:2", "1\nlog 5 0:0", "\0" * 50, "9" * 1_000):
        lock = StoreLock(path)
        lock.path.write_text(text, encoding="ascii")
        lock.take()
        assert lock.noted == 0
        lock.release()


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (errno.ENOENT, "make its directory first: mkdir -m 700 "),
        (errno.EACCES, "let this user write the file and its directory"),
        (errno.EROFS, "mount its file system so that it can be written"),
        (errno.ENOSPC, "make room on its disk"),
        (errno.ENOTDIR, "give a path whose directory is one"),
        (errno.EIO, "see whether its disk is well"),
    ],
)
def test_what_keeps_a_file_from_being_opened_is_told_with_what_to_do(path: Path, code: int, says: str) -> None:
    error = OSError(code, os.strerror(code))
    assert says in cannot_open(path, path, error).message
    assert os.strerror(code) in cannot_open(path, path, error).message
    lock = path.with_name("hub.db.lock")
    assert f"({lock}: " in cannot_open(path, lock, error).message


def test_a_file_system_without_locks_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(file: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(StoreError, match="has no locks"):
        StoreLock(path).take()
