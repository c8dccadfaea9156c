"""The file of a key: who can read it, and what is in it."""

import stat
from pathlib import Path

import pytest

from grpc_tool_bridge.auth.audit.keys import AuditKeys, make_key, read_keys
from grpc_tool_bridge.errors import ValidationError


def test_a_key_is_made_once_for_this_user_alone_and_read_again(tmp_path: Path) -> None:
    made = make_key(tmp_path / "key")
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert read_keys(tmp_path / "key").lines == made.lines
    with pytest.raises(FileExistsError):
        make_key(tmp_path / "key")
    assert read_keys(tmp_path / "key").name == made.name


def test_a_key_of_32_bytes_is_read_too(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(bytes(range(32)))
    (tmp_path / "key").chmod(0o600)
    assert read_keys(tmp_path / "key").name == AuditKeys(bytes(range(32))).name


@pytest.mark.parametrize("found", [b"", b"abc", b"zz" * 32, b"00" * 31])
def test_what_is_no_key_is_refused_and_not_repeated(tmp_path: Path, found: bytes) -> None:
    (tmp_path / "key").write_bytes(found)
    (tmp_path / "key").chmod(0o600)
    with pytest.raises(ValidationError, match="audit key FILE"):
        read_keys(tmp_path / "key")


def test_a_key_for_each_purpose_differs() -> None:
    keys = AuditKeys(b"k" * 32)
    assert len({keys.lines, keys.checkpoints, keys.arguments}) == 3
