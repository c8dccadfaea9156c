"""Attacks are made on a hub in a process of its own, which a second client watches."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from attacks.victims import MakeVictim, Victim, victim


@pytest.fixture
async def attacked() -> AsyncIterator[MakeVictim]:
    """Starts hubs that are watched; each must live and serve others when the test is over."""
    async with AsyncExitStack() as stack:

        async def make(*tools: str, **settings: Any) -> Victim:
            return await stack.enter_async_context(victim(*tools, **settings))

        yield make
