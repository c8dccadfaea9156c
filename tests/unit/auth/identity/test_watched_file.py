"""A file that is read again after it has changed."""

from pathlib import Path

import pytest

from grpc_tool_bridge.auth.identity import watched_file
from grpc_tool_bridge.auth.identity.watched_file import WatchedFile


def read(path: Path) -> str:
    text = path.read_text()
    if text == "wrong":
        raise ValueError("it is wrong")
    return text


def test_it_is_read_again_when_it_changes_and_keeps_what_it_had_when_it_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watched_file, "LOOK_SECONDS", 0.0)
    path = tmp_path / "file"
    path.write_text("one")
    watched = WatchedFile(path, read, named="some_file")
    assert watched.content() == "one"
    path.write_text("two!")
    assert watched.content() == "two!"
    path.write_text("wrong")
    assert watched.content() == "two!"
    path.unlink()
    assert watched.content() == "two!"
    assert caplog.text.count("some_file cannot be read again") == 2
    path.write_text("three")
    assert watched.content() == "three"


def test_it_is_looked_at_once_a_second_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    path = tmp_path / "file"
    path.write_text("one")
    watched = WatchedFile(path, read, named="some_file")
    path.write_text("two!")
    now[0] += 0.9
    assert watched.content() == "one"
    now[0] += 0.1
    assert watched.content() == "two!"


def test_a_file_that_cannot_be_used_at_first_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        WatchedFile(tmp_path / "none", read, named="some_file")
