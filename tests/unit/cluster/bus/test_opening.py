"""Opening the connection to NATS: whom a hub trusts, and what it says where that fails."""

import asyncio
import base64
import hashlib
import json
import os
import signal
import stat
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import nats.errors
import pytest

from grpc_tool_bridge import Settings
from grpc_tool_bridge.cluster.bus import opening, stream
from grpc_tool_bridge.cluster.bus.bus import Bus
from grpc_tool_bridge.cluster.bus.opening import check_trust
from grpc_tool_bridge.cluster.sessions.store import NatsStore
from grpc_tool_bridge.cluster.urls import parse
from grpc_tool_bridge.errors import StoreError, ValidationError
from support.buses import open_bus
from support.certificates import certificate_files
from support.nats_nodes import free_ports, one_node
from support.waiting import soon, until

USER = 'authorization { user: hub, password: "p@ss" }'


@pytest.mark.parametrize(
    ("url", "settings", "text"),
    [
        ("nats://hub:p@nats.example", {}, "write tls:// in place of nats://"),
        ("nats://10.0.0.1", {}, "write tls:// in place of nats://"),
        ("tls://127.0.0.1,nats.example", {}, "set nats_creds, nats_tls_cert and nats_tls_key, or user:password@"),
    ],
)
def test_nats_beyond_this_machine_needs_tls_and_credentials(url: str, settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        check_trust(parse(url), Settings(**settings))
    check_trust(parse(url), Settings(allow_insecure=True))


@pytest.mark.parametrize(
    ("url", "settings"),
    [
        ("nats://127.0.0.1,localhost", {}),
        ("tls://u:p@nats.example", {}),
        ("tls://token@nats.example", {}),
        ("tls://nats.example", {"nats_creds": "hub.creds"}),
        ("tls://nats.example", {"nats_tls_cert": "c.pem", "nats_tls_key": "k.pem"}),
    ],
)
def test_nats_with_both_or_at_this_machine_is_trusted(url: str, settings: dict[str, Any]) -> None:
    check_trust(parse(url), Settings(**settings))


async def test_a_hub_does_not_dial_a_nats_that_it_must_not_trust() -> None:
    with pytest.raises(ValidationError, match="tls://"):
        await Bus(parse("nats://10.0.0.1"), Settings()).open()
    with pytest.raises(ValidationError, match="tls://"):
        await NatsStore("nats://10.0.0.1").open(Settings())


async def test_where_nobody_listens_the_error_says_so_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "OPEN_SECONDS", 0.3)
    (port,) = free_ports(1)
    with pytest.raises(
        StoreError, match=r"cannot reach NATS at nats://127.0.0.1:\d+/.*start nats-server with JetStream"
    ):
        await open_bus(f"nats://me:hunter2@127.0.0.1:{port}")


