"""An agent runtime as a process of its own; says when it serves. Its arguments: the hub's address, and its name."""

import asyncio
import sys

from grpc_tool_bridge import ToolWorker
from integration.agent_runtime import ObedientAgents


async def serve(address: str, name: str) -> None:
    worker = ToolWorker(address, worker_id=name, agents=ObedientAgents())
    await worker.start()
    sys.stdout.write("serves\n")
    sys.stdout.flush()
    await worker.run()


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:]))
