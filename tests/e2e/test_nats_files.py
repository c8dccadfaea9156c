"""The files that deploy NATS for hubs: what a hub needs is allowed, and what it does not need is refused."""

import asyncio
import contextlib
import re
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import nats
import pytest
import trustme
from nats.aio.client import Client
from nats.errors import NoServersError
from nats.js.errors import APIError

from grpc_tool_bridge import Settings
from grpc_tool_bridge.cluster.bus.bus import Bus
from grpc_tool_bridge.cluster.urls import parse
from support.nats_nodes import PROGRAM, free_ports
from support.patience import PATIENCE
from support.programs import ROOT, environment
from support.waiting import soon, until

FILES = ROOT / "deploy" / "nats"


class Node:
    """A node as its container runs it, at ports of the loopback.

    Args:
        folder: Where its files are.
        authority: Issues its certificate.
        name: What its certificate is for.
    """

    def __init__(self, folder: Path, authority: trustme.CA, name: str = "localhost") -> None:
        folder.mkdir(exist_ok=True)
        self.port, self.route, self.monitor = free_ports(3)
        self.authority, self.folder = authority, folder
        authority.cert_pem.write_to_path(folder / "ca.crt")
        self.certificate("node", name)

    def certificate(self, file: str, name: str) -> None:
        """Writes a certificate for a name."""
        issued = self.authority.issue_cert(name)
        issued.cert_chain_pems[0].write_to_path(self.folder / f"{file}.crt")
        issued.private_key_pem.write_to_path(self.folder / f"{file}.key")

    @property
    def url(self) -> str:
        return f"tls://localhost:{self.port}"

    @property
    def log(self) -> str:
        return (self.folder / "node.log").read_text(encoding="utf-8")

    def healthz(self) -> int:
        """Returns the status of its own check; 0: it does not answer."""
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"http://127.0.0.1:{self.monitor}/healthz").status_code
        return 0

    @contextlib.contextmanager
    def running(self, *others: "Node") -> Iterator[None]:
        """Runs it until the end of the block, with others in a cluster or alone."""
        config = (FILES / "nats.conf").read_text(encoding="utf-8")
        for there, here in (("4222", self.port), ("6222", self.route), ("8222", self.monitor)):
            config = config.replace(f'"0.0.0.0:{there}"', f'"127.0.0.1:{here}"')
        if not others:
            config = re.sub(r"\ncluster \{.*?\n\}\n", "\n", config, flags=re.DOTALL)
        (self.folder / "nats.conf").write_text(config, encoding="utf-8")
        shutil.copy(FILES / "accounts.conf", self.folder)
        routes, folder = [f"nats-route://localhost:{other.route}" for other in others], self.folder
        where = {"NATS_NAME": folder.name, "NATS_STORE": str(folder / "store")}
        for variable, file in (("CERT", "node.crt"), ("KEY", "node.key"), ("CA", "ca.crt")):
            where[f"NATS_TLS_{variable}"] = str(folder / file)
        command = [str(PROGRAM), "--config", str(folder / "nats.conf"), "--log", str(folder / "node.log")]
        command += ["--routes", ",".join(routes)] if routes else []
        process = subprocess.Popen(command, env=environment(**where), process_group=0)
        try:
            yield
        finally:
            process.kill()
            process.wait(PATIENCE)

    async def connect(self, file: str | None, **options: Any) -> Client:
        """Connects with a certificate, or with none."""
        context = ssl.create_default_context(cafile=str(self.folder / "ca.crt"))
        if file is not None:
            context.load_cert_chain(self.folder / f"{file}.crt", self.folder / f"{file}.key")
        once: dict[str, Any] = {"allow_reconnect": False, "inbox_prefix": "tool-bridge.i", **options}
        return await nats.connect(self.url, tls=context, tls_hostname="localhost", **once)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path, trustme.CA())
    made.certificate("hub", "hub")
    with made.running():
        yield made


@pytest.fixture
async def hub(node: Node) -> AsyncIterator[tuple[Client, list[str]]]:
    """A connection as that of a hub, and what it was refused."""
    refused: list[str] = []

    async def note(error: Exception) -> None:
        refused.append(str(error))

    await listening(node)
    connection = await node.connect("hub", error_cb=note)
    yield connection, refused
    await connection.close()


