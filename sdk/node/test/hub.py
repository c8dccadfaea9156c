"""A hub for the tests: ``python hub.py [ADDRESS] [SECRETS]``, where SECRETS is a folder for its certificates.

With that folder it wants TLS (``ca.pem``) and the token "open-sesame". It prints its address as a line of JSON. Then
each line of stdin is a call that a Python client makes, and each line of stdout how it ended. It ends with its stdin.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[3] / "tests"))

import trustme

from grpc_tool_bridge import BridgeServer, GRPCToolBridge, Settings, ToolContext, ToolWorker, tool
from grpc_tool_bridge.errors import ToolBridgeError
from integration.agent_runtime import ObedientAgents

# Imported before a call, which would block the hub for that time.
NAMES = {name: __import__(name) for name in ("datetime", "decimal", "uuid", "zoneinfo", "numpy", "math")}
TOKEN = "open-sesame"
STARTED = asyncio.Event()
CANCELLED = asyncio.Event()
STOPPING = asyncio.Event()
RUNS: list[int] = []


@tool(idempotent=True)
async def add(a: int, b: int) -> int:
    """Adds two integers."""
    return a + b


@tool(check_result=False)
async def echo(value: Any) -> Any:
    """Returns its argument."""
    return value


async def show(value: Any) -> str:
    """Returns how Python writes its argument."""
    return f"{type(value).__name__} {value!r}"


async def made(code: str) -> Any:
    """Returns the value of a Python expression."""
    return eval(code, NAMES)


async def count_up(n: int) -> AsyncIterator[int]:
    """Yields the numbers from 0."""
    for number in range(n):
        yield number


async def endless(ctx: ToolContext) -> AsyncIterator[bytes]:
    """Yields for ever, and says in a variable how far it came."""
    number = 0
    try:
        while True:
            number += 1
            yield bytes(64 * 1024)
    finally:
        await ctx.set_variable("yielded", number)


async def hang() -> None:
    """Waits for ever."""
    STARTED.set()
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        CANCELLED.set()
        raise


async def add_slowly(a: int, b: int) -> int:
    """Adds two integers once the hub shuts down."""
    STARTED.set()
    await STOPPING.wait()
    return a + b


async def hang_started() -> bool:
    """Waits until ``hang`` has started."""
    return await STARTED.wait()


async def hang_cancelled() -> bool:
    """Waits until ``hang`` was cancelled."""
    return await CANCELLED.wait()


async def fail(message: str) -> None:
    """Raises a KeyError."""
    raise KeyError(message)


class BusyError(Exception):
    """May be tried again."""

    retryable = True


async def flaky(failures: int) -> int:
    """Fails so many times; returns how often it ran."""
    RUNS.append(failures)
    if len(RUNS) <= failures:
        raise BusyError(f"run {len(RUNS)}")
    runs = len(RUNS)
    RUNS.clear()
    return runs


async def report(ctx: ToolContext) -> str:
    """Reports progress, and logs."""
    ctx.progress(1, 2, "half")
    ctx.log("a line", level="warning", place="here")
    return "done"


async def metadata(ctx: ToolContext) -> dict[str, str]:
    """Returns what its caller has sent with the call."""
    return dict(ctx.metadata)


async def call(name: str, arguments: dict[str, Any], ctx: ToolContext) -> Any:
    """Calls another tool."""
    return await ctx.call_tool(name, **arguments)


async def ask(question: str, ctx: ToolContext) -> Any:
    """Asks its caller."""
    answer = await ctx.ask(question, {"type": "object", "properties": {"name": {"type": "string"}}})
    return {"action": answer.action, **answer.content}


TOOLS = [
    add, add_slowly, echo, show, made, count_up, endless, hang, hang_started, hang_cancelled, fail, flaky,
    report, metadata, call, ask,
]  # fmt: skip


async def answer(bridge: GRPCToolBridge, line: str) -> dict[str, Any]:
    request = json.loads(line)
    name, args, kwargs = request["tool"], request.get("args", []), request.get("kwargs", {})
    try:
        if request.get("stream"):
            value: Any = [item async for item in bridge.client.stream_tool(name, *args, **kwargs)]
        else:
            value = await bridge.client.call_tool(name, *args, **kwargs)
    except ToolBridgeError as error:
        about = {"type": error.error_type, "message": error.message, "details": error.details}
        return {"error": {**about, "stack": error.remote_traceback, "retryable": error.retryable}}
    return {"ok": repr(value)}


def secured(folder: Path) -> dict[str, Any]:
    """Makes certificates; returns the settings of a hub with them."""
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    for number, blob in enumerate(issued.cert_chain_pems):
        blob.write_to_path(str(folder / "cert.pem"), append=number > 0)
    issued.private_key_pem.write_to_path(str(folder / "key.pem"))
    (folder / "key.pem").chmod(0o600)
    return {"token": TOKEN, "tls_cert": folder / "cert.pem", "tls_key": folder / "key.pem"}


async def main(address: str = "127.0.0.1:0", folder: str = "") -> None:
    loop = asyncio.get_running_loop()
    agents = ObedientAgents()
    agents.go_on.set()
    settings = Settings(**(secured(Path(folder)) if folder else {}))
    access: dict[str, Any] = {"token": TOKEN, "tls_ca": Path(folder) / "ca.pem"} if folder else {}
    async with BridgeServer(address=address, tools=TOOLS, settings=settings) as hub:
        async with ToolWorker(hub.address, agents=agents, **access), GRPCToolBridge(hub.address, **access) as bridge:
            await bridge.initialize()
            print(json.dumps(hub.address), flush=True)
            while line := await loop.run_in_executor(None, sys.stdin.readline):
                await bridge.client.refresh_tools()
                print(json.dumps(await answer(bridge, line)), flush=True)
        # The hub tells its peers that it drains before it waits for the calls that are in flight.
        loop.call_later(0.1, STOPPING.set)


asyncio.run(main(*sys.argv[1:]))
