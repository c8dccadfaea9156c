"""Secrets are planted wherever a hub takes them, it is used in every way, and then all that it left is searched."""

import asyncio
import base64
import json
import logging
import os
import subprocess
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from pydantic import SecretStr

from grpc_tool_bridge import BridgeServer, GRPCToolBridge, Settings, ToolBridgeError, ToolContext, ToolWorker
from grpc_tool_bridge.auth.secrets.keys import new_key
from grpc_tool_bridge.core.variable import Change, Variable
from grpc_tool_bridge.proto.dspex_bridge_pb2 import RichValue, SetVariableRequest, VariableMetadata
from grpc_tool_bridge.testing import Recorder
from integration.test_cli import PATIENCE, popen
from support.store_files import change
from support.waiting import soon, until

# What is planted, by where. Each is found in any of its forms.
TOKEN = "planted-token-0001"
KEY = new_key()
VALUES = {
    "by grpc": "planted-by-grpc-0002",
    "earlier": "planted-before-it-was-secret-0003",
    "by a tool": "planted-by-a-tool-0004",
    "over http": "planted-over-http-0005",
    "nested": "planted-in-a-dict-0006",
    "broken": "planted-in-bytes-that-are-no-value-0007",
    "refused": "planted-in-a-change-that-was-refused-0008",
    "malformed": "planted-in-a-body-that-is-no-json-0009",
}
# What is no secret, to see that the search finds something.
OPEN = "everybody-may-see-this-0010"


