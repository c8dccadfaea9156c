"""Ends idle sessions, in the background."""

import asyncio

from grpc_tool_bridge.aio.turns import Turns
from grpc_tool_bridge.core.sessions import SessionStore


async def expire_forever(store: SessionStore) -> None:
    """Ends idle sessions; checks ten times per idle timeout, and yields to other tasks."""
    while True:
        await asyncio.sleep(min(5.0, store.settings.session_idle_timeout / 10))
        turns = Turns()
        for _ in store.expiring():
            if turns.due:
                await turns.give()
