"""The file of an SQLite store: what it may be, and what a hub does not start with."""

import hashlib
import os
import random
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from grpc_tool_bridge.errors import StoreError
from grpc_tool_bridge.stores.sqlite import file as file_module
from grpc_tool_bridge.stores.sqlite.disk import beside
from grpc_tool_bridge.stores.sqlite.file import StoreFile, check
from grpc_tool_bridge.stores.sqlite.room import MIN_LIMIT
from grpc_tool_bridge.stores.sqlite.schema import APPLICATION_ID, VERSION
from support.patience import PATIENCE
from support.store_files import names_in
from unit.stores.sqlite.crashed import crash

WALS = ("-wal", "-shm")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hub.db"


@contextmanager
def opened(path: Path, max_bytes: int = 0) -> Iterator[sqlite3.Connection]:
    """Opens a store as a hub does."""
    file = StoreFile(path)
    connection = file.open(max_bytes)
    try:
        yield connection
    finally:
        connection.close()
        file.close()


def put(connection: sqlite3.Connection, name: str, value: Any) -> None:
    connection.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))


def get(path: Path, name: str) -> Any:
    """Opens a store, and returns a fact."""
    with opened(path) as connection:
        found = connection.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return found and found[0]


def contents(folder: Path) -> dict[str, str]:
    """Returns what is in all files of a directory, except the index of a log, which each reader makes anew.

    Of a lock it matters whether it is there: who tries it last is noted in it.
    """
    return {
        file.name: "" if file.name.endswith(".lock") else hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.iterdir()
        if file.is_file() and not file.name.endswith("-shm")
    }


def refused(path: Path, max_bytes: int = 0) -> str:
    """Returns why a store cannot be opened, and checks that nothing has changed, and that it can be tried again."""
    before = contents(path.parent)
    file = StoreFile(path)
    texts = set()
    for _ in range(2):
        with pytest.raises(StoreError) as caught:
            file.open(max_bytes)
        texts.add(caught.value.message)
        assert contents(path.parent) == before
    assert len(texts) == 1
    return texts.pop()


def make(path: Path, rows: int = 3_000) -> None:
    """Makes a store with some pages."""
    with opened(path) as connection:
        connection.execute("BEGIN")
        for number in range(rows):
            put(connection, f"fact {number}", "v" * 200)
        connection.execute("COMMIT")


# ------------------------------------------------------------------------------------------------------- as it is made


def test_all_its_files_are_closed_to_others_whatever_the_umask(path: Path) -> None:
    before = os.umask(0)
    try:
        with opened(path) as connection:
            put(connection, "x", 1)
            modes = {name: stat.S_IMODE((path.parent / name).stat().st_mode) for name in names_in(path.parent)}
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(["hub.db", "hub.db-shm", "hub.db-wal", "hub.db.lock"], 0o600)


def test_files_that_others_could_read_are_closed_to_them_with_a_warning(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    crash(path, "put('x', 1)")
    for suffix in ("", *WALS, ".lock"):
        beside(path, suffix).chmod(0o664)
    with opened(path):
        modes = {stat.S_IMODE((path.parent / name).stat().st_mode) for name in names_in(path.parent)}
    assert modes == {0o600}
    assert f"others could read {path} (mode 664)" in caplog.text
    assert f"others could read {path}-wal" in caplog.text


def test_it_is_durable_and_has_a_log(path: Path) -> None:
    with opened(path) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert connection.execute("PRAGMA wal_autocheckpoint").fetchone() == (0,)
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)


def test_closed_in_order_it_is_one_file_and_its_lock(path: Path) -> None:
    with opened(path) as connection:
        put(connection, "x", 1)
    assert names_in(path.parent) == ["hub.db", "hub.db.lock"]
    assert get(path, "x") == 1


def test_an_empty_file_becomes_a_store(path: Path) -> None:
    path.touch()
    with opened(path) as connection:
        assert check(connection, path) == VERSION


