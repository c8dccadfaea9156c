"""The thread that writes: batches, failures, what is refused and what is lost meanwhile."""

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from grpc_tool_bridge.auth.audit import writer as writing
from grpc_tool_bridge.auth.audit.chain import Chain
from grpc_tool_bridge.auth.audit.checking import TrailCheck
from grpc_tool_bridge.auth.audit.files import AuditFile, Rotation, files_of
from grpc_tool_bridge.auth.audit.keys import AuditKeys
from grpc_tool_bridge.auth.audit.usual import UsualLines
from grpc_tool_bridge.auth.audit.writer import AuditWriter
from grpc_tool_bridge.config.audit_choices import AuditSync
from grpc_tool_bridge.errors import StoreError
from support.waiting import soon, until

KEYS = AuditKeys(b"k" * 32)


class FullDisk(AuditFile):
    """A file on a disk that takes ``room`` bytes."""

    room = 1_000_000
    synced = 0

    def flush(self) -> None:
        if self._added:
            self._left, self._added = b"".join((self._left, *self._added)), []
        while self._left:
            if not self.room:
                raise OSError(errno.ENOSPC, "No space left on device")
            written = os.write(self._opened(), bytes(self._left[: self.room]))
            self.room -= written
            self._wrote(written)
            self._left = self._left[written:]

    def sync(self) -> None:
        self.synced += 1


def line(number: int) -> str:
    return f'"time":"2026-12-01T00:00:00.{number:09d}Z","event":"call","tool":"add"'


@asynccontextmanager
async def opened(
    sink: AuditFile, *, refuse: bool = True, sync: AuditSync = AuditSync.NEVER
) -> AsyncIterator[AuditWriter]:
    writer = AuditWriter(
        sink,
        Chain(KEYS),
        sync=sync,
        refuse=refuse,
        begins=lambda tail: f'"key":"{KEYS.name}","after":{"null" if tail is None else tail.fields()}',
        usual=UsualLines(KEYS).fields,
    )
    await writer.open()
    try:
        yield writer
    finally:
        await soon(writer.aclose())


def read(path: Path) -> bytes:
    return path.read_bytes()


def write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def check(path: Path) -> tuple[bool, int, int]:
    """Returns whether a trail is intact, its lines and those that it says were lost."""
    report = TrailCheck(KEYS).check(files_of(path))
    return not report.is_broken, sum(chain.lines for chain in report.chains), sum(chain.lost for chain in report.chains)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.log"


async def test_what_is_given_is_written_in_order_and_ended(path: Path) -> None:
    async with opened(AuditFile(path, Rotation())) as writer:
        for number in range(5_000):
            writer.put(line(number))
    assert check(path)[0]
    text = read(path).decode()
    places = [text.index(line(number)) for number in (0, 1, 2_500, 4_999)]
    assert places == sorted(places)
    assert '"event":"checkpoint"' in text
    assert '"event":"end"' in text.splitlines()[-1]


async def test_a_full_disk_refuses_until_it_has_room_and_nothing_is_lost(path: Path) -> None:
    sink = FullDisk(path, Rotation())
    async with opened(sink) as writer:
        sink.room = 300
        for number in range(10):
            writer.put(line(number))
        await until(lambda: writer.refuses)
        assert "No space left" in str(writer.refusal())
        assert isinstance(writer.refusal(), StoreError)
        sink.room = 1_000_000
        await until(lambda: not writer.refuses)
        assert not writer.why
    assert check(path) == (True, 12, 0)
    assert writer.failures
    assert not writer.lost


async def test_lines_that_find_no_room_are_counted_and_a_later_line_says_how_many(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "MAX_LINES", 20)
    sink = FullDisk(path, Rotation())
    async with opened(sink, refuse=False) as writer:
        sink.room = 0
        writer.put(line(0))
        await until(lambda: writer.why)
        for number in range(30):
            writer.put(line(number))
        assert not writer.refuses
        assert writer.lost == 10
        sink.room = 1_000_000
        await until(lambda: not writer.why)
    intact, _, lost = check(path)
    assert intact
    assert lost == 10


