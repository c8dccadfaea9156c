"""Secrets of a hub with a store: served with their keys, told apart from the rest without them; and the commands."""

import asyncio
import json
import stat
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from pydantic import SecretStr

from grpc_tool_bridge import BridgeServer, GRPCToolBridge, SessionContext, Settings, ToolContext, ToolExecutionError
from grpc_tool_bridge.auth.secrets.keys import SealingKey, new_key, read_keys
from grpc_tool_bridge.cli import main
from grpc_tool_bridge.errors import SerializationError, UnavailableError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import RichValue, SetVariableRequest, VariableMetadata
from integration.connections import Connect
from integration.test_cli import doctor, runner
from support.store_files import SECRET
from support.waiting import soon

KEY = new_key()


async def read_it(ctx: ToolContext) -> Any:
    return await ctx.get_variable("x")


@asynccontextmanager
async def hub(path: Path, *keys: SealingKey, **how: Any) -> AsyncIterator[GRPCToolBridge]:
    """Runs a hub with a store, and gives a bridge to its session."""
    lines = SecretStr("\n".join(key.line() for key in keys)) if keys else None
    settings = Settings(secrets_key=lines, shutdown_grace=0)
    async with (
        BridgeServer(tools=[read_it], settings=settings, store=f"sqlite:///{path}", **how) as server,
        GRPCToolBridge(server.address, keep_session=True) as bridge,
    ):
        await bridge.initialize("s")
        yield bridge


async def filled(path: Path, *keys: SealingKey) -> Path:
    async with hub(path, *keys) as bridge:
        await bridge.session_context.set_variable("x", SECRET, {"secret": True})
        await bridge.session_context.set_variable("open", "everybody may see this")
    return path


async def test_a_hub_that_is_back_with_its_key_serves_its_secrets(tmp_path: Path) -> None:
    path = await filled(tmp_path / "hub.db", KEY)
    assert SECRET.encode() not in path.read_bytes()
    async with hub(path, KEY) as bridge:
        assert await bridge.session_context.get_variable("x") == SECRET
        assert await bridge.tools["read_it"]() == SECRET


async def test_without_the_key_every_reader_is_told_which_one_and_all_else_goes_on(tmp_path: Path) -> None:
    path = await filled(tmp_path / "hub.db", KEY)
    wanted = f"variable 'x' is sealed with key {KEY.id}, which this hub does not have"
    async with hub(path, http_address="127.0.0.1:0") as bridge:
        context = bridge.session_context
        with pytest.raises(UnavailableError, match=wanted) as caught:
            await context.get_variable("x")
        assert not caught.value.retryable
        with pytest.raises(ToolExecutionError, match=wanted):
            await bridge.tools["read_it"]()
        assert [item.name for item in await context.list_variables()] == ["open", "x"]
        async with aclosing(context.watch_variables(include_initial=True)) as changes:
            assert (await soon(anext(changes))).name == "open"
            # The watch goes on past what it cannot tell, and what is set anew is there.
            await context.set_variable("x", "set anew")
            change = await soon(anext(changes))
            assert (change.name, change.value, change.secret) == ("x", "set anew", True)
        assert await context.get_variable("x") == "set anew"


async def test_over_http_a_value_without_its_key_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = await filled(tmp_path / "hub.db", KEY)
    async with (
        BridgeServer(store=f"sqlite:///{path}", http_address="127.0.0.1:0") as server,
        httpx.AsyncClient(base_url=f"http://{server.http_address}") as client,
    ):
        answer = await client.get("/api/sessions/s/variables/x")
        assert answer.status_code == 503
        assert f"sealed with key {KEY.id}" in answer.text
        assert (await client.get("/api/sessions/s/variables/open")).status_code == 200


async def test_a_hub_whose_keys_are_none_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="secrets_key, line 1: this is not a whole key"):
        BridgeServer(store=f"sqlite:///{tmp_path / 'hub.db'}", settings=Settings(secrets_key=SecretStr("hunter2")))


async def test_a_change_of_a_secret_says_so_and_its_repr_hides_the_value(connect: Connect) -> None:
    context = (await connect()).variables
    await context.set_variable("x", SECRET, {"secret": True})
    await context.set_variable("open", "shown")
    async with aclosing(context.watch_variables(include_initial=True)) as changes:
        secret, shown = [await soon(anext(changes)) for _ in range(2)]
    assert (secret.secret, secret.value, shown.secret) == (True, SECRET, False)
    assert SECRET not in repr(secret)
    assert "value=********" in repr(secret)
    assert "value='shown'" in repr(shown)


async def set_what_is_no_date(context: SessionContext) -> None:
    """Sets the secret "x" and "open", which is none, to what is no value of its type, as a peer may."""
    value = AnyMessage(
        type_url="type.googleapis.com/dspex.bridge.RichValue", value=RichValue(date=SECRET).SerializeToString()
    )
    for name, secret in (("x", True), ("open", False)):
        request = SetVariableRequest(
            session_id=context.caller.require_session(), variable_name=name, value=value,
            metadata=VariableMetadata(secret=secret), create_if_missing=True,
        )  # fmt: skip
        await context.caller.call("SetSessionVariable", request)


