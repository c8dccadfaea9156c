"""A hub's local socket and its dialler, with a real ``LinkServer`` behind it."""

import asyncio
import logging
import os
import socket
import ssl
import struct
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

import pytest

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.errors import AccessError, ProtocolError, ToolBridgeError
from grpc_tool_bridge.link import socket_listener
from grpc_tool_bridge.link.dialer import Dialer, DialledLink
from grpc_tool_bridge.link.listener import LinkServer
from grpc_tool_bridge.link.socket import MAX_FRAME_BYTES
from grpc_tool_bridge.link.socket_dialer import ADDRESS_KEY, dial_local, dial_tcp
from grpc_tool_bridge.link.socket_listener import SocketListener
from grpc_tool_bridge.link.socket_places import UnusableError, find
from grpc_tool_bridge.link.status import Code, code_of
from grpc_tool_bridge.link.streams import Dialable, FrameStream
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.authentication import BearerToken
from support.certificates import certificate_files
from support.hubs import SomeHub
from support.patience import PATIENCE
from support.waiting import soon, turns, until

ADDRESS = "127.0.0.1:50051"


@pytest.fixture(autouse=True)
def _runtime(monkeypatch: pytest.MonkeyPatch) -> Any:
    with tempfile.TemporaryDirectory() as name:
        monkeypatch.setenv("XDG_RUNTIME_DIR", name)
        yield


class Desk:
    """A hub that listens on its local socket."""

    def __init__(self, token: str | None = None, *, max_connections: int = 100, **settings: Any) -> None:
        self.hub = SomeHub()
        self.links = LinkServer(self.hub, Settings(**settings))
        authenticator = None if token is None else BearerToken(token)
        self.listener = SocketListener(
            self.links, authenticator, max_connections=max_connections, max_handshakes=2, handshake_timeout=PATIENCE
        )
        self.runs: dict[DialledLink, asyncio.Task[Any]] = {}

    async def __aenter__(self) -> Self:
        self.listener.listen_locally(ADDRESS)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.listener.stop_listening()
        await self.links.close(PATIENCE)
        await soon(self.listener.aclose())

    async def dial(self, token: str | None = None, address: str = ADDRESS) -> DialledLink:
        """Dials, and runs the link."""
        link = DialledLink(await dial_local(address, token), address)
        self.runs[link] = asyncio.create_task(link.run())
        return link

    async def over(self, link: DialledLink) -> None:
        """Waits for the end of a link that was dialled."""
        await soon(self.runs[link])

    async def end(self, link: DialledLink) -> None:
        """Ends a link that was dialled."""
        link.finish()
        await self.over(link)


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    async with Desk() as desk:
        yield desk


async def raw() -> socket.socket:
    """Connects without saying anything."""
    connected = socket.socket(socket.AF_UNIX)
    connected.setblocking(False)
    await asyncio.get_running_loop().sock_connect(connected, os.fspath(find(ADDRESS)[0]))
    return connected


async def all_of(connected: socket.socket) -> bytes:
    data = b""
    async with asyncio.timeout(PATIENCE):
        while more := await asyncio.get_running_loop().sock_recv(connected, 65_536):
            data += more
    connected.close()
    return data


def status_in(data: bytes) -> pb.LinkStatus:
    """Returns the last envelope's end, of the only frame that was sent."""
    (size,) = struct.unpack_from("<I", data)
    assert len(data) == 4 + size
    (envelope,) = pb.LinkFrame.FromString(data[4:]).envelopes
    return envelope.end


async def test_a_link_is_greeted_and_ends_with_its_dialler(desk: Desk) -> None:
    link = await desk.dial()
    assert await soon(link.greeted)
    assert len(desk.links) == 1
    await desk.end(link)
    await until(lambda: not len(desk.links))