async def listening(node: Node) -> None:
    """Waits until a node takes connections."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", node.port)
                writer.close()
                return
            await asyncio.sleep(0.02)


async def test_a_hub_may_use_the_stream_and_the_subjects_of_its_cluster(hub: tuple[Client, list[str]]) -> None:
    connection, refused = hub
    stream = connection.jetstream()
    made = await soon(stream.add_stream(name="TOOL_BRIDGE", subjects=["tool-bridge.s.*"], allow_direct=True))
    assert made.config.name == "TOOL_BRIDGE"
    await stream.publish("tool-bridge.s.1", b"a")
    reader = await stream.subscribe("tool-bridge.s.*", stream="TOOL_BRIDGE", ordered_consumer=True)
    assert (await reader.next_msg(PATIENCE)).data == b"a"
    await reader.unsubscribe()
    assert (await stream.get_last_msg("TOOL_BRIDGE", "tool-bridge.s.1", direct=True)).data == b"a"
    assert await stream.purge_stream("TOOL_BRIDGE", subject="tool-bridge.s.1")
    frames = await connection.subscribe("tool-bridge.l.*")
    await connection.publish("tool-bridge.l.1", b"frame")
    assert (await frames.next_msg(PATIENCE)).data == b"frame"
    assert refused == []


@pytest.mark.parametrize("subject", ["other.s.1", "$JS.API.STREAM.DELETE.TOOL_BRIDGE", "$SYS.REQ.SERVER.PING", "tool"])
async def test_a_hub_may_publish_nowhere_else(subject: str, hub: tuple[Client, list[str]]) -> None:
    connection, refused = hub
    await connection.publish(subject, b"x")
    await until(lambda: refused, "for the refusal")
    assert f'permissions violation for publish to "{subject.lower()}"' in refused[0].lower()


@pytest.mark.parametrize("subject", [">", "$SYS.>", "other.>"])
async def test_a_hub_may_read_nothing_else(subject: str, hub: tuple[Client, list[str]]) -> None:
    connection, refused = hub
    await connection.subscribe(subject)
    await until(lambda: refused, "for the refusal")
    assert f'permissions violation for subscription to "{subject.lower()}"' in refused[0].lower()


async def test_a_hub_may_have_no_other_stream(hub: tuple[Client, list[str]]) -> None:
    connection, refused = hub
    await soon(connection.jetstream().add_stream(name="TOOL_BRIDGE", subjects=["tool-bridge.s.*"]))
    with pytest.raises((TimeoutError, APIError, nats.errors.TimeoutError)):
        await connection.jetstream(timeout=0.2).add_stream(name="OTHER", subjects=["tool-bridge.x.*"])
    assert "$js.api.stream.create.other" in refused[0].lower()


async def test_nobody_else_gets_in(node: Node) -> None:
    await listening(node)
    node.certificate("stranger", "stranger")
    foreign = trustme.CA().issue_cert("hub")
    foreign.cert_chain_pems[0].write_to_path(node.folder / "foreign.crt")
    foreign.private_key_pem.write_to_path(node.folder / "foreign.key")
    for certificate in (None, "stranger", "foreign"):
        with pytest.raises((NoServersError, ssl.SSLError, OSError, nats.errors.Error)):
            await soon(node.connect(certificate))


async def test_a_hub_s_own_connection_makes_its_stream_and_uses_it_with_that_account(node: Node) -> None:
    await listening(node)
    settings = Settings(
        nats_tls_ca=node.folder / "ca.crt",
        nats_tls_cert=node.folder / "hub.crt",
        nats_tls_key=node.folder / "hub.key",
    )
    bus = Bus(parse(node.url), settings)
    await soon(bus.open())
    try:
        subject = bus.names.session("s")
        assert await bus.append(subject, b"a", last=0) == 1
        last = await bus.last(subject)
        assert last is not None
        assert last.data == b"a"
        assert [message.data async for message in bus.read(subject)] == [b"a"]
        assert [found async for found in bus.subjects(bus.names.sessions)] == [(subject, 1)]
        await bus.purge(subject, 2)
        assert await bus.last(subject) is None
    finally:
        await bus.aclose()


async def test_three_nodes_are_a_cluster_which_nobody_joins_with_the_certificate_of_a_hub(tmp_path: Path) -> None:
    authority = trustme.CA()
    nodes = [Node(tmp_path / f"n{number}", authority) for number in (1, 2, 3)]
    intruder = Node(tmp_path / "intruder", authority, "hub")
    with contextlib.ExitStack() as stack:
        for node in nodes:
            stack.enter_context(node.running(*nodes))
        await until(lambda: all(node.healthz() == 200 for node in nodes), "for the cluster")
        stack.enter_context(intruder.running(*nodes))
        await until(lambda: any("authentication error" in node.log for node in nodes), "for the refusal")
        assert intruder.healthz() != 200
        nodes[0].certificate("hub", "hub")
        connection = await nodes[0].connect("hub")
        made = await soon(
            connection.jetstream().add_stream(name="TOOL_BRIDGE", subjects=["tool-bridge.s.*"], num_replicas=3)
        )
        assert made.cluster is not None
        assert {made.cluster.leader, *(each.name for each in made.cluster.replicas or ())} == {"n1", "n2", "n3"}
        await connection.close()
