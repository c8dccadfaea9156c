"""An MCP server of the SDK: over pipes, or over HTTP with ``--http PORT``.

With ``--older`` it speaks the protocol of 2025 alone: the newer one is refused by a process between it and its client.
"""

import asyncio
import base64
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Annotated, Any

import anyio
import mcp_types as types
from mcp.server.elicitation import AcceptedElicitation, ElicitationResult
from mcp.server.mcpserver import Context, Elicit, MCPServer, Resolve
from pydantic import BaseModel

app = MCPServer("honest")

PICTURE = b"\x89PNG picture"


class Point(BaseModel):
    x: int
    y: int


class Answer(BaseModel):
    sure: bool


@app.tool(title="Addition", annotations=types.ToolAnnotations(idempotent_hint=True, read_only_hint=True))
def add(a: int, b: int = 1) -> int:
    """Adds two numbers."""
    return a + b


@app.tool()
def point(x: int) -> Point:
    """Makes a point."""
    return Point(x=x, y=-x)


@app.tool()
def echo(value: dict[str, Any]) -> dict[str, Any]:
    """Gives back what it gets."""
    return value


@app.tool()
def environment() -> dict[str, str]:
    """Tells the environment."""
    return dict(os.environ)


@app.tool(structured_output=False)
def media() -> list[Any]:
    """Gives one of each kind."""
    data = base64.b64encode(PICTURE).decode()
    return [
        "a text",
        types.ImageContent(type="image", data=data, mime_type="image/png"),
        types.AudioContent(type="audio", data=data, mime_type="audio/wav"),
        types.EmbeddedResource(
            type="resource", resource=types.TextResourceContents(uri="file:///a", text="A", mime_type="text/plain")
        ),
        types.ResourceLink(type="resource_link", uri="file:///b", name="b", description="B"),
    ]


@app.tool(structured_output=False)
def both() -> types.CallToolResult:
    """Gives structured content with a picture beside it."""
    data = base64.b64encode(PICTURE).decode()
    return types.CallToolResult(
        content=[
            types.TextContent(type="text", text='{"width": 3}'),
            types.TextContent(type="text", text="a caption"),
            types.ImageContent(type="image", data=data, mime_type="image/png"),
        ],
        structured_content={"width": 3},
    )


@app.tool()
def fail(kind: str) -> str:
    """Fails."""
    if kind == "bridge":
        error = {"type": "KeyError", "message": "no such key", "details": {"key": "a", "origin": "tool"}}
        return types.CallToolResult(  # type: ignore[return-value]
            content=[types.TextContent(type="text", text="KeyError")], is_error=True, _meta={"error": error}
        )
    raise RuntimeError("it is broken")


@app.tool()
async def work(ctx: Context, steps: int = 2) -> str:
    """Tells how far it is."""
    for step in range(steps):
        await ctx.report_progress(step, steps, f"step {step}")
        await ctx.info(f"line {step}")
    return "done"


@app.tool()
async def wait(ctx: Context, file: str) -> str:
    """Waits for ever; writes to a file when it begins and when it is cancelled."""
    note = Path(file).write_text
    note("began")
    try:
        await asyncio.Event().wait()
    except anyio.get_cancelled_exc_class():
        note("cancelled")
        raise
    return "never"


def sure() -> Elicit[Answer]:
    return Elicit("Are you sure?", Answer)


@app.tool()
async def ask(answer: Annotated[ElicitationResult[Answer], Resolve(sure)]) -> str:
    """Asks whether one is sure."""
    return f"accept {answer.data.sure}" if isinstance(answer, AcceptedElicitation) else answer.action


@app.tool()
async def grow(ctx: Context, name: str) -> str:
    """Adds a tool."""

    def grown() -> str:
        return name

    app.add_tool(grown, name=name)
    await ctx.notify_tools_changed()
    await ctx.session.send_tool_list_changed()
    return name


@app.tool()
def pid() -> int:
    """Tells its process."""
    return os.getpid()


@app.tool()
def die() -> str:
    """Ends the server at once."""
    os._exit(3)


def refuse_the_newer() -> None:
    """Runs the server, and answers ``server/discover`` in its place."""
    child = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None
    assert child.stdout is not None
    output = child.stdout

    def pass_on() -> None:
        for line in output:
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
        os._exit(child.wait())

    threading.Thread(target=pass_on, daemon=True).start()
    for line in sys.stdin.buffer:
        message = json.loads(line)
        if message.get("method") == "server/discover":
            error = {"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32601, "message": "no such method"}}
            sys.stdout.buffer.write(json.dumps(error).encode() + b"\n")
            sys.stdout.buffer.flush()
        else:
            child.stdin.write(line)
            child.stdin.flush()
    child.stdin.close()
    os._exit(child.wait())


if __name__ == "__main__":
    if "--older" in sys.argv:
        refuse_the_newer()
    elif "--http" in sys.argv:
        app.run("streamable-http", port=int(sys.argv[sys.argv.index("--http") + 1]))
    else:
        app.run()