async def test_the_hub_that_stops_says_that_it_does(desk: Desk) -> None:
    link = await desk.dial()
    assert await soon(link.greeted)
    desk.links.drain(0)
    await desk.links.close(PATIENCE)
    await desk.over(link)
    assert link.error is not None
    assert "the hub is shutting down" in link.error.message


@pytest.mark.parametrize(
    ("token", "text"), [(None, "this hub requires a token"), ("wrong", "the token is wrong"), ("right", "")]
)
async def test_the_token_is_in_the_hello_and_its_refusal_is_the_same_as_over_grpc(token: str | None, text: str) -> None:
    async with Desk("right") as desk:
        link = await desk.dial(token)
        assert await soon(link.greeted) == (not text)
        if text:
            await desk.over(link)
            assert isinstance(link.error, AccessError)
            assert link.error.error_type == "Unauthenticated"
            assert text in link.error.message
        else:
            await desk.end(link)


async def test_a_peer_without_the_token_learns_nothing_else_and_makes_no_call() -> None:
    async with Desk("right") as desk:
        connected = await raw()
        hello = pb.Envelope(hello=pb.LinkHello(protocol=1, metadata={ADDRESS_KEY: ADDRESS}))
        call = pb.Envelope(id=1, call=pb.LinkCall(method="ExecuteTool"))
        frame = pb.LinkFrame(envelopes=[hello, pb.Envelope(ping=1), call]).SerializeToString()
        await asyncio.get_running_loop().sock_sendall(connected, struct.pack("<I", len(frame)) + frame)
        status = status_in(await all_of(connected))
        assert status.code == Code.UNAUTHENTICATED
        assert desk.hub.started == []


@pytest.mark.parametrize("claimed", ["", "127.0.0.1:1"])
async def test_a_peer_that_means_another_hub_is_refused(desk: Desk, claimed: str) -> None:
    connected = await raw()
    metadata = {ADDRESS_KEY: claimed} if claimed else {}
    frame = pb.LinkFrame(envelopes=[pb.Envelope(hello=pb.LinkHello(protocol=1, metadata=metadata))]).SerializeToString()
    await asyncio.get_running_loop().sock_sendall(connected, struct.pack("<I", len(frame)) + frame)
    status = status_in(await all_of(connected))
    assert status.code == Code.INVALID_ARGUMENT
    assert f"the hub at this socket is {ADDRESS}" in status.message


async def test_a_hub_of_another_address_behind_the_name_is_not_used(desk: Desk) -> None:
    other = "127.0.0.1:50052"
    find(ADDRESS)[0].rename(Path(str(find(ADDRESS)[0]).replace(ADDRESS, other)))
    stream = await dial_local(other, None)
    with pytest.raises(ProtocolError, match=r"says that it is at '127.0.0.1:50051', not at 127.0.0.1:50052"):
        stream.admit(pb.LinkHello(metadata={ADDRESS_KEY: ADDRESS}))
    link = DialledLink(stream, other)
    await soon(link.run())
    assert not await link.greeted
    assert isinstance(link.error, ToolBridgeError)
    assert f"the hub at this socket is {ADDRESS}" in link.error.message


async def test_a_peer_that_says_nothing_is_told_why_its_link_ends() -> None:
    async with Desk(hello_timeout=0.01):
        status = status_in(await all_of(await raw()))
        assert status.code == Code.DEADLINE_EXCEEDED
        assert "said no hello within 0.01 s" in status.message


async def test_a_peer_that_never_reads_loses_its_link() -> None:
    async with Desk(stream_timeout=0.05) as desk:
        connected = await raw()
        hello = pb.Envelope(hello=pb.LinkHello(protocol=1, metadata={ADDRESS_KEY: ADDRESS}))
        request = pb.ToolCallRequest(tool_id="large100000").SerializeToString()
        calls = [
            pb.Envelope(id=2 * number + 1, call=pb.LinkCall(method="ExecuteTool", payload=request))
            for number in range(50)
        ]
        frame = pb.LinkFrame(envelopes=[hello, *calls]).SerializeToString()
        await asyncio.get_running_loop().sock_sendall(connected, struct.pack("<I", len(frame)) + frame)
        await until(lambda: desk.hub.workers.lost_links)
        assert desk.hub.started
        await until(lambda: not desk.listener._streams)
        connected.close()


