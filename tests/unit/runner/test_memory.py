"""How much memory a process and its descendants hold."""

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from grpc_tool_bridge.runner import memory as module
from grpc_tool_bridge.runner.memory import MemoryWatch, held_bytes, is_supported, resident_bytes
from support.waiting import soon

MIB = 1024 * 1024

pytestmark = pytest.mark.skipif(not is_supported(), reason="the system has no /proc")


def python(code: str) -> "subprocess.Popen[str]":
    words = [sys.executable, "-S", "-c", code]
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def family() -> Iterator[int]:
    """A process whose child, a fork, holds 64 MiB that both share, and 32 MiB of its own."""
    code = (
        "import os, sys; shared = b'x' * (64 << 20); child = os.fork();"
        "own = b'y' * (32 << 20) if not child else b'';"
        "print(1, flush=True) if not child else None; sys.stdin.read()"
    )
    with python(code) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        yield process.pid
        process.kill()


def test_it_is_what_the_system_says(family: int) -> None:
    children = [process.pid for process in psutil.Process(family).children(recursive=True)]
    assert len(children) == 1
    expected = sum(psutil.Process(pid).memory_info().rss for pid in (family, *children))
    assert abs(resident_bytes(family) - expected) < MIB


def test_what_descendants_share_counts_once_if_that_decides(family: int) -> None:
    resident = resident_bytes(family)
    assert resident > 160 * MIB
    assert held_bytes(family, resident) == resident
    held = held_bytes(family, 100 * MIB)
    assert 96 * MIB < held < 130 * MIB


def test_a_process_that_has_ended_holds_nothing() -> None:
    with python("") as process:
        process.wait()
    assert resident_bytes(process.pid) == held_bytes(process.pid, 1) == 0


async def test_a_watch_tells_once_what_is_held() -> None:
    told: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    watch = MemoryWatch(os.getpid(), 1, told.set_result)
    assert await soon(told) > MIB
    watch.stop()


async def test_a_watch_that_is_stopped_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WATCH_INTERVAL", 0.0)
    told: list[int] = []
    MemoryWatch(os.getpid(), 1, told.append).stop()
    patient = asyncio.Event()
    asyncio.get_running_loop().call_later(0.0, patient.set)
    await soon(patient.wait())
    assert told == []


async def test_without_proc_nothing_is_watched_and_a_warning_says_so_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_PROC", tmp_path)
    module._warn_unsupported.cache_clear()
    caplog.set_level(logging.WARNING)
    for _ in range(2):
        MemoryWatch(os.getpid(), 1, print).stop()
    assert [record.message for record in caplog.records] == [
        "max_memory_bytes and max_process_bytes are not enforced: this system has no /proc"
    ]
