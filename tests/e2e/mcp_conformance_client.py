"""Plays the client in the conformance suite of MCP: a hub takes the suite's server in, and its tools are called."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import httpx

from grpc_tool_bridge import BridgeServer, ToolBridgeError
from grpc_tool_bridge.adapters.mcp import OAuthOptions, import_mcp
from grpc_tool_bridge.client.bridge import ToolBridge
from grpc_tool_bridge.tools.questions import Question
from support.patience import PATIENCE

NUMBERS = {"a": 5, "b": 3}
# The tools that a scenario wants to be called, and their arguments.
CALLS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "tools_call": {"add_numbers": NUMBERS},
    "request-metadata": {"add_numbers": NUMBERS},
    "http-standard-headers": {"add_numbers": NUMBERS},
    "elicitation-sep1034-client-defaults": {"test_client_elicitation_defaults": {}},
    "sse-retry": {"test_reconnection": {}},
    "sep-2322-client-request-state": {
        "test_mrtr_echo_state": {}, "test_mrtr_unrelated": {}, "test_mrtr_no_state": {}, "test_mrtr_no_result_type": {},
    },
}  # fmt: skip
EXAMPLES: Mapping[str, Any] = {"string": "x", "integer": 0, "number": 0, "boolean": False, "object": {}, "array": []}


@contextlib.asynccontextmanager
async def playing(path: Path) -> AsyncIterator[None]:
    """Plays each scenario that is asked for at a socket."""
    server = await asyncio.start_unix_server(_on_asked, path)
    with _person():
        yield
    server.close()


async def _on_asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    asked = json.loads(await reader.readline())
    try:
        async with asyncio.timeout(PATIENCE):
            await _play(asked["scenario"], asked["url"], json.loads(asked.get("context", "{}")))
    except Exception as error:
        writer.write(f"{type(error).__name__}: {error}\n".encode())
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def _play(scenario: str, url: str, context: Mapping[str, Any]) -> None:
    source = import_mcp(url, name="peer", prefix="", oauth=await _oauth(scenario, url, context))
    async with BridgeServer(sources=[source]) as hub, hub.bridge(on_ask=_defaults) as bridge:
        await bridge.initialize(None)
        if scenario.startswith("auth/"):
            # Which tool there is differs, and a refused call is what some of them are about.
            with contextlib.suppress(ToolBridgeError):
                await next(iter(bridge.tools.values()))()
        elif scenario == "http-custom-headers":
            for call in context["toolCalls"]:
                # Its schema has no null: who has no value leaves the argument out.
                given = {name: value for name, value in call["arguments"].items() if value is not None}
                await _call(bridge, call["name"], given)
        elif scenario == "http-invalid-tool-headers":
            for name, tool in bridge.tools.items():
                schema = json.loads(tool.spec.input_schema)
                await _call(bridge, name, {key: _example(schema, key) for key in schema.get("required", ())})
        elif scenario == "json-schema-2020-12-preservation":
            spec = bridge.tools["json_schema_2020_12_tool"].spec
            await bridge.tools["json_schema_echo"](schema=json.loads(spec.input_schema))
        for name, arguments in CALLS.get(scenario, {}).items():
            await bridge.tools[name](**arguments)


async def _call(bridge: ToolBridge, name: str, arguments: Mapping[str, Any]) -> None:
    """Calls a tool if the server's is offered; a refused call is the server's business."""
    with contextlib.suppress(ToolBridgeError):
        if name in bridge.tools:
            await bridge.tools[name](**arguments)


def _example(schema: Mapping[str, Any], name: str) -> Any:
    return EXAMPLES[schema["properties"][name]["type"]]


def _defaults(question: Question) -> dict[str, Any]:
    """Answers with the default of each property, or a yes."""
    properties = (question.schema or {}).get("properties", {})
    return {
        name: rules.get("default", True)
        for name, rules in properties.items()
        if "default" in rules or rules["type"] == "boolean"
    }


# --------------------------------------------------------------------------------------------------------------- OAuth


async def _oauth(scenario: str, url: str, context: Mapping[str, Any]) -> OAuthOptions | None:
    if not scenario.startswith("auth/"):
        return None
    registered = {name: context[name] for name in ("client_id", "client_secret") if name in context}
    if "client-credentials" not in scenario:
        return OAuthOptions(**registered)
    return OAuthOptions(**registered, client_credentials=True, issuer=await _issuer(url))


async def _issuer(url: str) -> str:
    """Looks up who gives tokens for a server; a user would know."""
    address = httpx.URL(url)
    async with httpx.AsyncClient(timeout=PATIENCE) as client:
        found = await client.get(address.copy_with(path=f"/.well-known/oauth-protected-resource{address.path}"))
    return str(found.json()["authorization_servers"][0])


@contextlib.contextmanager
def _person() -> Any:
    """Authorizes wherever the log asks a person to do so, as a browser does."""
    loop = asyncio.get_running_loop()
    visits: set[asyncio.Task[None]] = set()

    def on_asked(address: str) -> None:
        visit = loop.create_task(_visit(address))
        visits.add(visit)
        visit.add_done_callback(visits.discard)

    handler = _Reader(on_asked)
    logger = logging.getLogger("grpc_tool_bridge")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


async def _visit(address: str) -> None:
    async with httpx.AsyncClient(follow_redirects=True, timeout=PATIENCE) as browser:
        await browser.get(address)


class _Reader(logging.Handler):
    """Reads the log for addresses at which a person is asked to authorize."""

    def __init__(self, on_asked: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._on_asked = on_asked

    def emit(self, record: logging.LogRecord) -> None:
        _, asked, address = record.getMessage().partition("authorize the bridge at ")
        if asked:
            self._on_asked(address.split()[0])
