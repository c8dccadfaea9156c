"""Files with secrets: who else can read them."""

import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from grpc_tool_bridge.config import Settings, load_settings, read_token
from grpc_tool_bridge.config.secret_files import MAX_SECRET_BYTES, read_cluster_secret, read_secret

pytestmark = [pytest.mark.platform, pytest.mark.skipif(os.name == "nt", reason="files have no modes there")]


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that everybody may enter, as /etc is; the one that pytest makes is its owner's."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def secret(folder: Path, mode: int, text: str = "hush") -> Path:
    file = folder / "token"
    file.write_text(text)
    file.chmod(mode)
    return file


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_a_file_that_only_its_owner_reads_is_taken_without_a_word(
    shared: Path, mode: int, caplog: pytest.LogCaptureFixture
) -> None:
    assert read_secret(secret(shared, mode), "token_file") == b"hush"
    assert not caplog.records


@pytest.mark.parametrize(("mode", "verb"), [(0o644, "read"), (0o604, "read"), (0o666, "change"), (0o602, "change")])
def test_a_file_that_every_user_can_read_or_change_is_refused_with_the_remedy(
    shared: Path, mode: int, verb: str
) -> None:
    file = secret(shared, mode)
    text = f"token_file {file}: every user of this machine can {verb} it; chmod 600 {file}$"
    with pytest.raises(ValueError, match=text) as caught:
        read_secret(file, "token_file")
    assert "hush" not in str(caught.value)


def test_what_a_link_leads_to_counts(shared: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(secret(shared, 0o644))
    with pytest.raises(ValueError, match="every user"):
        read_secret(link, "token_file")


def test_a_file_that_its_group_can_read_is_warned_of(shared: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = secret(shared, 0o640)
    assert read_secret(file, "tls_key") == b"hush"
    assert f"tls_key {file}: its group {os.getgid()} can read it; chmod 600 {file}" in caplog.text


def test_an_open_file_in_a_closed_folder_is_warned_of(shared: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = secret(shared, 0o644)
    shared.chmod(0o700)
    assert read_secret(file, "token_file") == b"hush"
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert f"only its folder keeps them out; chmod 600 {file}" in caplog.text


def test_a_file_that_every_user_can_replace_is_refused(shared: Path) -> None:
    file = secret(shared, 0o600)
    shared.chmod(0o777)
    with pytest.raises(ValueError, match=f"put another file in its place; chmod o-w {shared}"):
        read_secret(file, "token_file")
    # As /tmp is: nobody replaces what is another's.
    shared.chmod(0o1777)
    assert read_secret(file, "token_file") == b"hush"


def test_a_file_that_is_mounted_read_only_is_taken_as_it_is(
    shared: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    file = secret(shared, 0o644)
    found = os.statvfs(file)
    fields = list(found)
    fields[8] |= os.ST_RDONLY
    monkeypatch.setattr(os, "fstatvfs", lambda _: os.statvfs_result((*fields, found.f_fsid)))
    assert read_secret(file, "token_file") == b"hush"
    assert not caplog.records


def test_a_pipe_is_read_whatever_its_mode_says(caplog: pytest.LogCaptureFixture) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"hush\n")
    os.close(writing)
    try:
        assert read_token(None, Path(f"/dev/fd/{reading}")) == "hush"
    finally:
        os.close(reading)
    assert not caplog.records


def test_what_goes_on_without_end_is_no_secret() -> None:
    with pytest.raises(ValueError, match=f"has over {MAX_SECRET_BYTES} bytes; is it the right file"):
        read_secret(Path("/dev/zero"), "token_file")


def test_bytes_that_are_no_text_are_no_token_and_are_not_shown(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_bytes(b"\xff\xfehush")
    with pytest.raises(ValueError, match="printable ASCII") as caught:
        read_token(None, file)
    assert "hush" not in str(caught.value)


def test_a_file_of_settings_is_checked_where_it_holds_a_token(shared: Path) -> None:
    file = secret(shared, 0o644, 'token = "hush"\n')
    with pytest.raises(ValueError, match=f"{file}: every user .* can read it; chmod 600 {file}"):
        load_settings({}, file)
    file.chmod(0o600)
    assert load_settings({}, file).bearer_token() == "hush"


def test_a_file_of_settings_without_a_token_may_be_read_by_all(shared: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert load_settings({}, secret(shared, 0o644, "max_sessions = 7\n")).max_sessions == 7
    assert not caplog.records


def test_the_setting_of_a_hub_refuses_an_open_file(shared: Path) -> None:
    with pytest.raises(ValueError, match="every user"):
        Settings(token_file=secret(shared, 0o644)).bearer_token()


def test_a_clusters_secret_comes_from_its_setting_or_its_file_and_is_long(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{'s' * 16}\n")
    file.chmod(0o600)
    assert read_cluster_secret(None, None) is None
    assert read_cluster_secret("t" * 16, None) == "t" * 16
    assert read_cluster_secret(None, file) == "s" * 16
    file.write_text("short")
    with pytest.raises(ValueError, match=f"secret in {file} is shorter than 16 characters"):
        read_cluster_secret(None, file)