async def test_a_frame_that_never_ends_is_charged_and_ends_its_link() -> None:
    async with Desk(request_timeout=0.05) as desk:
        idle = await desk.dial()
        await until(lambda: len(desk.links) == 1)
        connected = await raw()
        hello = pb.LinkFrame(
            envelopes=[pb.Envelope(hello=pb.LinkHello(protocol=1, metadata={ADDRESS_KEY: ADDRESS}))]
        ).SerializeToString()
        begun = struct.pack("<I", MAX_FRAME_BYTES) + bytes(MAX_FRAME_BYTES - 1)
        data = struct.pack("<I", len(hello)) + hello + begun
        sending = asyncio.create_task(asyncio.get_running_loop().sock_sendall(connected, data))
        await until(lambda: desk.links._peers.most_used > MAX_FRAME_BYTES)
        await soon(sending)
        assert b"a frame did not arrive whole within 0.05 s" in await all_of(connected)
        await until(lambda: desk.links._peers.used < MAX_FRAME_BYTES)
        # One that waits between frames has no such limit.
        assert not desk.runs[idle].done()
        await desk.end(idle)


@pytest.mark.parametrize(
    "data", [b"\x00\x00\x00\x00", b"\xff\xff\xff\xff", b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0"]
)
async def test_a_peer_that_speaks_something_else_is_told_so(desk: Desk, data: bytes) -> None:
    connected = await raw()
    await asyncio.get_running_loop().sock_sendall(connected, data)
    status = status_in(await all_of(connected))
    assert status.code == Code.INVALID_ARGUMENT
    assert "the link was ended: a frame of" in status.message


async def test_links_without_a_hello_have_a_bound_and_a_genuine_peer_gets_in() -> None:
    async with Desk(max_pending_links=4) as desk:
        silent = [await raw() for _ in range(8)]
        await until(lambda: len(desk.links) == 4)
        link = await desk.dial()
        assert await soon(link.greeted)
        status = status_in(await all_of(silent[0]))
        assert "have not said hello (max_pending_links)" in status.message
        for one in silent[1:]:
            one.close()
        await desk.end(link)


async def test_connections_beyond_the_limit_are_closed(caplog: pytest.LogCaptureFixture) -> None:
    async with Desk(max_connections=1) as desk:
        link = await desk.dial()
        assert await soon(link.greeted)
        assert await all_of(await raw()) == b""
        assert "1 are open (max_connections)" in caplog.text
        await desk.end(link)
        await until(lambda: not desk.listener._streams)
        again = await desk.dial()
        assert await soon(again.greeted)
        await desk.end(again)


async def test_a_connection_whose_link_has_ended_makes_room_for_another() -> None:
    async with Desk(max_connections=1) as desk:
        # It is told why, and does not close.
        ended = await raw()
        await asyncio.get_running_loop().sock_sendall(ended, bytes(4))
        await until(lambda: desk.listener._lingering)
        link = await desk.dial()
        assert await soon(link.greeted)
        ended.close()
        await desk.end(link)


async def test_handshakes_that_stall_have_a_bound_and_a_genuine_peer_gets_in(tmp_path: Path) -> None:
    files = certificate_files(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files["cert"], files["key"])
    trust = ssl.create_default_context(cafile=files["ca"])
    loop = asyncio.get_running_loop()
    for max_connections in (100, 2):
        desk = Desk(max_connections=max_connections)
        port = desk.listener.listen_at("127.0.0.1", 0, context)
        stalled = [socket.socket() for _ in range(3)]
        for connected in stalled:
            connected.setblocking(False)
            await loop.sock_connect(connected, ("127.0.0.1", port))
        # The oldest had to go.
        assert await soon(all_of(stalled[0])) == b""
        assert len(desk.listener._handshakes) == 2
        link = DialledLink(await dial_tcp("127.0.0.1", port, None, trust), ADDRESS)
        run = asyncio.create_task(link.run())
        assert await soon(link.greeted)
        link.finish()
        await soon(run)
        for connected in stalled:
            connected.close()
        await desk.__aexit__()


async def test_another_user_s_connection_is_closed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_: object) -> None:
        raise UnusableError("it is another user's")

    monkeypatch.setattr(socket_listener, "check_peer", refuse)
    assert await all_of(await raw()) == b""
    assert "it is another user's" in caplog.text


