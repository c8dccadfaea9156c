"""Whether a store and its disk are well."""

from pathlib import Path

import pytest

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.errors import StoreError
from grpc_tool_bridge.stores.sqlite import health
from grpc_tool_bridge.stores.sqlite.health import Mount
from grpc_tool_bridge.stores.sqlite.store import SqliteStore
from support.store_files import change, damage, fill, filled, in_thread, names_in

MOUNTS = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:26 / /mnt rw - tmpfs tmpfs rw
31 30 0:44 / /mnt/shared\\040files rw - nfs4 server:/export rw
32 30 0:45 / /mnt/again rw - ext4 /dev/vdb rw
33 32 0:46 / /mnt/again rw - xfs /dev/vdc rw
"""


@pytest.mark.parametrize("full", [False, True])
async def test_a_good_store_has_no_damage_whether_a_hub_has_it_or_not(full: bool, tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    store = SqliteStore(path)
    await store.open(Settings())
    await fill(store)
    assert await in_thread(lambda: health.damage(path, full=full)) == []
    await store.aclose()
    assert health.damage(path, full=full) == []


async def test_a_damaged_page_is_found(tmp_path: Path) -> None:
    path = await filled(tmp_path / "hub.db")
    damage(path)
    try:
        found = health.damage(path, full=False)
    except StoreError as error:
        found = [error.message]
    assert found


async def test_an_index_that_lacks_a_row_is_found_by_the_full_check_alone(tmp_path: Path) -> None:
    path = await filled(tmp_path / "hub.db")
    # A partial index that from now on should have had all rows, but has those of before.
    change(
        path,
        "PRAGMA writable_schema = 1",
        "UPDATE sqlite_master SET sql = 'CREATE INDEX deletions ON changes (session_id)' WHERE name = 'deletions'",
    )
    assert health.damage(path, full=False) == []
    assert any("deletions" in line for line in health.damage(path, full=True))


async def test_rows_of_no_session_are_found_by_the_full_check(tmp_path: Path) -> None:
    path = await filled(tmp_path / "hub.db")
    change(path, "DELETE FROM sessions WHERE session_id = 'one'")
    assert health.damage(path, full=False) == []
    found = health.damage(path, full=True)
    assert "3 rows of changes belong to no session" in found
    assert len(found) <= 5


async def test_files_that_others_may_use_are_named(tmp_path: Path) -> None:
    path = await filled(tmp_path / "hub.db")
    assert health.readable_by_others(path) == {}
    log = path.with_name("hub.db-wal")
    log.touch()
    log.chmod(0o640)
    path.chmod(0o604)
    assert health.readable_by_others(path) == {path: 0o604, log: 0o640}


@pytest.mark.parametrize(
    ("folder", "mount"),
    [
        ("/srv", Mount("ext4", "/")),
        ("/mnt", Mount("tmpfs", "/mnt")),
        ("/mntx", Mount("ext4", "/")),
        ("/mnt/shared files/deep", Mount("nfs4", "/mnt/shared files")),
        ("/mnt/again", Mount("xfs", "/mnt/again")),
    ],
)
def test_a_directory_is_on_the_innermost_file_system(
    folder: str, mount: Mount, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "mountinfo"
    file.write_text(MOUNTS)
    monkeypatch.setattr(health, "MOUNTS", file)
    assert health.mount_of(Path(folder)) == mount


def test_a_system_that_does_not_tell_its_file_systems_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "MOUNTS", tmp_path / "nothing")
    assert health.mount_of(tmp_path) is None


def test_flushes_are_measured_and_leave_no_file(tmp_path: Path) -> None:
    took = health.flush_seconds(tmp_path, 3)
    assert len(took) == 3
    assert list(took) == sorted(took)
    assert names_in(tmp_path) == []
    with pytest.raises(OSError, match="No such file"):
        health.flush_seconds(tmp_path / "none", 1)