async def test_a_user_and_a_password_are_taken_and_wrong_ones_are_refused_at_once_and_shown_nowhere(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with one_node(USER) as node:
        async with aclosing(await open_bus(f"nats://hub:p%40ss@127.0.0.1:{node.port}")) as bus:
            assert bus.is_connected
        for wrong in ("hub:hunter2@", ""):
            with pytest.raises(StoreError, match="refuses the hub's credentials") as caught:
                await soon(open_bus(f"nats://{wrong}127.0.0.1:{node.port}"))
            assert "hunter2" not in caught.value.message + caplog.text


async def test_a_refusal_is_told_whatever_a_further_try_says() -> None:
    class Refused:
        """A connection that is refused, and tries again before anybody has seen that."""

        async def connect(self, *, error_cb: Callable[[Exception], Awaitable[None]], **_: Any) -> None:
            await error_cb(OSError(111, "Connection refused"))
            await error_cb(nats.errors.AuthorizationError())
            await error_cb(ConnectionResetError(104, "Connection reset by peer"))
            await asyncio.Event().wait()

        async def end(self, seconds: float) -> None:
            del seconds

    async def unheard(*_: Any) -> None: ...

    refused: Any = Refused()
    with pytest.raises(StoreError, match="refuses the hub's credentials"):
        await soon(
            opening.connect(
                refused, parse("nats://127.0.0.1"), Settings(), on_error=unheard, on_lost=unheard, on_back=unheard
            )
        )


async def test_a_token_is_taken() -> None:
    with one_node("authorization { token: s3cret }") as node:
        async with aclosing(await open_bus(f"nats://s3cret@127.0.0.1:{node.port}")) as bus:
            assert bus.is_connected


def tls_config(files: dict[str, Path]) -> str:
    return f'tls {{ cert_file: "{files["cert"]}", key_file: "{files["key"]}" }}\n{USER}'


async def test_tls_is_spoken_with_a_node_whose_authority_is_trusted_and_no_other(tmp_path: Path) -> None:
    files = certificate_files(tmp_path)
    with one_node(tls_config(files)) as node:
        url = f"tls://hub:p%40ss@127.0.0.1:{node.port}"
        async with aclosing(await open_bus(url, nats_tls_ca=files["ca"])) as bus:
            assert await bus.append(bus.names.fact("x"), b"1", last=0)
        with pytest.raises(StoreError, match=r"(?i)certificate verify failed"):
            await soon(open_bus(url))


async def test_nothing_is_sent_to_a_node_without_tls_that_should_have_it() -> None:
    with one_node(USER) as node:
        with pytest.raises(StoreError, match="does not offer TLS"):
            await soon(open_bus(f"tls://hub:p%40ss@127.0.0.1:{node.port}"))
        assert "authentication" not in node.log.lower()


async def test_a_file_of_tls_that_cannot_be_read_is_named() -> None:
    with pytest.raises(ValidationError, match="nats_tls_ca"):
        await open_bus("tls://u:p@127.0.0.1", nats_tls_ca="/none/ca.pem")


async def test_a_node_without_jetstream_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "ENSURE_SECONDS", 0.1)
    limits = "accounts { A { users: [{user: a, password: a}] } }"
    with (
        one_node(limits) as node,
        pytest.raises(StoreError, match=r"cannot make the stream .*JetStream"),
    ):
        await open_bus(f"nats://a:a@127.0.0.1:{node.port}")


async def test_a_nats_that_is_too_old_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "OLDEST_VERSION", (9, 0))
    with one_node() as node, pytest.raises(StoreError, match=r"is version 2\.\d+; a cluster needs 9\.0 or newer"):
        await open_bus(node.url)


async def test_an_account_that_was_refused_while_connected_is_tried_again_until_it_is_back() -> None:
    with one_node() as node:
        users = node.folder / "users.conf"
        node.more = "include users.conf"
        users.write_text(USER)
        node.kill()
        node.start()
        await node.ready()
        async with aclosing(await open_bus(f"nats://hub:p%40ss@127.0.0.1:{node.port}")) as bus:
            states: list[bool] = []
            bus.on_state(states.append)
            users.write_text(USER.replace("p@ss", "other"))
            os.kill(node.pid, signal.SIGHUP)
            await until(lambda: False in states)
            users.write_text(USER)
            os.kill(node.pid, signal.SIGHUP)
            await until(lambda: bus.is_connected)
            assert await bus.append_surely(bus.names.fact("x"), b"", last=0)


