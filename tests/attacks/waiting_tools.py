"""Tools that take their time."""

import asyncio
import time


async def wait_six_seconds() -> int:
    await asyncio.sleep(6)
    return 6


async def hold_the_loop(seconds: float) -> None:
    """Keeps the hub from beginning anything else."""
    time.sleep(seconds)  # noqa: ASYNC251 - what it is for


TOOLS = [wait_six_seconds, hold_the_loop]