def test_a_link_leads_to_the_file_and_the_lock_is_beside_that(path: Path, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    path.symlink_to(place / "real.db")
    with opened(path) as connection:
        put(connection, "x", 1)
        assert "real.db.lock" in names_in(place)
        # By whatever name: it is one store.
        assert "another hub" in refused(place / "real.db")
    assert names_in(tmp_path) == ["hub.db", "place"]
    assert get(place / "real.db", "x") == 1


def test_a_relative_path_does_not_change_with_the_directory(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = StoreFile(Path("hub.db"))
    monkeypatch.chdir("/")
    file.open(0).close()
    file.close()
    assert path.exists()


def test_a_store_with_another_name_on_its_disk_is_used_with_a_warning(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make(path, 1)
    os.link(path, path.with_name("other.db"))
    with opened(path):
        assert "hard link" in caplog.text


# ------------------------------------------------------------------------------------------------- what it may not be


def test_a_directory_that_is_not_there(path: Path) -> None:
    with pytest.raises(StoreError, match="make its directory first"):
        StoreFile(path.with_name("none") / "hub.db").open(0)
    assert names_in(path.parent) == []


def test_a_directory_in_its_place(path: Path) -> None:
    path.mkdir()
    assert f"{path} is a directory; give the path of a file in it" in refused(path)
    assert names_in(path.parent) == ["hub.db"]


def test_a_file_where_its_directory_should_be(path: Path) -> None:
    path.write_text("x", encoding="ascii")
    with pytest.raises(StoreError, match="whose directory is one"):
        StoreFile(path / "hub.db").open(0)


def test_a_pipe_in_its_place(path: Path) -> None:
    os.mkfifo(path)
    assert "is no file" in refused(path)


@pytest.mark.parametrize("suffix", WALS)
def test_a_link_in_place_of_its_log(path: Path, suffix: str) -> None:
    make(path, 1)
    beside(path, suffix).symlink_to(path.with_name("elsewhere"))
    assert "is a link, but belongs to the store" in refused(path)


@pytest.mark.parametrize("text", ["no database", "no database at all " * 1_000])
def test_what_is_no_database(path: Path, text: str) -> None:
    path.write_text(text, encoding="ascii")
    path.chmod(0o644)
    assert "is no SQLite file, or its beginning is damaged" in refused(path)
    assert names_in(path.parent) == ["hub.db"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


@pytest.mark.parametrize("mode", ["DELETE", "WAL"])
def test_the_database_of_another_program(path: Path, mode: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA journal_mode = {mode}")
        connection.execute("CREATE TABLE t (v)")
    path.chmod(0o664)
    assert "is an SQLite file of another program" in refused(path)
    assert names_in(path.parent) == ["hub.db"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o664, "that program's users can read it still"


def test_the_database_of_another_program_that_has_it_open(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE t (v)")
        assert "is an SQLite file of another program" in refused(path)
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (0,)


def test_a_store_of_a_newer_version(path: Path) -> None:
    make(path, 1)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    text = refused(path)
    assert f"a newer version of grpc-tool-bridge wrote the store {path}" in text
    assert f"its format is {VERSION + 1}, this version knows up to {VERSION}" in text
    assert "upgrade grpc-tool-bridge" in text


def test_a_damaged_header(path: Path) -> None:
    make(path)
    with path.open("r+b") as file:
        file.write(b"\xff" * 100)
    assert "beginning is damaged; give another path, or bring back a backup" in refused(path)


def test_a_damaged_page_anywhere(path: Path, tmp_path: Path) -> None:
    make(path)
    whole = path.read_bytes()
    chance = random.Random(1)
    pages = len(whole) // 4096
    for _ in range(10):
        page = chance.randrange(1, pages)
        path.write_bytes(whole[: page * 4096] + b"\xff" * 4096 + whole[(page + 1) * 4096 :])
        assert "is damaged" in refused(path)


@pytest.mark.parametrize("part", [0.01, 0.5, 0.99])
def test_a_file_that_was_cut(path: Path, part: float) -> None:
    make(path)
    os.truncate(path, int(path.stat().st_size * part) // 512 * 512 + 1)
    assert "damaged" in refused(path)


def test_a_large_file_is_not_searched_for_damage(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(path)
    monkeypatch.setattr(file_module, "CHECKED_BYTES", 4096)
    whole = path.read_bytes()
    page = len(whole) // 4096 - 2
    path.write_bytes(whole[: page * 4096] + b"\xff" * 4096 + whole[(page + 1) * 4096 :])
    with opened(path):
        pass


def test_tables_that_are_not_those_of_a_store(path: Path) -> None:
    make(path, 1)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE facts")
    assert "its tables may not be those of a hub" in refused(path)


def test_too_low_a_limit(path: Path) -> None:
    assert f"give at least {MIN_LIMIT:,}" in refused(path, MIN_LIMIT - 1)
    assert names_in(path.parent) == []
    with opened(path, MIN_LIMIT):
        pass


# ------------------------------------------------------------------------------------------------------------- its log


def test_after_a_crash_it_is_all_there(path: Path) -> None:
    crash(path, "put('x', 1)")
    assert beside(path, "-wal").stat().st_size
    assert get(path, "x") == 1


def test_after_a_crash_while_the_log_was_turned_over_it_is_all_there(path: Path) -> None:
    for number, point in enumerate(["PRAGMA wal_checkpoint", "INSERT OR REPLACE INTO facts VALUES ('log'"]):
        die = f"""
put('x', {number})
def trace(sql):
    if sql.startswith({point!r}) and {number} == 0 or sql.startswith({point!r}) and seen:
        os._exit(9)
    if sql.startswith({point!r}):
        seen.append(sql)
seen = []
connection.set_trace_callback(trace)
file.log.turn_over()
"""
        crash(path, die)
        assert get(path, "x") == number


@pytest.mark.parametrize("how", [Path.unlink, lambda log: os.truncate(log, 0)])
def test_a_log_that_is_missing(path: Path, how: Callable[[Path], object]) -> None:
    crash(path, "put('x', 1)")
    log = beside(path, "-wal")
    kept = log.read_bytes()
    how(log)
    text = refused(path)
    assert f"the store {path} lacks what was stored last: its log {log} is missing" in text
    log.write_bytes(kept)
    assert get(path, "x") == 1


def test_a_log_that_is_lost_can_be_done_without_by_who_says_so(path: Path) -> None:
    crash(path, "put('x', 1)")
    beside(path, "-wal").unlink()
    lock = beside(path, ".lock")
    assert f"or remove {lock} to go on with what is in the file" in refused(path)
    lock.unlink()
    assert get(path, "x") is None


def test_an_earlier_file_may_be_put_in_the_place_of_one_that_was_closed_in_order(path: Path) -> None:
    make(path, 1)
    early = path.read_bytes()
    with opened(path) as connection:
        put(connection, "x", 1)
    # In place, so that it is the same file to the system.
    path.write_bytes(early)
    assert get(path, "x") is None


def test_the_log_of_another_store(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    crash(other / "hub.db", "put('x', 1)")
    make(path, 1)
    beside(path, "-wal").write_bytes(beside(other / "hub.db", "-wal").read_bytes())
    text = refused(path)
    assert f"the log {path}-wal belongs to another store than {path}; move the log away" in text
    beside(path, "-wal").unlink()
    assert get(path, "fact 0")


def test_the_log_of_a_later_state_and_of_an_earlier_one(path: Path) -> None:
    """A backup that was copied over a store whose log was left, or a log that comes from a backup."""
    make(path)
    early = path.read_bytes()
    crash(path, "put('x', 1)")
    early_log = beside(path, "-wal").read_bytes()
    get(path, "x")
    crash(path, "put('x', 2)\nfile.log.turn_over()\nput('x', 3)")
    late, late_log = path.read_bytes(), beside(path, "-wal").read_bytes()
    path.write_bytes(early)
    assert "does not continue the store" in refused(path)
    path.write_bytes(late)
    beside(path, "-wal").write_bytes(early_log)
    assert "does not continue the store" in refused(path)
    beside(path, "-wal").write_bytes(late_log)
    assert get(path, "x") == 3


def test_a_log_without_its_file(path: Path) -> None:
    crash(path, "put('x', 1)")
    kept = path.read_bytes()
    path.unlink()
    assert f"the store {path} is not there, but its log is" in refused(path)
    path.touch()
    assert f"the store {path} is empty, but its log is" in refused(path)
    path.write_bytes(kept)
    assert get(path, "x") == 1


def test_a_restored_store_that_was_renamed_into_its_place(path: Path) -> None:
    """It has fewer logs behind it than the one that it replaces, and no log; that is in order."""
    make(path, 1)
    backup = path.with_name("backup.db")
    backup.write_bytes(path.read_bytes())
    crash(path, "put('x', 1)\nfile.log.turn_over()")
    beside(path, "-wal").unlink()
    beside(path, "-shm").unlink()
    backup.replace(path)
    assert get(path, "fact 0")


def test_a_copy_of_one_moment_opens_anywhere(path: Path, tmp_path: Path) -> None:
    crash(path, "put('x', 1)\nfile.log.turn_over()\nput('x', 2)")
    other = tmp_path / "other"
    other.mkdir()
    for name in names_in(tmp_path):
        if (tmp_path / name).is_file():
            (other / name).write_bytes((tmp_path / name).read_bytes())
    assert get(other / "hub.db", "x") == 2


def test_a_log_cut_anywhere_gives_a_state_that_was_there(path: Path, tmp_path: Path) -> None:
    crash(path, "for number in range(200): put('x', number)")
    log = beside(path, "-wal").read_bytes()
    chance = random.Random(1)
    known = -1
    # From the second commit on: the first makes the log one of this file.
    for place in sorted(chance.randrange(4_200, 800_000) for _ in range(12)):
        copy = tmp_path / f"cut-{place}.db"
        copy.write_bytes(path.read_bytes())
        beside(copy, "-wal").write_bytes(log[:place])
        found = get(copy, "x")
        assert (found if found is not None else -1) >= known
        known = -1 if found is None else found
    assert known > 50


# ------------------------------------------------------------------------------------------ other programs, other hubs


def test_a_program_that_has_it_locked_for_a_moment(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(path, 1)
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        monkeypatch.setattr(file_module, "LOCK_SECONDS", 0.01)
        assert "another program has locked the store" in refused(path)
    with opened(path):
        pass


def test_of_hubs_that_begin_at_once_one_has_the_store(path: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\nfrom grpc_tool_bridge.stores.sqlite.file import StoreFile\n"
        "from grpc_tool_bridge.errors import StoreError\nprint('ready', flush=True)\nsys.stdin.readline()\n"
        "file = StoreFile(Path(sys.argv[1]))\n"
        "try:\n    file.open(0)\nexcept StoreError as error:\n    print('refused', error)\nelse:\n    print('has it')\n"
        "sys.stdout.flush()\nsys.stdin.readline()\n"
    )
    pipe = subprocess.PIPE
    processes = [
        subprocess.Popen([sys.executable, "-c", program, str(path)], stdin=pipe, stdout=pipe, text=True)
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    told = [process.stdout.readline() for process in processes if process.stdout is not None]
    for process in processes:
        process.communicate("\n", timeout=PATIENCE)
    assert told.count("has it\n") == 1
    assert sum("another hub" in line for line in told) == 3


# ----------------------------------------------------------------------------------------- disks that cannot be written


def run_as_user(folder: Path, before: str, path: Path) -> str:
    """Opens a store in a process that is not root's, after ``before``; returns what it says."""
    program = (
        f"import os, sys\nfrom pathlib import Path\nfrom grpc_tool_bridge.stores.sqlite.file import StoreFile\n"
        f"from grpc_tool_bridge.errors import StoreError\nfolder, path = Path(sys.argv[1]), Path(sys.argv[2])\n"
        f"{before}\nif os.geteuid() == 0:\n    os.setegid(65534)\n    os.seteuid(65534)\n"
        "try:\n    StoreFile(path).open(0)\nexcept StoreError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder), str(path)],
        timeout=PATIENCE,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A directory that every user reaches."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def test_a_directory_and_a_file_that_this_user_cannot_write(open_folder: Path) -> None:
    path = open_folder / "hub.db"
    read_only = "folder.chmod(0o555)"
    text = run_as_user(open_folder, read_only, path)
    assert "Permission denied" in text
    assert "let this user write the file and its directory" in text
    assert names_in(open_folder) == []
    open_folder.chmod(0o755)
    make(path, 1)
    beside(path, ".lock").unlink()
    before = contents(open_folder)
    text = run_as_user(open_folder, "folder.chmod(0o777); path.chmod(0o444)", path)
    assert f"the store {path} cannot be opened (Permission denied); let this user write" in text
    assert contents(open_folder) == before


def test_a_disk_without_room_for_a_new_store(path: Path) -> None:
    """Nothing of it is left; a limit of the size of files stands for the disk."""
    program = (
        "import resource, sys\nfrom pathlib import Path\nfrom grpc_tool_bridge.stores.sqlite.file import StoreFile\n"
        "from grpc_tool_bridge.errors import StoreError\n"
        "for limit in (0, 1, 5_000, 20_000, 60_000):\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))\n"
        "    try:\n        StoreFile(Path(sys.argv[1])).open(0)\n"
        "    except StoreError as error:\n        print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], timeout=PATIENCE, check=True, capture_output=True, text=True
    )
    assert len(done.stdout.splitlines()) == 5
    assert str(path) in done.stdout
    assert names_in(path.parent) == []