async def test_over_http_a_secret_that_is_none_of_its_type_is_not_in_the_error() -> None:
    async with (
        BridgeServer(http_address="127.0.0.1:0") as server,
        server.bridge() as bridge,
        httpx.AsyncClient(base_url=f"http://{server.http_address}") as client,
    ):
        await bridge.initialize("s")
        await set_what_is_no_date(bridge.session_context)
        for name, word in (("x", "the secret variable 'x' is not one of its type"), ("open", SECRET)):
            answer = await client.get(f"/api/sessions/s/variables/{name}")
            assert word in answer.json()["error"]["message"]
        answer = await client.get("/api/sessions/s/variables/watch?names=x&initial=true")
        assert "the secret variable 'x' is not one of its type" in answer.text
        assert SECRET not in answer.text


@pytest.mark.parametrize("connect", ["local", "grpc", "link"], indirect=True)
async def test_a_secret_that_is_none_of_its_type_is_not_in_the_error_of_a_client(connect: Connect) -> None:
    context = (await connect()).variables
    await set_what_is_no_date(context)
    for read in (context.get_variable, context.get_variable_with_metadata):
        with pytest.raises(SerializationError, match="the secret variable 'x' is not one of its type") as caught:
            await read("x")
        assert SECRET not in str(caught.value)
        with pytest.raises(SerializationError, match=SECRET):
            await read("open")
    async with aclosing(context.watch_variables("x", include_initial=True)) as changes:
        with pytest.raises(SerializationError, match="the secret variable 'x' is not one of its type"):
            await soon(anext(changes))


# --------------------------------------------------------------------------------------------------------- commands


def test_keys_are_printed_or_put_into_a_file_that_only_its_owner_can_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, file = runner(capsys), tmp_path / "keys"
    (printed,) = read_keys(run("secrets", "key"), "what is printed")
    found = json.loads(run("secrets", "key", "--json"))
    assert read_keys(found["key"], "json")[0].id == found["key_id"] != printed.id
    first, second, last = (
        json.loads(run("secrets", "key", "--json", "--file", str(file), *words)) for words in ([], [], ["--last"])
    )
    assert [key.id for key in read_keys(file.read_text(), "file")] == [
        second["key_id"], first["key_id"], last["key_id"],
    ]  # fmt: skip
    assert (first["others"], second["others"], last["others"]) == (0, 1, 2)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "seals from the next start; 3 more keys open" in run("secrets", "key", "--file", str(file))
    assert [each.name for each in tmp_path.iterdir()] == ["keys"]


def test_a_file_that_is_none_of_keys_is_left_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, file = runner(capsys), tmp_path / "keys"
    file.write_text("hunter2\n")
    file.chmod(0o600)
    said = run("secrets", "key", "--file", str(file), code=2)
    assert "line 1: this is not a whole key" in said
    assert "hunter2" not in said
    assert file.read_text() == "hunter2\n"
    assert "give --file, too" in run("secrets", "key", "--last", code=2)
    assert "cannot read" in run("secrets", "key", "--file", str(tmp_path / "none" / "keys"), code=2)


def test_a_store_is_rotated_and_doctor_follows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, file = runner(capsys), tmp_path / "keys"
    path = asyncio.run(filled(tmp_path / "hub.db"))
    capsys.readouterr()
    store = str(path)
    status, said = doctor(capsys, "--store", store, code=0)["secrets"]
    assert (status, said.partition(";")[0]) == ("warn", "1 values of secret variables are not sealed")
    assert "no key to seal with" in run("secrets", "rotate", store, code=2)
    old = json.loads(run("secrets", "key", "--json", "--file", str(file)))["key_id"]
    words = ["secrets", "rotate", store, "--secrets-key-file", str(file), "--json"]
    made = json.loads(run(*words))
    assert (made["sealed"], made["key_id"], made["values_by_key"]) == (1, old, {old: 1})
    assert SECRET.encode() not in path.read_bytes()
    status, said = doctor(capsys, "--store", store, code=0)["secrets"]
    assert (status, said.partition(";")[0]) == ("ok", f"values are sealed: 1 with key {old}")
    new = json.loads(run("secrets", "key", "--json", "--file", str(file)))["key_id"]
    assert json.loads(run(*words))["values_by_key"] == {new: 1}
    # With another file the key that is needed is named, by the command and by doctor.
    file.unlink()
    other = json.loads(run("secrets", "key", "--json", "--file", str(file)))["key_id"]
    assert main(words) == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out)["values_by_key"] == {new: 1}
    assert f"1 with key {new} stay as they were" in captured.err
    monkeypatch.setenv("TOOL_BRIDGE_SECRETS_KEY_FILE", str(file))
    assert other not in doctor(capsys, "--store", store, code=1)["secrets"][1]
    assert doctor(capsys, "--store", store, code=1)["secrets"] == (
        "fail", f"no key {new} in the settings here, with which values are sealed; add what is missing",
    )  # fmt: skip


def test_settings_with_keys_that_are_none_are_refused_by_every_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = runner(capsys)
    monkeypatch.setenv("TOOL_BRIDGE_SECRETS_KEY", "hunter2")
    for words in (["settings"], ["serve", "--address", "127.0.0.1:0"]):
        said = run(*words, code=2)
        assert "secrets_key, line 1: this is not a whole key" in said
        assert "hunter2" not in said
    monkeypatch.setenv("TOOL_BRIDGE_SECRETS_KEY", KEY.line())
    assert KEY.line() not in run("settings", "--json")
    file = tmp_path / "keys"
    file.write_text(KEY.line())
    file.chmod(0o644)
    monkeypatch.delenv("TOOL_BRIDGE_SECRETS_KEY")
    said = run("serve", "--address", "127.0.0.1:0", "--secrets-key-file", str(tmp_path / "none"), code=2)
    assert "cannot read" in said
