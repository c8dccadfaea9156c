"""Where the sockets of hubs are: what others may have put there is never used, and never removed."""

import fcntl
import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from grpc_tool_bridge.link import socket_places
from grpc_tool_bridge.link.socket_places import (
    Place,
    UnusableError,
    check_peer,
    connect,
    connect_to,
    find,
    folders,
    socket_name,
)

ADDRESS = "127.0.0.1:50051"


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runtime folder and a temporary one, both short: a socket's path has few bytes."""
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "run").mkdir()
        (Path(name) / "tmp").mkdir()
        monkeypatch.setenv("XDG_RUNTIME_DIR", f"{name}/run")
        monkeypatch.setattr(tempfile, "tempdir", f"{name}/tmp")
        yield Path(name) / "run"


@pytest.fixture
def place(runtime: Path) -> Iterator[Place]:
    place = Place(ADDRESS)
    yield place
    place.remove()
    place.socket.close()


def test_a_hub_s_socket_is_found_by_its_address_alone(place: Place) -> None:
    assert find(ADDRESS)[0] == place.path
    for other in ("127.0.0.1:50052", "localhost:50051", "[::1]:50051"):
        with pytest.raises(UnusableError, match="no hub has a local socket for "):
            find(other)


def test_folder_and_socket_are_the_user_s_alone(place: Place, runtime: Path) -> None:
    assert place.path.parent == runtime / "grpc-tool-bridge"
    assert stat.S_IMODE(place.path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(place.path.stat().st_mode) == 0o600


def test_without_a_runtime_folder_it_is_named_by_the_user(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    made = Place(ADDRESS)
    assert made.path.parent == runtime.parent / "tmp" / f"grpc-tool-bridge-{os.geteuid()}"
    # A client that has one still finds it.
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    assert find(ADDRESS)[0] == made.path
    made.remove()
    made.socket.close()


@pytest.mark.parametrize("value", ["", "relative", "/no/such/folder", "/" + "x" * 5_000])
def test_a_runtime_folder_that_is_none_does_not_count(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", value)
    assert len(folders()) == 1


def test_each_network_namespace_has_a_socket_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    here = socket_name(ADDRESS)
    assert here.startswith(ADDRESS)
    monkeypatch.setattr(Path, "stat", _unknown)
    assert socket_name(ADDRESS) == f"{ADDRESS}.sock"


def _unknown(path: Path) -> os.stat_result:
    raise FileNotFoundError(path)


def test_whoever_is_connected_is_this_user(place: Place) -> None:
    connected = connect(place.path)
    accepted = place.socket.accept()[0]
    check_peer(accepted)
    connected.close()
    accepted.close()


@pytest.mark.parametrize("uid", [0, "own"])
def test_this_user_and_root_are_trusted(uid: int | str, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket_places, "user_of", lambda _: os.geteuid() if uid == "own" else 0)
    connect(place.path).close()


def test_another_user_is_not(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket_places, "user_of", lambda _: os.geteuid() + 1)
    with pytest.raises(UnusableError, match="belongs to another user"):
        connect(place.path)


def test_a_system_that_does_not_tell_who_is_there_has_no_local_sockets(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(_: socket.socket) -> int:
        raise OSError(92, "Protocol not available")

    monkeypatch.setattr(socket_places, "user_of", unknown)
    with pytest.raises(UnusableError, match="does not tell who is behind a socket"):
        connect(place.path)


def test_a_socket_that_nobody_listens_at_is_not_used_and_the_next_hub_replaces_it(place: Place) -> None:
    place.socket.close()
    with pytest.raises(UnusableError, match="nobody accepts connections"):
        connect(find(ADDRESS)[0])
    following = Place(ADDRESS)
    connect(find(ADDRESS)[0]).close()
    # The first hub is slower: what is there now is not its own.
    place.remove()
    assert find(ADDRESS)[0] == following.path
    following.remove()
    following.socket.close()
    assert not following.path.exists()
    following.remove()


def test_a_hub_removes_what_killed_hubs_have_left_and_nothing_else(place: Place) -> None:
    folder = place.path.parent
    killed = Place("127.0.0.1:1")
    killed.socket.close()
    elsewhere = killed.path.with_name("127.0.0.1:2-4711.sock")
    killed.path.rename(elsewhere)
    killed = Place("127.0.0.1:1")
    killed.socket.close()
    (folder / socket_name("file")).touch()
    following = Place("127.0.0.1:3")
    assert {path.name for path in folder.glob("*.sock")} == {
        place.path.name,
        elsewhere.name,
        following.path.name,
        socket_name("file"),
    }
    connect(find(ADDRESS)[0]).close()
    following.remove()
    following.socket.close()


@pytest.mark.parametrize("name", ["a folder", "a\x85line", "another-name"])
def test_a_socket_in_use_stays_whatever_its_folder_is_called(
    name: str, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (runtime / "real").mkdir()
    (runtime / name).symlink_to(runtime / "real")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime / name))
    first, second = Place(ADDRESS), Place("127.0.0.1:1")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime / "real"))
    third = Place("127.0.0.1:2")
    for place in (first, second, third):
        assert place.path.exists()
        place.remove()
        place.socket.close()


def test_what_a_killed_hub_left_in_the_better_place_does_not_hide_the_hub(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.socket.close()
    runtime = os.environ["XDG_RUNTIME_DIR"]
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    following = Place(ADDRESS)
    monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
    path, connected = connect_to(ADDRESS)
    connected.close()
    assert path == following.path
    following.remove()
    following.socket.close()
    with pytest.raises(UnusableError, match="nobody accepts connections"):
        connect_to(ADDRESS)


def test_a_hub_does_not_listen_in_root_s_folder_but_in_the_next_one(
    runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As after ``sudo -E``. It is trusted, but nobody else can write there.
    folders()[0].mkdir(mode=0o700)
    lstat = Path.lstat

    def as_if_root_s(path: Path) -> os.stat_result:
        found = lstat(path)
        owner = 0 if path.is_relative_to(runtime) else os.geteuid()
        return os.stat_result((*found[:4], owner, *found[5:]))

    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    monkeypatch.setattr(Path, "lstat", as_if_root_s)
    place = Place(ADDRESS)
    assert place.path.parent == folders()[-1]
    place.remove()
    place.socket.close()


def test_what_a_hub_that_died_half_way_left_does_no_harm(runtime: Path) -> None:
    folder = runtime / "grpc-tool-bridge"
    folder.mkdir(mode=0o700)
    (folder / f".new-{socket_name(ADDRESS)}").touch()
    place = Place(ADDRESS)
    connect(find(ADDRESS)[0]).close()
    place.remove()
    place.socket.close()


# ----------------------------------------------------------------------------------------------------------- attacks


def test_a_folder_that_others_can_open_is_not_used(place: Place) -> None:
    place.path.parent.chmod(0o777)
    with pytest.raises(UnusableError, match=r"others can open .*; run: chmod 700 "):
        find(ADDRESS)
    place.path.parent.chmod(0o700)


def test_a_folder_that_others_can_open_is_not_listened_in(runtime: Path) -> None:
    for folder in folders():
        folder.mkdir()
        folder.chmod(0o755)
    with pytest.raises(UnusableError, match="others can open"):
        Place(ADDRESS)
    folders()[-1].chmod(0o700)
    place = Place(ADDRESS)
    assert place.path.parent == folders()[-1]
    place.remove()
    place.socket.close()


def test_a_folder_that_is_a_link_is_not_used(place: Place, runtime: Path) -> None:
    real = place.path.parent.rename(runtime / "elsewhere")
    (runtime / "grpc-tool-bridge").symlink_to(real)
    with pytest.raises(UnusableError, match="is not a folder"):
        find(ADDRESS)
    (runtime / "grpc-tool-bridge").unlink()
    real.rename(place.path.parent)


def test_a_socket_that_is_a_link_is_not_used(place: Place, runtime: Path) -> None:
    real = place.path.rename(runtime / "elsewhere")
    place.path.symlink_to(real)
    with pytest.raises(UnusableError, match="is not a socket; remove it"):
        find(ADDRESS)


def test_a_socket_that_others_can_reach_is_not_used(place: Place) -> None:
    place.path.chmod(0o666)
    with pytest.raises(UnusableError, match="others can connect to"):
        find(ADDRESS)


@pytest.mark.parametrize("what", ["folder", "socket"])
def test_what_belongs_to_another_user_is_not_used(what: str, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    lstat = Path.lstat
    foreign = place.path if what == "socket" else place.path.parent

    def as_if_foreign(path: Path) -> os.stat_result:
        found = lstat(path)
        return os.stat_result((*found[:4], os.geteuid() + 1, *found[5:])) if path == foreign else found

    monkeypatch.setattr(Path, "lstat", as_if_foreign)
    with pytest.raises(UnusableError, match="belongs to another user"):
        find(ADDRESS)


def test_something_else_under_the_name_is_kept_and_nobody_listens_there(runtime: Path) -> None:
    folder = runtime / "grpc-tool-bridge"
    folder.mkdir(mode=0o700)
    mine = folder / socket_name(ADDRESS)
    mine.write_text("mine")
    with pytest.raises(UnusableError, match="is not a socket; remove it"):
        Place(ADDRESS)
    with pytest.raises(UnusableError, match="is not a socket; remove it"):
        find(ADDRESS)
    assert mine.read_text() == "mine"


def test_a_lock_that_somebody_keeps_holds_no_hub_up(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket_places, "_LOCK_TRIES", 2)
    with (place.path.parent / ".lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UnusableError, match="another process holds"):
            Place("127.0.0.1:1")
        place.remove()
        assert place.path.exists()


def test_a_lock_that_is_a_link_is_not_followed(runtime: Path) -> None:
    folder = runtime / "grpc-tool-bridge"
    folder.mkdir(mode=0o700)
    (folder / ".lock").symlink_to(runtime / "target")
    with pytest.raises(OSError, match="symbolic links"):
        Place(ADDRESS)
    assert not (runtime / "target").exists()


def test_a_path_that_is_too_long_is_refused(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = runtime / ("x" * 100)
    deep.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(deep))
    with pytest.raises(UnusableError, match="is longer than"):
        Place(ADDRESS)
