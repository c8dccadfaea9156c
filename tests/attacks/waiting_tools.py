"""A tool that takes its time."""

import asyncio


async def wait_six_seconds() -> int:
    await asyncio.sleep(6)
    return 6


TOOLS = [wait_six_seconds]
