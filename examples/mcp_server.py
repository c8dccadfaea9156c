"""Tools for an application that speaks MCP, such as Claude Desktop, Cursor or VS Code: no hub is needed.

    grpc-tool-bridge mcp --tools examples/mcp_server.py --print-config claude

prints what the application needs in its settings. Run as a program, this file does what the application would do: it
starts the server with these settings, lists the tools, calls one, and reads what it reports.

    python examples/mcp_server.py
"""

import asyncio
import json
import sys
import unicodedata
from typing import Any

from mcp import StdioServerParameters
from mcp.client import Client

from grpc_tool_bridge import ToolContext, tool

COMMAND = (sys.executable, "-m", "grpc_tool_bridge.cli", "mcp", "--tools", __file__)


@tool
def slug(title: str) -> str:
    """Turns a title into a name for a file or an address.

    Args:
        title: The title, in any language.
    """
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    words = "".join(character if character.isalnum() else " " for character in plain).split()
    if not words:
        raise ValueError(f"{title!r} has no letter or digit that ASCII has")
    return "-".join(words)


@tool
async def count_words(texts: list[str], ctx: ToolContext) -> dict[str, int]:
    """Counts how often each word occurs in some texts.

    Args:
        texts: The texts.
        ctx: Given by the bridge.
    """
    counts: dict[str, int] = {}
    for number, text in enumerate(texts, start=1):
        for word in text.lower().split():
            counts[word] = counts.get(word, 0) + 1
        ctx.progress(number, len(texts), f"text {number} of {len(texts)}")
        await asyncio.sleep(0)
    return counts


async def printed_config() -> dict[str, Any]:
    """Returns what ``--print-config`` prints for Claude, as an object."""
    command = [*COMMAND, "--print-config", "claude", "--name", "words"]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    printed, _ = await process.communicate()
    config: dict[str, Any] = json.loads(printed)
    return config


async def main() -> None:
    """Starts the server as an application does, and calls its tools."""
    entry = (await printed_config())["mcpServers"]["words"]
    server = StdioServerParameters(command=entry["command"], args=entry["args"], env=entry.get("env"))

    async def show(progress: float, total: float | None, message: str | None) -> None:
        print(f"  {progress:g} of {total:g}: {message}")

    async with Client(server) as client:
        tools = (await client.list_tools()).tools
        print("tools:", ", ".join(item.name for item in tools))
        answer = await client.call_tool("slug", {"title": "Ça va? A première vue!"})
        print("slug:", answer.structured_content)
        texts = ["the cat and the dog", "the bird"]
        answer = await client.call_tool("count_words", {"texts": texts}, progress_callback=show)
        print("count_words:", answer.structured_content)
        refused = await client.call_tool("slug", {"title": "!"})
        print("an error is a result that the model reads:", *(getattr(item, "text", "") for item in refused.content))


if __name__ == "__main__":
    asyncio.run(main())
