"""Freed memory is kept for reuse, and given back once much less is held."""

import asyncio
import ctypes
import logging
from typing import Any

import pytest

from grpc_tool_bridge.rpc import allocator
from grpc_tool_bridge.rpc.allocator import WORTH_BYTES, keep_freed_memory, trim_forever
from grpc_tool_bridge.rpc.budgets import MIB, Budget
from support.waiting import until


class Libc:
    """A C library that notes what it is told."""

    def __init__(self, *, accepts: bool = True) -> None:
        self.told: list[tuple[int, ...]] = []
        self._accepts = accepts

    def mallopt(self, parameter: int, value: int) -> int:
        self.told.append((parameter, value))
        return int(self._accepts)

    def malloc_trim(self, pad: int) -> int:
        self.told.append((pad,))
        return 1


def use(monkeypatch: pytest.MonkeyPatch, libc: Any) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: libc)


def test_glibc_is_told_what_to_keep(monkeypatch: pytest.MonkeyPatch) -> None:
    libc = Libc()
    use(monkeypatch, libc)
    keep_freed_memory()
    assert libc.told == [(-3, 32 * MIB), (-1, 64 * MIB)]


@pytest.mark.parametrize(("libc", "why"), [(object(), "no mallopt"), (Libc(accepts=False), "refused")])
def test_another_library_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, libc: Any, why: str
) -> None:
    use(monkeypatch, libc)
    with caplog.at_level(logging.DEBUG):
        keep_freed_memory()
    assert why in caplog.text


async def test_memory_goes_back_once_much_less_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    libc = Libc()
    use(monkeypatch, libc)
    monkeypatch.setattr(allocator, "CHECK_INTERVAL", 0.001)
    memory = Budget(10 * WORTH_BYTES, owner="the hub", setting="max_hub_bytes")
    memory.peak = WORTH_BYTES
    trimming = asyncio.create_task(trim_forever(memory))
    try:
        await until(lambda: libc.told)
        assert libc.told == [(0,)]
        assert memory.peak == memory.used
    finally:
        trimming.cancel()
        await asyncio.wait([trimming])


async def test_a_library_that_cannot_trim_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, object())
    await trim_forever(Budget(WORTH_BYTES, owner="the hub", setting="max_hub_bytes"))
