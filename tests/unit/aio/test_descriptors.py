"""Descriptors of every kind are read and written without holding up the event loop."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from grpc_tool_bridge.aio.descriptors import MAX_AHEAD, DescriptorReader, DescriptorWriter
from support.patience import PATIENCE
from support.waiting import turns, until


@pytest.fixture(params=["pipe", "socket"])
def ends(request: pytest.FixtureRequest) -> Iterator[tuple[int, int]]:
    """The end to read and the end to write."""
    if request.param == "pipe":
        pair = os.pipe()
    else:
        left, right = socket.socketpair()
        pair = left.detach(), right.detach()
    yield pair
    for end in pair:
        with contextlib.suppress(OSError):
            os.close(end)


@pytest.fixture(autouse=True)
async def bounded() -> AsyncIterator[None]:
    async with asyncio.timeout(PATIENCE):
        yield


async def read_all(reader: DescriptorReader) -> bytes:
    parts = []
    while data := await reader.read():
        parts.append(data)
    return b"".join(parts)


async def test_what_is_written_is_read_up_to_the_end(ends: tuple[int, int]) -> None:
    reader = DescriptorReader(ends[0])
    os.write(ends[1], b"one")
    assert await reader.read() == b"one"
    os.write(ends[1], b"two")
    os.close(ends[1])
    assert await read_all(reader) == b"two"
    assert await reader.read() == b""


async def test_a_reader_that_is_closed_is_at_its_end(ends: tuple[int, int]) -> None:
    reader = DescriptorReader(ends[0])
    reading = asyncio.ensure_future(reader.read())
    await turns()
    reader.close()
    assert await reading == b""


async def test_no_more_is_read_ahead_than_the_bound(ends: tuple[int, int]) -> None:
    reader, writer = DescriptorReader(ends[0]), DescriptorWriter(ends[1])
    data = bytes(range(256)) * 4_096 * 4
    writer.write(data)
    await until(lambda: writer.size <= len(data) - MAX_AHEAD)
    await turns(1_000)
    assert writer.size > len(data) - 2 * MAX_AHEAD
    writing = asyncio.ensure_future(writer.drain(0))
    found = b""
    while len(found) < len(data):
        found += await reader.read()
    await writing
    assert found == data
    reader.close()


async def test_a_file_is_read_as_well(tmp_path: Path) -> None:
    file = tmp_path / "file"
    data = b"line\n" * 1_000_000
    file.write_bytes(data)
    descriptor = os.open(file, os.O_RDONLY)
    assert await read_all(DescriptorReader(descriptor)) == data
    os.close(descriptor)


async def test_a_file_is_written_as_well(tmp_path: Path) -> None:
    file = tmp_path / "file"
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT)
    writer = DescriptorWriter(descriptor)
    writer.write(b"x" * 100_000)
    await writer.drain(0)
    os.close(descriptor)
    assert file.read_bytes() == b"x" * 100_000


async def test_parts_of_all_sizes_arrive_in_order_and_no_write_blocks_the_loop(ends: tuple[int, int]) -> None:
    writer = DescriptorWriter(ends[1], high_water=1_000)
    parts = [bytes([number % 256]) * (number * 37 % 9_001) for number in range(400)]

    async def write() -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
        await writer.drain(0)

    writing = asyncio.ensure_future(write())
    await turns(1_000)
    assert not writing.done()
    reader, found = DescriptorReader(ends[0]), b""
    while len(found) < sum(map(len, parts)):
        found += await reader.read()
    await writing
    assert found == b"".join(parts)
    reader.close()


async def test_nothing_is_made_non_blocking(ends: tuple[int, int]) -> None:
    reader, writer = DescriptorReader(ends[0]), DescriptorWriter(ends[1])
    writer.write(b"x")
    assert await reader.read() == b"x"
    assert os.get_blocking(ends[0])
    assert os.get_blocking(ends[1])
    reader.close()


async def test_a_peer_that_is_gone_is_an_error_of_the_next_write(ends: tuple[int, int]) -> None:
    writer = DescriptorWriter(ends[1])
    os.close(ends[0])
    writer.write(b"x")
    with pytest.raises(OSError, match=r"Broken pipe|reset"):
        await writer.drain(0)
    with pytest.raises(OSError, match=r"Broken pipe|reset"):
        writer.write(b"y")


async def test_a_writer_that_is_closed_wakes_who_waits(ends: tuple[int, int]) -> None:
    writer = DescriptorWriter(ends[1])
    writer.write(b"x" * 5_000_000)
    draining = asyncio.ensure_future(writer.drain(0))
    await turns()
    writer.close()
    with pytest.raises(BrokenPipeError):
        await draining
