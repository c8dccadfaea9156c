"""Pings of HTTP/2: a foreign client may send as many as the keepalive guide of gRPC lets it, and no flood of them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc.aio

from attacks.victims import MIB, PATIENCE, MakeVictim
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.proto.dspex_bridge_pb2_grpc import SnakepitBridgeStub

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_SETTINGS, _PING, _GOAWAY = 4, 6, 7
_ACK = 1

# More than gRPC's own default lets pass, which was 2 too early ones.
PINGS = 12


def _frame(kind: int, flags: int = 0, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + bytes(4) + payload


class Peer:
    """A client of HTTP/2 that does nothing but ping."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        writer.write(_PREFACE + _frame(_SETTINGS))

    def send(self, count: int) -> None:
        """Sends pings, one after the other."""
        self._writer.write(_frame(_PING, payload=b"12345678") * count)

    async def answered(self) -> None:
        """Waits for the answer to a ping; fails where the hub ends the connection."""
        reason = await self._read(_PING)
        assert reason is None, reason

    async def cut_off(self) -> bytes | None:
        """Waits until the hub ends the connection; gives its reason."""
        return await self._read(None)

    async def _read(self, wanted: int | None) -> bytes | None:
        async with asyncio.timeout(PATIENCE):
            while True:
                head = await self._reader.readexactly(9)
                payload = await self._reader.readexactly(int.from_bytes(head[:3], "big"))
                if head[3] == _SETTINGS and not head[4] & _ACK:
                    self._writer.write(_frame(_SETTINGS, _ACK))
                if head[3] == _GOAWAY:
                    return payload[8:]
                if head[3] == wanted and head[4] & _ACK:
                    return None


@asynccontextmanager
async def peer(address: str) -> AsyncIterator[Peer]:
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield Peer(reader, writer)
    finally:
        writer.close()


async def test_a_peer_that_pings_five_times_a_second_without_a_call_stays(attacked: MakeVictim) -> None:
    hub = await attacked()
    async with peer(hub.address) as pinging:
        for _ in range(PINGS):
            pinging.send(1)
            await pinging.answered()
            # The pace is what is tested; a machine that is held up makes it slower, and never faster.
            await asyncio.sleep(0.2)


async def test_a_client_with_a_short_keepalive_and_a_long_call_is_not_cut_off(attacked: MakeVictim) -> None:
    hub = await attacked("attacks.waiting_tools:TOOLS")
    options = [
        ("grpc.keepalive_time_ms", 250),
        ("grpc.keepalive_timeout_ms", 60_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    async with grpc.aio.insecure_channel(hub.address, options=options) as channel:
        stub: object = SnakepitBridgeStub(channel)
        await stub.InitializeSession(pb.InitializeSessionRequest(session_id="s"))  # type: ignore[attr-defined]
        request = pb.ToolCallRequest(session_id="s", tool_id="wait_six_seconds")
        answer = await stub.ExecuteTool(request)  # type: ignore[attr-defined]
    assert answer.success


async def test_a_flood_of_pings_ends_its_connection_and_hurts_nobody(attacked: MakeVictim) -> None:
    hub = await attacked()
    before = hub.memory()
    for _ in range(20):
        async with peer(hub.address) as flooding:
            flooding.send(1_000)
            try:
                assert await flooding.cut_off() == b"too_many_pings"
            except (ConnectionError, asyncio.IncompleteReadError):
                # Ended with some of the flood unread, so that the system dropped the reason.
                continue
    await hub.looks_unharmed(max_bytes=before + 200 * MIB)
