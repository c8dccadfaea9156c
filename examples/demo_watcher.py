"""A second client: joins the session and prints the shared variable whenever it changes."""

import asyncio
import os
import sys

import pandas as pd

from grpc_tool_bridge import GRPCToolBridge

SESSION = "demo"
VARIABLE = "summary"


async def main(address: str) -> None:
    """Watches until the variable is deleted."""
    async with GRPCToolBridge(address, keep_session=True) as bridge:
        await bridge.initialize(SESSION)
        print(f"process {os.getpid()} joined session {SESSION!r} and watches variable {VARIABLE!r}")
        async for change in bridge.session_context.watch_variables(VARIABLE):
            if change.operation == "delete":
                print(f"revision {change.revision}: deleted; nothing more to watch")
                return
            frame = change.value
            assert isinstance(frame, pd.DataFrame)
            first = frame.iloc[0]
            print(
                f"revision {change.revision}: {change.operation} to a {type(frame).__name__} of {len(frame)} rows; "
                f"most bytes in {first['suffix']!r} files: {first['bytes']:,}"
            )


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