async def test_an_account_may_be_limited_to_the_subjects_of_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "TOOL_BRIDGE"
    allowed = [
        "tool-bridge.>",
        *(f"$JS.API.STREAM.{verb}.{name}" for verb in ("INFO", "CREATE", "UPDATE", "PURGE", "MSG.GET")),
        f"$JS.API.DIRECT.GET.{name}",
        f"$JS.API.DIRECT.GET.{name}.>",
        f"$JS.API.CONSUMER.CREATE.{name}.>",
    ]
    permissions = f'{{ publish: {json.dumps(allowed)}, subscribe: ["tool-bridge.>"] }}'
    with one_node(f"authorization {{ users: [{{ user: a, password: a, permissions: {permissions} }}] }}") as node:
        async with aclosing(await open_bus(f"nats://a:a@127.0.0.1:{node.port}", "tool-bridge")) as bus:
            subject = bus.names.session("s")
            first = await bus.append(subject, b"1", last=0)
            assert [message.sequence async for message in bus.read(subject)] == [first]
            assert await bus.last(subject, direct=True)
            assert await bus.purge(subject, first + 1) == 1
        monkeypatch.setattr(stream, "ENSURE_SECONDS", 0.1)
        with pytest.raises(StoreError, match=r"(?i)it has refused: .*permissions violation"):
            await open_bus(f"nats://a:a@127.0.0.1:{node.port}", "other")


async def test_credentials_in_a_file_are_used_and_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    nkeys = pytest.importorskip("nkeys")
    operator, account, system, user = (_key(nkeys, kind) for kind in (b"O", b"A", b"A", b"U"))
    account_jwt = _jwt(operator, account, "account", {"limits": _LIMITS})
    operator_jwt = _jwt(operator, operator, "operator", {})
    text = _jwt(account, user, "user", {"subs": -1, "data": -1, "payload": -1})
    creds = tmp_path / "hub.creds"
    creds.write_text(
        f"-----BEGIN NATS USER JWT-----\n{text}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{user.seed.decode()}\n------END USER NKEY SEED------\n"
    )
    creds.chmod(stat.S_IRUSR | stat.S_IWUSR)
    public, of_system = account.public_key.decode(), system.public_key.decode()
    system_jwt = _jwt(operator, system, "account", {})
    config = (
        f"operator: {operator_jwt}\nsystem_account: {of_system}\nresolver: MEMORY\n"
        f"resolver_preload: {{ {public}: {account_jwt}, {of_system}: {system_jwt} }}"
    )
    with one_node(config) as node:
        async with aclosing(await open_bus(node.url, nats_creds=creds)) as bus:
            assert await bus.append(bus.names.fact("x"), b"", last=0)
        creds.write_text("no credentials")
        with pytest.raises(ValidationError, match="is no file of credentials"):
            await open_bus(node.url, nats_creds=creds)


_LIMITS = {
    **dict.fromkeys(("subs", "conn", "leaf", "imports", "exports", "data", "payload"), -1),
    "wildcards": True,
    "mem_storage": -1,
    "disk_storage": -1,
    "streams": -1,
    "consumer": -1,
}


def _key(nkeys: Any, kind: bytes) -> Any:
    """Makes a key of an operator, account or user."""
    prefix = {b"O": 14 << 3, b"A": 0, b"U": 20 << 3}[kind]
    first = (18 << 3) | (prefix >> 5)
    raw = bytes([first, (prefix & 31) << 3]) + os.urandom(32)
    crc = 0
    for byte in raw:
        crc ^= byte << 8
        for _ in range(8):
            crc = ((crc << 1) ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return nkeys.from_seed(bytearray(base64.b32encode(raw + crc.to_bytes(2, "little")).rstrip(b"=")))


def _jwt(issuer: Any, subject: Any, kind: str, claims: dict[str, object]) -> str:
    """Signs a claim of NATS."""
    body = {
        "iat": int(time.time()),
        "iss": issuer.public_key.decode(),
        "sub": subject.public_key.decode(),
        "name": kind,
        "nats": {**claims, "type": kind, "version": 2},
    }
    body["jti"] = base64.b32encode(hashlib.sha256(json.dumps(body).encode()).digest()).decode().rstrip("=")
    head = {"typ": "JWT", "alg": "ed25519-nkey"}
    signed = b".".join(_b64(json.dumps(part).encode()) for part in (head, body))
    return (signed + b"." + _b64(issuer.sign(signed))).decode()


def _b64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
