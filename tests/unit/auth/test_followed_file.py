"""A file that is followed while it changes."""

import logging
import os
from pathlib import Path

import pytest

from grpc_tool_bridge.auth.followed_file import FollowedFile
from grpc_tool_bridge.errors import ValidationError
from support.waiting import until


def read(path: Path) -> str:
    text = path.read_text()
    if text == "bad":
        raise ValidationError(f"{path} is bad")
    return text


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "rules"
    made.write_text("one")
    return made


async def test_what_a_file_has_is_taken_at_once_and_after_each_change(path: Path) -> None:
    taken: list[str] = []
    file = FollowedFile(path, "it stays", read, taken.append, look_seconds=0.01)
    assert taken == ["one"]
    file.start()
    path.write_text("another")  # noqa: ASYNC240 - a small file
    await until(lambda: taken == ["one", "another"])
    await file.aclose()


async def test_a_bad_change_is_said_once_and_not_taken(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    taken: list[str] = []
    file = FollowedFile(path, "it stays as it was", read, taken.append)
    path.write_text("bad")  # noqa: ASYNC240 - a small file
    with caplog.at_level(logging.ERROR):
        assert not await file.look()
        assert not await file.look()
    assert caplog.messages == [f"it stays as it was: {path} is bad"]
    path.unlink()  # noqa: ASYNC240 - a small file
    assert not await file.look()
    path.write_text("good")  # noqa: ASYNC240 - a small file
    assert await file.look()
    assert taken == ["one", "good"]


async def test_a_file_that_is_not_changed_is_not_read(path: Path) -> None:
    taken: list[str] = []
    file = FollowedFile(path, "it stays", read, taken.append)
    found = path.stat()  # noqa: ASYNC240 - a small file
    path.write_text("two")  # noqa: ASYNC240 - a small file
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert not await file.look()
    assert taken == ["one"]
