"""The files of a store on the disk."""

import errno
import os
from pathlib import Path

import pytest

from grpc_tool_bridge.stores.sqlite.disk import beside, flush, size_of


def test_files_beside_a_store_are_named_after_it_and_one_that_is_missing_has_no_bytes(tmp_path: Path) -> None:
    log = beside(tmp_path / "hub.db", "-wal")
    assert (log.name, size_of(log)) == ("hub.db-wal", 0)
    log.write_bytes(b"12")
    assert size_of(log) == 2


def test_a_file_system_that_cannot_flush_directories_is_good_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.touch()

    def refuse(_: int) -> None:
        raise OSError(errno.EINVAL, "it cannot")

    monkeypatch.setattr(os, "fsync", refuse)
    flush(tmp_path)
    with pytest.raises(OSError, match="it cannot"):
        flush(file)
