"""The tools of an MCP server beside tools of one's own: one set, called in one way.

    python examples/mcp_import.py

The server is that of ``mcp_server.py``, named in a file with ``mcpServers`` as every application has one. Any other
server does: ``import_mcp("uvx mcp-server-time")``, or an address. The hub starts it, watches it and ends it; while it
is away, its tools are as well.
"""

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from grpc_tool_bridge import BridgeServer, GRPCToolBridge, ToolExecutionError, tool
from grpc_tool_bridge.adapters.mcp import import_mcp_config

TOOLS = Path(__file__).with_name("mcp_server.py")


@tool
def most_frequent(counts: dict[str, int], limit: int = 3) -> list[str]:
    """Names the most frequent words.

    Args:
        counts: How often each word occurs.
        limit: How many words.
    """
    return sorted(counts, key=lambda word: (-counts[word], word))[:limit]


async def call_all(tools: Mapping[str, Any]) -> None:
    """Calls tools of both kinds; nothing shows which is which."""
    texts = ["the cat and the dog", "the bird and the cat"]
    watched = tools["words.count_words"].with_options(
        on_progress=lambda event: print(f"  {event.current:g} of {event.total:g}: {event.message}")
    )
    counts = await watched(texts=texts)
    print("words.count_words:", counts)
    print("most_frequent:", await tools["most_frequent"](counts))
    try:
        await tools["words.slug"](title="?!")
    except ToolExecutionError as error:
        print("words.slug:", error.error_type, "is raised here as there")


def write_config(file: Path) -> None:
    """Writes the file: what ``mcp --print-config`` prints."""
    words = ["mcp", "--tools", str(TOOLS), "--print-config", "claude", "--name", "words"]
    with file.open("w", encoding="utf-8") as out:
        subprocess.run([sys.executable, "-m", "grpc_tool_bridge.cli", *words], stdout=out, check=True)


async def main() -> None:
    """Takes in a server and calls its tools beside those of this program."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "servers.json"
        await asyncio.to_thread(write_config, config)
        servers = import_mcp_config(config)
    async with BridgeServer(tools=[most_frequent], sources=servers) as hub, GRPCToolBridge(hub.address) as bridge:
        tools = await bridge.initialize()
        print("tools:", ", ".join(sorted(tools)))
        await call_all(tools)


if __name__ == "__main__":
    asyncio.run(main())