class Left:
    """All that a hub has left: texts by where they come from."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    def add(self, where: str, what: Any) -> None:
        text = what if isinstance(what, str) else repr(what)
        self.texts[where] = self.texts.get(where, "") + text

    def add_files(self, folder: Path, *, but: Iterable[Path] = ()) -> None:
        for file in folder.rglob("*"):
            if file.is_file() and file not in but:
                self.add(str(file), file.read_bytes().decode("latin-1"))

    def leaks(self, secrets: Iterable[str]) -> list[tuple[str, str]]:
        """Returns which secret is where."""
        return [
            (secret, where) for where, text in self.texts.items() for secret in secrets
            if any(form in text for form in forms(secret))
        ]  # fmt: skip


def forms(secret: str) -> set[str]:
    """Returns how a secret may be written."""
    data = secret.encode()
    coded = {base64.b64encode(bytes(shift) + data)[4:-4].decode() for shift in range(3)}
    return {secret, data.hex(), secret.encode("utf-16-le").decode("latin-1"), *coded}


async def keep(text: str, ctx: ToolContext) -> str:
    """Keeps a text as a secret, which it does not return."""
    await ctx.set_variable("by a tool", VALUES["by a tool"])
    return f"{text} is kept"


async def use(ctx: ToolContext) -> None:
    """Reads the secrets, and fails."""
    read = [await ctx.get_variable(name) for name in ("by grpc", "by a tool", "nested")]
    assert len(read) == 3
    raise ValueError("the other side refused me")


async def read_broken(ctx: ToolContext) -> Any:
    return await ctx.get_variable("broken")


async def outcome(work: Any) -> Any:
    try:
        return await work
    except Exception as error:
        return f"{error!r} {error} {getattr(error, 'remote_traceback', '')} {error.__cause__!r} {error.__context__!r}"


@asynccontextmanager
async def hub(folder: Path, settings: Settings, recorder: Recorder | None = None) -> AsyncIterator[BridgeServer]:
    async with (
        BridgeServer(
            tools=[use, read_broken], settings=settings, store=f"sqlite:///{folder / 'hub.db'}", recorder=recorder,
            http_address="127.0.0.1:0",
        ) as server,
        ToolWorker(server.address, tools=[keep], token=TOKEN, settings=Settings()),
    ):  # fmt: skip
        yield server


async def plant(bridge: GRPCToolBridge, client: httpx.AsyncClient, left: Left) -> None:
    """Plants the secrets, and collects what is answered."""
    context, secret = bridge.session_context, {"secret": True}
    await context.set_variable("open", OPEN)
    await context.set_variable("by grpc", VALUES["by grpc"], secret)
    await context.set_variable("earlier", VALUES["earlier"])
    await context.set_variable("earlier", "not any more", secret)
    await context.set_variable("by a tool", "", secret)
    await context.set_variable("nested", {"password": [VALUES["nested"]]}, secret)
    left.add(
        "a refused change",
        await outcome(context.set_variable("open", VALUES["refused"], secret, expected_revision=999)),
    )
    # As a peer in another language could: it is no date, which Python says with the text.
    value = AnyMessage(
        type_url="type.googleapis.com/dspex.bridge.RichValue",
        value=RichValue(date=VALUES["broken"]).SerializeToString(),
    )
    request = SetVariableRequest(
        session_id="s",
        variable_name="broken",
        value=value,
        metadata=VariableMetadata(secret=True),
        create_if_missing=True,
    )
    await context.caller.call("SetSessionVariable", request)
    left.add("a tool of a worker", await bridge.tools["keep"]("it"))
    body = {"value": VALUES["over http"], "metadata": {"secret": True}}
    path = "/api/sessions/s/variables"
    left.add("set over http", (await client.put(f"{path}/over http", json=body)).text)
    left.add("no json", (await client.put(f"{path}/y", content=f'{{"value": {VALUES["malformed"]}}}')).text)


async def look(bridge: GRPCToolBridge, client: httpx.AsyncClient, server: BridgeServer, left: Left) -> None:
    """Looks at all that shows what is going on, and never asks for a value."""
    context = bridge.session_context
    for name in ("use", "read_broken"):
        left.add(f"the failure of {name}", await outcome(bridge.tools[name]()))
    left.add("a listing", await context.list_variables())
    left.add("metadata", [str(info) for info in await context.list_variables()])
    async with aclosing(
        context.watch_variables("by grpc", "earlier", "by a tool", "nested", include_initial=True)
    ) as changes:
        left.add("changes", [await soon(anext(changes)) for _ in range(4)])
    for path in (
        "/", "/metrics", "/openapi.json", "/api/hub", "/api/limits", "/api/sessions", "/api/sessions/s",
        "/api/sessions/s/variables", "/api/tools", "/api/workers", "/api/calls", "/api/runs", "/api/history/calls",
        "/readyz", "/api/sessions/t/variables/x",
    ):  # fmt: skip
        left.add(path, (await client.get(path)).text)
    async with client.stream("GET", "/api/sessions/s/variables/watch?secrets=false") as response:
        seen = ""
        async for piece in response.aiter_text():
            seen += piece
            if seen.count("event:") >= 7:
                break
        left.add("a watch without secrets", seen)
    for thing in (server, server.hub, server.settings, server.hub.store, bridge, context, vars(server)["hub"]):
        left.add("a repr", thing)
    variables = server.hub.store.variables("s")
    left.add("variables of the hub", [variables.get(name) for name in ("by grpc", "nested", "by a tool")])
    left.add("the history", variables._history.after(0) if variables._history else "")


async def commands(address: str, folder: Path, environment: dict[str, str], left: Left) -> None:
    """Runs the commands that show variables, settings and stores."""
    to_hub = ["--address", address]
    lines = [
        ["vars", "list", "--session", "s", *to_hub],
        ["vars", "get", "by grpc", "--session", "s", *to_hub],
        ["vars", "get", "nested", "--session", "s", "--json", *to_hub],
        ["vars", "watch", "by grpc", "earlier", "nested", "--session", "s", "--count", "3", *to_hub],
        ["doctor", *to_hub],
        ["settings", "--json"],
        ["doctor", "--store", str(folder / "hub.db")],
        ["store", "backup", str(folder / "hub.db"), str(folder / "backup.db")],
    ]  # fmt: skip
    at_once = asyncio.Semaphore(4)

    async def run(line: list[str]) -> None:
        async with at_once:
            process = popen(*line, env={**os.environ, **environment}, stderr=subprocess.STDOUT)
            out, _ = await asyncio.to_thread(process.communicate, timeout=PATIENCE)
        assert process.returncode == 0 or line[0] == "doctor", out
        left.add(" ".join(line), out)

    await asyncio.gather(*map(run, lines))


async def test_no_planted_secret_is_left_anywhere(tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: Any) -> None:
    left, keys = Left(), tmp_path / "keys"
    keys.write_text(KEY.line())
    keys.chmod(0o600)
    settings = Settings(token=SecretStr(TOKEN), secrets_key_file=keys, access_log=True, shutdown_grace=0)
    # Those that log values themselves at this level log what the test does, not the hub.
    caplog.set_level(logging.DEBUG)
    for noisy in ("asyncio", "grpc", "httpx", "httpcore"):
        caplog.set_level(logging.INFO, noisy)
    recorder = Recorder(tmp_path / "recording.jsonl")
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(hub(tmp_path, settings, recorder))
        bridge = await stack.enter_async_context(GRPCToolBridge(server.address, token=TOKEN, keep_session=True))
        client = await stack.enter_async_context(
            httpx.AsyncClient(base_url=f"http://{server.http_address}", headers={"authorization": f"Bearer {TOKEN}"})
        )
        await bridge.initialize("s")
        await until(lambda: "keep" in bridge.tools)
        watching = asyncio.create_task(watched(bridge, left))
        await plant(bridge, client, left)
        await look(bridge, client, server, left)
        environment = {"TOOL_BRIDGE_TOKEN": TOKEN, "TOOL_BRIDGE_SECRETS_KEY_FILE": str(keys)}
        await commands(server.address, tmp_path, environment, left)
        watching.cancel()
        await asyncio.wait([watching])
    left.add_files(tmp_path, but=[keys])
    await without_the_key(tmp_path, left)
    left.add("the log", caplog.text)
    left.add("stdout and stderr", "".join(capfd.readouterr()))

    assert left.leaks([OPEN]), "nothing is found at all"
    secrets = [*VALUES.values(), TOKEN, KEY.line(), KEY.line().rpartition(".")[2]]
    # A line that was recorded before its variable became secret is written, and stays.
    assert left.leaks(secrets) == [(VALUES["earlier"], str(tmp_path / "recording.jsonl"))]


async def watched(bridge: GRPCToolBridge, left: Left) -> None:
    """Follows the events of the hub, with the arguments and results of calls."""
    async with aclosing(bridge.admin.watch(include_arguments=True)) as events:
        async for event in events:
            left.add("events", str(event))


async def without_the_key(folder: Path, left: Left) -> None:
    """Opens the store with a value that was damaged, without the key: what it says of that is searched, too."""
    change(folder / "hub.db", "UPDATE changes SET value = substr(value, 1, 60) WHERE name = 'nested'")
    settings = Settings(token=SecretStr(TOKEN), secrets_key=SecretStr(new_key().line()))
    async with hub(folder, settings) as server, GRPCToolBridge(server.address, token=TOKEN) as bridge:
        await bridge.initialize("s")
        for name in ("by grpc", "nested"):
            said = str(await outcome(bridge.session_context.get_variable(name)))
            assert f"key {KEY.id}, which this hub does not have" in said
            left.add("without the key", said)
        assert await bridge.session_context.get_variable("open") == OPEN


def test_the_search_finds_a_secret_in_any_form() -> None:
    secret = VALUES["by grpc"]
    for text in (secret, f"x{base64.b64encode(b'ab' + secret.encode() + b'!').decode()}", json.dumps([secret])):
        left = Left()
        left.add("here", f"something {text} else")
        assert left.leaks([secret]) == [(secret, "here")]
    assert secret not in repr(Variable("x", secret, "str", 1, 1.0, 1.0, 1))
    assert secret not in repr(Change("set", "x", secret, 1, 1.0))
    assert issubclass(ToolBridgeError, Exception)
