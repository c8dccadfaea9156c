"""A bridge with its own hub and store in one process, whose agent never ends; prints each chunk of its run.

Its arguments: the URL of the store.
"""

import asyncio
import json
import sys

from grpc_tool_bridge import LocalToolBridge
from integration.agent_runtime import SIGNATURE, ObedientAgents, runtime_of


async def run(store: str) -> None:
    async with LocalToolBridge(store=store, keep_session=True) as bridge, runtime_of(bridge, ObedientAgents()):
        await bridge.initialize("mine")
        agent_id = await bridge.create_react_agent(SIGNATURE)
        asked = {"agent_id": agent_id, "input": {"think": 3, "wait": True}, "run_id": "run"}
        async for chunk in bridge.execute_agent_streaming(asked):
            sys.stdout.write(f"{json.dumps(chunk)}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(run(*sys.argv[1:]))
