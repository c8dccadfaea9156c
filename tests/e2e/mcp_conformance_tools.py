"""The tools that the conformance suite of MCP asks a server for, and a hub that offers them.

The suite gives their names, arguments and results, so a word of a result is as it wants it. Run as a program, this
prints the addresses of the hub as JSON, and serves until it is terminated.
"""

import asyncio
import base64
import json
import signal
import sys
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field

from grpc_tool_bridge import BridgeServer, Settings, ToolContext, ToolWorker, tool
from grpc_tool_bridge.tools.media import Audio, Image, Resource

PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
)
SOUND = base64.b64decode("UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA=")

SCHEMA_2020_12 = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}


def form(title: str = "", **properties: Any) -> dict[str, Any]:
    """The schema of a question for these properties, which are all required."""
    named = {"title": title} if title else {}
    return {"type": "object", **named, "properties": properties, "required": list(properties)}


NAME = form("user_name", name={"type": "string"})
COLOR = form("step2", color={"type": "string"})
CONFIRMATION = form("confirm", ok={"type": "boolean"})


# ------------------------------------------------------------------------------------------------------------- results


async def test_simple_text() -> str:
    """Returns a text."""
    return "This is a simple text response for testing."


async def test_image_content() -> Image:
    """Returns a picture."""
    return Image(PICTURE)


async def test_audio_content() -> Audio:
    """Returns a sound."""
    return Audio(SOUND)


async def test_embedded_resource() -> Resource:
    """Returns a document."""
    return Resource("test://embedded-resource", "This is an embedded resource content.", "text/plain")


async def test_multiple_content_types() -> list[str | Image | Resource]:
    """Returns a text, a picture and a document."""
    document = Resource("test://mixed-content-resource", '{"test": "data", "value": 123}', "application/json")
    return ["Multiple content types test:", Image(PICTURE), document]


async def test_error_handling() -> str:
    """Fails."""
    raise RuntimeError("This tool intentionally returns an error for testing")


# ------------------------------------------------------------------------------------------------- progress and the log


async def test_tool_with_logging(ctx: ToolContext) -> str:
    """Writes three log lines."""
    for line in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        ctx.log(line)
    return "logged"


async def test_logging_tool(ctx: ToolContext) -> str:
    """Writes a log line."""
    ctx.log("a line that only who asks for the log may see")
    return "logged"


async def test_tool_with_progress(ctx: ToolContext) -> str:
    """Reports its progress."""
    for done in (0, 50, 100):
        ctx.progress(done, 100, f"Completed step {done} of 100")
    return "done"


async def test_reconnection(ctx: ToolContext) -> str:
    """Returns a text; a tool has no stream of its own that it could close."""
    ctx.log("before the result")
    return "Reconnection test completed"


# -------------------------------------------------------------------------------------------------------------- schemas


async def json_schema_2020_12_tool(
    name: str = "", address: dict[str, str] | None = None, contactMethod: str = "", phone: str = "", email: str = ""
) -> str:
    """Has a schema that uses what JSON Schema 2020-12 can say."""
    return f"{name} {address} {contactMethod} {phone} {email}"


async def test_x_mcp_header(region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})]) -> str:
    """Has an argument that travels in a header too."""
    return f"region={region}"


# ------------------------------------------------------------------------------------------------------------ questions


async def test_elicitation(message: str, ctx: ToolContext) -> str:
    """Asks for a name and an address."""
    answer = await ctx.ask(message, form(username={"type": "string"}, email={"type": "string"}))
    return f"User response: {answer.action} {json.dumps(answer.content)}"


async def test_elicitation_sep1034_defaults(ctx: ToolContext) -> str:
    """Asks with a default of each kind."""
    fields = {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": True},
    }
    answer = await ctx.ask("Please review these", {"type": "object", "properties": fields})
    return f"Elicitation completed: action={answer.action}, content={json.dumps(answer.content)}"