async def test_a_fault_ends_the_link_and_is_logged(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(stream: object) -> None:
        raise LookupError("it")

    monkeypatch.setattr(desk.links, "serve", fail)
    status = status_in(await all_of(await raw()))
    assert status.code == Code.INTERNAL
    assert "LookupError" not in status.message
    assert f"fault in a link: {status.message}" in caplog.text


async def test_a_peer_that_is_lost_is_no_fault(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    connected = await raw()
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await turns()
    connected.close()
    await until(lambda: not desk.listener._streams)
    assert caplog.text == ""


async def test_a_hub_that_has_stopped_leaves_no_socket() -> None:
    async with Desk():
        path = find(ADDRESS)[0]
    assert not path.exists()
    with pytest.raises(UnusableError):
        await dial_local(ADDRESS, None)


async def test_a_forked_process_closes_the_listening_socket_and_leaves_its_name(desk: Desk) -> None:
    place = desk.listener._place
    assert place is not None
    copy = place.socket.dup()
    desk.listener.forked()
    assert find(ADDRESS)[0] == place.path
    connected = await raw()
    accepted = await soon(asyncio.get_running_loop().sock_accept(copy))
    for one in (connected, accepted[0], copy):
        one.close()


def test_a_hub_whose_event_loop_has_ended_frees_its_socket_and_its_peers() -> None:
    async def begin() -> tuple[Desk, socket.socket]:
        desk = Desk()
        desk.listener.listen_locally(ADDRESS)
        connected = await raw()
        await until(lambda: desk.listener._streams)
        return desk, connected

    loop = asyncio.new_event_loop()
    desk, connected = loop.run_until_complete(begin())
    loop.close()
    path = find(ADDRESS)[0]
    desk.listener.abandon()
    assert not path.exists()
    connected.settimeout(PATIENCE)
    assert connected.recv(1) == b""
    connected.close()


async def test_a_dialler_uses_it_like_any_other_way(desk: Desk) -> None:
    class Local(Dialable):
        where = ADDRESS

        def open(self) -> Self:
            return self

        async def dial(self) -> Any:
            return await dial_local(ADDRESS, None)

        async def close(self, *, stranded: bool = False) -> None:
            """Nothing is open but links."""

    dialer = Dialer(Local())
    await dialer.connect(PATIENCE)
    assert dialer.is_linked
    assert dialer.linked_over == "a local socket"
    await dialer.close()
    assert dialer.linked_over is None


async def test_each_connection_has_a_budget_of_its_own(desk: Desk) -> None:
    links = [await desk.dial() for _ in range(2)]
    for link in links:
        assert await soon(link.greeted)
    assert sorted(stream.peer for stream in desk.listener._streams) == ["socket:1", "socket:2"]
    assert len(desk.links._peers) == 2
    for link in links:
        await desk.end(link)


async def test_a_hub_that_is_stuck_is_given_up_sooner_than_over_grpc(desk: Desk) -> None:
    stream = await dial_local(ADDRESS, None)
    assert stream.greeting_seconds < FrameStream.greeting_seconds
    assert code_of(await stream.failure(None)) is Code.UNAVAILABLE
    stream.close()