async def test_calls_are_refused_while_too_many_lines_wait(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "MAX_LINES", 3)
    async with opened(AuditFile(path, Rotation())) as writer:
        for number in range(5):
            writer.put(line(number))
        assert writer.refuses
        assert "wait to be written" in str(writer.refusal())
        await until(lambda: not writer.refuses)
        for number in range(8):
            writer.put(line(number))
        assert writer.lost == 2


async def test_a_trail_goes_on_over_rotation_and_old_files_are_removed_with_a_line_that_says_so(path: Path) -> None:
    async with opened(AuditFile(path, Rotation(most_bytes=2_000, keep=2))) as writer:
        for number in range(400):
            writer.put(line(number))
            if not number % 20:
                await until(lambda: not len(writer))
    files = files_of(path)
    assert len(files) == 3
    assert int(files[0].suffix[1:]) > 1
    report = TrailCheck(KEYS).check(files)
    assert not report.is_broken
    assert "removed by the hub" in report.findings[0].text
    files[1].unlink()
    assert TrailCheck(KEYS).check([files[0], files[2]]).is_broken


async def test_a_file_that_cannot_be_rotated_goes_on(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def rename(self: Path, target: Path) -> Path:
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "rename", rename)
    async with opened(AuditFile(path, Rotation(most_bytes=500))) as writer:
        for number in range(50):
            writer.put(line(number))
            await asyncio.sleep(0)
        await until(lambda: not len(writer))
        writer.put(line(50))
    assert "goes on in the same file" in caplog.text
    assert check(path)[0]


async def test_the_next_life_goes_on_in_the_same_file_and_names_the_line_before(path: Path) -> None:
    for _ in range(2):
        async with opened(AuditFile(path, Rotation())) as writer:
            writer.put(line(1))
    report = TrailCheck(KEYS).check([path])
    assert not report.findings
    assert len(report.chains) == 2
    lines = read(path).splitlines(keepends=True)
    write(path, b"".join(lines[:2] + lines[3:]))
    assert "cut off" in TrailCheck(KEYS).check([path]).findings[-1].text


async def test_what_a_crash_has_left_of_a_line_stays_and_is_explained(path: Path) -> None:
    async with opened(AuditFile(path, Rotation())) as writer:
        writer.put(line(1))
    write(path, read(path)[:-30])
    async with opened(AuditFile(path, Rotation())) as writer:
        writer.put(line(1))
    report = TrailCheck(KEYS).check([path])
    assert not report.is_broken
    assert any("a crash has cut this line" in finding.text for finding in report.findings)


async def test_a_second_process_is_refused_the_same_file(path: Path) -> None:
    async with opened(AuditFile(path, Rotation())):
        with pytest.raises(StoreError, match="another process"):
            AuditFile(path, Rotation()).open()


async def test_a_place_that_cannot_be_written_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be opened"):
        async with opened(AuditFile(tmp_path / "nowhere" / "audit.log", Rotation())):
            pass


@pytest.mark.parametrize(("sync", "least"), [(AuditSync.ALWAYS, 3), (AuditSync.NEVER, 1)])
async def test_the_disk_is_waited_for_as_the_setting_says(path: Path, sync: AuditSync, least: int) -> None:
    sink = FullDisk(path, Rotation())
    async with opened(sink, sync=sync) as writer:
        for number in range(3):
            writer.put(line(number))
            await until(lambda: not len(writer))
    assert sink.synced >= least if sync is AuditSync.ALWAYS else sink.synced == least


async def test_a_writer_that_is_opened_again_begins_another_chain(path: Path) -> None:
    async with opened(AuditFile(path, Rotation())) as writer:
        writer.put(line(1))
        await soon(writer.aclose())
        await soon(writer.open())
        writer.put(line(2))
    report = TrailCheck(KEYS).check([path])
    assert not report.findings
    assert [chain.lines for chain in report.chains] == [3, 3]
