"""Waiting for what a working program does: on the thing itself, bounded, and never for a time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import psutil

from grpc_tool_bridge import UnavailableError
from support.patience import PATIENCE

Answer = TypeVar("Answer")


async def until(condition: Callable[[], object], what: str = "") -> None:
    """Looks again and again until ``condition`` holds; fails where it does not within the patience."""
    try:
        async with asyncio.timeout(PATIENCE):
            while not condition():  # noqa: ASYNC110 - what is looked at is mostly no event
                await asyncio.sleep(0.002)
    except TimeoutError:
        raise AssertionError(f"waited {PATIENCE:g} s in vain {what}") from None


async def soon(awaitable: Awaitable[Any]) -> Any:
    """Awaits what a working bridge gives at once; fails where it does not come."""
    async with asyncio.timeout(PATIENCE):
        return await awaitable


async def until_answered(ask: Callable[[], Awaitable[Answer]]) -> Answer:
    """Asks again and again while a hub answers that it is unavailable; ``soon`` sets the bound."""
    while True:
        try:
            return await ask()
        except UnavailableError:
            await asyncio.sleep(0.05)


async def turns(count: int = 20) -> int:
    """Lets every task come as far as it can without anybody else; returns how many turns that were."""
    for _ in range(count):
        await asyncio.sleep(0)
    return count


def is_gone(pid: int) -> bool:
    """Returns whether a process has ended, even if nobody has waited for it yet."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