async def test_elicitation_sep1330_enums(ctx: ToolContext) -> str:
    """Asks for a choice of each kind."""
    titled = [{"const": "value1", "title": "First"}, {"const": "value2", "title": "Second"}]
    fields = {
        "untitledSingle": {"type": "string", "enum": ["option1", "option2", "option3"]},
        "titledSingle": {"type": "string", "oneOf": titled},
        "legacyEnum": {"type": "string", "enum": ["opt1", "opt2"], "enumNames": ["One", "Two"]},
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": ["option1", "option2", "option3"]}},
        "titledMulti": {"type": "array", "items": {"anyOf": titled}},
    }
    answer = await ctx.ask("Please choose", {"type": "object", "properties": fields})
    return f"Elicitation completed: action={answer.action}, content={json.dumps(answer.content)}"


async def test_streaming_elicitation(ctx: ToolContext) -> str:
    """Asks, and reports its progress before."""
    ctx.progress(1, 2)
    return (await ctx.ask("Go on?", CONFIRMATION)).action


async def test_missing_capability(ctx: ToolContext) -> str:
    """Asks, which the client cannot answer."""
    return (await ctx.ask("Go on?", CONFIRMATION)).action


async def test_input_required_result_elicitation(ctx: ToolContext) -> str:
    """Asks for a name."""
    answer = await ctx.ask("What is your name?", NAME)
    return f"Hello, {answer.content['name']}!"


async def test_input_required_result_request_state(ctx: ToolContext) -> str:
    """Asks for a confirmation."""
    return f"state-ok: {(await ctx.ask('Please confirm', CONFIRMATION)).action}"


async def test_input_required_result_tampered_state(ctx: ToolContext) -> str:
    """Asks for a confirmation."""
    return f"state-ok: {(await ctx.ask('Please confirm', CONFIRMATION)).action}"


async def test_input_required_result_multi_round(ctx: ToolContext) -> str:
    """Asks twice."""
    name = (await ctx.ask("Step 1: What is your name?", NAME)).content["name"]
    color = (await ctx.ask("Step 2: What is your favorite color?", COLOR)).content["color"]
    return f"{name} likes {color}."


# --------------------------------------------- tools that another server would run as tasks, and a bridge as any other


async def greet(name: str) -> str:
    """Greets somebody."""
    return f"Hello, {name}!"


async def slow_compute(seconds: float = 0, label: str = "") -> str:
    """Tells for how long a task would have run."""
    return f"{label}: {seconds:g} s"


async def confirm_delete(filename: str, ctx: ToolContext) -> str:
    """Asks first."""
    return f"{filename}: {(await ctx.ask(f'Delete {filename}?', CONFIRMATION)).action}"


# --------------------------------------------------------------------------------------------------- a hub that changes


async def test_dynamic_tool() -> str:
    """Comes and goes."""
    return "dynamic"


# A tool whose worker leaves is gone at once.
SETTINGS = Settings(worker_grace_period=0)


def all_tools(address: Callable[[], str]) -> list[Any]:
    """Returns all tools; one of them offers another tool to the hub at the address, and the next time takes it away."""
    workers: list[ToolWorker] = []

    async def test_trigger_tool_change() -> str:
        """Changes which tools there are."""
        if workers:
            await workers.pop().drain()
        else:
            workers.append(ToolWorker(address(), tools=[test_dynamic_tool]))
            await workers[0].start()
        return "changed"

    found = [item for name, item in globals().items() if name.startswith("test_") and item is not test_dynamic_tool]
    schema_tool = tool(json_schema_2020_12_tool)
    schema_tool.spec.input_schema = json.dumps(SCHEMA_2020_12)
    return [*found, greet, slow_compute, confirm_delete, schema_tool, test_trigger_tool_change]


async def serve() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    server = BridgeServer(tools=all_tools(lambda: server.address), http_address="127.0.0.1:0", settings=SETTINGS)
    async with server, server.bridge(keep_session=True) as bridge:
        # The session of clients that have none, whose variables are what they find as resources.
        await bridge.initialize("mcp")
        await bridge.client.session_context.set_variable("note", "a text")
        sys.stdout.write(json.dumps({"address": server.address, "http_address": server.http_address}) + "\n")
        sys.stdout.flush()
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(serve())
